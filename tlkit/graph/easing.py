"""Cheaper steps for the part of a graph that trains: the same function and gradients, to float tolerance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tlkit.graph.flat import Graph
from tlkit.graph.grouping import added_reshape

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def ease(graph: Graph, part: Any, fetches: Sequence[str]) -> None:
    """Change a part of a graph so that a step through it costs less.

    Scales behind convolutions, as BatchNorm has them, move into the kernels: one product as large as the pixels, and
    two on the way back, become products of the kernel's size. Then 1 x 1 convolutions become matrix products:
    TensorFlow's kernels for their gradients gather patches of one pixel first, and take 1.6 times as long with
    (32, 7, 7, 1152) pixels and 192 filters on a CPU.

    Args:
        graph: A flat graph.
        part: GraphDef of some of its nodes; it is changed.
        fetches: Names of the tensors that are read from it.
    """
    was = _fold_scales(graph, part, fetches)
    for node in [node for node in part.node if node.op == "Conv2D"]:
        conv = _operation(graph, was.get(node.name, node.name))
        if _is_pointwise(conv):
            _multiply(part, node, conv)


def _operation(graph: Graph, tensor: str) -> Any:
    return graph.whole.graph.get_operation_by_name(tensor.split(":", maxsplit=1)[0])


def _is_pointwise(conv: Any) -> bool:
    pixels, kernel = (tensor.shape for tensor in conv.inputs)
    if pixels.rank != 4 or None in pixels[1:] or not kernel.is_fully_defined():
        return False
    if pixels[3] != kernel[2]:  # those of groups have fewer
        return False
    moves = {*conv.get_attr("strides"), *conv.get_attr("dilations")} == {1}
    plain = conv.get_attr("padding") != b"EXPLICIT" and conv.get_attr("data_format") == b"NHWC"
    return bool(moves and plain and kernel[:2] == [1, 1])


def _multiply(part: Any, node: Any, conv: Any) -> None:
    """A 1 x 1 convolution as the product of pixels (n, channels) and kernel (channels, filters)."""
    name, dtype, (pixels, kernel) = node.name, node.attr["T"].type, node.input
    channels, filters = conv.inputs[1].shape[2:]
    rows = added_reshape(part, f"{name}/tlkit_pixels", pixels, [-1, channels], dtype)
    matrix = added_reshape(part, f"{name}/tlkit_matrix", kernel, [channels, filters], dtype)
    product = part.node.add(name=f"{name}/tlkit_product", op="MatMul", input=[rows, matrix])
    product.attr["T"].type = dtype
    part.node.remove(node)
    added_reshape(part, name, product.name, [-1, *conv.outputs[0].shape[1:]], dtype)


def _fold_scales(graph: Graph, part: Any, fetches: Sequence[str]) -> dict[str, str]:
    """Make `conv(x, kernel) * scale` into `conv(x, kernel * scale)` where nothing else reads the convolution.

    Returns:
        Name of each product that is a convolution now -> name of the convolution that it was.
    """
    folded = {}
    nodes = {node.name: node for node in part.node}
    uses = Counter(name.split(":")[0] for name in (*fetches, *(i for node in part.node for i in node.input)))
    for product in [node for node in part.node if node.op == "Mul"]:
        for conv, scale in (product.input, reversed(product.input)):
            convolution = nodes.get(conv.split(":")[0])
            if convolution is None or convolution.name in folded or uses[convolution.name] > 1:
                continue
            if _scales(graph, convolution, product, scale):
                folded[product.name] = convolution.name
                _fold(part, convolution, product, scale, _operation(graph, convolution.name).inputs[1].shape)
                break
    return folded


def _scales(graph: Graph, conv: Any, product: Any, scale: str) -> bool:
    """Whether a product multiplies the pixels of a convolution by one number a channel."""
    if product.attr["T"].type != tf.float32.as_datatype_enum:  # in half precision a small scale would be lost
        return False
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
        scale = added_reshape(part, f"{name}/tlkit_scale", scale, kernel[2:], dtype)
    scaled = part.node.add(name=f"{name}/tlkit_kernel", op="Mul", input=[weights, scale])
    scaled.attr["T"].type = dtype
    product.CopyFrom(conv)
    product.name = name
    product.input[:] = [pixels, scaled.name]
    part.node.remove(conv)
