"""Convolutions of groups in words that TensorFlow has kernels and gradients of on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

GROUP = "/tlkit_group_"  # in the names of the convolutions of single groups, with their numbers behind it


def without_groups(nodes: Mapping[str, Any], whole: Any) -> dict[str, Any]:
    """The nodes of a graph, its convolutions of groups taken apart.

    Those of as many groups as channels become depthwise convolutions, others one convolution for each group. Keras has
    XLA compile them; without that, TensorFlow has neither gradients of them on a CPU nor a kernel with the bias fused.

    Args:
        nodes: By name.
        whole: The function that they make, of known sizes but for the batch where they are known.
    """
    taken_apart = dict(nodes)
    for conv in whole.graph.get_operations():
        if conv.name in nodes and _groups(conv) > 1:
            strides = conv.get_attr("strides")
            depthwise = conv.inputs[1].shape[2] == 1 and strides[1] == strides[2]
            parts = (_depthwise if depthwise else _apart)(nodes[conv.name], conv)
            taken_apart |= {node.name: node for node in parts.node}
    return taken_apart


def _groups(conv: Any) -> int:
    """Groups of a Conv2D, an operation of a traced graph; 0 for what is none, or of which sizes are not known."""
    if conv.type != "Conv2D" or conv.get_attr("data_format") != b"NHWC":
        return 0
    pixels, kernel = (tensor.shape for tensor in conv.inputs)
    if pixels.rank != 4 or pixels[3] is None or not kernel.is_fully_defined():
        return 0
    return int(pixels[3]) // int(kernel[2])


def _depthwise(node: Any, conv: Any) -> Any:
    """Filters (height, width, 1, channels x multiplier) as (height, width, channels, multiplier)."""
    height, width, _, filters = conv.inputs[1].shape
    channels, parts = conv.inputs[0].shape[3], tf.compat.v1.GraphDef()
    sizes = [height, width, channels, filters // channels]
    kernel = added_reshape(parts, f"{node.name}/tlkit_filters", node.input[1], sizes, node.attr["T"].type)
    depthwise = parts.node.add(name=node.name, op="DepthwiseConv2dNative", input=[node.input[0], kernel])
    for key in ("T", "strides", "padding", "explicit_paddings", "data_format", "dilations"):
        if key in node.attr:
            depthwise.attr[key].CopyFrom(node.attr[key])
    return parts


def _apart(node: Any, conv: Any) -> Any:
    """A convolution for each group, their channels behind each other."""
    name, dtype, count, parts = node.name, node.attr["T"].type, _groups(conv), tf.compat.v1.GraphDef()
    axis = _constant(parts, f"{name}/tlkit_axis", 3)
    for word, tensor in (("pixels", node.input[0]), ("filters", node.input[1])):
        split = parts.node.add(name=f"{name}/tlkit_{word}", op="Split", input=[axis, tensor])
        split.attr["T"].type, split.attr["num_split"].i = dtype, count
    for group in range(count):
        group_conv = parts.node.add(name=f"{name}{GROUP}{group}", op="Conv2D")
        group_conv.input.extend([f"{name}/tlkit_pixels:{group}", f"{name}/tlkit_filters:{group}"])
        for key, value in node.attr.items():
            group_conv.attr[key].CopyFrom(value)
    joined = parts.node.add(name=name, op="ConcatV2", input=[*(f"{name}{GROUP}{i}" for i in range(count)), axis])
    joined.attr["T"].type, joined.attr["N"].i, joined.attr["Tidx"].type = dtype, count, tf.int32.as_datatype_enum
    return parts


def _constant(part: Any, name: str, value: Any) -> str:
    node = part.node.add(name=name, op="Const")
    node.attr["dtype"].type = tf.int32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int32))
    return name


def added_reshape(part: Any, name: str, tensor: str, shape: Any, dtype: int) -> str:
    """Add a Reshape of these sizes to a GraphDef; its name."""
    sizes = _constant(part, f"{name}/shape", list(shape))
    reshaped = part.node.add(name=name, op="Reshape", input=[tensor, sizes])
    reshaped.attr["T"].type, reshaped.attr["Tshape"].type = dtype, tf.int32.as_datatype_enum
    return name
