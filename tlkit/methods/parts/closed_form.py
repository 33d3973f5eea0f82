"""Heads that were fitted in NumPy as one Keras model over the module: what procedures without `fit` give."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec
from tlkit.core.run import Run
from tlkit.core.task import Task

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

NOT_LINEAR = ("hidden", "head", "class_weights", "label_smoothing", "focal_gamma")  # of a task; heads know none of it


def model(head: Callable[[Any], Any], task: Task, layer: HubLayer | None, spec: Any) -> keras.Model:
    """The module, or flat arrays where there is none, with a head behind it.

    Args:
        head: Features (batch, d) -> raw outputs.
        task: Whose other functions remain.
        layer: The module.
        spec: the spec of inputs of what the model takes.
    """
    if layer is None:
        return _on_arrays(head, spec, task.name)
    from tlkit.model.build import build

    return build(layer, dataclasses.replace(task, head=head), image_size=_image_size(spec))


def dense(features: Any, kernel: np.ndarray, intercept: np.ndarray, name: str) -> Any:
    """A Dense layer with these weights: features (batch, d), kernel (d, k), intercept (k,)."""
    import keras

    layer = keras.layers.Dense(kernel.shape[1], dtype="float32", name=name)
    raw = layer(features)
    layer.set_weights([kernel, intercept])
    return raw


def judged(run: Run, started: float) -> Run:
    """The run with its scores on the test, where there is one, and the seconds since `started`."""
    from tlkit.model.evaluate import evaluate

    fitted = time.perf_counter()
    evaluation = evaluate(run.model, run.task, run.data.test) if len(run.data.test) else None
    seconds = {"fit": fitted - started, "evaluate": time.perf_counter() - fitted}
    return dataclasses.replace(run, evaluation=evaluation, seconds=seconds)


def check_linear(task: Task, method: str, *, values: bool = False) -> None:
    """Refuse a task that a linear head, fitted to the optimum of the plain loss, does not learn.

    Raises:
        InputError: If it is no `classify` of one label an example (or, with `values`, no `regress`), or asks for more.
    """
    arguments = task.made_by[1]
    if task.name not in (("classify", "regress") if values else ("classify",)) or arguments.get("multi_label"):
        also = ", or `regress`" if values else ""
        raise InputError(f"`{method}` needs `classify` of one label an example{also}. Received: {task.name}.")
    refused = [name for name in NOT_LINEAR if arguments.get(name)]
    if refused or arguments.get("loss", "mse") != "mse":
        raise InputError(f"`{method}` has linear heads of its own: make the task without `{(*refused, 'loss')[0]}`.")


def _image_size(spec: Any) -> tuple[int, int] | None:
    if not isinstance(spec, ArraySpec) or len(spec.shape) != 3 or None in spec.shape:
        return None
    height, width = spec.shape[:2]
    return int(height or 0), int(width or 0)


def _on_arrays(head: Callable[[Any], Any], spec: ArraySpec, name: str) -> keras.Model:
    import keras

    inputs = keras.Input(spec.shape, dtype=spec.dtype, name="inputs")
    flat = keras.layers.Flatten(dtype="float32", name="flat")(keras.ops.cast(inputs, "float32"))
    return keras.Model(inputs, head(flat), name=name)
