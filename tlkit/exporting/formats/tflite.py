"""TFLite files by built-in operations alone: float32, float16, with weights of 8 bits, and of 8 bits throughout.

With weights of 8 bits there are two: `dynamic` multiplies them with activations that are rounded as they come, which is
fast; `weight_only` makes float32 of them when the file is first run, which is nearer to the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.format import Format, Opened, Source
from tlkit.exporting import gates
from tlkit.formats import tflite, tflite_affine, tflite_joined, tflite_metadata, tflite_weights


def write_float32(source: Source, file: Path) -> None:
    """Weights and activations in float32."""
    _write(source, file, "float32")


def write_float16(source: Source, file: Path) -> None:
    """Weights in float16, of half the size."""
    _write(source, file, "float16")


def write_dynamic(source: Source, file: Path) -> None:
    """Weights of 8 bits, and activations that are rounded to 8 bits as they come."""
    _write(source, file, "dynamic", tflite_weights.shared)


def write_weight_only(source: Source, file: Path) -> None:
    """Weights of 8 bits, products in float32."""
    _write(source, file, "float32", tflite_weights.in_bytes)


def write_int8(source: Source, file: Path) -> None:
    """Weights and activations of 8 bits, their ranges measured; inputs that are bytes stay bytes."""
    _write(source, file, "int8")


def _write(source: Source, file: Path, precision: str, changed: Callable[[bytes], bytes] = bytes) -> None:
    inputs = [] if source.inputs is None else sorted(source.inputs.glob("*.npy"))
    of_bytes = bool(inputs) and all(np.load(path, mmap_mode="r").dtype == np.uint8 for path in inputs)
    content = changed(tflite.convert(source.saved_model, precision, source.inputs, spanned=of_bytes))
    if source.tail is not None:
        content = tflite_joined.joined(content, tflite.convert(source.tail, "float32", None, spanned=False))
    file.write_bytes(tflite_metadata.attach(tflite_affine.scaled(content, source.scales), source.metadata))


def open_file(file: Path, threads: int) -> Opened:
    """Make a TFLite file ready to run in LiteRT; its card and files are those that its metadata hold.

    Raises:
        InputError: If it is damaged, or was not exported by tlkit.
    """
    content = file.read_bytes()
    card = tflite_metadata.read_card(content)
    if "modality" not in card:  # before LiteRT sees it: half a file can end the process
        raise InputError(
            f"{str(file)!r} was not exported by tlkit, or it is damaged: it does not say how its inputs are made. "
            "Export the run again: tlkit export RUN."
        )
    opened = tflite.open_tflite(file, threads)
    shapes = {} if card.get("deployed") else opened.card  # those of its functions are not those of its examples
    card |= {**shapes, "files": tflite_metadata.read_files(content)}
    return Opened(opened.call, card, opened.signatures, opened.owner)


CALLS = Path(__file__).with_name("tflite_calls.md.j2").read_text(encoding="utf-8")
_format = functools.partial(Format, open=open_file, scales=True, calls=CALLS, looped=True)
float32 = _format("float32", "model.tflite", write_float32)
float16 = _format("float16", "model_float16.tflite", write_float16, gate=gates.halved)
dynamic = _format("dynamic", "model_dynamic.tflite", write_dynamic, gate=gates.quantised)
weight_only = _format("weight_only", "model_weight_only.tflite", write_weight_only, gate=gates.quantised)
int8 = _format("int8", "model_int8.tflite", write_int8, gate=gates.of_bytes, measures=True)
