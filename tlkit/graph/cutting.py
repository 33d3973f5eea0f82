"""Where a flat graph can be cut in two, and the two halves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tlkit.core.errors import InputError
from tlkit.graph.anatomy import Anatomy, anatomy, elements, sizes
from tlkit.graph.easing import ease
from tlkit.graph.flat import Graph, part_as, remembered


@dataclass(frozen=True)
class Cut:
    """A tensor through which all that weights have touched flows.

    Attributes:
        tensor: Its name in the flat graph.
        shape: Its static shape, batch first; None where open.
        depth: Share of the weight-bearing ops that lie in front of it, in [0, 1].
        ops_in_front: Count of those ops.
        ops: Count of the whole graph's weight-bearing ops.
        variables_behind: Indices of the variables that the back reads, in order of first use.
        parameters_behind: Count of their elements.
        cost_behind: Share of the forward pass's multiplications that the back does, in [0, 1].
        inputs: Positions of the module's inputs that the back needs besides the tensor: masks, token types.
    """

    tensor: str
    shape: tuple[int | None, ...] | None
    depth: float
    ops_in_front: int
    ops: int
    variables_behind: tuple[int, ...]
    parameters_behind: int
    cost_behind: float
    inputs: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements for one example; open sizes count as 1."""
        return elements(self.shape)


def depth_order(graph: Graph) -> tuple[int, ...]:
    """Indices of the variables that the graph reads, in the order in which data first meets them.

    This is the module's true depth: names and the order of variable lists are not. Variables that the graph does not
    read (counters, states of random generators) are left out.
    """
    return () if not graph.nodes else _order(anatomy(graph))


def _order(known: Anatomy) -> tuple[int, ...]:
    every = [i for weights in known.weights if len(weights) == 1 for i in weights]
    return tuple(dict.fromkeys(every))


def cuts(graph: Graph) -> tuple[Cut, ...]:
    """The tensors at which the graph can be split, input side first; () where it cannot be cut (`graph.problem`).

    Only tensors that depend on data and weights count as live: what weights have not touched (masks, shapes) is
    computed again behind the cut, from the inputs. Every output stays live to the end. A variable that both sides
    would read rules a cut out. Of a module with one output the last cut is that output, at depth 1.
    """
    return remembered(graph, "cuts", lambda: () if graph.problem else tuple(_cuts(graph)))  # type: ignore[no-any-return]


def _cuts(graph: Graph) -> Iterable[Cut]:
    known = anatomy(graph)
    spans = _spans(known, _weight_only_outputs(graph, known))
    order = _order(known)
    total = sum(known.cost) or 1.0
    front_cost = _running(known.cost)
    bearing = set(known.bearing)
    in_front = _running([float(i in bearing) for i in range(len(known.ops))])
    for position, tensor in _single_live(graph, known):
        if not _cuttable(graph, tensor) or any(a <= position < b for a, b in spans.values()):
            continue
        behind = tuple(v for v in order if spans[v][0] > position)
        count = int(in_front[position])
        yield Cut(
            tensor=tensor.name,
            shape=sizes(graph, tensor.name),
            depth=count / max(1, len(bearing)),
            ops_in_front=count,
            ops=len(bearing),
            variables_behind=behind,
            parameters_behind=sum(parameters(graph, v) for v in behind),
            cost_behind=max(0.0, 1.0 - front_cost[position] / total),
            inputs=_inputs_behind(graph, tensor),
        )


def operations(graph: Graph) -> float:
    """Multiplications and additions of one example's forward pass; open sizes count as 1; 0 where it cannot be cut."""
    return 0.0 if graph.problem else sum(anatomy(graph).cost)


def parameters(graph: Graph, variable: int) -> int:
    """Elements of one of the graph's variables."""
    return math.prod(graph.variables[variable].shape.as_list())


def _running(values: Iterable[float]) -> list[float]:
    total, sums = 0.0, []
    for value in values:
        total += value
        sums.append(total)
    return sums


def _single_live(graph: Graph, known: Anatomy) -> Iterable[tuple[int, Any]]:
    """Positions behind which one weighty tensor alone is still needed, with that tensor."""
    last = _last_uses(graph, known)
    live: dict[str, Any] = {}
    for position, op in enumerate(known.ops):
        if not known.weighty[position]:
            continue
        live = {name: t for name, t in live.items() if last[name] > position}
        live |= {t.name: t for t in op.outputs if last.get(t.name, -1) > position}
        if len(live) == 1:
            tensor = next(iter(live.values()))
            if tensor.op.name == op.name:
                yield position, tensor


def _last_uses(graph: Graph, known: Anatomy) -> dict[str, int]:
    """Tensor -> position of the last weighty op that takes it; outputs are needed to the end."""
    last = {t.name: i for i, op in enumerate(known.ops) if known.weighty[i] for t in op.inputs}
    return last | {t.name: len(known.ops) for t in map(_source(graph), graph.outputs)}


def _source(graph: Graph) -> Callable[[str], Any]:
    """The output as the op inside gives it, not as the function's own Identity hands it out."""
    feeds = dict(zip(graph.inputs, graph.whole.inputs, strict=False))
    return lambda name: feeds[name] if name in feeds else graph.whole.graph.get_tensor_by_name(name)


