"""A graph that computes in half precision, computing in float32, as TFLite and the scaling of pixels do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit.graph.flat import Graph, part_as, whole_of

HALVES = (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
WIDE = tf.float32.as_datatype_enum
WEIGHTS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")  # they give the dtype in which a variable is kept


def computes_in_half(function: Any) -> bool:
    """Whether an operation of a function gives float16 or bfloat16."""
    definition = function.graph.as_graph_def()
    bodies = (definition.node, *(f.node_def for f in definition.library.function))
    return any(enum in HALVES for body in bodies for node in body for enum in _dtypes(node))


def widened(graph: Graph) -> Graph:
    """The graph with float32 in place of every half: the same weights, rounded nowhere in between.

    Raises:
        ValueError: If TensorFlow cannot assemble it; another of its errors if an operation has no float32 form.
    """
    nodes = {node.name: node for node in _all_widened(graph.nodes.values())}
    library = type(graph.library).FromString(graph.library.SerializeToString())
    for function in library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = WIDE if argument.type in HALVES else argument.type
        inner = [_widened(node) for node in function.node_def]
        del function.node_def[:]
        function.node_def.extend(inner)
    specs = [
        tf.TensorSpec(t.shape, tf.float32 if t.dtype.is_floating else t.dtype)
        for t in graph.whole.inputs[: len(graph.inputs)]
    ]
    draft = dataclasses.replace(graph, nodes=nodes, library=library, memo={})
    return dataclasses.replace(draft, whole=whole_of(draft, specs), memo={})


def _dtypes(node: Any) -> Iterator[int]:
    for value in node.attr.values():
        yield value.type
        yield from value.list.type


def _all_widened(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        stored_dtype = next((enum for enum in _dtypes(node) if enum in HALVES), None)
        if node.op in WEIGHTS and stored_dtype is not None:
            yield from _cast_weight(node, stored_dtype)
        else:
            yield _widened(node)


def _cast_weight(node: Any, stored_dtype: int) -> Iterator[Any]:
    """A weight that is stored in half precision, and behind it, under the weight's name, its value in float32."""
    stored = type(node).FromString(node.SerializeToString())
    stored.name = f"{node.name}_stored"
    cast = type(node)(name=node.name, op="Cast", input=[stored.name])
    cast.attr["SrcT"].type, cast.attr["DstT"].type = stored_dtype, WIDE
    yield from (stored, cast)


def _widened(node: Any) -> Any:
    wide = type(node).FromString(node.SerializeToString())
    if node.op == "Cast" and {node.attr["SrcT"].type, node.attr["DstT"].type} <= {WIDE, *HALVES}:
        wide = type(node)(name=node.name, op="Identity", input=node.input)
        wide.attr["T"].type = WIDE
        return wide
    for value in wide.attr.values():
        if value.type in HALVES:
            value.type = WIDE
        for i, enum in enumerate(value.list.type):
            value.list.type[i] = WIDE if enum in HALVES else enum
    if wide.op == "Const" and wide.attr["value"].tensor.dtype in HALVES:
        array = tf.make_ndarray(node.attr["value"].tensor).astype(np.float32)
        wide.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
    return wide


def behind_cast(graph: Graph) -> Any:
    """The function of a module of whole numbers from what it makes of them first: the same numbers as float32.

    Returns:
        A function of the one float32 tensor, or None where the module does not begin by casting.
    """
    if len(graph.inputs) != 1 or not graph.nodes:
        return None
    casts = graph.whole.inputs[0].consumers()
    if not casts or any(op.type != "Cast" or not op.outputs[0].dtype.is_floating for op in casts):
        return None
    function = part_as(graph, [op.outputs[0].name for op in casts], graph.outputs, graph.structure)
    return lambda values: function(*(tf.cast(values, t.dtype) for t in function.inputs[: len(casts)]))
