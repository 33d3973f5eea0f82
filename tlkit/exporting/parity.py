"""What an exported file gives and how fast; runs in a worker that has neither Keras nor, for TFLite, TensorFlow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP, LEAST_CALLS, MOST_CALLS, TIMING_S = 3, 10, 50, 1.0

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Opened:
    """A file that is ready to run.

    Attributes:
        call: One example with its batch axis -> outputs by name.
        inputs: Details of each input by name, as LiteRT gives them; empty of a SavedModel.
        owner: What must live as long as `call` does, because `call` holds it weakly.
    """

    call: Callable[[Arrays], dict[str, np.ndarray]]
    inputs: Mapping[str, Mapping[str, Any]]
    owner: Any


def load_inputs(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of a folder of .npy files by name, read from disk as they are used."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def open_tflite(file: Path, threads: int) -> Opened:
    """Make a TFLite file ready to run."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    runner = interpreter.get_signature_runner()
    details = runner.get_input_details()

    def call(inputs: Arrays) -> dict[str, np.ndarray]:
        given = {name: fitted(np.asarray(value), details[name]) for name, value in inputs.items()}
        return {name: np.array(value, np.float32) for name, value in runner(**given).items()}

    return Opened(call, details, interpreter)


def fitted(value: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """A value as the file's input wants it: quantised where it is quantised, cast otherwise."""
    dtype, (scale, zero) = np.dtype(detail["dtype"]), detail["quantization"]
    if scale and dtype in (np.uint8, np.int8):
        limits = np.iinfo(dtype)
        value = np.clip(np.round(value.astype(np.float32) / scale) + zero, limits.min, limits.max)
    return value.astype(dtype)


def open_saved_model(folder: Path) -> Opened:
    """Make the `serving_default` of a SavedModel ready to run."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def call(inputs: Arrays) -> dict[str, np.ndarray]:
        given = {name: tf.constant(np.asarray(value)) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in signature(**given).items()}

    return Opened(call, {}, loaded)


def run_all(opened: Opened, inputs: Arrays) -> dict[str, np.ndarray]:
    """Outputs for all examples, one at a time, as a client would ask."""
    count = len(next(iter(inputs.values())))
    each = [opened.call({name: value[i : i + 1] for name, value in inputs.items()}) for i in range(count)]
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
