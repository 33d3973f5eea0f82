"""Functions as a SavedModel without variables, which converters open several times faster."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit.core.errors import InputError
from tlkit.graph import _private
from tlkit.graph.flat import WRITES

# Custom gradients, such as swish's, are closures of a graph that may be gone: saving them fails, and nobody needs them.
WITHOUT_GRADIENTS = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
READERS = ("ReadVariableOp", "ResourceGather")


def save_constant(functions: Mapping[str, Any], folder: Path, held: Sequence[Any] = ()) -> None:
    """Save concrete functions as signatures, the values of their variables inside them.

    Saving, opening and freezing variables one by one takes much of a conversion to TFLite. Where a function reads
    tables too, its variables stay what they are. The converter writes what several functions have in common once.

    Args:
        functions: Concrete functions by the name of their signature; each gives a dict.
        folder: Where to write; must be empty or absent.
        held: Variables and tables that they read.
    """
    root = tf.Module()
    if all(map(_reads_variables_alone, functions.values())):
        functions = {name: _constant(function) for name, function in functions.items()}
    else:
        root.held = list(held)
    with quiet_log():
        tf.saved_model.save(root, str(folder), signatures=dict(functions), options=WITHOUT_GRADIENTS)


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep TensorFlow's Python log, which tells of its own inner workings, off the user's terminal."""
    log = logging.getLogger("tensorflow")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _constant(function: Any) -> Any:
    """The function with the values of its variables inside; its outputs keep their names."""
    names, count = sorted(function.structured_outputs), len(function.captured_inputs)  # flattened in this order
    arguments = function.inputs[: len(function.inputs) - count]
    specs = [tf.TensorSpec(t.shape, t.dtype, t.op.name) for t in arguments]
    definition = _filled_in(function)
    call = _private.constant(function) if definition is None else _imported(definition, arguments, function.outputs)
    named = tf.function(
        lambda *values: dict(zip(names, tf.nest.flatten(call(*values)), strict=True)),
        input_signature=specs,
        autograph=False,
    )
    return named.get_concrete_function()


