"""Write, convert and run all files of an export: this process saves graphs while workers convert and run them."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.exporting import heldout, metadata, saved_model, tflite, workers
from tlkit.exporting.describing import describe
from tlkit.exporting.modality import modality_of
from tlkit.types import Examples, Run

SAVED_MODEL = "saved_model"
REPRESENTATIVE = 100
_ORDER = ("float32", "int8", "dynamic", "float16")  # int8 takes longest, but waits for its examples
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Made:
    """One file as it was made and what it gives; `failure` says why there is no file or no output."""

    path: Path | None = None
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    latency_ms: float = 0.0
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class Produced:
    """All files of an export, and what the Keras model gives for the same examples."""

    expected: Mapping[str, np.ndarray]
    made: Mapping[str, Made]


@dataclass(frozen=True, eq=False)
class Settings:
    """How files are run: interpreter threads, seconds until a worker gives up, and who is told of each stage."""

    threads: int
    timeout_s: float
    say: Callable[[str], None]


Ask = Callable[..., "Future[tuple[workers.Worker, dict[str, Any]]]"]


def produce(run: Run, examples: Examples, formats: Sequence[str], stage: Path, settings: Settings) -> Produced:
    """Make the files of `formats` inside `stage` and run each over the examples.

    Args:
        run: The trained run.
        examples: The held-out examples.
        formats: "saved_model" and members of `tflite.FORMATS`.
        stage: An empty folder.
        settings: How files are run.
    """
    mobile = [f for f in _ORDER if f in formats]
    names = list(saved_model.inputs_of(run.model))
    with _pool(stage, settings, len(formats)) as ask:
        pending = _start_conversions(run, names, mobile, stage, ask, settings)
        with _timed("write the held-out examples"):
            inputs = heldout.store(examples, names, stage / "inputs")
        core = saved_model.trace(run)
        serving = _start_serving(run, core, stage, ask, settings) if SAVED_MODEL in formats else None
        with _timed("run the Keras model"):
            expected = saved_model.expected(core, inputs)
        with _timed("wait for conversions"):
            converted = {name: future.result()[1] for name, future in pending.items()}
            made = {} if serving is None else {SAVED_MODEL: _served(serving, stage, settings)}
    settings.say("checking the TFLite files")
    return Produced(expected, made | _checked_tflite(run, examples, converted, stage, settings))


def _start_conversions(
    run: Run, names: list[str], formats: list[str], stage: Path, ask: Ask, settings: Settings
) -> dict[str, Future[tuple[workers.Worker, dict[str, Any]]]]:
    if not formats:
        return {}
    settings.say("converting to TFLite")
    with _timed("write the SavedModel for conversion"):
        saved_model.write_convertible(run, stage / "convertible")
    pending = {}
    for name in formats:
        measured = _representative(run, names, stage) if name == "int8" else None
        pending[name] = ask(
            job="convert", source=str(stage / "convertible"), format=name, file=str(stage / f"{name}.raw"),
            representative=measured, spanned=modality_of(run.data.test.spec).spanned is not None,
        )  # fmt: skip
    return pending


def _representative(run: Run, names: list[str], stage: Path) -> str | None:
    """Folder of training inputs to measure ranges with, or None where there are none."""
    train = run.data.train
    if not len(train):
        return None
    with _timed("write the representative examples"):
        chosen = train.subset(heldout.spread(train.targets, REPRESENTATIVE))
        heldout.store(chosen, names, stage / "representative", modality_of(train.spec).spanned)
    return str(stage / "representative")


def _start_serving(
    run: Run, core: saved_model.Core, stage: Path, ask: Ask, settings: Settings
) -> Future[tuple[workers.Worker, dict[str, Any]]]:
    settings.say("writing the SavedModel")
    with _timed("write the SavedModel for servers"):
        saved_model.write_serving(run, core, stage / SAVED_MODEL)
    return ask(job="run", **_files(stage, SAVED_MODEL, settings))


def _served(
    running: Future[tuple[workers.Worker, dict[str, Any]]], stage: Path, settings: Settings
) -> Made:
    """The SavedModel's outputs; it is timed where it is loaded, once the other workers are idle."""
    worker, answer = running.result()
    return _made(stage, SAVED_MODEL, answer, lambda **job: workers.ask(worker, **job), settings)


def _checked_tflite(
    run: Run, examples: Examples, converted: Mapping[str, dict[str, Any]], stage: Path, settings: Settings
) -> dict[str, Made]:
    made = {n: Made(failure=str(answer["failure"])) for n, answer in converted.items() if "failure" in answer}
    with workers.started(stage / "check.log", settings.timeout_s) as worker, _timed("run the TFLite files"):
        for name in converted:
            if name not in made:
                model = (stage / f"{name}.raw").read_bytes()
                (stage / _file(name)).write_bytes(metadata.attach(model, describe(run, examples, name)))
                answer = workers.ask(worker, job="run", **_files(stage, name, settings))
                made[name] = _made(stage, name, answer, lambda **job: workers.ask(worker, **job), settings)
    return made


def _made(stage: Path, name: str, answer: dict[str, Any], ask: Callable[..., dict[str, Any]], settings: Settings) -> Made:
    if "failure" not in answer:
        answer |= ask(job="time", **_files(stage, name, settings))
    if "failure" in answer:
        return Made(path=stage / _file(name), failure=f"it cannot be run: {answer['failure']}")
    outputs = {p.stem: np.load(p) for p in sorted((stage / f"{name}.outputs").glob("*.npy"))}
    return Made(stage / _file(name), outputs, float(answer["latency_ms"]))


def _files(stage: Path, name: str, settings: Settings) -> dict[str, Any]:
    return {
        "file": str(stage / _file(name)),
        "inputs": str(stage / "inputs"),
        "outputs": str(stage / f"{name}.outputs"),
        "threads": settings.threads,
    }


def _file(name: str) -> str:
    return name if name == SAVED_MODEL else f"{name}.tflite"


@contextlib.contextmanager
def _pool(stage: Path, settings: Settings, jobs: int) -> Iterator[Ask]:
    """Yield a function that gives a job to the next idle of one or two TensorFlow workers."""
    count = max(1, min(2, os.cpu_count() or 1, jobs))
    idle: queue.SimpleQueue[workers.Worker] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(count))
        for i in range(count):
            idle.put(stack.enter_context(workers.started(stage / f"worker{i}.log", settings.timeout_s)))

        def work(**job: Any) -> tuple[workers.Worker, dict[str, Any]]:
            worker = idle.get()
            try:
                answer = workers.ask(worker, **job)
                log.info("%s %s: %.1f s", job["job"], job.get("format", ""), answer["seconds"])
                return worker, answer
            finally:
                idle.put(worker)

        for _ in range(count):  # imports TensorFlow while this process writes graphs
            executor.submit(work, job="prepare", threads=settings.threads)
        yield lambda **job: executor.submit(work, **job)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    log.info("%s: %.1f s", what, time.perf_counter() - start)
