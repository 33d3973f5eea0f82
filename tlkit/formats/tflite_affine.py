"""The last step of TFLite files that give values: from standardised outputs to each column's own unit, in float32.

The converter makes float16 or int8 of every constant it sees, so this step is written behind what it converted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

Scale = tuple[Sequence[float], Sequence[float]]  # factor and offset of each column


def scaled(model: bytes, scales: Mapping[tuple[str, str], Scale]) -> bytes:
    """A TFLite file with a MUL and an ADD of float32 behind some of its outputs.

    Args:
        model: Content of the file; these outputs are float32.
        scales: Factor and offset of each column, by signature and output.
    """
    from ai_edge_litert import schema_py_generated as schema

    if not scales:
        return model
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for signature in tree.signatureDefs:
        graph = tree.subgraphs[signature.subgraphIndex]
        for entry in signature.outputs:
            scale = scales.get((signature.signatureKey.decode(), entry.name.decode()))
            if scale is not None:
                _append(schema, tree, graph, entry, scale)
    builder = flatbuffers.Builder(len(model) + 65536)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _append(schema: Any, tree: Any, graph: Any, entry: Any, scale: Scale) -> None:
    before = entry.tensorIndex
    multiplied = _operation(schema, tree, graph, "MUL", before, np.asarray(scale[0], np.float32))
    after = _operation(schema, tree, graph, "ADD", multiplied, np.asarray(scale[1], np.float32))
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
