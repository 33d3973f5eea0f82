"""The HubLayer of a model, and what kind of module a layer holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from tlkit.layer.hub_layer import HubLayer


def is_image(layer: HubLayer) -> bool:
    """Whether the module takes one float tensor (batch, height, width, 1 or 3)."""
    leaves = layer.endpoint.input_leaves
    shape = leaves[0].shape
    return len(leaves) == 1 and leaves[0].dtype.is_floating and shape.rank == 4 and shape[-1] in (1, 3)


def own_image_size(layer: HubLayer) -> tuple[int, int] | None:
    """(height, width) that the module was exported for; None where it takes any."""
    height, width = layer.endpoint.input_leaves[0].shape[1:3]
    if height is None or width is None:
        size = layer.card.get("image_size")
        return (int(size[0]), int(size[1])) if size else None
    return int(height), int(width)


def all_layers(model: keras.Model) -> Iterator[Any]:
    """Layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def hub_layers(model: keras.Model) -> list[HubLayer]:
    """The HubLayers of a model."""
    return [layer for layer in model.layers if isinstance(layer, HubLayer)]


def backbone_of(model: keras.Model) -> HubLayer | None:
    """The one HubLayer of a model; None where there is none, or several."""
    candidates = [layer for layer in model.layers if isinstance(layer, HubLayer)]
    return candidates[0] if len(candidates) == 1 else None
