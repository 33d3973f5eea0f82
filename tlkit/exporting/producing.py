"""Write, convert and run all files of an export: this process saves graphs while workers convert and run them."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.examples import Examples
from tlkit.core.run import Run
from tlkit.data.splitting import spread
from tlkit.exporting import heldout, saved_model, units, workers
from tlkit.exporting.describing import describe
from tlkit.exporting.modality import modality_of
from tlkit.formats import tflite_metadata
from tlkit.formats.tflite import DEFAULT

SAVED_MODEL = "saved_model"
# Examples to measure int8 ranges with. Each costs 75 ms at 224 pixels, and 8 to 100 of them gave the same labels and
# a mean difference of .0040 to .0044 (EfficientNet-Lite0 on emoji10): activations bounded by ReLU6 are soon seen.
LEAST_REPRESENTATIVE, MOST_REPRESENTATIVE = 32, 100
_ORDER = ("float32", "int8", "dynamic", "float16")  # int8 takes longest, but waits for its examples
log = logging.getLogger(__name__)

Answer = dict[str, Any]
Answering = Future[tuple[workers.Worker, Answer]]
Ask = Callable[..., Answering]
Check = Callable[[str, Answering], Answering]


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
        """Names of the model's inputs."""
        return list(saved_model.inputs_of(self.run.model))

    def file(self, name: str) -> Path:
        """Where the file of a format is made."""
        return self.stage / (name if name == SAVED_MODEL else f"{name}.tflite")

    def running(self, name: str) -> dict[str, Any]:
        """What a worker needs to run that file."""
        sent = self.stage / "sent"
        inputs = sent if name == SAVED_MODEL and sent.is_dir() else self.stage / "inputs"
        places = {"file": self.file(name), "inputs": inputs, "outputs": self.stage / f"{name}.outputs"}
        return {key: str(place) for key, place in places.items()} | {"threads": self.threads}


@dataclass(frozen=True, eq=False)
class Made:
    """One file as it was made and what it gives; `failure` says why there is no file or no output."""

    path: Path | None = None
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    latency_ms: float = 0.0
    failure: str | None = None


def produce(job: Job, formats: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Made]]:
    """Make the files of `formats` and run each over the examples.

    Args:
        job: What is exported.
        formats: "saved_model" and members of `tflite.FORMATS`.

    Returns:
        What the Keras model gives for the examples, by name of the output; and the files by format.
    """
    mobile = [f for f in _ORDER if f in formats]
    with _timed("write the held-out examples"):
        inputs = heldout.store(job.examples, job.names, job.stage / "inputs")
    with _checker(job) as check, _pool(job, len(formats)) as ask:  # the pool ends first: nobody waits for it then
        checks = _start_conversions(job, mobile, ask, check) if mobile else {}
        core = saved_model.trace(job.run)
        serving = _start_serving(job, core, ask) if SAVED_MODEL in formats else None
        with _timed("run the Keras model"):
            expected = saved_model.expected(core, inputs)
        job.say("checking the files")
        with _timed("wait for the workers"):
            run = ({} if serving is None else {SAVED_MODEL: serving.result()}) | {
                n: f.result() for n, f in checks.items()
            }
        return expected, {name: _made(job, name, *ran) for name, ran in run.items()}


def _start_conversions(job: Job, formats: list[str], ask: Ask, check: Check) -> dict[str, Answering]:
    job.say("converting to TFLite")
    source, spanned = job.stage / "convertible", modality_of(job.examples).spanned is not None
    with _timed("write the SavedModel for conversion"):
        saved_model.write_convertible(replace(job.run, task=units.standardised(job.run.task)), source)
    checks, heads = {}, job.run.task.heads
    signatures = [DEFAULT, *heads] if heads else []
    for name in formats:
        ranges = _representative(job) if name == "int8" else None
        file = str(job.file(name))
        converted = ask(
            job="convert", source=str(source), format=name, file=file, representative=ranges, spanned=spanned,
            signatures=signatures,
        )  # fmt: skip
        checks[name] = check(name, converted)
    return checks


