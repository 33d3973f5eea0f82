"""What makes a graph impossible to follow, or to open: names that stand for two things, attributes left open, bombs.

TensorFlow's own exporters write none of these, so they are refused rather than judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

MOST_NODES = 2_000_000  # the largest published modules have some hundred thousand
MOST_BYTES = 4 << 30  # of constants that are written shorter than they are, all together
_LARGEST_RANK = 254  # TensorFlow's own bound
_WIDTHS = {2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 7: 16, 8: 8, 9: 8, 10: 1, 14: 2, 17: 2, 18: 16, 19: 2, 22: 4, 23: 8}
_RESOURCE, _VARIANT = 20, 21

Flaw = tuple[str, str, str]  # what, where, why


def flaws_of(meta: Any) -> Iterator[Flaw]:
    """Everything about one MetaGraphDef that the scan cannot see through."""
    graph = meta.graph_def
    yield from _names("", (n.name for n in graph.node))
    for function in graph.library.function:
        arguments = (a.name for a in function.signature.input_arg)
        yield from _names(function.signature.name, [*arguments, *(n.name for n in function.node_def)])
        yield from _names(function.signature.name, (a.name for a in function.signature.output_arg))
    yield from _function_names(f.signature.name for f in graph.library.function)
    size = 0
    for body, node in _nodes(graph):
        size += sum(_expanded(v) for v in node.attr.values())
        yield from _attributes(body, node)
        if size > MOST_BYTES:
            yield node.op, where(body, node.name), f"is a constant that takes the graph over {MOST_BYTES >> 30} GiB"
            return


def where(body: str, node: str) -> str:
    """The place of a node, in words."""
    return f"node {node!r} in function {body!r}" if body else f"node {node!r} in the top graph"


def _nodes(graph: Any) -> Iterator[tuple[str, Any]]:
    yield from (("", node) for node in graph.node)
    for function in graph.library.function:
        yield from ((function.signature.name, node) for node in function.node_def)


def _names(body: str, names: Iterable[str]) -> Iterator[Flaw]:
    for name, count in Counter(names).items():
        if count > 1:
            yield "a name that two nodes have", where(body, name), "cannot be followed"
        if not name or ":" in name or name.startswith("^"):
            yield "a name that no node can have", where(body, name), "cannot be followed"


def _function_names(names: Iterable[str]) -> Iterator[Flaw]:
    from tlkit.graph.registry import op_definition

    for name, count in Counter(names).items():
        if not name:
            yield "a function without a name", "", "cannot be followed"
        elif count > 1:
            yield "a name that two functions have", repr(name), "cannot be followed"
        elif op_definition(name) is not None:
            yield "a function with the name of an operation", repr(name), "cannot be followed"


def _attributes(body: str, node: Any) -> Iterator[Flaw]:
    waiting = list(node.attr.values())
    while waiting:
        value = waiting.pop()
        kind = value.WhichOneof("value")
        if kind == "placeholder":
            yield node.op, where(body, node.name), "leaves an attribute to its caller, which cannot be followed"
            return
        if kind in ("func", "list"):
            functions = (value.func,) if kind == "func" else value.list.func
            waiting += [inner for f in functions for inner in f.attr.values()]
        elif kind == "tensor" and value.tensor.dtype % 100 in (_RESOURCE, _VARIANT):  # + 100 is a reference to one
            yield node.op, where(body, node.name), "holds a handle as a constant, which cannot be followed"


def _expanded(value: Any) -> int:
    """Bytes that a constant takes in memory beyond what is written, which is 16 to 1 for the smallest of numbers."""
    kind = value.WhichOneof("value")
    tensors = (value.tensor,) if kind == "tensor" else value.list.tensor if kind == "list" else ()
    return sum(_bytes(t) for t in tensors)


def _bytes(tensor: Any) -> int:
    dims = tensor.tensor_shape.dim
    if tensor.tensor_content or not dims:
        return 0
    if len(dims) > _LARGEST_RANK:
        return MOST_BYTES + 1
    count = _WIDTHS.get(tensor.dtype % 100, 16)
    for dim in dims:
        count *= max(dim.size, 0)
    return count
