"""A TFLite file as a tree of records that can be changed, and written again."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np


def schema() -> Any:
    """The records of TFLite's files."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def opened(content: bytes) -> Any:
    """The tree of a file."""
    return schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))


def written(tree: Any, size: int) -> bytes:
    """The file of a tree.

    Args:
        tree: Of `opened`.
        size: Bytes that it has at least, about.
    """
    builder = flatbuffers.Builder(size + 65536)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def constant(tree: Any, graph: Any, name: str, value: np.ndarray) -> int:
    """Append a float32 tensor of known values, which lie in the file once, and return its index."""
    content = np.frombuffer(value.tobytes(), np.uint8)
    for number, buffer in enumerate(tree.buffers):
        if buffer.data is not None and np.array_equal(buffer.data, content):
            return tensor(graph, name, value.shape, number)
    buffer = schema().BufferT()  # LiteRT 1.3 takes no fields here
    buffer.data = content
    tree.buffers.append(buffer)
    return tensor(graph, name, value.shape, len(tree.buffers) - 1)


def tensor(graph: Any, name: str, shape: Any, buffer: int = 0, like: Any = None) -> int:
    """Append a float32 tensor, and return its index.

    Args:
        graph: Where.
        name: Of it.
        shape: Of it.
        buffer: Number of the buffer of its values; 0 is none.
        like: A tensor of the same shape, whose open sizes it has too.
    """
    added = schema().TensorT()
    added.name, added.shape, added.buffer = name.encode(), np.asarray(shape, np.int32), buffer
    added.type = schema().TensorType.FLOAT32
    added.shapeSignature = None if like is None else like.shapeSignature
    graph.tensors.append(added)
    return len(graph.tensors) - 1


def operation(tree: Any, kind: str, inputs: Any, outputs: Any, version: int = 1, options: Any = None) -> Any:
    """A built-in operation, which no graph has yet.

    Args:
        tree: Whose list of operations gets it, where it is new.
        kind: Name of the operation, such as "MUL".
        inputs: Indices of tensors.
        outputs: Indices of tensors.
        version: Of the operation.
        options: Its record of options, such as MulOptionsT().
    """
    op = schema().OperatorT()
    op.opcodeIndex = _code(tree, getattr(schema().BuiltinOperator, kind), version)
    op.inputs, op.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    if options is not None:
        op.builtinOptionsType = getattr(schema().BuiltinOptions, type(options).__name__.removesuffix("T"))
        op.builtinOptions = options
    return op


def kind_of(tree: Any, op: Any) -> int:
    """Number of the built-in operation that one of a graph's operations is."""
    code = tree.operatorCodes[op.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _code(tree: Any, builtin: int, version: int) -> int:
    for index, code in enumerate(tree.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return index
    code = schema().OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = version
    tree.operatorCodes.append(code)
    return len(tree.operatorCodes) - 1
