"""Names of TensorFlow that are not public and that tlkit/graph rests on; a test fails with the name that moved."""

import importlib
from pathlib import Path

import pytest
import tensorflow as tf

import tlkit.graph
from tlkit.graph import _private

NAMES = [
    "tensorflow.core.protobuf.config_pb2.ConfigProto",
    "tensorflow.core.protobuf.rewriter_config_pb2.RewriterConfig.ONE",
    "tensorflow.python.grappler.tf_optimizer.OptimizeGraph",
    "tensorflow.python.training.saver.export_meta_graph",
    "tensorflow.python.framework.op_def_registry.get",
    "tensorflow.python.framework.convert_to_constants.convert_variables_to_constants_v2",
    "tensorflow.core.protobuf.saved_model_pb2.SavedModel",
    "tensorflow.core.protobuf.fingerprint_pb2.FingerprintDef",
    "tensorflow.python.saved_model.pywrap_saved_model.fingerprinting.CreateFingerprintDef",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_private_name_is_where_it_was(name):
    parts = name.split(".")
    module = next(".".join(parts[:i]) for i in (len(parts) - 1, len(parts) - 2) if _imports(".".join(parts[:i])))
    owner = importlib.import_module(module)
    for part in parts[len(module.split(".")) :]:
        assert hasattr(owner, part), f"TensorFlow {tf.__version__} has moved {name}"
        owner = getattr(owner, part)


def _imports(module):
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def function():
    variable = tf.Variable(2.0)
    keep.append(variable)
    return tf.function(lambda x: x * variable).get_concrete_function(tf.TensorSpec((), tf.float32))


keep = []


def test_a_function_s_captures_are_its_last_inputs(function):
    assert len(function.inputs) == 2, "ConcreteFunction.inputs"
    assert function.captured_inputs[0] is keep[0].handle, "ConcreteFunction.captured_inputs"


def test_a_function_s_graph_lists_its_variables_and_takes_others(function):
    assert list(function.graph.variables) == keep, "FuncGraph.variables"
    _private.watch(function, keep)
    assert list(function.graph.variables) == keep, "FuncGraph.variables' setter"


def test_a_graph_captures_an_outer_tensor(function):
    outer, names = tf.constant([3.0] * 1000), []

    @tf.function
    def inner():
        names.append(_private.captured(outer).op.type)
        return _private.captured(outer) + 1.0

    assert float(inner()[0]) == 4.0, "FuncGraph.capture"
    assert names[0] == "Placeholder", "FuncGraph.capture"


def test_an_op_knows_whether_it_has_state(function):
    kinds = {op.type: op.op_def.is_stateful for op in function.graph.get_operations()}
    assert kinds["ReadVariableOp"] and not kinds["Mul"], "Operation.op_def.is_stateful"


def test_a_captured_handle_keeps_the_shape_of_its_variable():
    kernel = tf.Variable(tf.zeros((3, 5)))
    function = tf.function(lambda x: x @ kernel).get_concrete_function(tf.TensorSpec((None, 3), tf.float32))
    graph = tlkit.graph.flatten(function, [kernel])
    assert graph.whole.outputs[0].shape.as_list() == [None, 5], "FuncGraph.capture no longer copies handle data"


def test_private_modules_are_named_in_two_files_only():
    folder = Path(tlkit.graph.__file__).parent
    users = {f.name for f in folder.glob("*.py") if "tensorflow.python" in f.read_text()}
    assert users <= {"_private.py", "registry.py"}
