"""Start worker processes, give them jobs, and never wait for one for ever."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import tlkit


@dataclass(frozen=True, eq=False)
class Worker:
    """A running worker process and the file that takes what it prints."""

    process: subprocess.Popen[str]
    log: IO[bytes]


@contextlib.contextmanager
def started(log: Path, timeout_s: float) -> Iterator[Worker]:
    """Run a worker; it is gone when the block is left, and by itself `timeout_s` seconds after its start."""
    package = str(Path(tlkit.__file__).parent.parent)
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    quiet = {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tlkit.exporting.worker", str(timeout_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, env={**os.environ, **quiet},
        )  # fmt: skip
        try:
            yield Worker(process, file)
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not yet sent has nobody left to read it
                    stream.close()  # type: ignore[union-attr]


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
