"""TF1 modules hold reference variables, which TensorFlow 2 can run but not hand out: make resource variables of them.

With them a TF1-format module trains, and its weights can be saved, like any other. The graph is rewritten as data,
before it is loaded; the checkpoint fits both kinds, because names and shapes stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("VariableV2", "Variable")
_WRITES = {"Assign": "AssignVariableOp", "AssignAdd": "AssignAddVariableOp", "AssignSub": "AssignSubVariableOp"}
_READ = "/tlkit_read"


def with_resource_variables(data: bytes) -> bytes:
    """The bytes of a saved_model.pb, with every reference variable turned into a resource variable.

    Left as it is where there is none, or where one is used in a way that has no counterpart (an operation that goes
    on with what an assignment returns): such a module still computes, but cannot be trained.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(data)
    per_graph = [_references(meta) for meta in model.meta_graphs]
    if not any(per_graph) or any(
        _has_no_counterpart(m, refs) for m, refs in zip(model.meta_graphs, per_graph, strict=True)
    ):
        return data
    for meta, references in zip(model.meta_graphs, per_graph, strict=True):
        _rewrite(meta, references)
    return bytes(model.SerializeToString(deterministic=True))


def _references(meta: Any) -> dict[str, int]:
    """Names of the reference variables, and their dtypes."""
    return {n.name: n.attr["dtype"].type for n in meta.graph_def.node if n.op in KINDS}


def _has_no_counterpart(meta: Any, references: Mapping[str, int]) -> bool:
    assigned = {n.name for n in meta.graph_def.node if n.op in _WRITES and _source(n) in references}
    consumed = {_name(i) for n in meta.graph_def.node for i in n.input if not i.startswith("^")}
    strange = (n for n in meta.graph_def.node if _source(n) in references and _updates_in_place(n.op))
    return bool(assigned & consumed) or any(strange)


def _updates_in_place(op: str) -> bool:
    """Optimizer steps and scatters; writing an assignment's own kind is fine."""
    return op not in _WRITES and op.startswith(("Scatter", "Apply", "SparseApply", "Assign", "CountUpTo", "RefSwitch"))


def _rewrite(meta: Any, references: Mapping[str, int]) -> None:
    for node in list(meta.graph_def.node):
        if node.name in references:
            _make_handle(node)
        elif any(_name(i) in references for i in node.input):
            _adapt(node, references)
    for name, dtype in references.items():
        read_op = meta.graph_def.node.add(name=name + _READ, op="ReadVariableOp", input=[name])
        read_op.attr["dtype"].type = dtype
    for collection in meta.collection_def.values():
        for i, packed in enumerate(collection.bytes_list.value):
            collection.bytes_list.value[i] = _as_resource(packed, references)
    meta.meta_info_def.ClearField("stripped_op_list")  # it lists the operations of before


def _make_handle(node: Any) -> None:
    node.op = "VarHandleOp"
    node.attr["shared_name"].s = node.attr["shared_name"].s or node.name.encode()
    for key in set(node.attr) - {"dtype", "shape", "shared_name", "container"}:
        del node.attr[key]


def _adapt(node: Any, references: Mapping[str, int]) -> None:
    """An operation that takes a variable gets the handle where it writes, and the value where it reads."""
    dtype = references.get(_source(node))
    new = {**_WRITES, "IsVariableInitialized": "VarIsInitializedOp"}.get(node.op)
    if dtype is not None and new is not None:
        node.op = new
        node.attr.clear()
        if new != "VarIsInitializedOp":
            node.attr["dtype"].type = dtype
        first = 1
    else:
        first = 0
    for i, source in enumerate(node.input):
        if i >= first and not source.startswith("^") and _name(source) in references:
            node.input[i] = _name(source) + _READ
    if "_class" in node.attr:
        del node.attr["_class"]


def _as_resource(packed: bytes, references: Mapping[str, int]) -> bytes:
    """A VariableDef in a collection that says of which kind the variable is now; anything else as it was."""
    from google.protobuf import message  # type: ignore[import-untyped]
    from tensorflow.core.framework import variable_pb2

    try:
        variable = variable_pb2.VariableDef.FromString(packed)
    except message.DecodeError:
        return packed
    if _name(variable.variable_name) not in references:
        return packed
    variable.is_resource = True
    variable.snapshot_name = _name(variable.variable_name) + _READ + ":0"
    return bytes(variable.SerializeToString())


def _source(node: Any) -> str:
    return next((_name(i) for i in node.input if not i.startswith("^")), "")


def _name(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def remaining(meta_graphs: Any) -> Iterator[str]:
    """Names of the reference variables that are still there."""
    for meta in meta_graphs:
        yield from _references(meta)
