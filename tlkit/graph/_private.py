"""Every name of TensorFlow that is not public, in one place; tests/unit/graph/test_private_names.py pins them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, fingerprint_pb2, rewriter_config_pb2, saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.saved_model.pywrap_saved_model.fingerprinting import CreateFingerprintDef
from tensorflow.python.training.saver import export_meta_graph


def inlined_graph_def(function: Any) -> Any:
    """The function's GraphDef after Grappler's `function` pass: nested calls become plain ops, loops stay loops."""
    definition = function.graph.as_graph_def()
    _keep_control_flow(definition)
    meta = export_meta_graph(graph_def=definition, graph=function.graph)
    for side, tensors in (("inputs", function.inputs), ("outputs", function.outputs)):
        for i, tensor in enumerate(tensors):
            info = getattr(meta.signature_def["all"], side)[str(i)]
            info.name, info.dtype = tensor.name, tensor.dtype.as_datatype_enum
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.min_graph_nodes = -1  # small graphs too
    rewrite.optimizers[:] = ["function"]
    rewrite.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    return tf_optimizer.OptimizeGraph(config, meta)


def _keep_control_flow(definition: Any) -> None:
    """Take off the mark by which the pass turns While and If into Switch and Merge, and what stops inlining.

    Functions that XLA is to compile are among that: Keras has convolutions of groups in such ones.
    """
    bodies = [definition.node, *(f.node_def for f in definition.library.function)]
    for node in (node for body in bodies for node in body):
        for key in ("_lower_using_switch_merge", "_XlaMustCompile"):
            node.attr.pop(key, None)
    for function in definition.library.function:
        for key in ("api_implements", "_noinline", "_XlaMustCompile"):
            function.attr.pop(key, None)


def captured(external: Any) -> Any:
    """An outer tensor's stand-in inside the function that is being traced."""
    graph = tf.compat.v1.get_default_graph()
    return graph.capture(external, name="tlkit_capture")


def watch(function: Any, variables: Sequence[Any]) -> None:
    """Tell a function which variables it reads, so that gradient tapes watch them when it is called."""
    function.graph.variables = variables


def handle(variable: Any) -> Any:
    """The resource tensor that functions capture in a variable's place."""
    return variable.handle


def constant(function: Any) -> Any:
    """A concrete function with the values of its variables inside it; loops stay loops."""
    return convert_variables_to_constants_v2(function, lower_control_flow=False)


def saved_model(content: bytes) -> Any:
    """The message that a saved_model.pb holds."""
    return saved_model_pb2.SavedModel.FromString(content)


def fingerprint(folder: Path, uuid: str) -> bytes:
    """Content of fingerprint.pb for a SavedModel, with an id of one's own."""
    definition = fingerprint_pb2.FingerprintDef.FromString(CreateFingerprintDef(str(folder)))
    definition.uuid = uuid
    return definition.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
