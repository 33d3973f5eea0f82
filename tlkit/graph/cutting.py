"""Where a flat graph can be cut in two, and the two halves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlkit.core.errors import InputError
from tlkit.graph.anatomy import Anatomy, anatomy_of, elements, has_rows, sizes, tables
from tlkit.graph.easing import ease
from tlkit.graph.flat import Graph, giving, part, part_as, remembered
from tlkit.graph.liveness import single_live, source


@dataclass(frozen=True)
class Cut:
    """A tensor through which all that weights have touched flows; in a decoder, beside the outputs of encoders.

    Attributes:
        tensor: Its name in the flat graph.
        shape: Its static shape, batch first; None where open.
        depth: Share of the weight-bearing ops that lie in front of it, in [0, 1].
        ops_in_front: Count of those ops.
        ops: Count of the whole graph's weight-bearing ops.
        variables_behind: Indices of the variables that the back reads, in order of first use.
        parameters_behind: Count of their elements.
        cost_behind: Share of the forward pass's multiplications that the back does, in [0, 1].
        inputs: Positions of the module's inputs that the back needs besides the tensors: masks, token types.
        besides: Names of the encoders' outputs that the back reads as well; they lie in front of `tensor`.
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
    besides: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Elements of the tensor for one example; open sizes count as 1."""
        return elements(self.shape)

    @property
    def tensors(self) -> tuple[str, ...]:
        """All that the front gives, in the order in which the graph makes it."""
        return (*self.besides, self.tensor)


@dataclass(frozen=True)
class Halves:
    """How a share of a module that gives several tensors is frozen: the front's tensors, and what the back takes.

    Attributes:
        cut: The cut of the graph whose only output is the last tap; None where nothing of the module trains, or all.
        tensors: Names of what the front gives, in the order in which the graph makes them; () where all trains.
        inputs: Positions of the module's inputs that the back takes besides.
    """

    cut: Cut | None
    tensors: tuple[str, ...]
    inputs: tuple[int, ...] = ()


def depth_order(graph: Graph) -> tuple[int, ...]:
    """Indices of the variables that the graph reads, in the order in which data first meets them.

    This is the module's true depth: names and the order of variable lists are not. Variables that the graph does not
    read (counters, states of random generators) are left out.
    """
    return () if not graph.nodes else _order(anatomy_of(graph))


def _order(anatomy: Anatomy) -> tuple[int, ...]:
    variables = [i for weights in anatomy.weights if len(weights) == 1 for i in weights]
    return tuple(dict.fromkeys(variables))


def cuts(graph: Graph) -> tuple[Cut, ...]:
    """The tensors at which the graph can be split, input side first; () where it cannot be cut (`graph.problem`).

    Only tensors that depend on data and weights count as live: what weights have not touched (masks, shapes) is
    computed again behind the cut, from the inputs. The output of an encoder that a decoder reads in all its blocks is
    given to the back beside the cut's own tensor. Every output stays live to the end. A variable that both sides would
    read rules a cut out, but for a table that ids are looked up in: where it is the head's matrix too, it stays frozen
    behind all cuts that lie behind the look-up. Of a module with one output the last cut is that output, at depth 1.
    """
    return remembered(graph, "cuts", lambda: () if graph.problem else tuple(_cuts(graph)))  # type: ignore[no-any-return]


def _cuts(graph: Graph) -> Iterable[Cut]:
    anatomy = anatomy_of(graph)
    spans = _spans(anatomy, _weight_only_outputs(graph, anatomy))
    tied = tables(graph, anatomy)
    order = _order(anatomy)
    total = sum(anatomy.cost) or 1.0
    front_cost = _running(anatomy.cost)
    bearing = set(anatomy.bearing)
    in_front = _running([float(i in bearing) for i in range(len(anatomy.ops))])
    for position, tensor in single_live(graph, anatomy):
        shared = (v for v, (first, last) in spans.items() if v not in tied and first <= position < last)
        if not has_rows(graph, tensor) or any(True for _ in shared):
            continue
        besides = _memories_between(graph, anatomy, position, tensor)
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
            inputs=_inputs_between(graph, [*besides, tensor.name], graph.outputs),
            besides=besides,
        )


def operations(graph: Graph) -> float:
    """Multiplications and additions of one example's forward pass; open sizes count as 1; 0 where it cannot be cut."""
    return 0.0 if graph.problem else sum(anatomy_of(graph).cost)


def parameters(graph: Graph, variable: int) -> int:
    """Elements of one of the graph's variables."""
    return math.prod(graph.variables[variable].shape.as_list())


def _running(values: Iterable[float]) -> list[float]:
    total, sums = 0.0, []
    for value in values:
        total += value
        sums.append(total)
    return sums


