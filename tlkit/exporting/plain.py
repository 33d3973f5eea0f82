"""Arrays without further meaning: signatures are the model's own inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkit.exporting.metadata import Table, plain_tensor
from tlkit.exporting.modality import Modality, Tensors


def _serving(inputs: Mapping[str, Any]) -> tuple[Tensors, Any]:
    import tensorflow as tf

    return {name: tf.TensorSpec(t.shape, t.dtype, name=name) for name, t in inputs.items()}, dict


def _metadata(name: str) -> Table:
    return plain_tensor(name, "Input as the model was trained on.")


KIND = Modality("plain", accepts=lambda spec: True, serving=_serving, metadata=_metadata)
