"""TFLite files whose weights lie in them as 8 bits and are computed with in float32; tables that lie in them once.

Rows of a weight have a scale each. A DEQUANTIZE in front of a product makes float32 of it once, when the file is first
run; of a table in which tokens are looked up the rows are taken as bytes, and multiplied by their scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.formats import tflite_tree

ROWS = {"FULLY_CONNECTED": 0, "CONV_2D": 0, "TRANSPOSE_CONV": 0, "DEPTHWISE_CONV_2D": 3, "GATHER": 0}  # axis of scales
LEFT = 0.01  # share of the weights' bytes, the smallest of them, that stay float32: tables of sines are among them
LARGEST = 127


@dataclass(frozen=True)
class Weight:
    """A constant in 8 bits.

    Attributes:
        values: int8.
        scales: float32, one for each place of `axis`.
        axis: Whose places have scales.
    """

    values: np.ndarray
    scales: np.ndarray
    axis: int


def in_bytes(model: bytes) -> bytes:
    """A float32 file with its weights in 8 bits.

    Args:
        model: Content of the file.
    """
    tree = tflite_tree.opened(model)
    weights = {number: _quantised(tree, number, *settings) for number, settings in _chosen(tree).items()}
    for number, weight in weights.items():
        tree.buffers[number].data = np.frombuffer(weight.values.tobytes(), np.uint8)
    for graph in tree.subgraphs:
        _widened(tree, graph, weights)
    tree.metadata = None  # says what runtime the float32 file needs
    return tflite_tree.written(tree, len(model) // 4)


def shared(model: bytes) -> bytes:
    """A file with weights of 8 bits in which a table that is also the head's lies once: its rows are the head's.

    The converter makes two of them, as a lookup has one scale for a table, and a product one for each row.

    Args:
        model: Content of the file.
    """
    tree = tflite_tree.opened(model)
    same = _same_tables(tree)
    for graph in tree.subgraphs if same else ():
        graph.operators = _from_heads(tree, graph, same)
        for tensor in graph.tensors:
            tensor.buffer = same[tensor.buffer][0] if tensor.buffer in same else tensor.buffer
    for number in same:
        tree.buffers[number].data = None
    return tflite_tree.written(tree, len(model)) if same else model


def _chosen(tree: Any) -> dict[int, tuple[tuple[int, ...], int]]:
    """Shape and axis of scales of the constants that become 8 bits, by number of the buffer."""
    kinds = {getattr(tflite_tree.schema().BuiltinOperator, kind): axis for kind, axis in ROWS.items()}
    uses: dict[int, set[tuple[tuple[int, ...], int]]] = {}
    for graph in tree.subgraphs:
        axes: dict[int, set[int]] = {int(index): {-1} for index in (*graph.inputs, *graph.outputs)}
        for op in graph.operators:
            kind = tflite_tree.kind_of(tree, op)
            weight = 0 if kind == tflite_tree.schema().BuiltinOperator.GATHER else 1
            for place, index in enumerate(op.inputs):
                axes.setdefault(int(index), set()).add(kinds.get(kind, -1) if place == weight else -1)
        for index, tensor in enumerate(graph.tensors):
            if tensor.type == tflite_tree.schema().TensorType.FLOAT32 and tree.buffers[tensor.buffer].data is not None:
                shape = tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()
                uses.setdefault(tensor.buffer, set()).update((shape, axis) for axis in axes.get(index, ()))
    fit = {number: shapes for number, shapes in uses.items() if all(axis >= 0 and len(s) > axis for s, axis in shapes)}
    sizes = {number: len(tree.buffers[number].data) for number, shapes in fit.items() if len(shapes) == 1}
    order = sorted(sizes, key=lambda number: (sizes[number], number))
    below = np.cumsum([sizes[number] for number in order]) <= LEFT * sum(sizes.values())
    return {number: next(iter(fit[number])) for number, small in zip(order, below, strict=True) if not small}


def _quantised(tree: Any, number: int, shape: tuple[int, ...], axis: int) -> Weight:
    values = np.frombuffer(bytes(tree.buffers[number].data), np.float32).reshape(shape)
    others = tuple(i for i in range(len(shape)) if i != axis)
    scales = np.abs(values).max(axis=others) / LARGEST
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    wide = scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return Weight(np.clip(np.round(values / wide), -LARGEST, LARGEST).astype(np.int8), scales, axis)


def _widened(tree: Any, graph: Any, weights: Mapping[int, Weight]) -> None:
    """A graph that makes float32 of its weights of 8 bits."""
    before: list[Any] = []
    looked: dict[int, list[Any]] = {}
    for index in range(len(graph.tensors)):
        weight = weights.get(graph.tensors[index].buffer)
        if weight is None:
            continue
        _in_steps(graph.tensors[index], weight.scales, weight.axis)
        users = [op for op in graph.operators if index in op.inputs]
        lookups = [op for op in users if _by_row(tree, op, weight)]
        if len(lookups) < len(users):
            before.append(_dequantised(tree, graph, index, weight, [op for op in users if op not in lookups]))
        number = graph.tensors[index].buffer
        looked |= {id(op): _looked_up(tree, graph, op, weight, number, int(op.outputs[0])) for op in lookups}
    graph.operators = before + [part for op in graph.operators for part in looked.get(id(op), [op])]


def _by_row(tree: Any, op: Any, weight: Weight) -> bool:
    """Whether an operation takes rows out of a table."""
    options = op.builtinOptions
    gather = tflite_tree.kind_of(tree, op) == tflite_tree.schema().BuiltinOperator.GATHER
    return gather and weight.values.ndim == 2 and options.axis == 0 and options.batchDims == 0


def _dequantised(tree: Any, graph: Any, index: int, weight: Weight, users: list[Any]) -> Any:
    """The operation that gives a weight in float32 to those who use it."""
    tensor = graph.tensors[index]
    wide = tflite_tree.tensor(graph, "float32_" + tensor.name.decode(), tensor.shape)
    for op in users:
        op.inputs = np.array([wide if i == index else i for i in op.inputs], np.int32)
    options = tflite_tree.schema().DequantizeOptionsT()
    return tflite_tree.operation(tree, "DEQUANTIZE", [index], [wide], 5 if len(weight.scales) > 1 else 2, options)


def _in_steps(tensor: Any, scales: np.ndarray, axis: int) -> None:
    """Say of a tensor that it is of int8, in steps of these sizes."""
    schema = tflite_tree.schema()
    tensor.type, tensor.quantization = schema.TensorType.INT8, schema.QuantizationParametersT()
    tensor.quantization.scale = scales.astype(np.float32)
    tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
    tensor.quantization.quantizedDimension = axis


def _looked_up(tree: Any, graph: Any, op: Any, weight: Weight, number: int, output: int) -> list[Any]:
    """The operations that take rows of a buffer as bytes, and multiply them by their scales.

    Args:
        tree: Of the file.
        graph: Of the lookup.
        op: The lookup.
        weight: The table.
        number: Of its buffer.
        output: Index of the float32 tensor that they give.
    """
    schema, like, ids = tflite_tree.schema(), graph.tensors[output], int(op.inputs[1])
    name = like.name.decode()
    rows = tflite_tree.tensor(graph, name + "_table", weight.values.shape, number)
    few, wide, whole = (
        tflite_tree.tensor(graph, f"{name}_{end}", like.shape, like=like) for end in ("row", "size", "int")
    )
    for index in (rows, few):
        _in_steps(graph.tensors[index], np.ones(1, np.float32), 0)
    sizes = tflite_tree.constant(tree, graph, name + "_sizes", weight.scales[:, None])
    for field in ("shape", "shapeSignature"):
        sized = getattr(like, field)
        setattr(graph.tensors[wide], field, None if sized is None else np.array([*sized[:-1], 1], np.int32))
    return [
        tflite_tree.operation(tree, "GATHER", [rows, ids], [few], 2, schema.GatherOptionsT()),
        tflite_tree.operation(tree, "DEQUANTIZE", [few], [whole], 2, schema.DequantizeOptionsT()),
        tflite_tree.operation(tree, "GATHER", [sizes, ids], [wide], 1, schema.GatherOptionsT()),
        tflite_tree.operation(tree, "MUL", [whole, wide], [output], 1, schema.MulOptionsT()),
    ]


# -- a table in two copies


def _same_tables(tree: Any) -> dict[int, tuple[int, Weight]]:
    """Numbers of the buffers of tables that are looked up in, each with the head that is the same but for rounding."""
    schema = tflite_tree.schema()
    tables: dict[int, Any] = {}
    heads: dict[int, Any] = {}
    others: set[int] = set()
    for graph in tree.subgraphs:
        bytes_of = {i: t for i, t in enumerate(graph.tensors) if t.type == schema.TensorType.INT8 and _known(tree, t)}
        for op in graph.operators:
            kind = tflite_tree.kind_of(tree, op)
            for place, tensor in ((p, bytes_of[int(i)]) for p, i in enumerate(op.inputs) if int(i) in bytes_of):
                scales = len(tensor.quantization.scale)
                if kind == schema.BuiltinOperator.GATHER and scales == 1 and _widened_at_once(tree, graph, op):
                    tables[tensor.buffer] = tensor
                elif kind == schema.BuiltinOperator.FULLY_CONNECTED and place == 1 and scales == tensor.shape[0]:
                    heads[tensor.buffer] = tensor
                else:
                    others.add(tensor.buffer)
    weights = {number: _weight(tree, tensor) for number, tensor in heads.items()}
    return {
        number: (head, weight)
        for number, tensor in tables.items()
        for head, weight in weights.items()
        if number not in others and _near(_weight(tree, tensor), weight)
    }


def _known(tree: Any, tensor: Any) -> bool:
    return tree.buffers[tensor.buffer].data is not None and tensor.quantization is not None


def _weight(tree: Any, tensor: Any) -> Weight:
    values = np.frombuffer(bytes(tree.buffers[tensor.buffer].data), np.int8).reshape(tensor.shape)
    return Weight(values, np.asarray(tensor.quantization.scale, np.float32), 0)


def _near(table: Weight, head: Weight) -> bool:
    """Whether two weights of 8 bits come of one: no number is further off than both were rounded."""
    if table.values.shape != head.values.shape:
        return False
    difference = np.abs(table.values * table.scales[:, None] - head.values * head.scales[:, None])
    return bool((difference <= 0.51 * (table.scales + head.scales)[:, None]).all())


def _widened_at_once(tree: Any, graph: Any, op: Any) -> bool:
    """Whether what a lookup gives goes nowhere but into operations that make float32 of it."""
    (output,) = op.outputs
    users = [tflite_tree.kind_of(tree, other) for other in graph.operators if output in other.inputs]
    options = op.builtinOptions
    wide = all(kind == tflite_tree.schema().BuiltinOperator.DEQUANTIZE for kind in users)
    return wide and output not in graph.outputs and options.axis == 0 and options.batchDims == 0


def _from_heads(tree: Any, graph: Any, same: Mapping[int, tuple[int, Weight]]) -> list[Any]:
    """A graph's operations, with lookups in the heads' rows."""
    gather = tflite_tree.schema().BuiltinOperator.GATHER
    lookups = {
        int(op.outputs[0]): op
        for op in graph.operators
        if tflite_tree.kind_of(tree, op) == gather and graph.tensors[op.inputs[0]].buffer in same
    }
    operators: list[Any] = []
    for op in graph.operators:
        lookup = lookups.get(int(op.inputs[0])) if len(op.inputs) == 1 else None
        if lookup is not None:
            number, weight = same[graph.tensors[lookup.inputs[0]].buffer]
            operators += _looked_up(tree, graph, lookup, weight, number, int(op.outputs[0]))
        elif not any(op is other for other in lookups.values()):
            operators.append(op)
    return operators