def _memories_between(graph: Graph, anatomy: Anatomy, position: int, tensor: Any) -> tuple[str, ...]:
    """Names of the encoders' outputs that are made up to a position and read behind it, beside a tensor."""
    memories = [t.name for t in anatomy.memories if anatomy.place[t.op.name] <= position and t.name != tensor.name]
    if not memories:
        return ()
    behind = _needed(graph, [tensor.name, *memories], graph.outputs)
    outputs = {source(graph)(name).name for name in graph.outputs}
    consumed = outputs.union(t.name for needed in behind for t in needed.op.inputs)
    return tuple(name for name in memories if name in consumed)


def _weight_only_outputs(graph: Graph, anatomy: Anatomy) -> set[int]:
    tensors = map(source(graph), graph.outputs)
    return {v for t in tensors for v in anatomy.weights[anatomy.place[t.op.name]]}


def _spans(anatomy: Anatomy, always: set[int]) -> dict[int, tuple[int, int]]:
    """Variable -> positions of the first and the last op at which it meets data."""
    spans = {v: (len(anatomy.ops), len(anatomy.ops)) for v in (*_order(anatomy), *always)}
    for position, met in enumerate(anatomy.consumed):
        for v in met:
            first = min(spans[v][0], position)
            spans[v] = (first, len(anatomy.ops) if v in always else position)
    return spans


def _inputs_between(graph: Graph, fed: Iterable[str], outputs: Iterable[str]) -> tuple[int, ...]:
    """Positions of the inputs that some tensors still need when others are given."""
    feeds = {t.name: i for i, t in enumerate(graph.whole.inputs[: len(graph.inputs)])}
    needed = {tensor.name for tensor in _needed(graph, fed, outputs)}
    return tuple(sorted(position for name, position in feeds.items() if name in needed))


def _needed(graph: Graph, fed: Iterable[str], outputs: Iterable[str]) -> Iterable[Any]:
    """Tensors on the way to those that are wanted, where others are given."""
    visited = set(fed)
    stack = list(map(source(graph), outputs))
    while stack:
        current = stack.pop()
        if current.name in visited:
            continue
        visited.add(current.name)
        yield current
        stack.extend(current.op.inputs)


def split(graph: Graph, cut: Cut) -> tuple[Any, Any]:
    """The graph in two halves that share its variables.

    Args:
        graph: A flat graph.
        cut: One of its cuts.

    Returns:
        `front(*inputs)`, which takes all of the graph's inputs and gives the tensor of the cut (a tuple where it has
        several), and `back(*tensors, *sides)`, where `sides` are the inputs at `cut.inputs`, which gives the graph's
        outputs in their own structure. Both are ConcreteFunctions.

    Raises:
        InputError: If the graph cannot be cut there.
    """
    if cut not in cuts(graph):
        reason = f"it {graph.problem}" if graph.problem else "weights flow around it"
        raise InputError(f"The module cannot be cut at `{cut.tensor}`: {reason}; use it whole.")
    front = part_as(graph, graph.inputs, cut.tensors, tuple(range(len(cut.tensors))) if cut.besides else 0)
    sides = [graph.inputs[i] for i in cut.inputs]
    return front, part_as(graph, [*cut.tensors, *sides], graph.outputs, graph.structure, change=ease)


def halved(graph: Graph, taps: Sequence[str], unfrozen: float) -> Halves:
    """What is frozen of a module that gives several tensors, and what trains.

    The module is cut as one that ends with the last of the taps. The front gives every tap that lies at or before the
    cut, then the tensor of the cut, unless no tap lies behind it. With `unfrozen=0` it gives all taps. Taps that no
    data reaches, or that have no row per example, always come from the back, and the variables behind the former train
    only where the whole module does.

    Args:
        graph: A flat graph.
        taps: Names of tensors in it, or of entries in `graph.resources`.
        unfrozen: Share of the depth that trains, in [0, 1], from the last tap down.

    Returns:
        The halves; without tensors where the whole module trains.

    Raises:
        InputError: If a tap is not in the graph, none has a row per example, or `unfrozen` is outside [0, 1].
    """
    rows = rows_of(graph, taps)
    cut = tapped_cut(graph, taps, unfrozen)
    if cut is None:
        return Halves(None, (), ())
    if unfrozen == 0:
        tensors, cut = rows, None
    else:
        tensors = _in_front(graph, rows, cut)
    return Halves(cut, tensors, _inputs_between(graph, tensors, _tensors(graph, taps)))


def tapped_cut(graph: Graph, taps: Sequence[str], unfrozen: float) -> Cut | None:
    """As `nearest_cut`, of the graph that ends with the last tap; taps that no data reaches train only with the whole.

    Args:
        graph: A flat graph.
        taps: As `halved` takes them.
        unfrozen: Share of the depth that trains, in [0, 1].
    """
    cut = nearest_cut(ending(graph, taps), unfrozen)
    fixed = _weights_tapped(graph, taps)
    if cut is None or not fixed.intersection(cut.variables_behind):
        return cut
    behind = tuple(v for v in cut.variables_behind if v not in fixed)
    return replace(cut, variables_behind=behind, parameters_behind=sum(parameters(graph, v) for v in behind))


