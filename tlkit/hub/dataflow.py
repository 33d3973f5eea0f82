"""Who feeds whom in a SavedModel's graph and functions: read from the protocol buffer, nothing is run.

Everything here takes time and memory in proportion to the graph, whatever its shape: a stranger made it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkit.hub.flaws import flaws_of

# Operations that call a function with their own inputs: the attributes that name it, and how many inputs come before.
CALLS: Mapping[str, tuple[tuple[str, ...], int]] = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), (("f",), 0)),
    **dict.fromkeys(("While", "StatelessWhile"), (("cond", "body"), 0)),
    **dict.fromkeys(("If", "StatelessIf"), (("then_branch", "else_branch"), 1)),
    **dict.fromkeys(("Case", "StatelessCase"), (("branches",), 1)),
}
INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_VARIABLE_USERS = ("AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp")

Place = tuple[str, str]  # name of a function ("" for the top graph), name of a node in it


@dataclass(frozen=True)
class Body:
    """The top graph (name "") or one function.

    Attributes:
        name: The function's name.
        nodes: Its nodes by name.
        arguments: Position of each argument, by name.
        results: Position of each result, by name.
        returned: What each result returns.
    """

    name: str
    nodes: Mapping[str, Any]
    arguments: Mapping[str, int]
    results: Mapping[str, int]
    returned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """One meta graph of a SavedModel.

    Attributes:
        bodies: The top graph and every function, by name.
        callers: For each function, the nodes that call it with as many inputs as it takes, with the bodies they are in.
        open: Functions that may get their arguments from somewhere else too.
        bound: For each function of the object graph, the kinds of what fills its last arguments.
        files: File names of the assets.
        asset_tensors: Nodes of the top graph whose only output is an asset's path whenever something reads it.
        variables: For each variable of the top graph, the tensors assigned to it, or None where others can write it.
        saver: The SaverDef.
        restored: Nodes of the top graph that restoring a checkpoint runs.
        saved: Nodes of the top graph that writing a checkpoint runs.
        used: Nodes of the top graph that anything else runs: signatures, initialization, collections.
        flaws: What makes the graph impossible to follow: what, where and why.
    """

    bodies: Mapping[str, Body]
    callers: Mapping[str, Sequence[tuple[str, Any]]]
    open: frozenset[str]
    bound: Mapping[str, tuple[str, ...]]
    files: tuple[str, ...]
    asset_tensors: frozenset[str]
    variables: Mapping[str, tuple[str, ...] | None]
    saver: Any
    restored: frozenset[str]
    saved: frozenset[str]
    used: frozenset[str]
    flaws: tuple[tuple[str, str, str], ...]


def read_program(meta: Any) -> Program:
    """Everything that the scan asks about one MetaGraphDef."""
    library = meta.graph_def.library
    bodies = {"": Body("", {n.name: n for n in meta.graph_def.node}, {}, {})}
    bodies |= {f.signature.name: _function(f) for f in library.function if f.signature.name}
    top = bodies[""]
    callers, open_functions = _callers(bodies)
    saver = meta.saver_def
    init, others = _starts(meta)
    restored, saved = above(top, [saver.restore_op_name]), above(top, [saver.save_tensor_name])
    used = above(top, others)
    files, tensors = _assets(meta)
    return Program(
        bodies=bodies,
        callers=callers,
        open=frozenset(open_functions | _open(library, bodies)),
        bound=_bound(meta.object_graph_def),
        files=files,
        asset_tensors=_paths(meta, top, tensors, used | restored | saved),
        variables=_variables(meta, bodies),
        saver=saver,
        restored=restored,
        saved=saved,
        used=used | above(top, init),
        flaws=tuple(flaws_of(meta)),
    )


def functions_of(node: Any) -> Iterator[tuple[str, str, bool]]:
    """Each function that a node's attributes name: the attribute, the function, and whether it is nested in another."""
    waiting = [(key, value, False) for key, value in node.attr.items()]
    while waiting:
        key, value, nested = waiting.pop()
        kind = value.WhichOneof("value")
        if kind not in ("func", "list"):
            continue
        for function in (value.func,) if kind == "func" else value.list.func:
            yield key, function.name, nested
            waiting += [(key, inner, True) for inner in function.attr.values()]


def called(node: Any, bodies: Mapping[str, Body]) -> set[str]:
    """Functions that a node names: in its attributes, nested ones too, or as its operation."""
    names = {name for _, name, _ in functions_of(node)} | {node.op}
    return {n for n in names if n and n in bodies}


def data_inputs(node: Any) -> list[str]:
    """A node's inputs without those that only say what runs before it."""
    return [i for i in node.input if not i.startswith("^")]


