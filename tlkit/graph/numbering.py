"""A written SavedModel without what differs from process to process: the same run gives the same bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tlkit.core.files import write_atomic
from tlkit.graph import _private

NUMBER = re.compile(r"_\d+$")  # behind the name of each function that TensorFlow traces
COUNTED = re.compile(r"(?<=key_value_init)\d+|(?<=_)\d+(?=___redundant_placeholder)")  # of tables, and of loops
TABLES = ("HashTableV2", "MutableHashTableV2", "MutableDenseHashTableV2")


def renumber(folder: Path) -> None:
    """Number the functions and name the tables of a SavedModel by their place in its graph.

    TensorFlow numbers functions by a counter of the process, and names tables and the fingerprint by random ids. Here
    ids are hashes of what the file holds.

    Args:
        folder: Of a SavedModel that this process has just written.
    """
    path = folder / "saved_model.pb"
    model = _private.saved_model(path.read_bytes())
    for part in model.meta_graphs:
        _rename_functions(part, _names(part))
        for function in part.graph_def.library.function:
            _rename_inside(function)
        part.graph_def.library.function.sort(key=lambda function: function.signature.name)
        _name_tables(part.graph_def, "table_{}")
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    for part in model.meta_graphs:
        _name_tables(part.graph_def, f"table_{digest[:16]}_{{}}")
    write_atomic(path, model.SerializeToString(deterministic=True))
    write_atomic(folder / "fingerprint.pb", _private.fingerprint(folder, digest[:32]))


def _names(part: Any) -> dict[str, str]:
    """Name of each function -> the same, numbered by when it is first called."""
    functions = {function.signature.name: function for function in part.graph_def.library.function}
    objects = (name for node in part.object_graph_def.nodes for name in _of_object(node))
    stack = [*reversed([*_called(part.graph_def.node), *objects, *sorted(functions)])]
    names: dict[str, str] = {}
    while stack:
        name = stack.pop()
        if name in functions and name not in names:
            names[name] = f"{NUMBER.sub('', name)}_{len(names)}"
            stack.extend(reversed([*_called(functions[name].node_def)]))
    return names


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        yield node.op
        for _, value in sorted(node.attr.items()):
            yield from (function.name for function in _functions(value))


def _functions(value: Any) -> Iterator[Any]:
    """The functions that a node's attribute names."""
    if value.HasField("func"):
        yield value.func
    yield from value.list.func


def _of_object(node: Any) -> Iterable[str]:
    kind = node.WhichOneof("kind")
    if kind == "function":
        return node.function.concrete_functions  # type: ignore[no-any-return]
    return [node.bare_concrete_function.concrete_function_name] if kind == "bare_concrete_function" else ()


def _rename_functions(part: Any, names: Mapping[str, str]) -> None:
    def new(name: str) -> str:
        return names.get(name, name)

    library, objects = part.graph_def.library, part.object_graph_def
    for function in library.function:
        function.signature.name = new(function.signature.name)
    for gradient in library.gradient:
        gradient.function_name, gradient.gradient_func = new(gradient.function_name), new(gradient.gradient_func)
    for node in _nodes(part.graph_def):
        node.op = new(node.op)
        for function in (function for value in node.attr.values() for function in _functions(value)):
            function.name = new(function.name)
    for node in objects.nodes:
        _rename_of_object(node, new)
    signatures = type(objects).FromString(objects.SerializeToString()).concrete_functions
    objects.concrete_functions.clear()
    for name, signature in signatures.items():
        objects.concrete_functions[new(name)].CopyFrom(signature)


def _rename_of_object(node: Any, new: Callable[[str], str]) -> None:
    kind = node.WhichOneof("kind")
    if kind == "function":
        node.function.concrete_functions[:] = map(new, node.function.concrete_functions)
    elif kind == "bare_concrete_function":
        node.bare_concrete_function.concrete_function_name = new(node.bare_concrete_function.concrete_function_name)
    elif kind == "captured_tensor":
        node.captured_tensor.concrete_function = new(node.captured_tensor.concrete_function)


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _rename_inside(function: Any) -> None:
    """Number what a function captured, and names that hold a number of TensorFlow, by their place in it."""
    numbers: dict[str, str] = {}
    for place, argument in enumerate(function.signature.input_arg):
        specified_name = function.arg_attr[place].attr["_user_specified_name"]
        if specified_name.s.isdigit():
            numbers[argument.name] = f"captured_value_{place}"
            specified_name.s = numbers[argument.name].encode()

    def new(name: str) -> str:
        return numbers.get(name) or COUNTED.sub(lambda match: numbers.setdefault(match[0], str(len(numbers))), name)

    outputs = {}
    for place, result in enumerate(function.signature.output_arg):
        captured = function.ret[result.name] in numbers
        outputs[result.name] = f"captured_result_{place}" if captured else result.name
        result.name = outputs[result.name]
    for argument in function.signature.input_arg:
        argument.name = new(argument.name)
    for node in function.node_def:
        node.name, node.input[:] = new(node.name), map(new, node.input)
    function.signature.control_output[:] = map(new, function.signature.control_output)
    for places, key in ((function.ret, outputs.__getitem__), (function.control_ret, new)):
        renamed = {key(name): new(source) for name, source in places.items()}
        places.clear()
        places.update(renamed)


def _name_tables(graph: Any, name: str) -> None:
    """Name each table by its place; those that share a name go on sharing one."""
    places: dict[bytes, int] = {}
    for node in _nodes(graph):
        if node.op in TABLES and node.attr["shared_name"].s:
            shared = node.attr["shared_name"].s
            node.attr["shared_name"].s = name.format(places.setdefault(shared, len(places))).encode()
