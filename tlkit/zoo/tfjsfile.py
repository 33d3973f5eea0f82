"""Read a graph model of TensorFlow.js, and compute it with variables in the place of its weights."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError

CONVOLUTIONS = ("_FusedConv2D", "FusedDepthwiseConv2dNative", "Conv2D", "DepthwiseConv2dNative")


@dataclass(frozen=True, eq=False)
class TfjsGraph:
    """Nodes by name, as the file's JSON has them, and the constants among them as arrays."""

    nodes: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, np.ndarray]


def read(model: Path, weights: Path) -> TfjsGraph:
    """A model.json and its one file of weights; half precision becomes float32, whole numbers stay.

    Raises:
        InputError: If the two do not belong together, or weights are kept in another way.
    """
    model_json = json.loads(model.read_text(encoding="utf-8"))
    content, place, rows = weights.read_bytes(), 0, []
    for row in (row for group in model_json["weightsManifest"] for row in group["weights"]):
        stored_dtype = row.get("quantization", {}).get("dtype", row["dtype"])
        if stored_dtype not in ("float32", "float16", "int32"):
            raise InputError(f"{model.name} keeps {row['name']!r} as {stored_dtype}, which is not read here.")
        count = math.prod(row["shape"])
        rows.append((row, stored_dtype, place, count))
        place += count * np.dtype(stored_dtype).itemsize
    if place != len(content):
        raise InputError(f"{weights.name} has {len(content):,} bytes, and {model.name} speaks of {place:,}.")
    arrays = {
        row["name"]: np.frombuffer(content, stored_dtype, count, start).astype(row["dtype"]).reshape(row["shape"])
        for row, stored_dtype, start, count in rows
    }
    return TfjsGraph({node["name"]: node for node in model_json["modelTopology"]["node"]}, arrays)


def computed(graph: TfjsGraph, weights: Mapping[str, Any], outputs: Sequence[str]) -> list[Any]:
    """Tensors of these nodes, made with TensorFlow.

    Args:
        graph: Of convolutions, sums, products and the like; a ResizeBilinear must double the sides, and does so at any
            size of the image.
        weights: Name of a node -> its tensor: those of the weights, and of the placeholder.
        outputs: Names of nodes.

    Raises:
        InputError: If a node is of another kind.
    """
    tensors = dict(weights)
    for name in _in_order(graph, tensors, outputs):
        node = graph.nodes[name]
        tensors[name] = _result(node, [tensors[source] for source in _inputs(node)])
    return [tensors[name] for name in outputs]


def needed(graph: TfjsGraph, outputs: Sequence[str]) -> list[str]:
    """Names of the constants that these nodes rest on, each once; sizes of images that are enlarged are left out."""
    names = _in_order(graph, {}, outputs)
    return [name for name in names if graph.nodes[name]["op"] == "Const"]


def _in_order(graph: TfjsGraph, tensors: Mapping[str, Any], outputs: Sequence[str]) -> list[str]:
    """Nodes that lead to the outputs and are not known, each behind its inputs."""
    order: dict[str, None] = {}
    stack = list(reversed(outputs))
    while stack:
        name = stack[-1]
        missing = [source for source in _inputs(graph.nodes[name]) if source not in order and source not in tensors]
        if missing and name not in order:
            stack.extend(reversed(missing))
            continue
        stack.pop()
        if name not in tensors:
            order.setdefault(name)
    return list(order)


def _inputs(node: Mapping[str, Any]) -> list[str]:
    inputs = list(node.get("input", ()))
    return inputs[:1] if node["op"] == "ResizeBilinear" else inputs


def _words(node: Mapping[str, Any], name: str) -> list[str]:
    return [base64.b64decode(word).decode() for word in node["attr"][name]["list"].get("s", ())]


def _result(node: Mapping[str, Any], inputs: list[Any]) -> Any:
    import tensorflow as tf

    kind = node["op"]
    if kind in CONVOLUTIONS:
        return _convolution(node, inputs)
    if kind == "ResizeBilinear":
        return _doubled(inputs[0])
    if kind == "Mean":
        return tf.reduce_mean(inputs[0], axis=(1, 2), keepdims=True)
    if kind == "ConcatV2":
        return tf.concat(inputs[:-1], axis=-1)
    plain = {
        "Mul": tf.multiply, "Add": tf.add, "Relu": tf.nn.relu, "Relu6": tf.nn.relu6, "Sigmoid": tf.sigmoid,
        "Identity": tf.identity,
    }  # fmt: skip
    if kind not in plain:
        raise InputError(f"The node {node['name']!r} is a {kind}, which is not read here.")
    return plain[kind](*inputs)


def _convolution(node: Mapping[str, Any], inputs: list[Any]) -> Any:
    import tensorflow as tf

    strides = [int(size) for size in node["attr"]["strides"]["list"]["i"]]
    padding = base64.b64decode(node["attr"]["padding"]["s"]).decode()
    apply = tf.nn.depthwise_conv2d if "Depthwise" in node["op"] else tf.nn.conv2d
    x = apply(inputs[0], inputs[1], strides, padding)
    for step in _words(node, "fused_ops") if "fused_ops" in node["attr"] else ():
        x = tf.nn.bias_add(x, inputs[2]) if step == "BiasAdd" else {"Relu": tf.nn.relu, "Relu6": tf.nn.relu6}[step](x)
    return x


def _doubled(x: Any) -> Any:
    """Twice as high and wide, with places between the nearest two as TensorFlow 1 had them."""
    import tensorflow as tf

    sides = 2 * tf.shape(x)[1:3]  # asked, as the image may have another size
    return tf.raw_ops.ResizeBilinear(images=x, size=sides, align_corners=False, half_pixel_centers=False)
