"""Functions as a SavedModel without variables, which converters open several times faster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from tlkit.graph import _private


def save_constant(functions: Mapping[str, Any], folder: Path, held: Sequence[Any] = ()) -> None:
    """Save concrete functions as signatures, the values of their variables inside them.

    Saving, opening and freezing variables one by one takes much of a conversion to TFLite. Where a function reads
    tables too, its variables stay what they are. The converter writes what several functions have in common once.

    Args:
        functions: Concrete functions by the name of their signature; each gives a dict.
        folder: Where to write; must be empty or absent.
        held: Variables and tables that they read.
    """
    root = tf.Module()
    if all(map(_reads_variables_alone, functions.values())):
        functions = {name: _constant(function) for name, function in functions.items()}
    else:
        root.held = list(held)
    with quiet_log():
        tf.saved_model.save(root, str(folder), signatures=dict(functions))


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


def _constant(function: Any) -> Any:
    """The function with the values of its variables inside, and with its outputs' names, which that loses."""
    constant, names = _private.constant(function), sorted(function.structured_outputs)  # flattened in this order
    specs = [tf.TensorSpec(t.shape, t.dtype, t.op.name) for t in constant.inputs]
    named = tf.function(
        lambda *given: dict(zip(names, tf.nest.flatten(constant(*given)), strict=True)),
        input_signature=specs,
        autograph=False,
    )
    return named.get_concrete_function()


def _reads_variables_alone(function: Any) -> bool:
    handles = {id(_private.handle(v)) for v in function.graph.variables}
    return all(id(outer) in handles for outer, _ in function.graph.captures)