def ending(graph: Graph, taps: Sequence[str]) -> Graph:
    """The graph whose only output is the last tap that has a row per example.

    Raises:
        InputError: If there is none.
    """
    last = rows_of(graph, taps)[-1:]
    return graph if last == graph.outputs else giving(graph, last)


def rows_of(graph: Graph, taps: Sequence[str]) -> tuple[str, ...]:
    """Those of the taps that have a row of numbers per example, in the order in which the graph makes them.

    Raises:
        InputError: If there is none, a tap is no floating tensor of the graph, or the graph cannot be cut.
    """
    if graph.problem is not None:
        raise InputError(f"Only a module that can be cut gives tensors from inside, and this one {graph.problem}.")
    anatomy = anatomy_of(graph)
    places = {name: anatomy.place.get(_sourced(graph, name).op.name) for name in _tensors(graph, taps)}
    for name, place in places.items():
        if place is None or not _sourced(graph, name).dtype.is_floating:
            problem = "leads to no output of the module" if place is None else "does not hold floating numbers"
            raise InputError(f"A module cannot give its tensor `{name}`: it {problem}.")
    data = [name for name, place in places.items() if place is not None and anatomy.data[place]]
    reached = [name for name in data if has_rows(graph, _sourced(graph, name))]
    if not reached:
        raise InputError(f"A module gives at least one tensor with a row per example. Received: taps={tuple(taps)}.")
    return tuple(sorted(reached, key=lambda name: places[name] or 0))


def _sourced(graph: Graph, name: str) -> Any:
    try:
        return source(graph)(name)
    except (KeyError, ValueError) as error:
        raise InputError(f"The module's graph has no tensor `{name}`; `layer.feature_maps` names some.") from error


def _tensors(graph: Graph, taps: Sequence[str]) -> list[str]:
    return [name for name in taps if name not in graph.resources]


def _weights_tapped(graph: Graph, taps: Sequence[str]) -> set[int]:
    """Variables behind the taps that no data reaches."""
    anatomy = anatomy_of(graph)
    places = (anatomy.place[_sourced(graph, name).op.name] for name in _tensors(graph, taps))
    variables = {v for place in places for v in anatomy.weights[place]}
    return variables | {graph.resources[name] for name in taps if name in graph.resources}


def _in_front(graph: Graph, rows: Sequence[str], cut: Cut) -> tuple[str, ...]:
    """The taps at or before a cut, then the cut; a tap whose variables train behind the cut is not before it."""
    anatomy = anatomy_of(graph)
    place = {name: anatomy.place[_sourced(graph, name).op.name] for name in (*rows, *cut.tensors)}
    early = [name for name in rows if place[name] <= place[cut.tensor]]
    before = [name for name in early if not set(cut.variables_behind).intersection(variables_of(graph, [name]))]
    return tuple(sorted({*before, *cut.tensors}, key=lambda name: place[name]))


def variables_of(graph: Graph, tensors: Iterable[str]) -> tuple[int, ...]:
    """Indices of the variables that lead to some tensors (or are them, by their names in `graph.resources`)."""
    anatomy = anatomy_of(graph)
    variables = {graph.resources[name] for name in tensors if name in graph.resources}
    for tensor in _needed(graph, (), [name for name in tensors if name not in graph.resources]):
        place = anatomy.place[tensor.op.name]
        variables |= anatomy.weights[place] | anatomy.consumed[place]
    return tuple(sorted(variables))


def split_at(graph: Graph, taps: Sequence[str], halves: Halves) -> tuple[Any, Any]:
    """As `split`, for a module that gives several tensors.

    Args:
        graph: A flat graph.
        taps: What the module gives; those that are in `graph.resources` are left to the caller.
        halves: Of this graph and these taps.

    Returns:
        `front(*inputs)`, which gives the tensors of the halves, and `back(*tensors, *sides)`, where `sides` are the
        inputs at `halves.inputs`, which gives the taps; each gives a tuple.
    """
    fetches = _tensors(graph, taps)
    sides = [graph.inputs[i] for i in halves.inputs]
    back = part_as(graph, [*halves.tensors, *sides], fetches, tuple(range(len(fetches))), change=ease)
    return part(graph, graph.inputs, halves.tensors), back


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
    candidates = steps(graph)
    if unfrozen == 1 or not candidates:
        return None
    count = candidates[0].ops
    if unfrozen == 0:
        return candidates[-1]
    frozen_ops = count - math.ceil(unfrozen * count - 1e-9)
    training = [cut for cut in candidates if cut.ops_in_front < count]
    return next((cut for cut in training if cut.ops_in_front >= frozen_ops), training[-1] if training else None)


def variables_in_front(graph: Graph, cut: Cut) -> tuple[int, ...]:
    """Indices of the variables that the front reads, in order of first use."""
    behind = set(cut.variables_behind)
    return tuple(v for v in depth_order(graph) if v not in behind)
