"""Image modules at another size than the one that they were exported for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.errors import InputError

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

BEYOND, SHORT = 1, 3  # places that a map of stride s may have more or less than size / s: paddings differ


def at_image_size(layer: HubLayer, size: tuple[int, int]) -> None:
    """Let an image module that was exported for one size take images of another.

    Convolutions and pooling do not care; whether all of the module is of that kind is shown by one zero image, whose
    feature maps must have the new size divided by their strides.

    Args:
        layer: Not called so far.
        size: (height, width).

    Raises:
        InputError: If layers of the module were made for its own size.
    """
    before, exported_size = layer.form, tuple(layer.endpoint.input_leaves[0].shape[1:3])
    if size == exported_size:
        return
    if layer._inbound_nodes:
        raise InputError(f"{layer.name} has been called already, so its size is settled: make a new HubLayer.")
    try:
        layer.form = dataclasses.replace(before, size=size)
        reason = _wrong_map(layer, size)
    except (InputError, ValueError, tf.errors.OpError) as error:
        reason = str(error).partition(": ")[2].strip(".") if isinstance(error, InputError) else FIXED
    if reason is not None:
        layer.form = before
        raise InputError(
            f"{layer.handle} takes images of {exported_size[0]}x{exported_size[1]} only: {reason}; leave image_size "
            f"out. Received: image_size={size}."
        )


FIXED = "layers of it were made for them"


def _wrong_map(layer: HubLayer, size: tuple[int, int]) -> str | None:
    """Run one zero image through the module; why it is not at the new size inside, or None."""
    (spec,) = layer.endpoint.input_leaves
    image = tf.zeros([1, *spec.shape[1:]], spec.dtype)
    layer.endpoint.call(image, False)
    taps = graphs.taps(layer.graph)
    if not taps:
        return None
    maps = graphs.part(layer.graph, layer.graph.inputs, tuple(taps.values()))(image)
    for stride, features in zip(taps, maps, strict=True):
        if any(not _fits(side, places, stride) for side, places in zip(size, _places(features), strict=True)):
            return "it resizes images to that by itself"
    return None


def _places(features: Any) -> list[int]:
    return [int(n) for n in features.shape[1:3]]


def _fits(side: int, places: int, stride: int) -> bool:
    return side / stride - SHORT <= places <= side / stride + BEYOND
