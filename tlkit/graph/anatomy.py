"""What each op of a flat graph carries: data, weights, cost; in the order of a walk from the outputs to the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkit.graph.encoders import encoded
from tlkit.graph.flat import Graph, remembered
from tlkit.graph.grouping import GROUP
from tlkit.graph.marks import is_batch

CONVOLUTIONS = {  # op -> which inputs are (features, kernel)
    "Conv2D": (0, 1), "DepthwiseConv2dNative": (0, 1), "Conv3D": (0, 1), "Conv": (0, 1), "FusedConv2D": (0, 1),
    "Conv2DBackpropInput": (2, 1), "Conv3DBackpropInputV2": (2, 1),
}  # fmt: skip
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "XlaDotV2", "_FusedMatMul")
LOOKUPS = ("ResourceGather", "ResourceGatherNd", "GatherV2", "Gather", "GatherNd")
NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The graph's ops in first-use order, and what flows through each.

    Attributes:
        ops: Every op that an output needs, inputs of an op always before it.
        place: Name of an op -> its position in `ops`.
        data: Whether something of the function's inputs reaches the op, by position.
        weights: Variables that reach an op which no data reaches, by position.
        weighty: Whether data and weights have met at the op or before it (behind `memories`, since those), by position.
        consumed: Variables that meet data at the op itself, by position.
        bearing: Positions of the ops that bear weights: convolutions, dense products, embedding look-ups.
        cost: Multiplications and additions of one example, by position; open sizes count as 1.
        memories: Outputs of encoders, which decoders read block after block; what leads to them comes first in `ops`.
    """

    ops: tuple[Any, ...]
    place: Mapping[str, int]
    data: tuple[bool, ...]
    weights: tuple[frozenset[int], ...]
    weighty: tuple[bool, ...]
    consumed: tuple[frozenset[int], ...]
    bearing: tuple[int, ...]
    cost: tuple[float, ...]
    memories: tuple[Any, ...] = ()


def anatomy_of(graph: Graph) -> Anatomy:
    """The graph's anatomy, worked out once."""
    return remembered(graph, "anatomy", lambda: _with_encoders(graph))  # type: ignore[no-any-return]


def _with_encoders(graph: Graph) -> Anatomy:
    """The anatomy in which encoders come before what decodes their outputs, whichever the graph reads first."""
    plain = _anatomy(graph)
    feeds = {t.op.name: i for i, t in enumerate(graph.whole.inputs[: len(graph.inputs)]) if t.op.name in plain.place}
    outputs = {t.op.name for output in graph.whole.outputs for t in (output, *output.op.inputs)}
    memories = tuple(t for t in encoded(plain, feeds, outputs) if has_rows(graph, t))
    return _anatomy(graph, memories) if memories else plain


def has_rows(graph: Graph, tensor: Any) -> bool:
    """Whether a tensor holds floats, as gradients need them, and one row an example, where the batch is open."""
    if not tensor.dtype.is_floating:
        return False
    shape = sizes(graph, tensor.name)
    open_batch = any(t.shape.rank and t.shape[0] is None for t in graph.whole.inputs[: len(graph.inputs)])
    if shape is None or not open_batch:
        return shape is None or len(shape) > 0
    return len(shape) > 0 and shape[0] is None and is_batch(graph, tensor.name)


def _anatomy(graph: Graph, memories: tuple[Any, ...] = ()) -> Anatomy:
    ops = tuple(_walk((*memories, *graph.whole.outputs)))
    place = {op.name: i for i, op in enumerate(ops)}
    resource_ops = _resource_ops(graph)
    fed = {t.op.name for t in graph.whole.inputs[: len(graph.inputs)]}
    light = {t.name for t in memories}
    data: list[bool] = []
    weights: list[frozenset[int]] = []
    weighty: list[bool] = []
    consumed: list[frozenset[int]] = []
    for i, op in enumerate(ops):
        before = [place[t.op.name] for t in op.inputs if place[t.op.name] < i]  # TF1 loops lead back
        touched = op.name in fed or any(data[k] for k in before)
        reaching = resource_ops.get(op.name, NOTHING).union(*(weights[k] for k in before))
        data.append(touched)
        weights.append(NOTHING if touched else reaching)
        consumed.append(reaching if touched else NOTHING)
        flowing = any(weighty[place[t.op.name]] for t in op.inputs if t.name not in light and place[t.op.name] < i)
        weighty.append(touched and (bool(reaching) or flowing))
    bearing = tuple(i for i, op in enumerate(ops) if consumed[i] and _bears(op, place, weights))
    cost = tuple(_cost(graph, op) for op in ops)
    return Anatomy(ops, place, tuple(data), tuple(weights), tuple(weighty), tuple(consumed), bearing, cost, memories)