def _weight_only_outputs(graph: Graph, known: Anatomy) -> set[int]:
    tensors = map(_source(graph), graph.outputs)
    return {v for t in tensors for v in known.weights[known.place[t.op.name]]}


def _spans(known: Anatomy, always: set[int]) -> dict[int, tuple[int, int]]:
    """Variable -> positions of the first and the last op at which it meets data."""
    spans = {v: (len(known.ops), len(known.ops)) for v in (*_order(known), *always)}
    for position, met in enumerate(known.consumed):
        for v in met:
            first = min(spans[v][0], position)
            spans[v] = (first, len(known.ops) if v in always else position)
    return spans


def _cuttable(graph: Graph, tensor: Any) -> bool:
    """Floats only, since gradients end elsewhere; and one row an example, where the batch is open."""
    if not tensor.dtype.is_floating:
        return False
    shape = sizes(graph, tensor.name)
    open_batch = any(t.shape.rank and t.shape[0] is None for t in graph.whole.inputs[: len(graph.inputs)])
    return shape is None or (len(shape) > 0 and not (open_batch and shape[0] is not None))


def _inputs_behind(graph: Graph, tensor: Any) -> tuple[int, ...]:
    """Positions of the inputs that the outputs still need when the tensor is given."""
    feeds = {t.name: i for i, t in enumerate(graph.whole.inputs[: len(graph.inputs)])}
    found: set[int] = set()
    seen = {tensor.name}
    stack = list(map(_source(graph), graph.outputs))
    while stack:
        current = stack.pop()
        if current.name in seen:
            continue
        seen.add(current.name)
        if current.name in feeds:
            found.add(feeds[current.name])
        stack.extend(current.op.inputs)
    return tuple(sorted(found))


def split(graph: Graph, cut: Cut) -> tuple[Any, Any]:
    """The graph in two halves that share its variables.

    Args:
        graph: A flat graph.
        cut: One of its cuts.

    Returns:
        `front(*inputs)`, which takes all of the graph's inputs and gives the tensor of the cut, and
        `back(tensor, *sides)`, where `sides` are the inputs at `cut.inputs`, which gives the graph's outputs in their
        own structure. Both are ConcreteFunctions.

    Raises:
        InputError: If the graph cannot be cut there.
    """
    if cut not in cuts(graph):
        reason = f"it {graph.problem}" if graph.problem else "weights flow around it"
        raise InputError(f"The module cannot be cut at `{cut.tensor}`: {reason}; use it whole.")
    front = part_as(graph, graph.inputs, [cut.tensor], 0)
    sides = [graph.inputs[i] for i in cut.inputs]
    return front, part_as(graph, [cut.tensor, *sides], graph.outputs, graph.structure, change=ease)


def steps(graph: Graph) -> tuple[Cut, ...]:
    """One cut for each count of weight-bearing ops in front: the smallest tensor, then the one nearest to the head.

    Behind a convolution that is the place behind its BatchNorm, activation and pooling.
    """
    best: dict[int, Cut] = {}
    for cut in cuts(graph):
        rival = best.get(cut.ops_in_front)
        if rival is None or cut.size <= rival.size:
            best[cut.ops_in_front] = cut
    return tuple(best[count] for count in sorted(best))


def nearest_cut(graph: Graph, unfrozen: float) -> Cut | None:
    """The cut behind which `unfrozen` of the module's depth lies.

    Of n weight-bearing ops the last ceil(unfrozen n) are asked for. The cut is the first one that lies no further
    from the head than that, so never more trains than was asked; where no such cut leaves anything to train, it is the
    last one that does.

    Args:
        graph: A flat graph.
        unfrozen: Share of the depth that trains, in [0, 1], from the head down. 0 gives the last cut there is.

    Returns:
        The cut, or None where the whole module is to be used: `unfrozen=1`, or nothing to cut.

    Raises:
        InputError: If `unfrozen` is outside [0, 1].

    Example:
        With cuts at depths (0.2, 0.5, 0.8, 1.0) of 10 ops: 0.6 gives 0.5, 0.4 gives 0.8, 0.1 gives 0.8, 0.0 gives 1.0.
    """
    if not 0 <= unfrozen <= 1:
        raise InputError(f"`unfrozen` must lie in [0, 1]. Received: unfrozen={unfrozen}.")
    found = steps(graph)
    if unfrozen == 1 or not found:
        return None
    count = found[0].ops
    if unfrozen == 0:
        return found[-1]
    asked = count - math.ceil(unfrozen * count - 1e-9)
    training = [cut for cut in found if cut.ops_in_front < count]
    return next((cut for cut in training if cut.ops_in_front >= asked), training[-1] if training else None)


def variables_in_front(graph: Graph, cut: Cut) -> tuple[int, ...]:
    """Indices of the variables that the front reads, in order of first use."""
    behind = set(cut.variables_behind)
    return tuple(v for v in depth_order(graph) if v not in behind)


def unfrozen_variables(graph: Graph, unfrozen: float) -> tuple[int, ...]:
    """Indices of the variables that train when `unfrozen` of the depth does, in order of first use."""
    if unfrozen == 0:
        return ()
    cut = nearest_cut(graph, unfrozen)
    return depth_order(graph) if cut is None else cut.variables_behind
