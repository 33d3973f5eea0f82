"""The part of a detector's graph that convolutions make: behind its resizing, in front of its loops and suppression."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tlkit.core.errors import InputError
from tlkit.graph.anatomy import CONVOLUTIONS, PRODUCTS
from tlkit.graph.flat import CONTROL_FLOW, Graph, whole_of

SELECTING = (  # beginnings of operations that choose boxes, or hold what loops pass on
    "NonMaxSuppression", "CombinedNonMaxSuppression", "TensorArray", "TensorList", "CropAndResize", "TopK", "Where",
    "Exit", "NextIteration", "LoopCond",
)  # fmt: skip


@dataclass(frozen=True)
class Trunk:
    """Where the trunk of a detector begins, and what it gives.

    Attributes:
        entry: Name of the tensor that its first convolution takes: images, resized and scaled.
        maps: Names of the feature maps that the branches of boxes and of labels read.
    """

    entry: str
    maps: tuple[str, ...]


def trunk(graph: Graph) -> Trunk:
    """Find the trunk.

    Args:
        graph: A flat graph of images; its `problem` does not matter.

    Raises:
        InputError: If there is none.
    """
    if not graph.nodes:
        raise InputError(f"it {graph.problem}")
    flow = _Flow(graph)
    entry = _entry(flow)
    plain = flow.plain_behind(entry)
    bearing = [name for name in plain if flow.bears(name)]
    ends = {name for name in bearing if not flow.reaches(name, bearing, plain)}
    if not ends:
        raise InputError("loops or suppression lie in front of all its convolutions")
    reached = flow.ends_behind(plain, ends)
    forks = [name for name in plain if _is_fork(flow, name, reached)]
    return Trunk(entry, tuple(f"{name}:0" for name in forks or sorted({flow.data_input(end) for end in ends})))


def of_trunk(graph: Graph, part: Trunk, size: tuple[int | None, int | None]) -> Any:
    """The function from images (batch, height, width, 3) at the trunk's entry to {"map_0": .., "map_1": ..}.

    Args:
        graph: The detector's.
        part: Of `trunk`.
        size: (height, width) of what enters, None where it is open.
    """
    nodes = {**graph.nodes, **_for_any_batch(graph)}
    structure = {f"map_{number}": number for number in range(len(part.maps))}
    within = dataclasses.replace(
        graph, nodes=nodes, inputs=(part.entry,), outputs=part.maps, structure=structure, memo={}
    )
    return whole_of(within, [tf.TensorSpec([None, *size, 3], tf.float32, name="image")])


def _for_any_batch(graph: Graph) -> dict[str, Any]:
    """Reshapes that were made for one image, as in nearest upsampling, made for any number of them."""
    changed: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        sizes = graph.nodes.get(node.input[1].partition(":")[0]) if node.op == "Reshape" else None
        if sizes is None or sizes.op != "Const":
            continue
        shape = tf.make_ndarray(sizes.attr["value"].tensor)
        if shape.size and shape[0] == 1 and (shape > 0).all():
            constant = type(node)(name=f"{name}/any_batch", op="Const")
            constant.attr["dtype"].CopyFrom(sizes.attr["dtype"])
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([-1, *shape[1:]], sizes.attr["dtype"].type))
            reshape = type(node).FromString(node.SerializeToString())
            reshape.input[1] = constant.name
            changed |= {constant.name: constant, name: reshape}
    return changed


class _Flow:
    """Which nodes data reach, and which bear weights."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: Mapping[str, Any] = graph.nodes
        self.users: dict[str, list[str]] = {}
        for name, node in graph.nodes.items():
            for source in _sources(node):
                self.users.setdefault(source, []).append(name)
        self.data = self.behind(_bare(graph.inputs))
        self.weights = self.behind(_bare(graph.resources)) - self.data

    def behind(self, starts: Iterable[str]) -> set[str]:
        """Nodes that some lead to, and these."""
        reached, stack = set(starts), list(starts)
        while stack:
            fresh = [user for user in self.users.get(stack.pop(), ()) if user not in reached]
            reached.update(fresh)
            stack.extend(fresh)
        return reached

    def bears(self, name: str) -> bool:
        """Whether a convolution or dense product of data with weights stands there."""
        node = self.nodes[name]
        weighty = any(source in self.weights for source in _sources(node))
        return node.op in (*CONVOLUTIONS, *PRODUCTS) and weighty and name in self.data

    def data_input(self, name: str) -> str:
        """The only source of a node that data reach."""
        return next(source for source in _sources(self.nodes[name]) if source in self.data)

    def plain_behind(self, entry: str) -> list[str]:
        """Nodes that need nothing of the images but the entry, and no loop or choice, each behind what it needs."""
        start = entry.partition(":")[0]
        within, order, stack = {start}, [], list(self.users.get(start, ()))
        while stack:
            name = stack.pop()
            node = self.nodes[name]
            if name in within or node.op in CONTROL_FLOW or node.op.startswith(SELECTING):
                continue
            if all(source in within for source in _sources(node) if source in self.data):
                within.add(name)
                order.append(name)
                stack.extend(self.users.get(name, ()))
        return order

    def reaches(self, name: str, bearing: Sequence[str], plain: Sequence[str]) -> bool:
        """Whether another node that bears weights lies behind one, among the plain ones."""
        allowed, targets = set(plain), set(bearing) - {name}
        seen, stack = {name}, [name]
        while stack:
            for user in self.users.get(stack.pop(), ()):
                if user in targets:
                    return True
                if user in allowed and user not in seen:
                    seen.add(user)
                    stack.append(user)
        return False

    def ends_behind(self, plain: Sequence[str], ends: set[str]) -> dict[str, frozenset[str]]:
        """The ends that each plain node leads to."""
        reached: dict[str, frozenset[str]] = {}
        for name in reversed(plain):
            behind = (reached.get(user, frozenset()) for user in self.users.get(name, ()))
            reached[name] = frozenset({name} & ends).union(*behind)
        return reached


def _entry(flow: _Flow) -> str:
    """What the first convolution takes."""
    bearing = {name for name in flow.data if name in flow.nodes and flow.bears(name)}
    behind: set[str] = flow.behind(sorted({user for name in bearing for user in flow.users.get(name, ())}))
    first = sorted(bearing - behind)
    entries = {_full(flow.nodes[name].input[CONVOLUTIONS.get(flow.nodes[name].op, (0, 1))[0]]) for name in first}
    if len(entries) != 1:
        raise InputError("it has no single place where images meet its weights")
    return entries.pop()


def _is_fork(flow: _Flow, name: str, reached: Mapping[str, frozenset[str]]) -> bool:
    """Whether the ways to different ends part there."""
    behind = [reached[user] for user in flow.users.get(name, ()) if reached.get(user)]
    return len(reached[name]) > 1 and all(ends != reached[name] for ends in behind)


def _sources(node: Any) -> Iterator[str]:
    return (source.partition(":")[0] for source in node.input if not source.startswith("^"))


def _bare(tensors: Iterable[str]) -> list[str]:
    return [name.partition(":")[0] for name in tensors]


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:0"
