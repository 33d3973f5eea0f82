"""The range of pixels that a graph proves: what it makes of black, grey and white before its first weights.

The way from the input to the first convolution may resize, crop, pad, flip, take channels apart, cast, clip and scale.
It is not read op by op but tried: plain images go in, and what reaches the convolution says how values are scaled. Of
the usual ranges the one is proved that becomes what networks are fed with: a span of about one to five around zero, or
255 around zero where only a mean is subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit.graph.anatomy import CONVOLUTIONS, PRODUCTS, Anatomy, anatomy_of
from tlkit.graph.flat import Graph, part
from tlkit.graph.looking import batch_norms

Range = tuple[float, float]

USUAL_RANGES: tuple[Range, ...] = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
CHANNELWISE = frozenset((
    "Mul", "Add", "AddV2", "Sub", "RealDiv", "Div", "BiasAdd", "Maximum", "Minimum", "ClipByValue",
    "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel", "Reshape", "Identity",
))  # fmt: skip
_SIDES = (64, 224, 331)  # of the pictures that are tried, where a module takes any size
_WITHIN = (0.0, 0.25, 0.5, 0.75, 1.0)  # places in a range that are tried, as shares of it
_BEYOND = (-0.2, 1.2)
_SPAN = (0.4, 12.0)  # of normalised values: 0.5 for -0.25..0.25, 8 for a small standard deviation in both directions
_BYTES = (250.0, 260.0)  # the span of pixels whose mean alone is subtracted
_MEANS = (0.03, 0.8)  # where it lies when that is all that is done
_ZERO = (-0.02, 0.8)  # where in the range of pixels the network's zero lies: black, or a mean


@dataclass(frozen=True)
class Proof:
    """A range of pixels, and what becomes of it.

    Attributes:
        range: Lowest and highest value.
        becomes: What these are in front of the first weights; None where each image is normalised by itself.
    """

    range: Range
    becomes: Range | None


@dataclass(frozen=True, eq=False)
class _Line:
    """What one range becomes, where it becomes a straight line: a value for each place of the tensor."""

    range: Range
    low: np.ndarray
    high: np.ndarray
    closed: bool  # beyond the range nothing changes: it is clipped there
    steps: bool  # a difference of one half is lost: it is rounded to whole numbers


def proved_range(graph: Graph) -> Proof | None:
    """The range that a module's only image must have, or None where its graph does not say.

    Args:
        graph: A flat graph; one that is closed says nothing.
    """
    image = graph.whole.inputs[0] if len(graph.inputs) == 1 and graph.nodes else None
    if image is None or image.shape.rank != 4 or not image.dtype.is_floating:
        return None
    proofs = [proof for tensor in entering(graph) if (proof := _proof(graph, image, tensor)) is not None]
    ranges = {proof.range for proof in proofs}
    return proofs[0] if len(ranges) == 1 else None


def entering(graph: Graph) -> tuple[str, ...]:
    """Names of the tensors that reach the first weights: those of convolutions, products and BatchNorms."""
    anatomy = anatomy_of(graph)
    norms = {norm.tensor for norm in batch_norms(graph)}
    behind: set[str] = set()  # ops with a stop in front of them
    names: dict[str, None] = {}
    for i, op in enumerate(anatomy.ops):
        if not anatomy.data[i]:
            continue
        if any(t.op.name in behind for t in op.inputs):
            behind.add(op.name)
            continue
        data_inputs = [t.name for t in op.inputs if anatomy.data[anatomy.place[t.op.name]]]
        if _stops(anatomy, i) or any(name in norms for name in data_inputs):
            behind.add(op.name)
            names |= dict.fromkeys(data_inputs)
    return tuple(names)


def _stops(anatomy: Anatomy, i: int) -> bool:
    op = anatomy.ops[i]
    if op.type in CONVOLUTIONS:
        features = op.inputs[CONVOLUTIONS[op.type][0]]
        return anatomy.data[anatomy.place[features.op.name]]
    return bool(anatomy.consumed[i]) and (op.type in PRODUCTS or op.type not in CHANNELWISE)


def _proof(graph: Graph, image: Any, tensor: str) -> Proof | None:
    values = sorted({_at(r, share) for r in USUAL_RANGES for share in (*_WITHIN, *_BEYOND)})
    for size in _SIDES if None in image.shape[1:] else _SIDES[:1]:
        shape = tuple(n or size for n in image.shape[1:])
        tried = _tried(graph, image, tensor, [*(np.full(shape, v) for v in values), *_textured(shape)])
        if tried is not None:
            return _judged(dict(zip(values, tried, strict=False)), tried[len(values) :])
    return None


def _at(value_range: Range, share: float) -> float:
    low, high = value_range
    return low + (high - low) * share


def way_to(graph: Graph, tensor: str) -> Any:
    """The function from the graph's inputs to one tensor, which may be an input itself."""
    inputs = dict(zip((t.name for t in graph.whole.inputs), graph.inputs, strict=False))
    return part(graph, list(graph.inputs), [inputs.get(tensor, tensor)])


