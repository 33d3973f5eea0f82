"""series-values: a series as it is; for tasks that read the values themselves. Nothing in it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tlkit.zoo.card import Card

CARD = Card(
    name="series-values",
    summary="series-values, a series as it is",
    modality="series",
    licence="Apache-2.0",
    credits="Made by tlkit; it has no trained weights.",
    package=None,
    inputs="float32 (batch, steps, channels), any number of both",
    outputs="float32 (batch, steps, channels): what went in",
    input_range=None,
    parameters=1,
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write it as a hub-format SavedModel; its only variable is 1, as a module without any could not be kept apart."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    unit = tf.Variable(1.0, trainable=False, name="unit")
    spec = tf.TensorSpec((None, None, None), tf.float32, name="series")
    hub_module.write_module(lambda series, training: series * unit, [unit], [], spec, folder, card=CARD.to_json())
