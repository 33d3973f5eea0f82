"""The shelf `tlkit.reads` for a Keras model in place of a module: its layers are called stride_4, hidden and table."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any

import keras
import pytest

import tlkit


def maps(*strides: int) -> tlkit.Reads:
    return tlkit.Reads(
        f"maps{strides}", lambda model, _: {stride: model.get_layer(f"stride_{stride}").output for stride in strides}
    )


def pooled() -> tlkit.Reads:
    return tlkit.Reads("pooled()", lambda model, _: model.output)


class Table(keras.layers.Layer):
    """The weights of an embedding as a tensor without a batch axis, which `hidden_and_embedding` gives."""

    def __init__(self, embedding: keras.layers.Embedding) -> None:
        super().__init__(name="table_given")
        self.embedding = embedding

    def call(self, inputs: Any) -> Any:
        return keras.ops.convert_to_tensor(self.embedding.embeddings)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(self.embedding.embeddings.shape)


def hidden_and_embedding() -> tlkit.Reads:
    return tlkit.Reads("hidden_and_embedding()", _hidden_and_embedding)


def _hidden_and_embedding(model: keras.Model, _inputs: Any) -> Any:
    return {"hidden": model.output, "embedding": Table(model.get_layer("table"))(model.input)}


def put_in_place(patch: pytest.MonkeyPatch, plugins: Sequence[str]) -> None:
    """Let `tlkit.reads` be these, and the plug-ins be imported anew with them."""
    functions = {function.__name__: function for function in (maps, pooled, hidden_and_embedding)}
    patch.setattr(tlkit, "reads", types.SimpleNamespace(**functions), raising=False)
    for name in plugins:
        patch.delitem(sys.modules, name, raising=False)
