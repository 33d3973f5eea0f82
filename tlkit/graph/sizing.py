"""Graphs that ask their inputs for the sizes of what lies inside."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tlkit.graph.anatomy import Anatomy, anatomy_of, has_rows
from tlkit.graph.flat import Graph, whole_of
from tlkit.graph.liveness import single_live
from tlkit.graph.marks import Axis, sizes_by_input


def freed(graph: Graph) -> Graph:
    """The graph in which sizes of inner tensors that are sizes of inputs are asked of those, where that adds cuts.

    `tf.shape(x)` of what weights have touched keeps x, or the sizes, live to the last op that uses them: in a decoder
    that makes its mask of the embedded tokens, through all blocks.

    Args:
        graph: A flat graph.

    Returns:
        A graph that computes the same; `graph` itself where nothing is to be gained, or sizes cannot be told.
    """
    plain = tf.autograph.experimental.do_not_convert(_freed)
    return plain(graph) if graph.problem is None else graph


def _freed(graph: Graph) -> Graph:
    anatomy = anatomy_of(graph)
    far = _far_reaching(graph, anatomy)
    if not far:
        return graph
    asked_sizes = {op.name: sizes for op in far if (sizes := sizes_by_input(graph, op.inputs[0])) is not None}
    return _asking_inputs(graph, asked_sizes) if asked_sizes else graph


def _far_reaching(graph: Graph, anatomy: Anatomy) -> list[Any]:
    """The Shape ops of weighty tensors that alone keep the graph from being cut at some depth."""
    shapes = [i for i, op in enumerate(anatomy.ops) if op.type == "Shape" and anatomy.weighty[i]]
    if not shapes:
        return []
    light = _without(anatomy, set(shapes))
    lighter = dataclasses.replace(anatomy, weighty=light)
    bearing = list(itertools.accumulate(i in set(anatomy.bearing) for i in range(len(anatomy.ops))))
    reached = {bearing[i] for i, tensor in single_live(graph, anatomy) if has_rows(graph, tensor)}
    gained = [i for i, tensor in single_live(graph, lighter) if has_rows(graph, tensor) and bearing[i] not in reached]
    if not gained:
        return []
    spans = {i: _span(anatomy, light, i) for i in shapes}
    return [anatomy.ops[i] for i, (first, last) in spans.items() if any(first <= q < last for q in gained)]


def _without(anatomy: Anatomy, shapes: set[int]) -> tuple[bool, ...]:
    """Which ops are weighty where some that only ask for sizes are not."""
    light = {t.name for t in anatomy.memories}
    weighty: list[bool] = []
    for i, op in enumerate(anatomy.ops):
        flowing = any(weighty[anatomy.place[t.op.name]] for t in op.inputs if t.name not in light)
        weighty.append(i not in shapes and anatomy.data[i] and (bool(anatomy.consumed[i]) or flowing))
    return tuple(weighty)


def _span(anatomy: Anatomy, light: Sequence[bool], shape: int) -> tuple[int, int]:
    """From the tensor whose sizes are asked for to the last op that takes what is made of them alone."""
    derived, last = {shape}, shape
    for i in range(shape + 1, len(anatomy.ops)):
        if any(anatomy.place[t.op.name] in derived for t in anatomy.ops[i].inputs):
            last = i
            if not light[i]:
                derived.add(i)
    return anatomy.place[anatomy.ops[shape].inputs[0].op.name], last


def _asking_inputs(graph: Graph, asked_sizes: Mapping[str, Sequence[int | Axis]]) -> Graph:
    """The graph with some Shape ops in other words: sizes of inputs, and constants, packed."""
    nodes = dict(graph.nodes)
    for name, sizes in asked_sizes.items():
        out = nodes[name].attr["out_type"].type
        out = out or tf.int32.as_datatype_enum
        library = tf.compat.v1.GraphDef()
        packed = library.node.add(name=name, op="Pack")
        packed.attr["N"].i, packed.attr["T"].type, packed.attr["axis"].i = len(sizes), out, 0
        for number, size in enumerate(sizes):
            packed.input.append(_size(graph, library, f"{name}/tlkit_size_{number}", size, out))
        nodes |= {node.name: node for node in library.node}
    draft = dataclasses.replace(graph, nodes=nodes, memo={})
    specs = [tf.TensorSpec(t.shape, t.dtype) for t in graph.whole.inputs[: len(graph.inputs)]]
    return dataclasses.replace(draft, whole=whole_of(draft, specs), memo={})


def _size(graph: Graph, library: Any, name: str, size: int | Axis, dtype: int) -> str:
    """Add the nodes of one size, a scalar; the name of the last of them."""
    if isinstance(size, int):
        return _constant(library, name, size, dtype)
    number, axis = size
    shape = library.node.add(name=f"{name}/shape", op="Shape", input=[graph.inputs[number]])
    shape.attr["T"].type, shape.attr["out_type"].type = graph.whole.inputs[number].dtype.as_datatype_enum, dtype
    ends = [
        _constant(library, f"{name}/{word}", [value], tf.int32.as_datatype_enum)
        for word, value in (("begin", axis), ("end", axis + 1), ("by", 1))
    ]
    slice_node = library.node.add(name=name, op="StridedSlice", input=[shape.name, *ends])
    slice_node.attr["T"].type, slice_node.attr["Index"].type = dtype, tf.int32.as_datatype_enum
    slice_node.attr["shrink_axis_mask"].i = 1
    return name


def _constant(library: Any, name: str, value: Any, dtype: int) -> str:
    node = library.node.add(name=name, op="Const")
    node.attr["dtype"].type = dtype
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.as_dtype(dtype)))
    return name
