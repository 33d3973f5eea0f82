"""The last step of TFLite files that give values: from standardised outputs to each column's own unit, in float32.

The converter makes float16 or int8 of every constant it sees, so this step is written behind what it converted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.formats import tflite_tree

Scale = tuple[Sequence[float], Sequence[float]]  # factor and offset of each column


def scaled(model: bytes, scales: Mapping[tuple[str, str], Scale]) -> bytes:
    """A TFLite file with a MUL and an ADD of float32 behind some of its outputs.

    Args:
        model: Content of the file; these outputs are float32.
        scales: Factor and offset of each column, by signature and output.
    """
    if not scales:
        return model
    tree = tflite_tree.opened(model)
    for signature in tree.signatureDefs:
        graph = tree.subgraphs[signature.subgraphIndex]
        for entry in signature.outputs:
            scale = scales.get((signature.signatureKey.decode(), entry.name.decode()))
            if scale is not None:
                _append(tree, graph, entry, scale)
    return tflite_tree.written(tree, len(model))


def _append(tree: Any, graph: Any, entry: Any, scale: Scale) -> None:
    schema, before = tflite_tree.schema(), entry.tensorIndex
    multiplied = _operation(tree, graph, "MUL", schema.MulOptionsT(), before, np.asarray(scale[0], np.float32))
    after = _operation(tree, graph, "ADD", schema.AddOptionsT(), multiplied, np.asarray(scale[1], np.float32))
    graph.tensors[after].name, graph.tensors[before].name = graph.tensors[before].name, b"standardised"
    graph.outputs = np.array([after if index == before else index for index in graph.outputs], np.int32)
    entry.tensorIndex = after


def _operation(tree: Any, graph: Any, kind: str, options: Any, source: int, values: np.ndarray) -> int:
    """Append one operation of a tensor and a constant, and return the index of the tensor that it gives."""
    second = tflite_tree.constant(tree, graph, f"{kind.lower()}_constant", values)
    like = graph.tensors[source]
    output = tflite_tree.tensor(graph, kind.lower(), like.shape, like=like)
    graph.operators.append(tflite_tree.operation(tree, kind, [source, second], [output], options=options))
    return output
