"""Where a file's name comes from: followed backwards through a SavedModel's graph, its functions, loops and branches.

What is not on the short lists of this file ends a path with "a computed name": a name is good only if it *is* an
asset's path (or, for a checkpoint, the path that whoever loads or saves the module gives), not if it is made from one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tlkit.hub.dataflow import (
    CALLS,
    Body,
    Place,
    Program,
    below,
    data_inputs,
    node_name,
    output_position,
    variable_name,
)
from tlkit.hub.opsets import CHECKPOINT_READERS, CHECKPOINT_WRITERS

Tensor = tuple[str, str]  # name of a body, and of a tensor in it

ASSET, GIVEN, PLACEHOLDER = "asset", "the checkpoint's path", "a placeholder"
_COMPUTED = "a computed name"
_FIRST_INPUT = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot", "EnsureShape", "Reshape"})
_FIRST_INPUT |= {"Switch", "Enter", "Exit", "NextIteration"}  # loops and branches of TF1
_NAMES_SHARDS = frozenset({"ShardedFilename", "ShardedFilespec"})
_SHARD_SUFFIX = re.compile(rb"\.part|_temp(_[0-9a-f]+)?/part")  # what TensorFlow's own savers add


def origins(program: Program, names: Iterable[Tensor], *, shards: bool = False) -> dict[Tensor, frozenset[str]]:
    """What each of these names may be: "asset", or words for something else.

    Args:
        program: The graph.
        names: Tensors that hold names of files.
        shards: Whether the name of a part of a checkpoint stands for the checkpoint's.

    Returns:
        For each tensor all that it may be; nothing where no path through the graph ends.
    """
    starts = tuple(dict.fromkeys(names))
    users: dict[Tensor, list[Tensor]] = {}
    ends: dict[str, set[Tensor]] = {}
    waiting, visited = list(starts), set(starts)
    while waiting:
        tensor = waiting.pop()
        sources, labels = _sources(program, tensor, shards)
        for label in labels:
            ends.setdefault(label, set()).add(tensor)
        for source in sources:
            users.setdefault(source, []).append(tensor)
        new = set(sources) - visited
        visited |= new
        waiting += new
    reached = {label: _downstream(tensors, users) for label, tensors in ends.items()}
    return {tensor: frozenset(label for label, tensors in reached.items() if tensor in tensors) for tensor in starts}


def licensed_checkpoints(program: Program) -> frozenset[Place]:
    """The checkpoint operations that belong to the saver, or to nothing that can run.

    The saver gets the path of its file from whoever saves or restores; it may hand it on and name its parts, no more.
    Restoring runs while a TF1-format module is loaded, so it must not lead to a writer.
    """
    places = {
        (body.name, node.name): node
        for body in program.bodies.values()
        for node in body.nodes.values()
        if node.op in CHECKPOINT_READERS | CHECKPOINT_WRITERS
    }
    if not places:
        return frozenset()
    names = {place: _file_names(place[0], node) for place, node in places.items()}
    kinds = origins(program, [t for tensors in names.values() for t in tensors], shards=True)
    may_be = {place: {k for t in tensors for k in kinds[t] or (_COMPUTED,)} for place, tensors in names.items()}
    run = program.used | program.saved | program.restored
    leftovers = {p for p in places if not p[0] and p[1] not in run}  # of an earlier saver: nothing can run them
    readers, writers = _of_the_saver(program)
    return frozenset(
        place
        for place, node in places.items()
        if (may_be[place] == {GIVEN} and place in (writers if node.op in CHECKPOINT_WRITERS else readers))
        or (place in leftovers and may_be[place] <= {GIVEN, PLACEHOLDER})
    )


def _file_names(body: str, node: Any) -> list[Tensor]:
    return [(body, tensor) for tensor in data_inputs(node)[: 2 if node.op == "MergeV2Checkpoints" else 1]]


def _of_the_saver(program: Program) -> tuple[set[Place], set[Place]]:
    """What nothing but the saver runs: where it may read, and where it may write."""
    top = frozenset(program.bodies[""].nodes)
    outside = below(program, program.used | (top - program.saved - program.restored), program.bound)
    restored, saved = below(program, program.restored), below(program, program.saved)
    return (saved | restored) - outside, saved - restored - outside


def _downstream(starts: Iterable[Tensor], users: Mapping[Tensor, list[Tensor]]) -> set[Tensor]:
    reached = set(starts)
    waiting = list(reached)
    while waiting:
        new = set(users.get(waiting.pop(), ())) - reached
        reached |= new
        waiting += new
    return reached


def _sources(program: Program, tensor: Tensor, shards: bool) -> tuple[list[Tensor], list[str]]:
    """The tensors that a tensor may be, and words where it is something of its own."""
    body = program.bodies[tensor[0]]
    name = node_name(tensor[1])
    if name in body.arguments:
        whole = tensor[1] in (name, f"{name}:0")
        return _argument_sources(program, body, body.arguments[name]) if whole else ([], [_COMPUTED])
    node = body.nodes.get(name)
    if node is None or tensor[1].startswith("^"):
        return [], [_COMPUTED]
    if not body.name:
        if name in program.asset_tensors:
            return [], [ASSET]
        if program.saver.filename_tensor_name in (name, f"{name}:0"):
            return [], [GIVEN if tensor[1] in (name, f"{name}:0") else _COMPUTED]
    values = _values(program, body, node, tensor[1], shards)
    if values is not None:
        return values, []
    kinds = {"Const": "a constant", "Placeholder": PLACEHOLDER, "PlaceholderWithDefault": PLACEHOLDER}
    return [], [kinds.get(node.op, _COMPUTED)]


def _values(program: Program, body: Body, node: Any, tensor: str, shards: bool) -> list[Tensor] | None:
    """The tensors of which a node hands on one as it is, or None where it makes its own."""
    position = output_position(program, body, node, tensor)
    if node.op in _FIRST_INPUT or (shards and node.op in _NAMES_SHARDS):
        return _inputs(body, node, 0, 1)
    if node.op == "Merge" and position == 0:
        return _inputs(body, node, 0, len(data_inputs(node)))
    if node.op == "IdentityN":
        return _inputs(body, node, position, 1)
    if node.op in CALLS or (node.op and node.op in program.bodies):
        return _call_values(program, body, node, position)
    if node.op == "ReadVariableOp" and not body.name:
        handle = body.nodes.get(node_name(node.input[0])) if node.input else None
        assigned = program.variables.get(variable_name(handle) or "")
        return None if assigned is None else [("", value) for value in assigned]
    if shards and node.op == "Pack" and position == 0:
        return _inputs(body, node, 0, len(data_inputs(node)))
    if shards and node.op == "StringJoin" and _adds_a_suffix(body, node):
        return _inputs(body, node, 0, 1)
    return None


def _call_values(program: Program, body: Body, node: Any, position: int) -> list[Tensor] | None:
    """A function's results; those of all branches; of a loop's body or, where it turns no time, the loop's input."""
    if node.op in program.bodies:
        functions: list[str] = [node.op]
    else:
        keys = [k for k in CALLS[node.op][0] if k != "cond"]
        functions = [
            f.name for k in keys if k in node.attr for f in (node.attr[k].func, *node.attr[k].list.func) if f.name
        ]
    values: list[Tensor] = []
    for name in functions:
        callee = program.bodies.get(name)
        if callee is None or not 0 <= position < len(callee.returned):
            return None
        values.append((name, callee.returned[position]))
    if node.op in ("While", "StatelessWhile"):
        start = _inputs(body, node, position, 1)
        return None if start is None else values + start
    return values or None


