"""Workers serve all exports of a test process: to start one takes longer than to convert a small model."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_idle: dict[bool, Any] = {}  # one with TensorFlow, one without
_real: list[Any] = []  # tlkit's own `started`


def keep() -> None:
    """Let the workers of an export wait for the next one; nothing where no export was imported yet."""
    workers: Any = sys.modules.get("tlkit.exporting.workers")
    if workers is not None and not _real:
        _real.append(workers.started)
        workers.started = _started


@contextlib.contextmanager
def none_kept() -> Iterator[None]:
    """Workers as they are outside tests, for tests of workers themselves."""
    from tlkit.exporting import workers

    with_keeping = workers.started
    workers.started = _real[0] if _real else workers.started
    try:
        yield
    finally:
        workers.started = with_keeping


@contextlib.contextmanager
def _started(_log: Path, timeout_s: float, *, tensorflow: bool = False) -> Iterator[Any]:
    """As tlkit's, but a worker that is well at the end waits for the next export."""
    from tlkit.exporting import workers

    worker = _idle.pop(tensorflow, None) or (workers._taken() if tensorflow else None)
    if worker is None or worker.process.poll() is not None:
        worker = workers._process(tempfile.NamedTemporaryFile(suffix=".log"), timeout_s)  # noqa: SIM115
    try:
        workers.limit(worker, timeout_s)
        workers.find(worker)
        yield worker
    finally:
        if worker.process.poll() is None and tensorflow not in _idle:
            workers.tell(worker, job="wait")
            _idle[tensorflow] = worker
        else:
            workers._end(worker)
