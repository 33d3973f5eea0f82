"""Cheaper steps for the part of a graph that trains: the same function and gradients, to float tolerance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tlkit.graph.flat import Graph

POINTWISE = "TlkitPointwiseConv2D"
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


@tf.RegisterGradient(POINTWISE)  # type: ignore[untyped-decorator]
def _pointwise(op: Any, gradient: Any) -> tuple[Any, Any]:
    """Gradients of a 1 x 1 convolution as two matrix products.

    TensorFlow's kernels for a CPU treat it as any convolution and gather patches of one pixel first: with (32, 7, 7,
    1152) pixels and 192 filters they take 1.6 times as long.
    """
    pixels, kernel = op.inputs
    taken, given = kernel.shape[2:]
    rows, moved = tf.reshape(pixels, [-1, taken]), tf.reshape(gradient, [-1, given])
    of_pixels = tf.matmul(moved, tf.reshape(kernel, [taken, given]), transpose_b=True)
    of_kernel = tf.matmul(rows, moved, transpose_a=True)
    return tf.reshape(of_pixels, tf.shape(pixels)), tf.reshape(of_kernel, tf.shape(kernel))


def ease(graph: Graph, part: Any, fetches: Sequence[str]) -> None:
    """Change a part of a graph so that a step through it costs less.

    1 x 1 convolutions are marked with a cheaper gradient: a SavedModel that holds such a mark has gradients only where
    tlkit is imported, so such parts are for training alone. Scales behind convolutions, as BatchNorm has them, move
    into the kernels: one product as large as the pixels, and two on the way back, become products of the kernel's size.

    Args:
        graph: A flat graph.
        part: GraphDef of some of its nodes; it is changed.
        fetches: Names of the tensors that are read from it.
    """
    for node in part.node:
        if node.op == "Conv2D" and _is_pointwise(_operation(graph, node.name)):
            node.attr["_gradient_op_type"].s = POINTWISE.encode()
    _fold_scales(graph, part, fetches)


def _operation(graph: Graph, tensor: str) -> Any:
    return graph.whole.graph.get_operation_by_name(tensor.split(":", maxsplit=1)[0])


def _is_pointwise(conv: Any) -> bool:
    pixels, kernel = (tensor.shape for tensor in conv.inputs)
    if pixels.rank != 4 or not kernel.is_fully_defined() or pixels[3] != kernel[2]:  # those of groups have fewer
        return False
    moves = {*conv.get_attr("strides"), *conv.get_attr("dilations")} == {1}
    plain = conv.get_attr("padding") != b"EXPLICIT" and conv.get_attr("data_format") == b"NHWC"
    return bool(moves and plain and kernel[:2] == [1, 1])


def _fold_scales(graph: Graph, part: Any, fetches: Sequence[str]) -> None:
    """Make `conv(x, kernel) * scale` into `conv(x, kernel * scale)` where nothing else reads the convolution."""
    nodes = {node.name: node for node in part.node}
    read = Counter(name.split(":")[0] for name in (*fetches, *(i for node in part.node for i in node.input)))
    for product in [node for node in part.node if node.op == "Mul"]:
        for conv, scale in (product.input, reversed(product.input)):
            found = nodes.get(conv.split(":")[0])
            if found is not None and read[found.name] == 1 and _scales(graph, found, product, scale):
                _fold(part, found, product, scale, _operation(graph, found.name).inputs[1].shape)
                break


def _scales(graph: Graph, conv: Any, product: Any, scale: str) -> bool:
    """Whether a product multiplies the pixels of a convolution by one number a channel."""
    if conv.op not in CONVOLUTIONS or conv.attr["data_format"].s not in (b"", b"NHWC"):
        return False
    by = [t for t in _operation(graph, product.name).inputs if t.name == (scale if ":" in scale else f"{scale}:0")]
    kernel = _operation(graph, conv.name).inputs[1].shape
    if not by or not kernel.is_fully_defined():
        return False
    channels = kernel[3] if conv.op == "Conv2D" else kernel[2] * kernel[3]
    return bool(by[0].shape == [channels])


def _fold(part: Any, conv: Any, product: Any, scale: str, kernel: Any) -> None:
    """The product becomes the convolution, with a kernel that is scaled first; the convolution goes."""
    name, (pixels, weights) = product.name, conv.input
    dtype = product.attr["T"].type
    if conv.op != "Conv2D":  # a depthwise kernel is (height, width, channels, multiplier)
        scale = _added_reshape(part, f"{name}/tlkit_scale", scale, kernel[2:], dtype)
    scaled = part.node.add(name=f"{name}/tlkit_kernel", op="Mul", input=[weights, scale])
    scaled.attr["T"].type = dtype
    product.CopyFrom(conv)
    product.name = name
    product.input[:] = [pixels, scaled.name]
    part.node.remove(conv)


def _added_reshape(part: Any, name: str, tensor: str, shape: Any, dtype: int) -> str:
    sizes = part.node.add(name=f"{name}/shape", op="Const")
    sizes.attr["dtype"].type = tf.int32.as_datatype_enum
    sizes.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(list(shape), tf.int32))
    reshaped = part.node.add(name=name, op="Reshape", input=[tensor, sizes.name])
    reshaped.attr["T"].type, reshaped.attr["Tshape"].type = dtype, tf.int32.as_datatype_enum
    return name
