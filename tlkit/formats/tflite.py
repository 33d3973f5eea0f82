"""TFLite files: made from a SavedModel (the one place that uses TensorFlow's converter), and run in LiteRT."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec
from tlkit.core.format import Opened, Shaped
from tlkit.core.trouble import first_line

Arrays = Mapping[str, np.ndarray]
Call = Callable[[Arrays], dict[str, np.ndarray]]
DEFAULT = "serving_default"


def convert(source: Path, format: str, representative: Path | None, *, spanned: bool) -> bytes:
    """Convert a SavedModel by built-in TFLite operations alone.

    Args:
        source: Folder of a SavedModel whose weights are constants; signatures of one take the same inputs.
        format: "float32", "float16", "dynamic" or "int8".
        representative: Folder of one .npy an input, (n, ...), to measure int8 ranges with.
        spanned: Whether int8 files take bytes: the representative examples, of uint8, are then made to span 0 to 255.

    Raises:
        InputError: If the graph holds an operation that TFLite lacks; names it.
    """
    import tensorflow as tf

    if format == "int8" and representative is None:
        raise InputError("int8 needs representative examples, and the run has no training examples; leave it out")
    sets, int8 = tf.lite.OpsSet, format == "int8"
    converter = _converter(source)
    converter.optimizations = [] if format == "float32" else [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16] if format == "float16" else []
    converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS_INT8 if int8 else sets.TFLITE_BUILTINS]
    converter.representative_dataset = (
        _batches_of_one(representative, _signatures(source), spanned) if representative is not None and int8 else None
    )
    converter.inference_input_type = tf.uint8 if int8 and spanned else tf.float32
    try:
        return bytes(converter.convert())
    except Exception as error:  # the converter raises its own, private class
        raise InputError(reason(format, str(error))) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the converter's C++ from writing pages about each missing operation; its exception names them."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


@functools.cache
def _converter(source: Path) -> Any:
    """The converter of a SavedModel, used for all of its formats: opening it takes as long as a conversion.

    It starts from the SavedModel and nothing else: from_concrete_functions with a Keras 3 model silently loses its
    variables.
    """
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(source))


def _signatures(source: Path) -> list[str]:
    """Names of a SavedModel's signatures, where it has several."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = (source / "saved_model.pb").read_bytes()
    names = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    keys = sorted(name for name in names if not name.startswith("__"))
    return keys if len(keys) > 1 else []


def _batches_of_one(folder: Path, signatures: Sequence[str], spanned: bool) -> Callable[[], Iterator[Any]]:
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
    seen = _spanned if spanned else np.asarray

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for i in range(len(next(iter(arrays.values())))):
            yield {name: _as_float(seen(array[i : i + 1])) for name, array in arrays.items()}

    return batches if not signatures else lambda: ((name, batch) for name in signatures for batch in batches())


def _spanned(example: np.ndarray) -> np.ndarray:
    """An example with a 0 and a 255 in each channel: calibration then maps bytes 0..255 to values 0..255 exactly."""
    example = np.array(example)
    places = example.reshape(-1, example.shape[-1] if example.ndim > 2 else 1)
    places[:2] = np.array([[0], [255]], np.uint8)[: len(places)]
    return example


def _as_float(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.uint8 else array


def reason(format: str, message: str) -> str:
    """Why a conversion failed, in one sentence, from the converter's message of many lines."""
    missing = sorted(set(_missing_operations(message)))
    if not missing:
        first = next((line.strip() for line in message.splitlines() if line.strip()), "the converter gave no reason")
        return f"the model does not convert to TFLite {format}: {first[:300]}"
    names = ", ".join(missing)
    plural = "operations, which are no TFLite builtins" if len(missing) > 1 else "operation, which is no TFLite builtin"
    return f"the model needs the {names} {plural}; export it with formats=('saved_model',), or use another module"


def _missing_operations(message: str) -> Iterator[Any]:
    """Names in "'tf.StringLower' op is neither a custom op nor a flex op" and in the summary after it."""
    yield from re.findall(r"'(?:tf\.)?([A-Za-z0-9_.]+)' op is neither a custom op nor a flex op", message)
    for line in re.findall(r"(?:TF Select|Flex|Custom) ops: ([^\n]+)", message):
        yield from (name.strip().removeprefix("Flex") for name in line.split(",") if name.strip())


def open_tflite(file: Path, threads: int) -> Opened:
    """Make a TFLite file ready to run; its card says the "shapes" of its inputs, without the batch.

    Raises:
        InputError: If it is damaged, or no TFLite file.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        return _opened(Interpreter, file, threads)
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, StopIteration) as error:
        raise InputError(f"{file} is damaged, or no TFLite file ({first_line(error)}): export it again.") from error


def _opened(Interpreter: Any, file: Path, threads: int) -> Opened:  # noqa: N803 (a class)
    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    signatures = {name: _shaped(runner) for name, runner in runners.items()}
    main = DEFAULT if DEFAULT in runners else next(iter(runners))
    details = runners[main].get_input_details()
    shapes = {name: [int(size) for size in detail["shape"][1:]] for name, detail in details.items()}
    return Opened(signatures[main], {"shapes": shapes}, signatures, interpreter)


def _shaped(runner: Any) -> Shaped:
    details = runner.get_input_details()
    outputs = {name: ArraySpec(_any(d), _dtype(d)) for name, d in runner.get_output_details().items()}
    shapes = {name: tuple(d["shape"]) for name, d in details.items()}
    return Shaped(partial(_called, runner, details), shapes, {n: _dtype(d) for n, d in details.items()}, outputs)


def _any(detail: Mapping[str, Any]) -> tuple[int, ...]:
    """Its shape, -1 where it is known only when the file is run."""
    return tuple(int(size) for size in detail.get("shape_signature", detail["shape"]))


def _dtype(detail: Mapping[str, Any]) -> str:
    return str(np.dtype(detail["dtype"]).name)


def _called(runner: Any, details: Mapping[str, Any], inputs: Arrays) -> dict[str, np.ndarray]:
    arrays = {name: fitted(np.asarray(value), details[name]) for name, value in inputs.items()}
    return {name: np.array(value, np.float32) for name, value in runner(**arrays).items()}


def fitted(value: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """A value as the file's input wants it: quantised where it is quantised, cast otherwise."""
    dtype, (scale, zero) = np.dtype(detail["dtype"]), detail["quantization"]
    if scale and dtype in (np.uint8, np.int8):
        limits = np.iinfo(dtype)
        value = np.clip(np.round(value.astype(np.float32) / scale) + zero, limits.min, limits.max)
    return value.astype(dtype)
