"""How large the tensors are that a graph makes on its way to its outputs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

from tlkit.graph.flat import MARK, Graph


def activation_bytes(graph: Graph, behind: Collection[str] = ()) -> int:
    """Bytes of all float tensors that one example's forward pass makes; open sizes count as 1.

    Args:
        graph: A flat graph, with the sizes of its inputs known where they matter (`flatten`'s `input_shapes`).
        behind: Tensors that are given: what leads to them alone is left out.
    """
    floats = (t for op in _needed(graph, behind) for t in op.outputs if t.dtype.is_floating)
    return sum(_elements(graph.shapes.get(tensor.name)) * tensor.dtype.size for tensor in floats)


def _needed(graph: Graph, behind: Collection[str]) -> Iterator[Any]:
    """The ops that the outputs need when some tensors are given."""
    visited: set[str] = set()
    stack = list(graph.whole.outputs)
    while stack:
        tensor = stack.pop()
        if tensor.name in behind or tensor.op.name in visited:
            continue
        visited.add(tensor.op.name)
        yield tensor.op
        stack.extend(tensor.op.inputs)


def _elements(shape: Any) -> int:
    """Elements for one example; what does not grow with the batch, such as weights, counts as none."""
    if shape is None or not shape.rank:
        return 0
    first, *others = shape.as_list()
    size = math.prod(int(other or 1) for other in others)
    if first is None:
        return size
    return size * int(first) // MARK if first % MARK == 0 else 0
