"""An export format: one TensorFlow GraphDef with its weights inside, for clients that load frozen graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import tlkit

# The file: a line of JSON (names of the tensors, what the file says of itself), then the GraphDef.


def write(source: tlkit.Source, target: Path) -> None:
    """The default signature of the SavedModel, whose weights are constants already."""
    import tensorflow as tf

    function = tf.saved_model.load(str(source.saved_model)).signatures["serving_default"]
    if function.variables:
        raise tlkit.InputError("The model keeps variables beside tables, which no frozen graph can hold: leave it out.")
    names = sorted(function.structured_outputs)  # TensorFlow gives the outputs of a signature in this order
    head = {
        "inputs": {tensor.op.name: tensor.name for tensor in function.inputs},
        "outputs": {name: tensor.name for name, tensor in zip(names, function.outputs, strict=True)},
        "card": dict(source.metadata.card),
    }
    target.write_bytes(json.dumps(head).encode() + b"\n" + function.graph.as_graph_def().SerializeToString())


def opened(path: Path, threads: int) -> tlkit.Opened:
    """The file ready to run, in TensorFlow without Keras."""
    import tensorflow as tf

    line, _, content = path.read_bytes().partition(b"\n")
    head = json.loads(line)
    graph_def = tf.compat.v1.GraphDef.FromString(content)
    inputs, outputs = sorted(head["inputs"]), sorted(head["outputs"])

    def imported() -> None:
        tf.graph_util.import_graph_def(graph_def, name="")

    wrapped = tf.compat.v1.wrap_function(imported, [])
    function = wrapped.prune(
        [wrapped.graph.get_tensor_by_name(head["inputs"][name]) for name in inputs],
        [wrapped.graph.get_tensor_by_name(head["outputs"][name]) for name in outputs],
    )

    def call(feeds: dict[str, np.ndarray]) -> dict[str, Any]:
        dtypes = [tensor.dtype for tensor in function.inputs]
        tensors = function(*(tf.cast(feeds[name], dtype) for name, dtype in zip(inputs, dtypes, strict=True)))
        return {name: value.numpy() for name, value in zip(outputs, tensors, strict=True)}

    return tlkit.Opened(call=call, card=head["card"], owner=function)


FROZEN_GRAPH = tlkit.Format(name=f"{__name__}.FROZEN_GRAPH", file="model.pb", write=write, open=opened)
