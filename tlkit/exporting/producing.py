"""Write and run all files of an export: this process saves graphs while workers make files of them and run those."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import pickle
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.examples import Examples
from tlkit.core.format import Format, Source
from tlkit.core.naming import import_path
from tlkit.core.run import Run
from tlkit.exporting import heldout, saved_model, units, workers
from tlkit.exporting.describing import describe
from tlkit.exporting.driving import packed

# Examples to measure int8 ranges with. Each costs 75 ms at 224 pixels, and 8 to 100 of them gave the same labels and
# a mean difference of .0040 to .0044 (EfficientNet-Lite0 on emoji10): activations bounded by ReLU6 are soon seen.
LEAST_REPRESENTATIVE, MOST_REPRESENTATIVE = 32, 100
log = logging.getLogger(__name__)

Answer = dict[str, Any]
Answering = Future[tuple[workers.Worker, Answer]]
Task = dict[str, Any]
Ask = Callable[..., Answering]  # tasks that one worker does in a row, up to the first that fails
Check = Callable[[Format, Answering], Answering]


@dataclass(frozen=True, eq=False)
class Job:
    """What is exported, and how.

    Attributes:
        run: The trained run.
        examples: The held-out examples.
        stage: An empty folder to work in.
        threads: Of the interpreters.
        timeout_s: Seconds until a worker gives up.
        say: Is told each stage.
    """

    run: Run
    examples: Examples
    stage: Path
    threads: int
    timeout_s: float
    say: Callable[[str], None]

    @property
    def names(self) -> list[str]:
        """Names of the model's inputs, or of what its deployment takes."""
        if self.run.task.deployment is None:
            return list(saved_model.inputs_of(self.run.model))
        spec = self.examples.inputs.spec
        return sorted(spec) if isinstance(spec, Mapping) else ["inputs"]

    def file(self, format: Format) -> Path:
        """Where the file of a format is made."""
        return self.stage / "made" / format.file

    def writing(self, format: Format, source: Source) -> Task:
        """What a worker needs to write that file."""
        sent = base64.b64encode(pickle.dumps(source)).decode()
        return {
            "job": "write", "format": format.name, "write": import_path(format.write), "source": sent,
            "file": str(self.file(format)),
        }  # fmt: skip

    def running(self, format: Format) -> Task:
        """What a worker needs to run that file."""
        sent = self.stage / "sent"
        inputs = sent if format.serves and sent.is_dir() else self.stage / "inputs"
        places = {"file": self.file(format), "inputs": inputs, "outputs": self.stage / f"{format.file}.outputs"}
        return {
            "job": "run", "format": format.name, "open": import_path(format.open), "threads": self.threads,
            **{key: str(place) for key, place in places.items()}, "alone": format.serves,
            "loop": packed(self.run.task, checking=True),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Made:
    """One file as it was made, what it gives, and what its signatures take; `failure` says why there is no file, or no
    output.
    """

    path: Path | None = None
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    latency_ms: float = 0.0
    failure: str | None = None
    signatures: Mapping[str, Any] = field(default_factory=dict)


def produce(job: Job, formats: Sequence[Format]) -> tuple[dict[str, np.ndarray], dict[str, Made]]:
    """Make the files of `formats` and run each over the examples.

    Args:
        job: What is exported.
        formats: What to make.

    Returns:
        What the Keras model gives for the examples, by name of the output; and the files by name of the format.
    """
    serving, others = ([f for f in formats if f.serves is serves] for serves in (True, False))
    job.file(formats[0]).parent.mkdir()
    with _timed("write the held-out examples"):
        inputs = heldout.store(job.examples, job.names, job.stage / "inputs")
    with _checker(job) as check, _pool(job, len(formats)) as ask:  # the pool ends first: nobody waits for it then
        started = _start_writing(job, others, ask, check) if others else {}
        core = saved_model.trace(job.run) if job.run.task.deployment is None else None
        started |= _start_serving(job, core, serving, ask) if serving else {}
        with _timed("run the Keras model"):
            if core is None:
                expected = saved_model.expected_of_use(job.run, job.examples, job.stage / "expected")
            else:
                expected = saved_model.expected(core, inputs, job.stage / "expected")
        job.say("checking the files")
        with _timed("wait for the workers"):
            ran = {format.name: started[format.name].result() for format in (*serving, *others)}
        return expected, {format.name: _made(job, format, *ran[format.name]) for format in (*serving, *others)}


def _start_writing(job: Job, formats: Sequence[Format], ask: Ask, check: Check) -> dict[str, Answering]:
    job.say("converting")
    sources = {scales: _convertible(job, scales) for scales in sorted({format.scales for format in formats})}
    inputs = _representative(job)
    checks = {}
    for format in formats:
        metadata = describe(job.run, job.examples, format.name)
        source = Source(sources[format.scales], inputs, metadata, **(_behind(job) if format.scales else {}))
        checks[format.name] = check(format, ask(job.writing(format, source)))
    return checks


def _convertible(job: Job, scales: bool) -> Path:
    """Folder of the SavedModel of one example, without what formats that quantise do behind it in float32."""
    run = job.run
    if run.task.deployment is not None:
        return _functions(job, "file")
    bare = scales and (bool(units.scales(run.task)) or units.has_tail(run.task))
    folder = job.stage / ("convertible_bare" if bare else "convertible")
    if not folder.exists():
        with _timed("write the SavedModel for conversion"):
            task = units.standardised(run.task, run.model.output) if bare else run.task
            saved_model.write_convertible(replace(run, task=task), folder)
    return folder


def _functions(job: Job, kind: str) -> Path:
    """Folder of the SavedModel of the functions of the task's deployment."""
    folder = job.stage / f"functions_{kind}"
    if not folder.exists():
        with _timed(f"write the functions of kind {kind!r}"):
            saved_model.write_functions(job.run, job.examples, kind, folder)
    return folder


def _behind(job: Job) -> dict[str, Any]:
    """What a format that quantises does behind it in float32: bring values to their unit, or decode."""
    if job.run.task.deployment is not None:
        return {}
    if not units.has_tail(job.run.task):
        return {"scales": units.scales(job.run.task)}
    folder = job.stage / "tail"
    if not folder.exists():
        saved_model.write_tail(job.run, folder)
    return {"tail": folder}


def _representative(job: Job) -> Path | None:
    """Folder of training inputs to measure ranges with, or None where there are none."""
    train = job.run.data.train
    if not len(train) or job.run.task.deployment is not None:
        return None
    folder = job.stage / "representative"
    with _timed("write the representative examples"):
        two_a_label = 2 * sum(len(answer.labels) for answer in job.run.task.answers)
        count = min(max(two_a_label, LEAST_REPRESENTATIVE), MOST_REPRESENTATIVE)
        heldout.store(train.subset(heldout.spread_over(train, count)), job.names, folder)
    return folder


def _start_serving(
    job: Job, core: saved_model.Core | None, formats: Sequence[Format], ask: Ask
) -> dict[str, Answering]:
    job.say("writing the SavedModel")
    folder = job.stage / "serving"
    if core is None:
        folder = _functions(job, "server")
    else:
        with _timed("write the SavedModel for servers"):
            served = saved_model.serving(job.run)
            saved_model.write_serving(job.run, core, served, folder)
        if served.sent is not None:
            heldout.store_arrays(served.sent(job.examples), job.stage / "sent")
    sources = {format: Source(folder, None, describe(job.run, job.examples, format.name)) for format in formats}
    return {f.name: ask(job.writing(f, source), job.running(f)) for f, source in sources.items()}


@contextlib.contextmanager
def _checker(job: Job) -> Iterator[Check]:
    """Yield a function that runs a file, once it is written, in a process that wrote nothing: one without TensorFlow,
    until a format itself imports that to open its file.
    """
    with ThreadPoolExecutor(1) as executor, workers.started(job.stage / "check.log", job.timeout_s) as worker:

        def ran(format: Format, writing: Answering) -> tuple[workers.Worker, Answer]:
            _, answer = writing.result()
            if "failure" in answer:
                return worker, answer
            workers.limit(worker, job.timeout_s)  # it may have waited long for what it checks
            return worker, _answered(worker, job.running(format))

        yield lambda format, writing: executor.submit(ran, format, writing)


def _answered(worker: workers.Worker, *tasks: Task) -> Answer:
    """The answer to the last of some tasks, or that of the first that fails, and which it is."""
    answer: Answer = {}
    for task in tasks:
        answer = workers.ask(worker, **task) | {"job": task["job"]}
        job_name = f"{task['job']} {task.get('format', '')}".strip()
        log.info("%s in a worker: %.1f s (%.1f s of CPU)", job_name, answer["seconds"], answer["cpu_seconds"])
        if "failure" in answer:
            break
    return answer


def _made(job: Job, format: Format, worker: workers.Worker, answer: Answer) -> Made:
    """A file's outputs; it is timed where it is loaded, now that all else is done."""
    file = job.file(format)
    if "failure" in answer and answer["job"] == "write":
        return Made(failure=str(answer["failure"]))
    if not file.exists():
        return Made(failure=f"`write` of its format made no {format.file}")
    if "failure" not in answer:
        answer = workers.ask(worker, **job.running(format) | {"job": "time", "loop": packed(job.run.task)})
    if "failure" in answer:
        return Made(file, failure=f"it cannot be run: {answer['failure']}")
    outputs = {p.stem: np.load(p, mmap_mode="r") for p in sorted(Path(job.running(format)["outputs"]).glob("*.npy"))}
    return Made(file, outputs, float(answer["latency_ms"]), signatures=answer["signatures"])


@contextlib.contextmanager
def _pool(job: Job, most: int) -> Iterator[Ask]:
    """Yield a function that gives tasks to the next idle TensorFlow worker: two of them where there are three cores.

    This process keeps one core busy with writing graphs, and to start a worker takes as long as two conversions.
    """
    count = max(1, min(2, (os.cpu_count() or 1) - 1, most))
    idle: queue.SimpleQueue[workers.Worker] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(count))
        for i in range(count):
            log_file = job.stage / f"worker{i}.log"
            idle.put(stack.enter_context(workers.started(log_file, job.timeout_s, tensorflow=True)))

        def work(*tasks: Task) -> tuple[workers.Worker, Answer]:
            worker = idle.get()
            try:
                return worker, _answered(worker, *tasks)
            finally:
                idle.put(worker)

        for _ in range(count):  # they import TensorFlow while this process writes graphs
            executor.submit(work, {"job": "prepare"})
        yield lambda *tasks: executor.submit(work, *tasks)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    start, start_cpu = time.perf_counter(), time.process_time()
    yield
    log.info("%s: %.1f s (%.1f s of CPU)", what, time.perf_counter() - start, time.process_time() - start_cpu)