def _imported(definition: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[..., Any]:
    short = _short_names(definition, [t.op.name for t in inputs])
    definition = _renamed(definition, short)
    sources = {name for node in definition.node for name in _sources(node)}

    def call(*values: Any) -> Any:
        feeds = ((_in_short(t.name, short), value) for t, value in zip(inputs, values, strict=True))
        used_feeds = {name: value for name, value in feeds if name.split(":")[0] in sources}
        fetches = [_in_short(t.name, short) for t in outputs]
        return tf.graph_util.import_graph_def(definition, input_map=used_feeds, return_elements=fetches, name="")

    return call


class OnValues:
    """A concrete function that takes the values of its variables, so that a loop around it reads each of them once.

    Converters also know no variables in functions that are called inside of loops.
    """

    def __init__(self, function: Any) -> None:
        with tf.init_scope():
            self.variables = _captured(function)
            definition = _filled_in(function, constant=False)
        if definition is None:
            raise InputError("A function of the module does more with its variables than read them.")
        count = len(function.inputs) - len(function.captured_inputs)
        keys = sorted(function.structured_input_signature[1])
        self.inputs = dict(zip(keys, (t.op.name for t in function.inputs[:count]), strict=True))
        self.names = sorted(function.structured_outputs)
        self.outputs, self.definition = [t.name for t in function.outputs], definition
        self.taken = {name for node in definition.node for name in _sources(node)}

    def read(self) -> dict[str, Any]:
        """The values of the variables."""
        return {name: tf.convert_to_tensor(variable) for name, variable in self.variables.items()}

    def __call__(self, values: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, for values as `read` gives them and inputs by name."""
        feeds = dict(values) | {self.inputs[name]: value for name, value in tensors.items() if name in self.inputs}
        outputs = tf.graph_util.import_graph_def(
            self.definition,
            input_map={name: tf.identity(value) for name, value in feeds.items() if name in self.taken},
            return_elements=self.outputs,
            name="step",
        )
        return dict(zip(self.names, outputs, strict=True))


def _filled_in(function: Any, *, constant: bool = True) -> Any:
    """GraphDef of a function with constants in its variables' place; None where they are not merely read, or written.

    Without `constant` they are left out, for an import that maps their names to tensors.

    TensorFlow's own conversion also knows loops that carry variables. It takes three times as long, and the converter
    then takes longer too.
    """
    definition = _private.inlined_graph_def(function)
    if any(node.op.startswith(WRITES) for node in definition.node):
        return None
    nodes, variables = {node.name: node for node in definition.node}, _captured(function)
    filled = type(definition)(library=definition.library, versions=definition.versions)
    constants: set[str] = set()
    for node in _needed(nodes, [t.op.name for t in function.outputs]):
        read = [name for name in (_origin(nodes, i) for i in _sources(node)) if name in variables]
        if node.op == "Identity" and read:
            continue
        if read and node.op not in READERS:
            return None
        for name in {*read} - constants:
            if constant:
                filled.node.append(_const(name, variables[name].numpy()))
            constants.add(name)
        filled.node.extend(_of_constant(node, read[0]) if read else [_without_controls(node)])
    return filled


def _origin(nodes: Mapping[str, Any], name: str) -> str:
    """Where a tensor comes from: inlining puts an Identity in front of all that a function takes."""
    while nodes[name].op == "Identity":
        (name,) = _sources(nodes[name])
    return name


def _captured(function: Any) -> dict[str, Any]:
    """Name of the placeholder of each variable that a function captures -> the variable."""
    variables = {id(_private.handle(v)): v for v in function.graph.variables}
    inner = function.inputs[len(function.inputs) - len(function.captured_inputs) :]
    pairs = zip(inner, function.captured_inputs, strict=True)
    return {placeholder.op.name: variables[id(outer)] for placeholder, outer in pairs}


def _needed(nodes: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """The nodes that lead to some, in the order of the graph; what a variable's placeholder was is left out."""
    visited: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in visited:
            visited.add(name)
            stack.extend(_sources(nodes[name]))
    return [node for name, node in nodes.items() if name in visited and node.op != "Placeholder"]


def _short_names(definition: Any, reserved: Sequence[str]) -> dict[str, str]:
    """Names without those of the calls around them, and without numbers, which a TFLite file carries in its tensors.

    TensorFlow names what a function captures by a counter of the process: here by its place, so that the same model
    gives the same bytes in every process.
    """
    short = {node.name: node.name.rsplit("PartitionedCall/", 1)[-1] for node in definition.node}
    counted = [name for name in short if short[name].rsplit("/", 1)[-1].isdigit()]
    for place, name in enumerate(counted):
        short[name] = f"{short[name].rpartition('/')[0]}/captured_{place}".lstrip("/")
    counts = Counter([*short.values(), *reserved])
    return {name: short_name if counts[short_name] == 1 else name for name, short_name in short.items()}


def _renamed(definition: Any, names: Mapping[str, str]) -> Any:
    for node in definition.node:
        node.name = names[node.name]
        node.input[:] = [_in_short(name, names) for name in node.input]
    return definition


def _in_short(tensor: str, names: Mapping[str, str]) -> str:
    node, *place = tensor.split(":")
    return ":".join([names.get(node, node), *place])


def _sources(node: Any) -> list[str]:
    """Names of the nodes that a node takes tensors from."""
    return [name.split(":", 1)[0] for name in node.input if not name.startswith("^")]


def _without_controls(node: Any) -> Any:
    node.input[:] = [name for name in node.input if not name.startswith("^")]
    for key in ("_class", "_gradient_op_type"):
        node.attr.pop(key, None)
    return node


def _of_constant(node: Any, constant: str) -> list[Any]:
    """The nodes that read a constant as a node reads a variable."""
    dtype = node.attr["dtype"].type
    if node.op == "ReadVariableOp":
        identity = tf.compat.v1.NodeDef(name=node.name, op="Identity", input=[constant])
        identity.attr["T"].type = dtype
        return [identity]
    axis = _const(f"{node.name}/axis", np.int32(node.attr["batch_dims"].i))
    rows = tf.compat.v1.NodeDef(name=node.name, op="GatherV2", input=[constant, node.input[1], axis.name])
    rows.attr["Tparams"].type, rows.attr["Taxis"].type = dtype, tf.int32.as_datatype_enum
    rows.attr["Tindices"].CopyFrom(node.attr["Tindices"])
    rows.attr["batch_dims"].CopyFrom(node.attr["batch_dims"])
    return [axis, rows]


def _const(name: str, value: Any) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def _reads_variables_alone(function: Any) -> bool:
    handles = {id(_private.handle(v)) for v in function.graph.variables}
    return all(id(outer) in handles for outer, _ in function.graph.captures)
