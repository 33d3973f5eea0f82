"""Encoders inside a graph: what goes in at some of the inputs, and comes out as one tensor that others read.

Those are the encoders of a decoder, and towers beside each other whose vectors are joined at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlkit.graph.anatomy import Anatomy

JOINING = ("Add", "AddV2", "AddN", "BiasAdd", "Sub", "Concat", "ConcatV2")  # what residual ways end with
FREE, SIDE, MIXED = "free", "side", "mixed"  # what an op has of a tensor: no weights since, weights, and other tensors


@dataclass(frozen=True, eq=False)
class _Flow:
    """Sets of positions in an anatomy, as the bits of whole numbers.

    Attributes:
        anatomy: The anatomy.
        above: The weighty ops that lead to an op, itself included, by position.
        read: The weighty ops that read those, themselves excluded, by position.
        inputs: The module's inputs that lead to an op, by position.
        weighty: All weighty ops.
    """

    anatomy: Anatomy
    above: list[int]
    read: list[int]
    inputs: list[int]
    weighty: int


def encoded(anatomy: Anatomy, feeds: Mapping[str, int], outputs: set[str]) -> tuple[Any, ...]:
    """The tensors that stay live while a decoder reads them, block after block, or another tower is at work.

    Such a tensor comes from some of the module's inputs alone, all that weights make of those goes through it, and
    other inputs meet weights apart from it. Either it meets no weights any more; or it is needed again behind what it
    has made, and no residual way passes it on.

    Args:
        anatomy: The graph's anatomy, of a walk without encoders.
        feeds: Name of an input's op -> the input's position.
        outputs: Names of the ops that give the graph's outputs.
    """
    if len(feeds) < 2:
        return ()
    flow = _flow(anatomy, feeds)
    all_inputs = (1 << len(feeds)) - 1
    ends = sum(1 << anatomy.place[name] for name in outputs if name in anatomy.place)
    memories = [
        i for i in range(len(anatomy.ops))
        if anatomy.weighty[i] and flow.inputs[i] != all_inputs and _closed(flow, i, ends) and _is_memory(flow, i)
    ]  # fmt: skip
    last = [i for i in memories if not any(flow.above[j] >> i & 1 for j in memories if j != i)]
    return tuple(anatomy.ops[i].outputs[0] for i in last)


def _flow(anatomy: Anatomy, feeds: Mapping[str, int]) -> _Flow:
    readers = [0] * len(anatomy.ops)
    above: list[int] = []
    read: list[int] = []
    inputs: list[int] = []
    for i, op in enumerate(anatomy.ops):
        before = {anatomy.place[t.op.name] for t in op.inputs}
        for j in before:
            readers[j] |= anatomy.weighty[i] << i
        above.append(anatomy.weighty[i] << i | _union(above[j] for j in before))
        inputs.append(_union(inputs[j] for j in before) | (1 << feeds[op.name] if op.name in feeds else 0))
    for op in anatomy.ops:
        before = {anatomy.place[t.op.name] for t in op.inputs}
        read.append(_union(read[j] | (readers[j] if anatomy.weighty[j] else 0) for j in before))
    return _Flow(anatomy, above, read, inputs, sum(1 << i for i, weighty in enumerate(anatomy.weighty) if weighty))


def _union(sets: Iterator[int]) -> int:
    union = 0
    for bits in sets:
        union |= bits
    return union


def _closed(flow: _Flow, i: int, ends: int) -> bool:
    """Whether all that leads to an op is read on the way to it alone, and it gives one tensor of numbers."""
    op = flow.anatomy.ops[i]
    before = flow.above[i] & ~(1 << i)
    plain = len(op.outputs) == 1 and op.outputs[0].dtype.is_floating
    return plain and not flow.read[i] & ~flow.above[i] and not before & ends


def _is_memory(flow: _Flow, i: int) -> bool:
    """Whether others meet weights apart from the op's tensor, and it none, or is read again behind what it has made."""
    below = sum(1 << j for j in range(i + 1, len(flow.above)) if flow.anatomy.weighty[j] and flow.above[j] >> i & 1)
    if not flow.weighty & ~(flow.above[i] | below):
        return False
    if not any(consumed for j, consumed in enumerate(flow.anatomy.consumed) if below >> j & 1):
        return True
    kinds = {i: FREE}
    again = False
    for j, met in _meetings(flow, i, kinds):
        if flow.anatomy.ops[j].type in JOINING and FREE in met and len(met) > 1:
            return False
        again = again or (MIXED in met and bool(met & {FREE, SIDE}))
    return again


def _meetings(flow: _Flow, i: int, kinds: dict[int, str]) -> Iterator[tuple[int, set[str]]]:
    """The ops behind one, with what they have of it; `kinds` grows on the way."""
    anatomy = flow.anatomy
    for j in range(i + 1, len(anatomy.ops)):
        before = {anatomy.place[t.op.name] for t in anatomy.ops[j].inputs}
        had = {kinds[k] for k in before if k in kinds}
        if not had:
            continue
        others = any(anatomy.weighty[k] for k in before if k not in kinds)
        weights = bool(anatomy.consumed[j])
        kinds[j] = MIXED if MIXED in had or others else SIDE if weights or SIDE in had else FREE
        yield j, had | ({"other"} if others else set())
