"""Patterns in a flat graph: BatchNorm, and the affine that a module begins with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit.graph.anatomy import Anatomy, anatomy_of
from tlkit.graph.flat import Graph, part, remembered

FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
PASSING = ("Identity", "ReadVariableOp", "Reshape", "ExpandDims", "Cast", "Squeeze", "BroadcastTo")
ADDITIONS = ("AddV2", "Add", "BiasAdd")


@dataclass(frozen=True)
class BatchNorm:
    """A BatchNorm in inference mode: gamma (x - mean) / sqrt(variance + epsilon) + beta.

    Attributes:
        gamma: Index of the scale's variable, or None.
        beta: Index of the offset's variable, or None.
        mean: Index of the moving mean's variable.
        variance: Index of the moving variance's variable.
        epsilon: What is added to the variance.
        tensor: Name of the tensor that enters: its moments over a batch are what mean and variance stand for.
    """

    gamma: int | None
    beta: int | None
    mean: int
    variance: int
    epsilon: float
    tensor: str


@dataclass(frozen=True, eq=False)
class Affine:
    """`input * scale + offset` equals `tensor`.

    Attributes:
        tensor: Name of the tensor behind the affine.
        scale: float64, a scalar () or one value a channel (channels,).
        offset: float64, likewise.
    """

    tensor: str
    scale: np.ndarray
    offset: np.ndarray


def batch_norms(graph: Graph) -> tuple[BatchNorm, ...]:
    """The graph's BatchNorms that read their statistics from variables, fused or not, in order of first use."""
    return remembered(graph, "norms", lambda: tuple(_norms(graph)) if graph.nodes else ())  # type: ignore[no-any-return]


def _norms(graph: Graph) -> Iterator[BatchNorm]:
    anatomy = anatomy_of(graph)
    users = _users(anatomy)
    for op in anatomy.ops:
        norm = None
        if op.type in FUSED and not op.get_attr("is_training"):
            norm = _fused(anatomy, op)
        elif op.type == "Rsqrt" and len(_variables(anatomy, op.outputs[0])) == 1:
            norm = _unfused(graph, anatomy, users, op)
        if norm:
            yield norm


def _users(anatomy: Anatomy) -> dict[str, list[Any]]:
    """Tensor -> the ops that take it."""
    users: dict[str, list[Any]] = {}
    for op in anatomy.ops:
        for tensor in op.inputs:
            users.setdefault(tensor.name, []).append(op)
    return users


def _variables(anatomy: Anatomy, tensor: Any) -> frozenset[int]:
    return anatomy.weights[anatomy.place[tensor.op.name]]


def _only(variables: frozenset[int]) -> int | None:
    return next(iter(variables)) if len(variables) == 1 else None


def _fused(anatomy: Anatomy, op: Any) -> BatchNorm | None:
    gamma, beta, mean, variance = (_only(_variables(anatomy, t)) for t in list(op.inputs)[1:5])
    if mean is None or variance is None:
        return None
    return BatchNorm(gamma, beta, mean, variance, float(op.get_attr("epsilon")), op.inputs[0].name)


def _unfused(graph: Graph, anatomy: Anatomy, users: dict[str, list[Any]], rsqrt: Any) -> BatchNorm | None:
    """inverse = rsqrt(variance + epsilon) [* gamma]; x * inverse + (beta - mean * inverse)."""
    variance = _only(_variables(anatomy, rsqrt.outputs[0]))
    inverse, gamma = rsqrt.outputs[0], None
    if variance is None or (epsilon := _epsilon(graph, anatomy, rsqrt.inputs[0])) is None:
        return None
    if _scaled(anatomy, users, inverse) is None:  # nothing but weights takes it: the scale comes first
        for product, other in _products(anatomy, users, inverse):
            gamma, inverse = _only(_variables(anatomy, other)), product.outputs[0]
    entering = _scaled(anatomy, users, inverse)
    for product, other in _products(anatomy, users, inverse):
        mean = _only(_variables(anatomy, other))
        if mean is not None and entering is not None:
            beta = _only(_beside(anatomy, users, product.outputs[0]))
            return BatchNorm(gamma, beta, mean, variance, epsilon, entering)
    return None


def _epsilon(graph: Graph, anatomy: Anatomy, tensor: Any) -> float | None:
    while tensor.op.type in PASSING and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    if tensor.op.type not in ADDITIONS:
        return None
    constants = [t for t in tensor.op.inputs if not _variables(anatomy, t)]
    return float(np.max(constant(graph, constants[0].name))) if constants else None


def _through(users: dict[str, list[Any]], tensor: Any) -> Iterator[tuple[Any, Any]]:
    """(op, the tensor it takes) for the ops behind a tensor, past those that only pass values on."""
    for op in users.get(tensor.name, ()):
        if op.type in PASSING:
            yield from _through(users, op.outputs[0])
        else:
            yield op, tensor