def _inputs(body: Body, node: Any, start: int, count: int) -> list[Tensor] | None:
    chosen = [node.input[i] for i in range(start, min(start + count, len(node.input)))] if start >= 0 else []
    fine = len(chosen) == count > 0 and not any(c.startswith("^") for c in chosen)
    return [(body.name, c) for c in chosen] if fine else None


def _argument_sources(program: Program, body: Body, index: int) -> tuple[list[Tensor], list[str]]:
    labels = [_COMPUTED] if body.name in program.open else []
    if body.name in program.bound:
        kinds = program.bound[body.name]
        behind = index - (len(body.arguments) - len(kinds))
        labels.append(kinds[behind] if behind >= 0 and len(kinds) <= len(body.arguments) else "an input")
    sources: list[Tensor] = []
    for caller, node in program.callers.get(body.name, ()):
        before = 0 if node.op == body.name else CALLS[node.op][1]
        sources.append((caller, node.input[index + before]))
        if node.op in ("While", "StatelessWhile"):
            turned = _turned(program, node, index)
            sources += turned
            labels += [] if turned else [_COMPUTED]
    return sources, labels


def _turned(program: Program, node: Any, index: int) -> list[Tensor]:
    """What a loop's body hands to its next turn."""
    inner = program.bodies.get(node.attr["body"].func.name) if "body" in node.attr else None
    return [(inner.name, inner.returned[index])] if inner is not None and index < len(inner.returned) else []


def _adds_a_suffix(body: Body, node: Any) -> bool:
    inputs = data_inputs(node)
    separated = "separator" in node.attr and node.attr["separator"].s
    return len(inputs) == 2 and not separated and all(_is_suffix(v) for v in _constants(body, inputs[1]))


def _constants(body: Body, tensor: str) -> list[Any]:
    """The constant, or the two that a savers' choice is between; [None] for anything else."""
    node = body.nodes.get(node_name(tensor))
    if node is not None and node.op in ("Select", "SelectV2"):
        return [body.nodes.get(node_name(i)) for i in data_inputs(node)[1:3]] or [None]
    return [node]


def _is_suffix(node: Any) -> bool:
    if node is None or node.op != "Const":
        return False
    content = node.attr["value"].tensor
    return len(content.string_val) == 1 and bool(_SHARD_SUFFIX.fullmatch(content.string_val[0]))
