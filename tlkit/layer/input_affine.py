"""From pixels in 0..255 to the range that a module expects, in one affine with the one that its graph begins with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.errors import InputError

PIXEL_MAX = 255.0


def checked_range(value: Any) -> tuple[float, float] | None:
    """The range as two floats; None stays None.

    Raises:
        InputError: If it is not two finite numbers, the low one first.
    """
    if value is None:
        return None
    numbers = tuple(value) if isinstance(value, list | tuple | np.ndarray) else ()
    try:
        low, high = (float(n) for n in numbers)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"`input_range` must be two numbers, low and high. Received: input_range={value!r}.")
    return low, high


def scaled(pixels: Any, value_range: tuple[float, float]) -> Any:
    """Pixels 0..255 in another range, float32."""
    low, high = value_range
    return tf.cast(pixels, tf.float32) * ((high - low) / PIXEL_MAX) + low


@dataclass(frozen=True, eq=False)
class Folded:
    """A module behind its own first affine: `rest(pixels * scale + offset)` equals the module on scaled pixels.

    Attributes:
        scale: float32, a scalar or one value a channel.
        offset: float32, likewise.
        rest: The inference function from the tensor behind the affine to the module's outputs.
    """

    scale: np.ndarray
    offset: np.ndarray
    rest: Any

    def __call__(self, pixels: Any) -> Any:
        """The module's outputs for pixels 0..255."""
        (entering, *_) = self.rest.inputs
        return self.rest(tf.cast(tf.cast(pixels, tf.float32) * self.scale + self.offset, entering.dtype))


def folded(graph: graphs.Graph, value_range: tuple[float, float]) -> Folded | None:
    """Both scalings as one, which quantised files need: a chain of them at the input costs int8 its accuracy.

    Returns:
        The module that takes pixels, or None where it begins with no affine, gives something in front of it, or cannot
        be cut.
    """
    affine = graphs.input_affine(graph) if graph.problem is None else None
    if affine is None:
        return None
    low, high = value_range
    scale, offset = affine.scale * ((high - low) / PIXEL_MAX), affine.scale * low + affine.offset
    try:
        behind = graphs.part_as(graph, [affine.tensor], graph.outputs, graph.structure)
    except InputError:
        return None
    return Folded(np.asarray(scale, np.float32), np.asarray(offset, np.float32), behind)
