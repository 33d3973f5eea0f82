"""Who feeds whom in a SavedModel's graph and functions: read from the protocol buffer, nothing is run.

Two questions are answered here that a list of operations cannot: does a checkpoint operation belong to the saver
alone, and does a file name come from the module's own assets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# How the inputs of a call line up with the arguments of the function that it calls: how many come before them.
_BEFORE = {"PartitionedCall": 0, "StatefulPartitionedCall": 0, "While": 0, "StatelessWhile": 0}
_BEFORE |= {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}
_SAME_VALUE = ("Identity", "IdentityN", "StopGradient", "EnsureShape", "Reshape")

Place = tuple[str, str]  # name of a function ("" for the top graph), name of a node in it


@dataclass(frozen=True)
class Body:
    """The top graph (name "") or one function: its nodes by name, and the names of its arguments."""

    name: str
    nodes: Mapping[str, Any]
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """One meta graph of a SavedModel.

    Attributes:
        bodies: The top graph and every function, by name.
        callers: For each function, the nodes that name it and the names of the bodies that these are in.
        bound: For each function of the object graph, the kinds of what fills its last arguments.
        assets: AssetFileDefs: tensor and file name.
        saver: The SaverDef.
        ends: Nodes of the top graph that signatures return or that run when the module is loaded.
    """

    bodies: Mapping[str, Body]
    callers: Mapping[str, Sequence[tuple[str, Any]]]
    bound: Mapping[str, tuple[str, ...]]
    assets: tuple[Any, ...]
    saver: Any
    ends: frozenset[str]


def read_program(meta: Any) -> Program:
    """Everything that the scan asks about one MetaGraphDef."""
    bodies = {"": Body("", {n.name: n for n in meta.graph_def.node})}
    for function in meta.graph_def.library.function:
        name, arguments = function.signature.name, tuple(a.name for a in function.signature.input_arg)
        bodies[name] = Body(name, {n.name: n for n in function.node_def}, arguments)
    callers: dict[str, list[tuple[str, Any]]] = {}
    for body in bodies.values():
        for node in body.nodes.values():
            for name in called(node, bodies):
                callers.setdefault(name, []).append((body.name, node))
    return Program(
        bodies=bodies,
        callers=callers,
        bound=_bound(meta.object_graph_def),
        assets=_assets(meta),
        saver=meta.saver_def,
        ends=_ends(meta),
    )


def called(node: Any, bodies: Mapping[str, Body]) -> set[str]:
    """Functions that a node names: in its attributes, or as its operation."""
    names = {f.name for v in node.attr.values() for f in (v.func, *v.list.func)} | {node.op}
    return {n for n in names if n and n in bodies}


def is_savers(program: Program, place: Place, *, writes: bool) -> bool:
    """Whether a checkpoint operation belongs to the saver, and nothing else leads to it.

    Saving and restoring get the name of their file from whoever runs them, so an operation that does not depend on one
    is not the saver's. Restoring runs while a TF1-format module is loaded, so it must not lead to a writer.
    """
    saver, top = program.saver, program.bodies[""]
    if not _takes_its_file_name(program, place):
        return False
    saving = above(top, [saver.save_tensor_name])
    restoring = above(top, [saver.restore_op_name])
    shared = above(top, program.ends) | (set(top.nodes) - saving - restoring)
    outside = _reached(program, shared, program.bound)
    inside = _reached(program, saving) if writes else _reached(program, saving | restoring)
    return place in inside - outside - (_reached(program, restoring) if writes else set())


def file_name_origins(program: Program, place: Place, position: int) -> set[str]:
    """Where a file name comes from: "asset", or a word for something else; nothing where no one calls its function."""
    body = program.bodies[place[0]]
    return set(_origins(program, body, body.nodes[place[1]].input[position], frozenset()))


def above(body: Body, starts: Iterable[str]) -> set[str]:
    """Names of the nodes and arguments that these depend on, through data or control, themselves included."""
    found: set[str] = set()
    waiting = [node_name(s) for s in starts if s]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [node_name(i) for i in body.nodes[name].input] if name in body.nodes else []
    return found


def node_name(tensor: str) -> str:
    """The node (or argument) that makes a tensor, or that a control input names."""
    return tensor.removeprefix("^").split(":")[0]


def _takes_its_file_name(program: Program, place: Place) -> bool:
    body = program.bodies[place[0]]
    sources = above(body, list(body.nodes[place[1]].input)[:1])
    given = set(body.arguments) if body.name else {node_name(program.saver.filename_tensor_name)}
    return bool(sources & given)


def _reached(program: Program, top_nodes: Iterable[str], functions: Iterable[str] = ()) -> set[Place]:
    """Nodes of the top graph, and all that the functions which they call lead to."""
    top = program.bodies[""]
    found = {("", name) for name in top_nodes if name in top.nodes}
    waiting = [f for _, name in found for f in called(top.nodes[name], program.bodies)] + list(functions)
    done: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in done or name not in program.bodies:
            continue
        done.add(name)
        nodes = program.bodies[name].nodes
        found |= {(name, n) for n in nodes}
        waiting += [f for n in nodes.values() for f in called(n, program.bodies)]
    return found


def _origins(program: Program, body: Body, tensor: str, seen: frozenset[Place]) -> Iterator[str]:
    name = node_name(tensor)
    if (body.name, name) in seen:
        return
    seen |= {(body.name, name)}
    if name in body.arguments:
        yield from _argument_origins(program, body, body.arguments.index(name), seen)
    elif not body.name and name in {node_name(a.tensor_info.name) for a in program.assets}:
        yield "asset"
    else:
        sources = _value_sources(program, body, name)
        for source in sources or ():
            yield from _origins(program, body, source, seen)
        if sources is None:
            node = body.nodes.get(name)
            yield "a constant" if node is not None and node.op == "Const" else "a computed name"


def _value_sources(program: Program, body: Body, name: str) -> list[str] | None:
    """Tensors whose value a node hands on, or None where it makes its own."""
    node = body.nodes.get(name)
    if node is not None and node.op in _SAME_VALUE:
        return [i for i in node.input if not i.startswith("^")]
    if node is not None and node.op == "ReadVariableOp" and not body.name:
        return _assigned(program, node_name(node.input[0]))
    return None


def _assigned(program: Program, handle: str) -> list[str] | None:
    """What is assigned to a variable of the top graph, or None where something else could write to it.

    TensorFlow hands an asset's path through such a variable; shared names make one variable of several handles.
    """
    top = program.bodies[""]
    variable = _variable_name(top.nodes.get(handle))
    places = [(b, n) for b in program.bodies.values() for n in b.nodes.values() if _variable_name(n) == variable]
    if variable is None or any(body.name for body, _ in places):
        return None
    handles = {node.name for _, node in places}
    users = [n for n in top.nodes.values() if handles & {node_name(i) for i in n.input if not i.startswith("^")}]
    if any(n.op not in ("AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp") for n in users):
        return None
    return [n.input[1] for n in users if n.op == "AssignVariableOp"] or None


def _variable_name(node: Any) -> str | None:
    if node is None or node.op != "VarHandleOp":
        return None
    return node.attr["shared_name"].s.decode("utf-8", "replace") or str(node.name)


def _argument_origins(program: Program, body: Body, index: int, seen: frozenset[Place]) -> Iterator[str]:
    if body.name in program.bound:
        kinds = program.bound[body.name]
        behind = index - (len(body.arguments) - len(kinds))
        yield kinds[behind] if behind >= 0 else "an input"
    for caller, node in program.callers.get(body.name, ()):
        before = 0 if node.op == body.name else _BEFORE.get(node.op)
        inputs = [i for i in node.input if not i.startswith("^")]
        if before is None or index + before >= len(inputs):
            yield "a computed name"
        else:
            yield from _origins(program, program.bodies[caller], inputs[index + before], seen)


def _bound(objects: Any) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(str(objects.nodes[i].WhichOneof("kind")) for i in function.bound_inputs)
        for name, function in objects.concrete_functions.items()
    }


def _assets(meta: Any) -> tuple[Any, ...]:
    """From both places where the loaders look."""
    from tensorflow.core.protobuf import meta_graph_pb2

    found = list(meta.asset_file_def)
    listed = "saved_model_assets" in meta.collection_def  # asking for a missing key would make it
    for packed in meta.collection_def["saved_model_assets"].any_list.value if listed else ():
        asset = meta_graph_pb2.AssetFileDef()
        packed.Unpack(asset)
        found.append(asset)
    return tuple(found)


def _ends(meta: Any) -> frozenset[str]:
    signatures = [n for s in meta.signature_def.values() for t in s.outputs.values() for n in _tensor_names(t)]
    collections = [name for c in meta.collection_def.values() for name in c.node_list.value]
    return frozenset(node_name(name) for name in (*signatures, *collections))


def _tensor_names(info: Any) -> list[str]:
    sparse = info.coo_sparse
    parts = [n for component in info.composite_tensor.components for n in _tensor_names(component)]
    names = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name, *parts]
    return [n for n in names if n]
