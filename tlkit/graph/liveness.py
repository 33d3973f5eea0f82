"""Which tensors of a graph are still needed at each of its ops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tlkit.graph.anatomy import Anatomy
from tlkit.graph.flat import Graph


def single_live(graph: Graph, anatomy: Anatomy) -> Iterable[tuple[int, Any]]:
    """Positions behind which one weighty tensor alone is still needed, encoders' outputs aside, with that tensor."""
    last = _last_uses(graph, anatomy)
    memories = {t.name: t for t in anatomy.memories}
    live: dict[str, Any] = {}
    for position, op in enumerate(anatomy.ops):
        if not anatomy.weighty[position]:
            continue
        live = {name: t for name, t in live.items() if last[name] > position}
        live |= {t.name: t for t in op.outputs if last.get(t.name, -1) > position and t.name not in memories}
        ends = [t for t in op.outputs if t.name in memories]
        if len(live) + len(ends) == 1:
            (tensor,) = (*live.values(), *ends)
            if tensor.op.name == op.name:
                yield position, tensor


def _last_uses(graph: Graph, anatomy: Anatomy) -> dict[str, int]:
    """Tensor -> position of the last weighty op that takes it; outputs are needed to the end."""
    last = {t.name: i for i, op in enumerate(anatomy.ops) if anatomy.weighty[i] for t in op.inputs}
    return last | {t.name: len(anatomy.ops) for t in map(source(graph), graph.outputs)}


def source(graph: Graph) -> Callable[[str], Any]:
    """The output as the op inside gives it, not as the function's own Identity hands it out."""
    feeds = dict(zip(graph.inputs, graph.whole.inputs, strict=False))
    return lambda name: feeds[name] if name in feeds else graph.whole.graph.get_tensor_by_name(name)
