"""Start worker processes, give them jobs, and never wait for one for ever."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True, eq=False)
class Worker:
    """A running worker process and the file that takes what it prints."""

    process: subprocess.Popen[str]
    log: IO[bytes]


PREPARING_S = 600.0  # until a worker that was started ahead has imported TensorFlow
_ahead: list[Worker] = []


def start_ahead() -> None:
    """Start a worker that imports TensorFlow while this process does other things; the next export takes it."""
    if _ahead:
        return
    with contextlib.suppress(OSError):  # an export starts its own, and says what is wrong
        log = tempfile.NamedTemporaryFile(prefix="tlkit-worker-", suffix=".log")  # noqa: SIM115
        worker = _process(log, PREPARING_S)
        atexit.register(_end, worker)
        _ahead.append(worker)
        tell(worker, job="prepare")
        tell(worker, job="wait")


@contextlib.contextmanager
def started(log: Path, timeout_s: float, *, tensorflow: bool = False) -> Iterator[Worker]:
    """Run a worker; it is gone when the block is left, and by itself after `timeout_s` seconds.

    Args:
        log: File that takes what it prints.
        timeout_s: Seconds.
        tensorflow: Whether it will need TensorFlow: one that was started ahead is taken then, with a log of its own.
    """
    worker = (_taken() if tensorflow else None) or _process(log.open("wb"), timeout_s)
    try:
        limit(worker, timeout_s)
        find(worker)
        yield worker
    finally:
        _end(worker)


def _taken() -> Worker | None:
    """The worker that was started ahead, if it still lives: it may have waited through hours of training."""
    while _ahead:
        worker = _ahead.pop()
        if worker.process.poll() is None:
            return worker
        _end(worker)
    return None


def limit(worker: Worker, seconds: float) -> None:
    """Let a worker end by itself after so many seconds from now."""
    tell(worker, job="limit", seconds=seconds)


def find(worker: Worker) -> None:
    """Let a worker look for files and modules where this process does; it may have started elsewhere."""
    folder = str(Path.cwd())
    tell(worker, job="find", folder=folder, path=[str(Path(folder, entry)) for entry in sys.path])


def _process(log: Any, limit_s: float) -> Worker:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    quiet = {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tlkit.exporting.worker", str(limit_s)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **quiet},
    )  # fmt: skip
    return Worker(process, log)


def _end(worker: Worker) -> None:
    worker.process.kill()
    worker.process.wait()
    for stream in (worker.process.stdin, worker.process.stdout, worker.log):
        with contextlib.suppress(OSError):  # what was not yet sent has nobody left to read it
            stream.close()  # type: ignore[union-attr]


def tell(worker: Worker, **job: Any) -> None:
    """Give a worker a job that has no answer; that its process is gone is found when it is asked something."""
    with contextlib.suppress(OSError):
        print(json.dumps(job | {"answer": False}), file=worker.process.stdin, flush=True)


def ask(worker: Worker, **job: Any) -> dict[str, Any]:
    """Give a worker one job and wait for its answer.

    Returns:
        What the job found and its `seconds`; or `failure`, the sentence that says what went wrong.
    """
    assert worker.process.stdin is not None and worker.process.stdout is not None  # for mypy
    try:
        print(json.dumps(job), file=worker.process.stdin, flush=True)
        line = worker.process.stdout.readline()
    except OSError:
        line = ""
    if line:
        return dict(json.loads(line))
    return {
        "failure": f"the process that should {job['job']} it ended with {_ending(worker)}",
        "seconds": 0.0,
        "cpu_seconds": 0.0,
    }


def _ending(worker: Worker) -> str:
    code = worker.process.wait(timeout=10)
    lines = Path(worker.log.name).read_text(errors="replace").strip().splitlines()
    if any("Timeout" in line for line in lines):
        return "its time used up"
    return f"code {code}" + (f" ({lines[-1]})" if lines else "")
