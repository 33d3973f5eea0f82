"""The last step of TFLite files that give values: from standardised outputs to each column's own unit, in float32.

The converter makes float16 or int8 of every constant it sees, so this step is written behind what it converted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

from tlkit.core.task import Task
from tlkit.formats.tflite import DEFAULT
from tlkit.tasks.affine import Affine


def standardised(task: Task) -> Task:
    """The task with outputs, and those of its heads, before they get their unit."""
    heads = {name: standardised(head) for name, head in task.heads.items()}
    if heads:
        decode = {name: head.decode for name, head in heads.items()}
        return dataclasses.replace(
            task, heads=heads, decode=lambda raw: {name: own(raw[name]) for name, own in decode.items()}
        )
    return dataclasses.replace(task, decode=task.decode.standard) if isinstance(task.decode, Affine) else task


def scales(task: Task) -> dict[tuple[str, str], Affine]:
    """What is to be done behind the outputs, by signature and output."""
    if not task.heads:
        return {(DEFAULT, task.output): task.decode} if isinstance(task.decode, Affine) else {}
    own = {name: head.decode for name, head in task.heads.items() if isinstance(head.decode, Affine)}
    names = {name: task.heads[name].output for name in own}
    in_all = {(DEFAULT, name): scale for name, scale in own.items()}
    return in_all | {(name, names[name]): scale for name, scale in own.items()}


def in_units(model: bytes, found: Mapping[tuple[str, str], Affine]) -> bytes:
    """A TFLite file with a MUL and an ADD of float32 behind some of its outputs.

    Args:
        model: Content of the file; these outputs are float32.
        found: Of `scales`.
    """
    from ai_edge_litert import schema_py_generated as schema

    if not found:
        return model
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for signature in tree.signatureDefs:
        graph = tree.subgraphs[signature.subgraphIndex]
        for entry in signature.outputs:
            scale = found.get((signature.signatureKey.decode(), entry.name.decode()))
            if scale is not None:
                _append(schema, tree, graph, entry, scale)
    builder = flatbuffers.Builder(len(model) + 65536)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _append(schema: Any, tree: Any, graph: Any, entry: Any, scale: Affine) -> None:
    before = entry.tensorIndex
    multiplied = _operation(schema, tree, graph, "MUL", before, np.asarray(scale.factor, np.float32))
    after = _operation(schema, tree, graph, "ADD", multiplied, np.asarray(scale.offset, np.float32))
    graph.tensors[after].name, graph.tensors[before].name = graph.tensors[before].name, b"standardised"
    graph.outputs = np.array([after if index == before else index for index in graph.outputs], np.int32)
    entry.tensorIndex = after


def _operation(schema: Any, tree: Any, graph: Any, kind: str, taken: int, constant: np.ndarray) -> int:
    """Append one operation of a tensor and a constant, and return the index of the tensor that it gives."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(constant.tobytes(), np.uint8)
    tree.buffers.append(buffer)
    second = _tensor(schema, graph, f"{kind.lower()}_constant", list(constant.shape), len(tree.buffers) - 1)
    given = _tensor(schema, graph, kind.lower(), graph.tensors[taken].shape, 0)
    graph.tensors[given].shapeSignature = graph.tensors[taken].shapeSignature
    operation = schema.OperatorT()
    operation.opcodeIndex = _code(schema, tree, getattr(schema.BuiltinOperator, kind))
    operation.inputs, operation.outputs = np.array([taken, second], np.int32), np.array([given], np.int32)
    options = {"MUL": "MulOptions", "ADD": "AddOptions"}[kind]
    operation.builtinOptionsType = getattr(schema.BuiltinOptions, options)
    operation.builtinOptions = getattr(schema, f"{options}T")()
    graph.operators.append(operation)
    return given


def _tensor(schema: Any, graph: Any, name: str, shape: Any, buffer: int) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name.encode(), np.asarray(shape, np.int32), buffer
    tensor.type = schema.TensorType.FLOAT32
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _code(schema: Any, tree: Any, builtin: int) -> int:
    """Index of version 1 of a built-in operation, which takes float32."""
    for index, code in enumerate(tree.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == 1:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    tree.operatorCodes.append(code)
    return len(tree.operatorCodes) - 1
