"""Frozen graphs, whose weights are constants, with variables in the places of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tlkit.graph import _private
from tlkit.graph.anatomy import CONVOLUTIONS, PRODUCTS
from tlkit.graph.flat import Graph, whole_of
from tlkit.graph.looking import FUSED

STATISTICS = (3, 4)  # of a fused BatchNorm: its mean and variance, which no gradient trains


def thawed(graph: Graph, variables: Sequence[Any] = ()) -> Graph:
    """The graph in which kernels, biases and BatchNorms read variables, made of its constants, under their names.

    Args:
        graph: A flat graph.
        variables: Those of an earlier call, which are read again; () makes new ones.

    Returns:
        A graph that computes the same; `graph` itself where none of its constants is a weight.
    """
    weights = dict(
        sorted(pair for node in graph.nodes.values() for pair in _weights(graph, node))
    )  # nodes have no order
    if not weights:
        return graph
    nodes, captures, resources = dict(graph.nodes), dict(graph.captures), dict(graph.resources)
    thawed_variables = list(variables) or [_variable(nodes[name], trained) for name, trained in weights.items()]
    for number, (name, variable) in enumerate(zip(weights, thawed_variables, strict=True)):
        handle = f"{name}/handle:0"
        captures[handle], resources[handle] = _private.handle(variable), number
        nodes[name] = type(nodes[name])(name=name, op="ReadVariableOp", input=[handle])
        nodes[name].attr["dtype"].type = variable.dtype.as_datatype_enum
    draft = dataclasses.replace(
        graph, nodes=nodes, captures=captures, resources=resources, variables=tuple(thawed_variables), memo={}
    )
    specs = [tf.TensorSpec(t.shape, t.dtype) for t in graph.whole.inputs[: len(graph.inputs)]]
    return dataclasses.replace(draft, whole=whole_of(draft, specs), memo={})


def _variable(node: Any, trained: bool) -> Any:
    with tf.init_scope():
        return tf.Variable(tf.make_ndarray(node.attr["value"].tensor), trainable=trained, name=node.name)


def _weights(graph: Graph, node: Any) -> Iterator[tuple[str, bool]]:
    """Names of the constants that a node computes with, and whether a gradient is to train them."""
    places: tuple[int, ...] = ()
    if node.op in CONVOLUTIONS:
        places = (CONVOLUTIONS[node.op][1],)
    elif node.op in PRODUCTS or node.op == "BiasAdd":
        places = (1,)
    elif node.op in FUSED:
        places = (1, 2, 3, 4)
    for place in places:
        source = graph.nodes.get(_name(node.input[place]))
        while source is not None and source.op == "Identity":
            source = graph.nodes.get(_name(source.input[0]))
        if source is not None and source.op == "Const" and tf.as_dtype(source.attr["dtype"].type).is_floating:
            yield source.name, not (node.op in FUSED and place in STATISTICS)


def _name(tensor: str) -> str:
    return tensor.partition(":")[0]
