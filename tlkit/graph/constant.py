"""A function as a SavedModel without variables, which converters open several times faster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from tlkit.graph import _private


def save_constant(function: Any, folder: Path, held: Sequence[Any] = ()) -> None:
    """Save a concrete function as `serving_default`, the values of its variables inside it.

    Saving, opening and freezing variables one by one takes most of a conversion to TFLite: of EfficientNet-Lite0's
    7.1 s all but 2.5. Where a function reads tables too, its variables stay what they are.

    Args:
        function: Concrete function; gives a dict.
        folder: Where to write; must be empty or absent.
        held: Variables and tables that it reads.
    """
    root = tf.Module()
    if _reads_variables_alone(function):
        function = _named(_private.constant(function), sorted(function.structured_outputs))
    else:
        root.held = list(held)
    with quiet_log():
        tf.saved_model.save(root, str(folder), signatures={"serving_default": function})


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep TensorFlow's Python log, which tells of its own inner workings, off the user's terminal."""
    log = logging.getLogger("tensorflow")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _named(constant: Any, names: Sequence[str]) -> Any:
    """The function with its outputs' names, which making constants loses; they were flattened in this order."""
    specs = [tf.TensorSpec(t.shape, t.dtype, t.op.name) for t in constant.inputs]
    named = tf.function(
        lambda *given: dict(zip(names, tf.nest.flatten(constant(*given)), strict=True)), input_signature=specs
    )
    return named.get_concrete_function()


def _reads_variables_alone(function: Any) -> bool:
    handles = {id(_private.handle(v)) for v in function.graph.variables}
    return all(id(outer) in handles for outer, _ in function.graph.captures)