def _products(anatomy: Anatomy, users: dict[str, list[Any]], tensor: Any) -> Iterator[tuple[Any, Any]]:
    """Products of the tensor with other weights, and the other factor."""
    for op, operand in _through(users, tensor):
        factors = [t for t in op.inputs if t.name != operand.name]
        if op.type == "Mul" and len(factors) == 1 and _variables(anatomy, factors[0]):
            yield op, factors[0]


def _scaled(anatomy: Anatomy, users: dict[str, list[Any]], tensor: Any) -> str | None:
    """Name of the data tensor that the tensor multiplies."""
    for op, operand in _through(users, tensor):
        data = [t for t in op.inputs if t.name != operand.name and anatomy.data[anatomy.place[t.op.name]]]
        if op.type == "Mul" and data:
            return str(data[0].name)
    return None


def _beside(anatomy: Anatomy, users: dict[str, list[Any]], tensor: Any) -> frozenset[int]:
    """Variables that a weight is subtracted from or added to."""
    for op, operand in _through(users, tensor):
        if op.type in ("Sub", *ADDITIONS):
            variables = (_variables(anatomy, t) for t in op.inputs if t.name != operand.name)
            return frozenset[int]().union(*variables)
    return frozenset()


def depthwise_kernels(graph: Graph) -> frozenset[int]:
    """Variables that are kernels of depthwise convolutions: each output channel sums over one input channel alone."""
    if not graph.nodes:
        return frozenset()
    anatomy = anatomy_of(graph)
    kernels = (op.inputs[1] for op in anatomy.ops if op.type == "DepthwiseConv2dNative")
    return frozenset(index for kernel in kernels for index in _variables(anatomy, kernel))


# The affine at the input


def input_affine(graph: Graph) -> Affine | None:
    """The scalings and shifts that the module's only image goes through before anything else, as one affine.

    Returns:
        The affine, or None where there is more than one input, the input is no float image, or it is used as it is.
    """
    return remembered(graph, "affine", lambda: _affine(graph))  # type: ignore[no-any-return]


def _affine(graph: Graph) -> Affine | None:
    image = graph.whole.inputs[0] if len(graph.inputs) == 1 and graph.nodes else None
    if image is None or image.shape.rank != 4 or not image.dtype.is_floating:
        return None
    anatomy = anatomy_of(graph)
    users = _users(anatomy)
    scale, offset, tensor, arithmetic = np.ones(()), np.zeros(()), image, False
    while (op := _next(users, tensor)) is not None and (step := _step(graph, anatomy, op, tensor)) is not None:
        scale, offset = np.asarray(scale * step[0]), np.asarray(offset * step[0] + step[1])
        tensor, arithmetic = op.outputs[0], arithmetic or op.type not in ("Identity", "Cast")
    return Affine(tensor.name, scale, offset) if arithmetic else None


def _next(users: dict[str, list[Any]], tensor: Any) -> Any:
    """The only op that reads the tensor's values; its shape may be asked for elsewhere."""
    readers = [op for op in users.get(tensor.name, ()) if op.type != "Shape"]
    return readers[0] if len(readers) == 1 else None


def _step(graph: Graph, anatomy: Anatomy, op: Any, tensor: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, offset) of one op, or None where it is not an affine of the tensor."""
    unit, zero = np.asarray(1.0), np.asarray(0.0)
    if op.type == "Identity" or (op.type == "Cast" and op.outputs[0].dtype.is_floating):
        return unit, zero
    if op.type == "Neg":
        return -unit, zero
    operands = [t for t in op.inputs if t.name != tensor.name]
    if len(operands) != 1 or (value := _channel_constant(graph, anatomy, operands[0])) is None:
        return None
    first = op.inputs[0].name == tensor.name
    if op.type in ADDITIONS:
        return unit, value
    if op.type == "Mul":
        return value, zero
    if op.type == "Sub":
        return (unit, -value) if first else (-unit, value)
    return (1.0 / value, zero) if op.type in ("RealDiv", "Div") and first else None


def _channel_constant(graph: Graph, anatomy: Anatomy, tensor: Any) -> np.ndarray | None:
    """A constant that is one number or one a channel, as float64 () or (channels,)."""
    place = anatomy.place[tensor.op.name]
    if anatomy.data[place] or anatomy.weights[place]:
        return None
    value = constant(graph, tensor.name).astype(np.float64)
    if value.size == 1:
        return value.reshape(())
    return value.reshape(-1) if value.shape[-1] == value.size else None


def constant(graph: Graph, tensor: str) -> np.ndarray:
    """The value of a tensor that depends on neither inputs nor variables."""
    inner = (t.name for t in graph.whole.inputs[len(graph.inputs) :])
    captures = dict(zip(inner, graph.whole.captured_inputs, strict=True))
    if tensor in captures:
        return np.asarray(captures[tensor])
    op = graph.whole.graph.get_tensor_by_name(tensor).op
    if op.type == "Const":  # small captures too are kept by value
        return np.asarray(tf.make_ndarray(op.get_attr("value")))
    with tf.init_scope():  # this may be asked for while somebody's function is traced
        return np.asarray(part(graph, (), (tensor,))()[0])
