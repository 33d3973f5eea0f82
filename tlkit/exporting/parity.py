"""What an exported file gives and how fast; runs in a worker that has neither Keras nor, for TFLite, TensorFlow."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from tlkit.core.format import Opened
from tlkit.formats.tflite import Arrays, Call

WARM_UP, LEAST_CALLS, MOST_CALLS, TIMING_S = 3, 10, 50, 1.0


def load_inputs(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of a folder of .npy files by name, read from disk as they are used."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def run_all(opened: Opened, inputs: Arrays) -> dict[str, np.ndarray]:
    """Outputs for all examples, one at a time, as a client would ask; of further signatures as "signature.output"."""
    outputs = _run_all(opened.call, inputs)
    for signature, call in opened.signatures.items():
        if call is not opened.call:
            outputs |= {f"{signature}.{name}": value for name, value in _run_all(call, inputs).items()}
    return outputs


def _run_all(call: Call, inputs: Arrays) -> dict[str, np.ndarray]:
    count = len(next(iter(inputs.values())))
    each = [call({name: value[i : i + 1] for name, value in inputs.items()}) for i in range(count)]
    return {name: np.concatenate([outputs[name] for outputs in each]) for name in each[0]}


def latency_ms(opened: Opened, inputs: Arrays) -> float:
    """Median milliseconds of one call with one example, after warming up."""
    example = {name: np.ascontiguousarray(value[:1]) for name, value in inputs.items()}
    for _ in range(WARM_UP):
        opened.call(example)
    seconds: list[float] = []
    while len(seconds) < LEAST_CALLS or (len(seconds) < MOST_CALLS and sum(seconds) < TIMING_S):
        start = time.perf_counter()
        opened.call(example)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
