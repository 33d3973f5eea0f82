"""A model in two parts at a place inside its module, and where that place is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.batches import alone, with_sides
from tlkit.core.errors import InputError
from tlkit.core.run import Run
from tlkit.layer.lookup import backbone_of
from tlkit.model.partition import parted

PLACES = 7  # a side; of maps of 4 a side fewer peaks hit than of 8, of 7 more than of 14: benchmarks/explaining.py


@dataclass(frozen=True, eq=False)
class Parts:
    """A model as front and rest.

    Attributes:
        place: Name of the tensor between them.
        depth: Share of the module's weight-bearing operations in front of it.
        front: Inputs of a batch -> the tensors there, the last of which is explained on.
        rest: (those tensors, the inputs) -> raw outputs.
    """

    place: str
    depth: float
    front: Callable[[Any], tuple[Any, ...]]
    rest: Callable[[tuple[Any, ...], Any], Any]


def parts_of(run: Run, depth: float | None, rank: int, *, first: bool = False, steps: int | None = None) -> Parts:
    """The model divided at a tensor of so many axes.

    Args:
        run: Trained, with one HubLayer.
        depth: Share of the module's depth in front of the tensor, in (0, 1]; None is the last such tensor, and of maps
            the last one of at least PLACES a side, if there is any.
        rank: Axes of the tensor, batch included: 4 for maps of features, 3 for steps.
        first: Take the first such tensor in place of the last.
        steps: Of a text: the tensor has as many, where a module that strides or pools has fewer further on. None takes
            any.

    Raises:
        InputError: If the model has no HubLayer, or its module no such tensor.
    """
    layer = backbone_of(run.model)
    if layer is None:
        raise InputError("The model has no HubLayer, or several, so that there is no place inside it to look at.")
    if depth is not None and not 0 < depth <= 1:
        raise InputError(f"`depth` must lie in (0, 1], from the input down. Received: depth={depth!r}.")
    graph = graphs.ending(layer.graph, layer.taps) if layer.taps else layer.graph
    cuts = [cut for cut in graphs.cuts(graph) if cut.shape is not None and len(cut.shape) == rank]
    cuts = [cut for cut in cuts if cut.ops_in_front and _has_places(cut, 2)]
    cuts = cuts if steps is None else _of_steps(graph, cuts, steps)
    if not cuts:
        kind = "map of features" if rank == 4 else "row of steps"
        kind = kind if steps is None else f"{kind} as long as the text"
        raise InputError(f'{layer.handle} has no {kind} to look at: take method="occlusion".')
    if first:
        cut = cuts[0]
    elif depth is None:
        cut = next((cut for cut in reversed(cuts) if rank != 4 or _has_places(cut, PLACES)), cuts[-1])
    else:
        cut = min(cuts, key=lambda cut: abs(cut.depth - depth))
    halves = graphs.Halves(cut, cut.tensors, cut.inputs)
    if layer.taps:
        halves = layer.halves(1 - cut.depth)
    front, back, sides = parted(run.model, layer, halves)

    def rest(tensors: tuple[Any, ...], inputs: Any) -> Any:
        every = [tf.convert_to_tensor(tensor) for tensor in with_sides(tensors, inputs, sides)]  # sides are arrays
        return back(alone(every), training=False)

    return Parts(halves.tensors[-1], cut.depth, front, rest)


def _of_steps(graph: graphs.Graph, cuts: Sequence[graphs.Cut], steps: int) -> list[graphs.Cut]:
    """The cuts whose second axis has so many places where that of the inputs has them."""
    inputs = graph.whole.inputs[: len(graph.inputs)]
    specs = [tf.TensorSpec([t.shape[0], *(size or steps for size in t.shape[1:])], t.dtype) for t in inputs]
    shapes = graphs.at_sizes(graph, specs).shapes
    return [cut for cut in cuts if shapes[cut.tensor][1] == steps]


def _has_places(cut: graphs.Cut, fewest: int) -> bool:
    """Whether each of its middle axes has so many places or more."""
    return cut.shape is not None and all(size is None or size >= fewest for size in cut.shape[1:-1])


def whole(run: Run) -> Callable[[Any], Any]:
    """Inputs of a batch -> raw outputs."""
    model: keras.Model = run.model
    return lambda inputs: model(inputs, training=False)