def _textured(shape: Sequence[int]) -> Iterator[np.ndarray]:
    """One picture in each of the usual ranges."""
    noise = np.random.default_rng(0).uniform(0.2, 0.8, shape)
    return (low + (high - low) * noise for low, high in USUAL_RANGES)


def _tried(graph: Graph, image: Any, tensor: str, pictures: list[np.ndarray]) -> list[np.ndarray] | None:
    """What each picture is at the tensor, flat; None where the module cannot take pictures of this size."""
    way = way_to(graph, tensor)
    try:
        batches = [tf.constant(picture[None], image.dtype) for picture in pictures]
        count = image.shape[0] or 1
        return [np.asarray(way(tf.repeat(b, count, 0))[0], np.float64).ravel() for b in batches]
    except (tf.errors.OpError, ValueError):
        return None


def _judged(plain: dict[float, np.ndarray], textured: list[np.ndarray]) -> Proof | None:
    spread = float(np.abs(textured[0] - plain[0.0]).max())
    if spread and all(np.abs(other - textured[0]).max() < 0.02 * spread for other in textured[1:]):
        return Proof(USUAL_RANGES[0], None)  # any range is as good
    moving = (plain[255.0] != plain[0.0]) | (plain[1.0] != plain[0.0])  # what was padded stays as it is
    if not moving.any() or not all(np.isfinite(x).all() for x in plain.values()):
        return None
    lines = [line for r in USUAL_RANGES if (line := _line({v: x[moving] for v, x in plain.items()}, r)) is not None]
    sane = [line for line in lines if _is_sane(line)]
    if not sane:
        return None
    first = sane[0]
    if first.range == (0.0, 1.0) and any(o.range == (-1.0, 1.0) for o in sane) and _starts_at_zero(first):
        return None  # a factor alone: 0..1 and -1..1 are as likely
    if first.range == (-1.0, 1.0) and not first.closed and _is_centred(first):
        return None  # a factor alone, too small or too large for the other ranges
    bounds = np.stack([first.low, first.high])
    return Proof(first.range, (float(bounds.min()), float(bounds.max())))


def _line(plain: dict[float, np.ndarray], value_range: Range) -> _Line | None:
    at = {share: plain[_at(value_range, share)] for share in (*_WITHIN, *_BEYOND)}
    start, end = at[0.0], at[1.0]
    span = np.abs(end - start)
    tolerance = 0.02 * max(float(span.max()), 1e-12)
    straight = all(np.abs(start + (end - start) * s - at[s]).max() <= tolerance for s in _WITHIN)
    if not straight or span.min() <= 0:
        return None
    closed = all(np.abs(at[s] - near).max() <= tolerance for s, near in zip(_BEYOND, (start, end), strict=True))
    return _Line(value_range, start, end, closed, bool(np.array_equal(plain[0.25], plain[0.0])))


def _is_sane(line: _Line) -> bool:
    """Whether a network would be fed with what the range becomes."""
    span = line.high - line.low
    width = np.abs(span)
    unit, wide = np.allclose(span, line.range[1] - line.range[0], rtol=0.02), _all_within(width, _BYTES)
    zero = -line.low / span  # as a share of the range
    zero = np.where(span > 0, zero, 1 - zero)
    if unit and np.abs(line.low - line.range[0]).max() <= 0.02 * width.max():  # passed on as it is
        return line.closed or (line.steps and line.range == (0.0, 255.0))
    if not _all_within(zero, _ZERO):
        return False
    if wide:
        return not unit or _all_within(zero, _MEANS)
    return _all_within(width, _SPAN)


def _all_within(values: np.ndarray, bounds: Range) -> bool:
    return bool((values >= bounds[0]).all() and (values <= bounds[1]).all())


def _is_centred(line: _Line) -> bool:
    return bool(np.abs(line.low + line.high).max() <= 0.02 * np.abs(line.high - line.low).max())


def _starts_at_zero(line: _Line) -> bool:
    return not line.closed and bool(np.abs(line.low).max() <= 0.02 * np.abs(line.high - line.low).max())
