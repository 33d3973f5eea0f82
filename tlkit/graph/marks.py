"""Sizes inside a graph that are sizes of its inputs, found by giving the inputs sizes that nothing else has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tlkit.graph.flat import Graph, remembered, whole_of

PRIMES = (41, 47, 59, 67, 73, 83, 97, 103), (43, 53, 61, 71, 79, 89, 101, 107)  # two sets, in which no size is the same
SCALES = (1, 1009)  # inputs that must be long (recordings) get sizes a thousand times as large
BATCHES = (7919, 7907)

Axis = tuple[int, int]  # (position of an input, axis)


@dataclass(frozen=True)
class _Marks:
    """Sizes that stand for the open ones, in two sets; what is the same in both is no open size."""

    of: Mapping[Axis, tuple[int, int]]

    def specs(self, graph: Graph, number: int) -> list[Any]:
        specs = []
        for i, tensor in enumerate(graph.whole.inputs[: len(graph.inputs)]):
            sizes = [self.of.get((i, axis), (size, size))[number] for axis, size in enumerate(tensor.shape)]
            specs.append(tf.TensorSpec(sizes, tensor.dtype))
        return specs


def is_batch(graph: Graph, tensor: str) -> bool:
    """Whether the first axis of a tensor, whose size is open, may be the batch: not the tokens of all examples."""
    whole = remembered(graph, "one size each", lambda: _of_one_size(graph))
    if whole is None or tensor.split(":", maxsplit=1)[0] not in graph.nodes:
        return True
    shape = whole.graph.get_tensor_by_name(tensor).shape
    return bool(shape.rank is None or shape[0] in (None, BATCHES[0]))


def _of_one_size(graph: Graph) -> Any | None:
    """The whole graph at one size of all axes that are open beside the batch; None without such, or where none fits."""
    axes = _open_axes(graph)
    if all(axis == 0 for _, axis in axes):
        return None
    for scale in SCALES:
        size = PRIMES[0][0] * scale
        marks = _Marks({axis: (BATCHES[0], 0) if axis[1] == 0 else (size, 0) for axis in axes})
        try:
            return whole_of(graph, marks.specs(graph, 0))
        except (ValueError, tf.errors.OpError):
            continue
    return None


def _open_axes(graph: Graph) -> list[Axis]:
    inputs = graph.whole.inputs[: len(graph.inputs)]
    if any(t.shape.rank is None for t in inputs):
        return []
    return [(i, axis) for i, t in enumerate(inputs) for axis, size in enumerate(t.shape) if size is None]


def sizes_by_input(graph: Graph, tensor: Any) -> list[int | Axis] | None:
    """Of each axis of a tensor its size, or the input's axis that has the same; None where that cannot be told.

    Batches are those of an input that other axes have their sizes from, where there is one.
    """
    marked = remembered(graph, "marked sizes", lambda: _marked(graph))
    if marked is None:
        return None
    of, first, second = marked
    pairs = [whole.graph.get_tensor_by_name(tensor.name).shape for whole in (first, second)]
    if any(shape.rank is None or None in shape.as_list() for shape in pairs):
        return None
    sizes: list[Any] = [a if a == b else _axes(of, (a, b)) for a, b in zip(*pairs, strict=True)]
    if [] in sizes:
        return None
    inputs = {axes[0][0] for axes in sizes if isinstance(axes, list) and axes[0][1] != 0}
    return [
        size if isinstance(size, int) else next((axis for axis in size if axis[0] in inputs), size[0]) for size in sizes
    ]


def _axes(of: Mapping[Axis, tuple[int, int]], marks: tuple[int, int]) -> list[Axis]:
    return [axis for axis, pair in of.items() if pair == marks]


def _marked(graph: Graph) -> tuple[Mapping[Axis, tuple[int, int]], Any, Any] | None:
    """Marks of the inputs' open sizes, and the whole graph with either set of them; None where none fits."""
    axes = _open_axes(graph)
    for scale in SCALES:
        apart = _assigned(axes, scale, {})
        assembled = _assembled(graph, apart) or _assembled(graph, _assigned(axes, scale, _equal(graph, axes, apart)))
        if assembled is not None:
            return assembled
    return None


def _assigned(axes: Iterable[Axis], scale: int, equal: Mapping[Axis, Axis]) -> _Marks:
    """One mark for all batches, one each for other axes, but those that are to be equal."""
    numbers = zip(*PRIMES, strict=True)
    marks: dict[Axis, tuple[int, int]] = {}
    for axis in axes:
        if axis[1] == 0:
            marks[axis] = BATCHES
        elif axis in equal:
            marks[axis] = marks[equal[axis]]
        elif (pair := next(numbers, None)) is not None:
            marks[axis] = (scale * pair[0], scale * pair[1])
    return _Marks(marks)


def _equal(graph: Graph, axes: Sequence[Axis], apart: _Marks) -> dict[Axis, Axis]:
    """Axes that the graph joins, so that they have one size: those for which no two sizes fit, others being open."""
    equal: dict[Axis, Axis] = {}
    later = [axis for axis in axes if axis[1] != 0]
    for first, second in itertools.combinations(later, 2):
        batches = {axis: BATCHES for axis in axes if axis[1] == 0}
        pair = _Marks({**batches, first: apart.of.get(first, (41, 43)), second: apart.of.get(second, (47, 53))})
        if second not in equal and _assembled(graph, pair) is None:
            equal[second] = equal.get(first, first)
    return equal


def _assembled(graph: Graph, marks: _Marks) -> tuple[Mapping[Axis, tuple[int, int]], Any, Any] | None:
    try:
        first, second = (whole_of(graph, marks.specs(graph, number)) for number in (0, 1))
    except (ValueError, tf.errors.OpError):
        return None
    return marks.of, first, second
