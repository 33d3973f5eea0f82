"""What an exported file gives and how fast; runs in a worker that has neither Keras nor, for TFLite, TensorFlow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tlkit.core.disk_arrays import disk_array
from tlkit.core.format import Opened
from tlkit.formats.tflite import Arrays, Call

WARM_UP, LEAST_CALLS, MOST_CALLS, TIMING_S = 3, 10, 50, 0.4


def load_inputs(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of a folder of .npy files by name, read from disk as they are used."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


class Rows:
    """Arrays that are filled from the front and lie on disk, one .npy file each.

    Attributes:
        folder: Of the files; is made.
        count: Examples that there will be.
        arrays: The arrays by name, first axis the examples.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count, self.arrays = folder, count, dict[str, np.ndarray]()
        self._filled = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, batch: Mapping[str, np.ndarray]) -> None:
        """Put the rows of some examples behind those that are there."""
        for name, rows in batch.items():
            if name not in self.arrays:
                shape, file = (self.count, *rows.shape[1:]), self.folder / f"{name}.npy"
                if rows.size:
                    self.arrays[name] = disk_array(file, rows.dtype, shape)
                else:  # nothing can be mapped
                    self.arrays[name] = np.zeros(shape, rows.dtype)
                    np.save(file, self.arrays[name])
            self.arrays[name][self._filled : self._filled + len(rows)] = rows
        self._filled += len(next(iter(batch.values())))


def run_all(opened: Opened, inputs: Arrays, folder: Path, *, alone: bool = False) -> None:
    """Write outputs for all examples, asked for one at a time as a client would; those of further signatures, unless
    the default one is run `alone`, are called "signature.output".
    """
    _run_all(opened.call, inputs, folder, "")
    for signature, call in () if alone else opened.signatures.items():
        if call is not opened.call:
            _run_all(call, inputs, folder, f"{signature}.")


def _run_all(call: Call, inputs: Arrays, folder: Path, prefix: str) -> None:
    rows = Rows(folder, len(next(iter(inputs.values()))))
    for i in range(rows.count):
        outputs = call({name: value[i : i + 1] for name, value in inputs.items()})
        rows.add({f"{prefix}{name}": value for name, value in outputs.items()})


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