def above(body: Body, starts: Iterable[str]) -> frozenset[str]:
    """Names of the nodes and arguments that these depend on, through data or control, themselves included."""
    reached: set[str] = set()
    waiting = [node_name(s) for s in starts if s]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [node_name(i) for i in body.nodes[name].input] if name in body.nodes else []
    return frozenset(reached)


def below(program: Program, top_nodes: Iterable[str], functions: Iterable[str] = ()) -> set[Place]:
    """Nodes of the top graph, and all that the functions which they call lead to."""
    top = program.bodies[""]
    reached = {("", name) for name in top_nodes if name in top.nodes}
    waiting = [f for _, name in reached for f in called(top.nodes[name], program.bodies)] + list(functions)
    visited: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in visited or name not in program.bodies:
            continue
        visited.add(name)
        nodes = program.bodies[name].nodes
        reached |= {(name, n) for n in nodes}
        waiting += [f for n in nodes.values() for f in called(n, program.bodies)]
    return reached


def node_name(tensor: str) -> str:
    """The node (or argument) that makes a tensor, or that a control input names."""
    return tensor.removeprefix("^").split(":")[0]


def variable_name(node: Any) -> str | None:
    """The name by which a node reaches a variable; nodes with equal names share it."""
    if node is None or node.op != "VarHandleOp":
        return None
    return node.attr["shared_name"].s.decode("utf-8", "replace") or str(node.name)


def _function(function: Any) -> Body:
    arguments = {a.name: i for i, a in enumerate(function.signature.input_arg)}
    results = {a.name: i for i, a in enumerate(function.signature.output_arg)}
    returned = tuple(function.ret.get(a.name, "") for a in function.signature.output_arg)
    nodes = {n.name: n for n in function.node_def}
    return Body(function.signature.name, nodes, arguments, results, returned)


def _callers(bodies: Mapping[str, Body]) -> tuple[dict[str, list[tuple[str, Any]]], set[str]]:
    """The calls that can be followed, and the functions that anything else names."""
    callers: dict[str, list[tuple[str, Any]]] = {}
    unclear: set[str] = set()
    for body in bodies.values():
        for node in body.nodes.values():
            keys, before = CALLS.get(node.op, ((), 0))
            calls = [(name, key in keys and not nested) for key, name, nested in functions_of(node)]
            inputs = len(data_inputs(node)) if calls or node.op in bodies else 0
            for name, clear in [*calls, *([(node.op, True)] if node.op and node.op in bodies else [])]:
                if not name or name not in bodies:
                    continue
                takes = len(bodies[name].arguments) + (0 if name == node.op else before)
                if clear and inputs == takes:
                    callers.setdefault(name, []).append((body.name, node))
                else:
                    unclear.add(name)
    return callers, unclear


def _open(library: Any, bodies: Mapping[str, Body]) -> set[str]:
    """Functions that TensorFlow may call without a node that says so, or whose arguments are lists.

    Gradients are called by their own table, and a function that says what it implements can take another's place.
    """
    reached = {g.gradient_func for g in library.registered_gradients}
    reached |= {name for g in library.gradient for name in (g.function_name, g.gradient_func)}
    for function in library.function:
        arguments = (*function.signature.input_arg, *function.signature.output_arg)
        if "api_implements" in function.attr or any(a.number_attr or a.type_list_attr for a in arguments):
            reached.add(function.signature.name)
    names = {name.encode() for name in bodies if name}
    attributes = (v for b in bodies.values() for n in b.nodes.values() for v in n.attr.values())
    attributes_of_functions = (v for f in library.function for v in f.attr.values())
    for values in (attributes, attributes_of_functions):
        reached |= {s.decode() for v in values for s in _strings(v) if s in names}
    return reached


def _strings(value: Any) -> Sequence[bytes]:
    kind = value.WhichOneof("value")
    if kind == "s":
        return (value.s,)
    return value.list.s if kind == "list" else ()


def _starts(meta: Any) -> tuple[list[str], list[str]]:
    """Names that the loaders run with the assets' paths filled in, and all the others that anything may run."""
    init = [n for key in _INIT_COLLECTIONS for n in _listed(meta, key)]
    others = [n for key in meta.collection_def for n in _listed(meta, key) if key not in _INIT_COLLECTIONS]
    for key, signature in meta.signature_def.items():
        plain = not signature.inputs and set(signature.outputs) == {INIT_SIGNATURE}
        names = [n for t in signature.outputs.values() for n in _tensor_names(t)]
        is_init = key == INIT_SIGNATURE and plain and ":" not in "".join(names)
        (init if is_init else others).extend(names)
    others += [n for v in _variable_defs(meta) for n in (v.initial_value_name, v.initializer_name, v.snapshot_name)]
    _, tensors = _assets(meta)
    return init, [n for n in others if node_name(n) not in tensors]  # to name a path alone reads nothing


