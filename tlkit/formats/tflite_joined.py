"""Two TFLite files as one: the first may be quantised, the second stays what it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlkit.formats import tflite_tree


def joined(first: bytes, second: bytes) -> bytes:
    """A file that gives what the second makes of what the first gives.

    Args:
        first: With one signature, whose outputs are float32.
        second: With one signature, whose inputs have the names and shapes of these outputs.
    """
    tree, behind = tflite_tree.opened(first), tflite_tree.opened(second)
    graph, further = tree.subgraphs[0], behind.subgraphs[0]
    outputs = {_text(entry.name): entry.tensorIndex for entry in tree.signatureDefs[0].outputs}
    renumbered = {entry.tensorIndex: outputs[_text(entry.name)] for entry in behind.signatureDefs[0].inputs}
    count, buffers, codes = len(graph.tensors), len(tree.buffers), len(tree.operatorCodes)

    def moved(indices: Any) -> np.ndarray:
        return np.array([renumbered.get(int(i), int(i) + count if i >= 0 else -1) for i in indices], np.int32)

    for tensor in further.tensors:
        tensor.buffer += buffers
        tensor.name = b"decode/" + (tensor.name or b"")
    for operation in further.operators:
        operation.opcodeIndex += codes
        operation.inputs, operation.outputs = moved(operation.inputs), moved(operation.outputs)
        operation.intermediates = None
    tree.operatorCodes += behind.operatorCodes
    tree.buffers += behind.buffers
    graph.tensors += further.tensors
    graph.operators = [*graph.operators, *further.operators]
    graph.outputs = moved(further.outputs)
    for entry in behind.signatureDefs[0].outputs:
        (entry.tensorIndex,) = moved([entry.tensorIndex]).tolist()
    tree.signatureDefs[0].outputs = behind.signatureDefs[0].outputs
    tree.metadata = None  # of the first alone: what runtime it needs
    return tflite_tree.written(tree, len(first) + len(second))


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