def tables(graph: Graph, anatomy: Anatomy) -> dict[int, int]:
    """Variable -> count of its rows, of the tables that whole numbers of the inputs are looked up in."""
    row_counts = {}
    for op in anatomy.ops:
        table = anatomy.weights[anatomy.place[op.inputs[0].op.name]] if op.type in LOOKUPS else NOTHING
        if len(table) == 1 and op.inputs[1].dtype.is_integer and anatomy.data[anatomy.place[op.inputs[1].op.name]]:
            (index,) = table
            row_counts[index] = int(graph.variables[index].shape[0])
    return row_counts


def _resource_ops(graph: Graph) -> dict[str, frozenset[int]]:
    """Placeholder of a captured variable in the whole function's graph -> the variable's index."""
    by_capture = {id(external): name for name, external in graph.captures.items()}
    inner = graph.whole.inputs[len(graph.inputs) :]
    pairs = zip(graph.whole.captured_inputs, inner, strict=True)
    names = {t.op.name: by_capture[id(external)] for external, t in pairs}
    return {op: frozenset({graph.resources[n]}) for op, n in names.items() if n in graph.resources}


def _walk(ends: Sequence[Any]) -> Iterator[Any]:
    """Ops in the order of a depth-first walk from the ends: each right behind what it needs, first input first."""
    visited: set[str] = set()
    for output in ends:
        stack: list[tuple[Any, Iterator[Any]]] = []
        if output.op.name not in visited:
            stack.append((output.op, iter(output.op.inputs)))
        visited.add(output.op.name)
        while stack:
            fresh = next((t.op for t in stack[-1][1] if t.op.name not in visited), None)
            if fresh is None:
                yield stack.pop()[0]
            else:
                visited.add(fresh.name)
                stack.append((fresh, iter(fresh.inputs)))


def _bears(op: Any, place: Mapping[str, int], weights: list[frozenset[int]]) -> bool:
    def weight_only(i: int) -> bool:
        return i < len(op.inputs) and bool(weights[place[op.inputs[i].op.name]])

    if op.type in CONVOLUTIONS:
        later_group = GROUP in op.name and not op.name.endswith(f"{GROUP}0")  # those of one convolution bear once
        return not later_group and weight_only(CONVOLUTIONS[op.type][1])
    if op.type in LOOKUPS:
        return weight_only(0)
    return op.type in PRODUCTS and (weight_only(0) or weight_only(1))


def sizes(graph: Graph, tensor: str) -> tuple[int | None, ...] | None:
    """Static shape of a tensor, batch included, or None where even the rank is open."""
    shape = graph.shapes.get(tensor)
    return None if shape is None or shape.rank is None else tuple(shape.as_list())


def elements(shape: tuple[int | None, ...] | None) -> int:
    """Elements of one example; open sizes count as 1."""
    return math.prod(d or 1 for d in (shape or ())[1:])


def _cost(graph: Graph, op: Any) -> float:
    if not op.outputs:
        return 0.0
    out = elements(sizes(graph, op.outputs[0].name))
    if op.type in CONVOLUTIONS:
        kernel = sizes(graph, op.inputs[CONVOLUTIONS[op.type][1]].name) or ()
        if "Backprop" in op.type:  # the kernel is applied at each place of the smaller input
            return 2.0 * elements(sizes(graph, op.inputs[2].name)) * math.prod(d or 1 for d in kernel[:-1])
        inner = kernel[:2] if op.type == "DepthwiseConv2dNative" else kernel[:-1]
        return 2.0 * out * math.prod(d or 1 for d in inner)
    if op.type == "Einsum":
        return 2.0 * _einsum_cost(graph, op)
    if op.type in PRODUCTS:
        left = sizes(graph, op.inputs[0].name) or (1,)
        transposed = any(op.node_def.attr[k].b for k in ("transpose_a", "adj_x"))
        return 2.0 * out * ((left[-2] if transposed else left[-1]) or 1)
    return 0.0


def _einsum_cost(graph: Graph, op: Any) -> float:
    """Product of the sizes of all labels but the batch's."""
    labels: dict[str, int] = {}
    terms = op.get_attr("equation").decode().split("->")[0].split(",")
    for term, tensor in zip(terms, op.inputs, strict=True):
        shape = sizes(graph, tensor.name) or ()
        letters = term.replace("...", "")
        for letter, size in zip(reversed(letters), reversed(shape), strict=False):
            labels[letter] = max(labels.get(letter, 1), size or 1)
    return float(math.prod(labels.values()))
