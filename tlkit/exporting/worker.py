"""The process that writes and runs exported files: `python -m tlkit.exporting.worker SECONDS`.

It reads one JSON job a line from its standard input and answers with one JSON line each. It holds neither Keras nor
the training process' state, ends with its input or after SECONDS, and what the converter prints goes to its
standard error, never into an answer.
"""

from __future__ import annotations

import base64
import faulthandler
import importlib
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlkit.core import naming, quick
from tlkit.core.errors import InputError
from tlkit.core.format import Opened, signatures_of
from tlkit.exporting import parity
from tlkit.exporting.driving import driven, unpacked

Job = Mapping[str, Any]
_opened: dict[str, Opened] = {}


def main(arguments: list[str]) -> None:
    """Answer jobs until the input ends."""
    _limit({"seconds": arguments[0]})
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]  # makes `import keras` an ImportError
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        job = json.loads(line)
        answer = _answer(job)
        if not job.get("answer", True):
            continue
        spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu}
        print(json.dumps(answer | spent), file=answers, flush=True)


def _answer(job: Job) -> dict[str, Any]:
    try:
        return JOBS[job["job"]](job)
    except InputError as error:
        return {"failure": str(error)}
    except Exception as error:  # whatever a file does to its runtime is a finding about the file
        return {"failure": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}


def _prepare(job: Job) -> dict[str, Any]:
    """Import what files are written with ahead of the first job; TensorFlow takes half the time without Keras."""
    with quick.lean():
        import tensorflow as tf

    importlib.import_module("ai_edge_litert.schema_py_generated")
    importlib.import_module("tlkit.exporting.formats")
    tf.config.set_visible_devices([], "GPU")
    return {"version": tf.__version__}


def _limit(job: Job) -> dict[str, Any]:
    faulthandler.dump_traceback_later(float(job["seconds"]), exit=True)  # also out of a converter that hangs
    return {}


def _wait(_job: Job) -> dict[str, Any]:
    faulthandler.cancel_dump_traceback_later()
    return {}


def _find(job: Job) -> dict[str, Any]:
    """Look for files and modules where the process that exports looks for them."""
    os.chdir(job["folder"])
    sys.path[:] = job["path"]
    return {}


def _write(job: Job) -> dict[str, Any]:
    """Write a file by its format's own function; the source comes from the process that started this one."""
    source = pickle.loads(base64.b64decode(job["source"]))
    naming.imported(job["write"])(source, Path(job["file"]))
    return {}


def _run(job: Job) -> dict[str, Any]:
    """Outputs of a file for the held-out examples, as .npy files in a folder."""
    opened, outputs = _open(job), Path(job["outputs"])
    parity.run_all(opened, parity.load_inputs(Path(job["inputs"])), outputs, alone=job.get("alone", False))
    return {}


def _time(job: Job) -> dict[str, Any]:
    opened = _open(job)
    whole = opened.owner if isinstance(opened.owner, Opened) else opened  # in front of the loop of a deployment
    latency_ms = parity.latency_ms(opened, parity.load_inputs(Path(job["inputs"])))
    return {"latency_ms": latency_ms, "signatures": signatures_of(whole)}


def _open(job: Job) -> Opened:
    file = job["file"]
    if file not in _opened:
        _opened[file] = naming.imported(job["open"])(Path(file), job["threads"])
    return driven(_opened[file], unpacked(job["loop"])) if job.get("loop") else _opened[file]


JOBS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "limit": _limit,
    "wait": _wait,
    "prepare": _prepare,
    "find": _find,
    "write": _write,
    "run": _run,
    "time": _time,
}

if __name__ == "__main__":
    main(sys.argv[1:])