def _listed(meta: Any, key: str) -> Sequence[str]:
    return list(meta.collection_def[key].node_list.value) if key in meta.collection_def else ()


def _variable_defs(meta: Any) -> Iterator[Any]:
    """Variables that collections describe: the loaders make them with a value that no assignment shows."""
    from google.protobuf import message  # type: ignore[import-untyped]
    from tensorflow.core.framework import variable_pb2

    for collection in meta.collection_def.values():
        for packed in collection.bytes_list.value:
            try:
                yield variable_pb2.VariableDef.FromString(packed)
            except message.DecodeError:
                continue  # a saver or a loop


def _bound(objects: Any) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(_kind(objects.nodes[i]) if i < len(objects.nodes) else "missing" for i in function.bound_inputs)
        for name, function in objects.concrete_functions.items()
    }


def _kind(node: Any) -> str:
    return "a registered object" if node.registered_name else str(node.WhichOneof("kind"))


def _assets(meta: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    """The file names of both places where assets are listed, and the tensors of the place that the loaders look at."""
    from tensorflow.core.protobuf import meta_graph_pb2

    direct = list(meta.asset_file_def)
    listed = []
    key = "saved_model_assets"  # asking for a missing key would make it
    for packed in meta.collection_def[key].any_list.value if key in meta.collection_def else ():
        asset = meta_graph_pb2.AssetFileDef()
        packed.Unpack(asset)
        listed.append(asset)
    tensors = {node_name(a.tensor_info.name): a.tensor_info.name for a in direct or listed}
    return tuple(a.filename for a in (*direct, *listed)), tensors


def _paths(meta: Any, top: Body, tensors: Mapping[str, str], elsewhere: frozenset[str]) -> frozenset[str]:
    """Nodes that are an asset's path whenever something reads them.

    The loaders fill them in only while the module is initialized. At any other time a placeholder is an error, but a
    constant is whatever its author wrote into it, so nothing else may depend on it.
    """
    inputs = {node_name(n) for s in meta.signature_def.values() for t in s.inputs.values() for n in _tensor_names(t)}
    paths = set()
    for name, tensor in tensors.items():
        op = top.nodes[name].op if name in top.nodes else ""
        filled = op == "Placeholder" or (op == "Const" and name not in elsewhere)
        if filled and name not in inputs and tensor in (name, f"{name}:0"):
            paths.add(name)
    return frozenset(paths)


def _variables(meta: Any, bodies: Mapping[str, Body]) -> dict[str, tuple[str, ...] | None]:
    """What is assigned to each variable of the top graph, or None where something else could write to it.

    TensorFlow hands an asset's path through such a variable; shared names make one variable of several handles.
    """
    top = bodies[""]
    handles = {name: handle for name, node in top.nodes.items() if (handle := variable_name(node)) is not None}
    assigned: dict[str, list[str]] = {name: [] for name in handles.values()}
    inner = (variable_name(n) for body in bodies.values() if body.name for n in body.nodes.values())
    shared = {name for name in inner if name is not None}
    for variable in _variable_defs(meta):
        shared |= {handles.get(node_name(variable.variable_name), ""), node_name(variable.variable_name)}
    for node in top.nodes.values():
        for position, tensor in enumerate(node.input):
            name = handles.get(node_name(tensor)) if not tensor.startswith("^") else None
            if name is None:
                continue
            if position or node.op not in _VARIABLE_USERS:
                shared.add(name)
            elif node.op == "AssignVariableOp":
                assigned[name].append(node.input[1] if len(node.input) > 1 else "")
    if any(n.op == "_VarHandlesOp" for body in bodies.values() for n in body.nodes.values()):
        shared |= set(assigned)  # it names variables in a list
    return {name: tuple(values) if values and name not in shared else None for name, values in assigned.items()}


def _tensor_names(info: Any) -> list[str]:
    sparse = info.coo_sparse
    parts = [n for component in info.composite_tensor.components for n in _tensor_names(component)]
    names = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name, *parts]
    return [n for n in names if n]


def output_position(program: Program, body: Body, node: Any, tensor: str) -> int:
    """Which output of a node a tensor is, or -1 where its name does not say.

    The top graph counts ("node:2"); functions name an output of the operation and count from there ("node:output:2").
    """
    parts = tensor.split(":")
    if not body.name:
        return int(parts[1]) if len(parts) == 2 and re.fullmatch(r"\d{1,9}", parts[1]) else -(len(parts) > 1)
    if len(parts) != 3 or not re.fullmatch(r"\d{1,9}", parts[2]):
        return -1
    if node.op in program.bodies:
        return program.bodies[node.op].results.get(parts[1], -1) if parts[2] == "0" else -1
    return int(parts[2]) if parts[1] == "output" else -1
