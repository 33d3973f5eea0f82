"""The SavedModel for servers, which takes what clients send."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.examples import ArraySpec
from tlkit.core.format import Format, Opened, Shaped, Source


def write(source: Source, folder: Path) -> None:
    """Copy the SavedModel for servers, as it was written from the model."""
    shutil.copytree(source.saved_model, folder)


def open_folder(folder: Path, _threads: int) -> Opened:
    """Make the `serving_default` of a SavedModel ready to run; others are in `signatures`, where a task needs them."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    calls = {name: _shaped(signature) for name, signature in loaded.signatures.items()}
    return Opened(calls["serving_default"], signatures=calls, owner=loaded)


def _shaped(signature: Any) -> Shaped:
    specs = signature.structured_input_signature[1]
    shapes, outputs = {name: _shape(spec) for name, spec in specs.items()}, signature.structured_outputs
    return Shaped(
        functools.partial(_called, signature),
        shapes,
        {name: spec.dtype.name for name, spec in specs.items()},
        {name: ArraySpec(_shape(spec), spec.dtype.name) for name, spec in sorted(outputs.items())},
    )


def _shape(spec: Any) -> tuple[int | None, ...]:
    return tuple(spec.shape) if spec.shape.rank is not None else ()


def _called(signature: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    dtypes = {name: spec.dtype for name, spec in signature.structured_input_signature[1].items()}
    tensors = {name: tf.constant(np.asarray(value), dtypes[name]) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in signature(**tensors).items()}


CALLS = Path(__file__).with_name("serving_calls.md.j2").read_text(encoding="utf-8")
saved_model = Format("saved_model", "saved_model", write, open_folder, serves=True, calls=CALLS)
