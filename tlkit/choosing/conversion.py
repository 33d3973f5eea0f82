"""Does a module convert to TFLite? Tried, run and compared, never guessed from its operations."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import graph as graphs
from tlkit.core.errors import InputError
from tlkit.core.format import Opened
from tlkit.formats import hub_module, tflite
from tlkit.layer.endpoints import Endpoint

OPEN_SIZE = 8  # what a size that a module leaves open is tried with
TIMED = 5  # runs, of which the median counts
TOLERANCE = 1e-2  # of the largest output; float32 files differ by 1e-6 to 1e-4 of it, wrong ones by 1 or by NaN


@dataclass(frozen=True)
class Conversion:
    """Whether a module converts to TFLite with built-in operations alone, and still computes the same.

    Attributes:
        converts: Whether it does.
        reason: Why not, or "".
        megabytes: Size of the float32 file, where there is one.
        difference: Largest difference between the file's outputs in LiteRT and the module's, on one example.
        latency_ms: Milliseconds that LiteRT takes for that example with two threads.
    """

    converts: bool
    reason: str = ""
    megabytes: float | None = None
    difference: float | None = None
    latency_ms: float | None = None


def try_conversion(
    loaded: Any, endpoint: Endpoint, image_size: Sequence[int] | None = None, open_size: int = OPEN_SIZE
) -> Conversion:
    """Convert a module's inference to a float32 TFLite file for one example, run it, and compare.

    Args:
        loaded: The restored module, whose tables and variables the endpoint reads.
        endpoint: The function to convert.
        image_size: (height, width) for a module that leaves them open.
        open_size: What any other size that it leaves open is tried with, such as the length of a text.
    """
    import keras

    specs = keras.tree.map_structure(lambda spec: _of_one(spec, image_size), endpoint.inputs)
    with tempfile.TemporaryDirectory(prefix="tlkit-convert-") as scratch:
        file = Path(scratch, "model.tflite")
        try:
            written = _written(loaded, endpoint, specs, scratch)
            with tflite.quiet():
                file.write_bytes(tflite.convert(written, "float32", None, spanned=False))
            tried = _tried(file, endpoint, specs, open_size)
        except InputError as error:
            return Conversion(False, str(error))
        except Exception as error:  # whatever TensorFlow or LiteRT raises is the answer to the question
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return Conversion(False, f"it cannot be exported or run: {reason[:300]}")
        return _judged(*tried, file.stat().st_size / 1e6)


def _judged(largest: float, scale: float, latency_ms: float, megabytes: float) -> Conversion:
    if largest <= TOLERANCE * max(scale, 1e-6):  # False for NaN
        return Conversion(True, "", megabytes, largest, latency_ms)
    reason = f"LiteRT gives other outputs than TensorFlow (by {largest:.1e})"
    return Conversion(False, reason, megabytes, largest, latency_ms)


def _written(loaded: Any, endpoint: Endpoint, specs: Any, scratch: str) -> Path:
    """The module's inference alone, its weights as constants: it is written and opened several times faster."""
    import keras
    import tensorflow as tf

    def serve(*tensors: Any) -> dict[str, Any]:
        return hub_module.named_outputs(endpoint.call(keras.tree.pack_sequence_as(specs, list(tensors)), False))

    leaves = zip(hub_module.input_names(specs), keras.tree.flatten(specs), strict=True)
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in leaves]
    function = tf.function(serve, input_signature=signature, autograph=False).get_concrete_function()
    folder = Path(scratch, "module")
    graphs.save_constant({tflite.DEFAULT: function}, folder, [loaded, *endpoint.variables])
    return folder


def _of_one(spec: Any, image_size: Sequence[int] | None) -> Any:
    """The spec for a batch of one; open sizes of an image are filled in, those of sequences stay open."""
    import tensorflow as tf

    sizes = [1, *spec.shape.as_list()[1:]] if spec.shape.rank else spec.shape
    if spec.shape.rank == 4 and image_size is not None:
        sizes[1:3] = [size or tried for size, tried in zip(sizes[1:3], image_size, strict=True)]
    return tf.TensorSpec(sizes, spec.dtype, spec.name)


def _tried(file: Path, endpoint: Endpoint, specs: Any, open_size: int) -> tuple[float, float, float]:
    """Largest difference of the outputs, the largest output, and milliseconds an example."""
    import keras
    import tensorflow as tf

    example = keras.tree.map_structure(lambda spec: _example(spec, open_size), specs)
    inputs = dict(zip(hub_module.input_names(specs), keras.tree.flatten(example), strict=True))
    opened = tflite.open_tflite(file, threads=2)
    actual = opened.call(inputs)
    outputs = endpoint.call(keras.tree.map_structure(tf.constant, example), False)
    expected = {name: np.asarray(y, np.float32) for name, y in hub_module.named_outputs(outputs).items()}
    largest = max(float(np.max(np.abs(y), initial=0.0)) for y in expected.values())
    return _largest(expected, actual), largest, latency_ms(opened, inputs)


def latency_ms(opened: Opened, example: Mapping[str, np.ndarray]) -> float:
    """Median milliseconds of some calls with one example."""
    return statistics.median(_timed_ms(opened, example) for _ in range(TIMED))


def _timed_ms(opened: Opened, inputs: Mapping[str, np.ndarray]) -> float:
    started = time.perf_counter()
    opened.call(inputs)
    return 1000 * (time.perf_counter() - started)


def _largest(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> float:
    return max(float(np.max(np.abs(expected[name] - actual[name]), initial=0.0)) for name in expected)


def _example(spec: Any, open_size: int) -> np.ndarray:
    """Ones where numbers are whole (a mask of zeros would divide by zero), else values in [0, 1)."""
    sizes = [size or open_size for size in spec.shape.as_list()] if spec.shape.rank is not None else [1]
    dtype = spec.dtype.as_numpy_dtype
    if spec.dtype.is_floating:
        return np.random.default_rng(0).random(sizes).astype(dtype)
    return np.full(sizes, "a" if spec.dtype.name == "string" else 1, dtype)
