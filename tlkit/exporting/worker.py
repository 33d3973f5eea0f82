"""The process that converts and runs exported files: `python -m tlkit.exporting.worker SECONDS`.

It reads one JSON job a line from its standard input and answers with one JSON line each. It holds neither Keras nor
the training process' state, ends with its input or after SECONDS, and what the converter prints goes to its
standard error, never into an answer.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.exporting import parity
from tlkit.formats import tflite

Job = Mapping[str, Any]
_opened: dict[str, tflite.Opened] = {}


def main(arguments: list[str]) -> None:
    """Answer jobs until the input ends."""
    _limit({"seconds": arguments[0]})
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
    """Import TensorFlow ahead of the first job; without Keras it takes half the time, and nothing here needs Keras."""
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]  # makes `import keras` an ImportError
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return {"version": tf.__version__}


def _limit(job: Job) -> dict[str, Any]:
    faulthandler.dump_traceback_later(float(job["seconds"]), exit=True)  # also out of a converter that hangs
    return {}


def _wait(_job: Job) -> dict[str, Any]:
    faulthandler.cancel_dump_traceback_later()
    return {}


def _convert(job: Job) -> dict[str, Any]:
    _prepare(job)
    representative = Path(job["representative"]) if job["representative"] else None
    source, signatures = Path(job["source"]), job["signatures"]
    model = tflite.convert(source, job["format"], representative, spanned=job["spanned"], signatures=signatures)
    Path(job["file"]).write_bytes(model)
    return {}


def _run(job: Job) -> dict[str, Any]:
    """Outputs of a file for the held-out examples, as .npy files in a folder."""
    outputs = parity.run_all(_open(job), parity.load_inputs(Path(job["inputs"])))
    folder = Path(job["outputs"])
    folder.mkdir(parents=True)
    for name, value in outputs.items():
        np.save(folder / f"{name}.npy", value)
    return {}


def _time(job: Job) -> dict[str, Any]:
    return {"latency_ms": parity.latency_ms(_open(job), parity.load_inputs(Path(job["inputs"])))}


def _open(job: Job) -> tflite.Opened:
    file = job["file"]
    if file not in _opened:
        if Path(file).is_dir():
            _prepare(job)
            _opened[file] = parity.open_saved_model(Path(file))
        else:
            _opened[file] = tflite.open_tflite(Path(file), job["threads"])
    return _opened[file]


JOBS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "limit": _limit,
    "wait": _wait,
    "prepare": _prepare,
    "convert": _convert,
    "run": _run,
    "time": _time,
}

if __name__ == "__main__":
    main(sys.argv[1:])