def _representative(job: Job) -> str | None:
    """Folder of training inputs to measure ranges with, or None where there are none."""
    train = job.run.data.train
    if not len(train):
        return None
    folder = job.stage / "representative"
    with _timed("write the representative examples"):
        two_a_label = 2 * len(job.run.task.labels)
        count = min(max(two_a_label, LEAST_REPRESENTATIVE), MOST_REPRESENTATIVE)
        chosen = train.subset(spread(train.target_array, count))
        heldout.store(chosen, job.names, folder, modality_of(train).spanned)
    return str(folder)


def _start_serving(job: Job, core: saved_model.Core, ask: Ask) -> Answering:
    job.say("writing the SavedModel")
    with _timed("write the SavedModel for servers"):
        given = saved_model.serving(job.run)
        saved_model.write_serving(job.run, core, given, job.file(SAVED_MODEL))
    if given.sent is not None:
        heldout.store_arrays(given.sent(job.examples), job.stage / "sent")
    return ask(job="run", **job.running(SAVED_MODEL))


@contextlib.contextmanager
def _checker(job: Job) -> Iterator[Check]:
    """Yield a function that completes a converted file and runs it in a process that never saw TensorFlow."""
    with ThreadPoolExecutor(1) as executor, workers.started(job.stage / "check.log", job.timeout_s) as worker:

        def completed(name: str, converting: Answering) -> tuple[workers.Worker, Answer]:
            _, answer = converting.result()
            if "failure" in answer:
                return worker, answer | {"made": False}
            file = job.file(name)
            content = units.in_units(file.read_bytes(), units.scales(job.run.task))
            file.write_bytes(tflite_metadata.attach(content, describe(job.run, job.examples, name)))
            workers.limit(worker, job.timeout_s)  # it may have waited long for what it checks
            answer = workers.ask(worker, job="run", **job.running(name))
            _log_answer({"job": "run", "format": name}, answer)
            return worker, answer

        yield lambda name, converting: executor.submit(completed, name, converting)


def _made(job: Job, name: str, worker: workers.Worker, answer: Answer) -> Made:
    """A file's outputs; it is timed where it is loaded, now that all else is done."""
    if not answer.get("made", True):
        return Made(failure=str(answer["failure"]))
    if "failure" not in answer:
        answer = workers.ask(worker, job="time", **job.running(name))
    if "failure" in answer:
        return Made(job.file(name), failure=f"it cannot be run: {answer['failure']}")
    outputs = {p.stem: np.load(p) for p in sorted((job.stage / f"{name}.outputs").glob("*.npy"))}
    return Made(job.file(name), outputs, float(answer["latency_ms"]))


@contextlib.contextmanager
def _pool(job: Job, most: int) -> Iterator[Ask]:
    """Yield a function that gives a job to the next idle TensorFlow worker: two of them where there are three cores.

    This process keeps one core busy with writing graphs, and to start a worker takes as long as two conversions.
    """
    count = max(1, min(2, (os.cpu_count() or 1) - 1, most))
    idle: queue.SimpleQueue[workers.Worker] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(count))
        for i in range(count):
            log_file = job.stage / f"worker{i}.log"
            idle.put(stack.enter_context(workers.started(log_file, job.timeout_s, tensorflow=True)))

        def work(**task: Any) -> tuple[workers.Worker, Answer]:
            worker = idle.get()
            try:
                answer = workers.ask(worker, **task)
                _log_answer(task, answer)
                return worker, answer
            finally:
                idle.put(worker)

        for _ in range(count):  # they import TensorFlow while this process writes graphs
            executor.submit(work, job="prepare", threads=job.threads)
        yield lambda **task: executor.submit(work, **task)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    start, start_cpu = time.perf_counter(), time.process_time()
    yield
    log.info("%s: %.1f s (%.1f s of CPU)", what, time.perf_counter() - start, time.process_time() - start_cpu)


def _log_answer(task: Mapping[str, Any], answer: Answer) -> None:
    what = f"{task['job']} {task.get('format', '')}".strip()
    log.info("%s in a worker: %.1f s (%.1f s of CPU)", what, answer["seconds"], answer["cpu_seconds"])
