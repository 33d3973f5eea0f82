"""What of a model a phase trains: the frozen fronts, and the rest."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.files import sha256_bytes
from tlkit.core.run import Phase
from tlkit.layer.forms import USUAL
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import backbone_of
from tlkit.model.build import PAIR


def uncut(takes: Any, examples: Examples) -> Examples:
    """The examples, never cut to the longest text of a batch where what takes them knows one length only.

    Args:
        takes: Specs, or Keras tensors, of what is taken, batch included.
        examples: Perhaps with a column "length".
    """
    steps = [leaf.shape[1] for leaf in keras.tree.flatten(takes) if len(leaf.shape) > 1]
    fixed = bool(steps) and None not in steps
    if not fixed or "length" not in examples.columns:
        return examples
    return replace(examples, columns={name: own for name, own in examples.columns.items() if name != "length"})


@dataclass(frozen=True, eq=False)
class Front:
    """A frozen stretch of a model.

    Attributes:
        run: Function of a batch.
        key: Hash of all that decides what it gives.
        spec: `tf.TensorSpec` (or a structure of them) of what it takes, with an open batch.
        variables: TensorFlow variables that it may read.
        sides: Positions of the model's inputs that it takes besides the tensor of the front before it (masks).
        operations: Multiplications and additions for one example; sizes that are open count as 1.
        gives: Shape of what it gives for one example; None where only tracing tells.
    """

    run: Callable[[Any], Any]
    key: str
    spec: Any
    variables: tuple[Any, ...]
    operations: float
    sides: tuple[int, ...] = ()
    gives: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A model as one phase sees it.

    Attributes:
        trained: The model that trains: from the tensor at the cut (or the inputs) to the raw outputs.
        fronts: What is frozen in front of it, input side first: from the inputs to the trunk, which later phases
            share, and from there to the phase's own cut. () where nothing can be computed once.
        sides: Positions of the model's inputs that `trained` takes besides the tensor at the cut (masks).
        had: What is trained, for the record: share of depth, parameters, the cut's name.
    """

    trained: keras.Model
    fronts: tuple[Front, ...]
    had: Mapping[str, Any]
    sides: tuple[int, ...] = ()


def arrange(model: keras.Model, phase: Phase, later: Sequence[Phase] = ()) -> Arrangement:
    """Set the trainable flags that a phase asks for and split the model at its cut.

    Args:
        model: The whole model.
        phase: The phase that comes now.
        later: Those behind it: the earliest of their cuts is the trunk, so that they need not compute it again.
    """
    layer = backbone_of(model)
    if layer is None:
        _warn_unsplit(phase, "it has no HubLayer, or several")
        return Arrangement(_twin(model), (), _had(model, model, None, "none"))
    layer.batch_stats = phase.batch_stats
    if phase.unfrozen > 0:
        layer.unfreeze(phase.unfrozen)
    else:
        layer.trainable = False
    head = _head_of(model, layer)
    if head is None and phase.unfrozen == 0 and any(own.name == PAIR for own in model.layers):
        return _frozen_pairs(model, layer)
    if phase.batch_stats == "adapt" or head is None:
        return Arrangement(_twin(model), (), _had(model, model, layer, "adapt" if head is not None else "not a chain"))
    cut = _cut(model, layer, phase)
    if phase.unfrozen > 0 and cut is None:
        return Arrangement(_twin(model), (), _had(model, model, layer, "input"))
    trained = head if cut is None else _back_and_head(layer, cut, head)
    fronts = _fronts(model, layer, cut, _trunk(model, layer, cut, later), trained)
    had = _had(model, trained, layer, "output" if cut is None else cut.tensor)
    return Arrangement(trained, fronts, had, () if cut is None else cut.inputs)


def _frozen_pairs(model: keras.Model, layer: HubLayer) -> Arrangement:
    """The vectors of both sides are computed once, and the head alone trains."""
    vectors = model.get_layer(PAIR).output
    head, before = keras.Model(vectors, model.output, name=f"{model.name}_head"), keras.Model(model.input, vectors)
    held = tuple(v.value for v in before.variables)
    front = Front(
        functools.partial(before, training=False), _key(model, layer, head, "output of pairs"), _input_spec(model),
        held, 2 * graphs.operations(layer.graph),
    )  # fmt: skip
    return Arrangement(head, (front,), _had(model, head, layer, "output of pairs"))


def _twin(model: keras.Model) -> keras.Model:
    """A model of the same layers for a phase to compile, so that what is saved keeps no optimizer of a phase."""
    try:
        return keras.Model(model.input, model.output, name=model.name)
    except (ValueError, AttributeError):  # subclassed: it has no graph to share
        return model


def _cut(model: keras.Model, layer: HubLayer, phase: Phase) -> graphs.Cut | None:
    """Where the phase cuts the module; None is behind it (unfrozen 0) or nowhere (the whole trains)."""
    cut = layer.cut_for(phase.unfrozen) if phase.unfrozen > 0 else None
    if cut is not None and cut.inputs and _before(model, layer) is not None:
        return None  # what lies behind needs the module's own inputs, which the model makes of others
    return cut


def _back_and_head(layer: HubLayer, cut: graphs.Cut, head: keras.Model) -> keras.Model:
    tensor = keras.Input((cut.shape or ())[1:], name="at_cut")
    specs = [layer.endpoint.input_leaves[i] for i in cut.inputs]
    sides = [keras.Input(spec.shape[1:], dtype=spec.dtype.name) for spec in specs]
    inputs = [tensor, *sides] if sides else tensor
    return keras.Model(inputs, head(layer.back(cut)(inputs)), name=f"{head.name}_and_back")


def _trunk(model: keras.Model, layer: HubLayer, cut: graphs.Cut | None, later: Sequence[Phase]) -> graphs.Cut | None:
    """The earliest cut of this phase and those behind it, up to one that trains through it all."""
    earliest = cut
    for phase in later:
        if phase.unfrozen == 0 or phase.batch_stats == "adapt":
            continue
        other = _cut(model, layer, phase)
        if other is None:
            break
        if earliest is None or other.depth < earliest.depth:
            earliest = other
    return earliest


def _fronts(
    model: keras.Model, layer: HubLayer, cut: graphs.Cut | None, trunk: graphs.Cut | None, trained: keras.Model
) -> tuple[Front, ...]:
    before, spec = _before(model, layer), _input_spec(model)
    held = (*layer.endpoint.variables, *(v.value for v in model.variables if id(v) not in _ids(layer.variables)))
    whole = graphs.operations(layer.graph)
    if trunk is None:
        key = _key(model, layer, trained, "output")
        return (Front(_after(before, lambda x: layer(x, training=False)), key, spec, held, whole),)
    near = whole * (1 - trunk.cost_behind)
    key = _key(model, layer, None, trunk.tensor, trunk)
    first = Front(_after(before, layer.front(trunk)), key, spec, held, near, gives=_known(trunk))
    if cut is not None and cut.tensor == trunk.tensor:
        return (first,)
    place = "output" if cut is None else cut.tensor
    key = _key(model, layer, trained, f"{trunk.tensor} to {place}")
    at_trunk: Any = tf.TensorSpec([None, *(trunk.shape or ())[1:]], tf.float32)
    if trunk.inputs:
        at_trunk = (at_trunk, *(keras.tree.flatten(spec)[i] for i in trunk.inputs))
    rest = whole * (1 - (cut.cost_behind if cut else 0.0)) - near
    return first, Front(layer.between(trunk, cut), key, at_trunk, held, rest, trunk.inputs, _known(cut))


def _known(cut: graphs.Cut | None) -> tuple[int, ...] | None:
    """Shape at a cut for one example, where the graph alone tells all of its sizes."""
    sizes = None if cut is None or cut.shape is None else cut.shape[1:]
    return None if sizes is None or None in sizes else cast("tuple[int, ...]", sizes)


def front_of(layer: HubLayer, cut: graphs.Cut | None, spec: Any, *, of_any_length: bool = False) -> Front:
    """A module's front up to a cut (None: the whole of it), for examples of this the spec of inputs.

    Args:
        layer: The module.
        cut: Where it ends.
        spec: the spec of inputs; its sizes take the place of those that the module leaves open.
        of_any_length: Leave those open, as batches are cut to their longest example.
    """
    given = layer.endpoint.inputs
    if of_any_length:
        takes = given
    elif isinstance(given, Mapping):
        takes = {key: _batch_of(spec[key], given[key]) for key in given}
    else:
        takes = _batch_of(spec, given)
    inside = layer.variables if cut is None else [
        layer.module_variables[i] for i in graphs.variables_in_front(layer.graph, cut) if i in layer.module_variables
    ]  # fmt: skip
    place = "output" if cut is None else cut.tensor
    run = (lambda x: layer(x, training=False)) if cut is None else layer.front(cut)
    operations = graphs.operations(layer.graph) * (1 - (0.0 if cut is None else cut.cost_behind))
    return Front(run, _key_of(layer, place, inside), takes, tuple(layer.endpoint.variables), operations)


def _batch_of(spec: Any, given: Any) -> Any:
    return tf.TensorSpec([None, *spec.shape], given.dtype)


def _input_spec(model: keras.Model) -> Any:
    """What the model takes; images come as whole pixels, and every front casts what it is given."""
    return keras.tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), model.input)


def _ids(variables: Sequence[Any]) -> set[int]:
    return {id(v) for v in variables}


def _warn_unsplit(phase: Phase, reason: str) -> None:
    if phase.unfrozen not in (0.0, 1.0):
        warnings.warn(f"The model trains as it is, whatever `unfrozen` says: {reason}.", stacklevel=3)


def _head_of(model: keras.Model, layer: HubLayer) -> keras.Model | None:
    """The layers behind the backbone as a model of their own; None where other paths lead around it."""
    for _, outputs in _calls(layer):
        try:
            return keras.Model(outputs, model.output, name=f"{model.name}_head")
        except (ValueError, AttributeError):
            continue
    return None


def _calls(layer: HubLayer) -> list[tuple[Any, Any]]:
    """(inputs, outputs) of each call; `layer.output` does not answer for a layer that several models share."""
    return [(_one(node.input_tensors), _one(node.output_tensors)) for node in layer._inbound_nodes]


def _one(tensors: Sequence[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else list(tensors)


def _before(model: keras.Model, layer: HubLayer) -> Callable[[Any], Any] | None:
    """What the model does before the backbone; None where its input is the backbone's."""
    for inputs, _ in _calls(layer):
        if keras.tree.flatten(inputs)[0] is keras.tree.flatten(model.input)[0]:
            return None
    for inputs, _ in _calls(layer):
        try:
            before = keras.Model(model.input, inputs)
        except (ValueError, AttributeError):
            continue
        return functools.partial(before, training=False)
    raise InputError(f"{layer.name} is no part of the model {model.name}.")


def _after(first: Callable[[Any], Any] | None, then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return then if first is None else lambda x: then(first(x))


def _had(model: keras.Model, trained: keras.Model, layer: HubLayer | None, cut: str) -> dict[str, Any]:
    training = {id(v) for v in trained.trainable_variables}
    return {
        "unfrozen": _share_trained(layer, training),
        "parameters": int(sum(math.prod(v.shape) for v in trained.trainable_variables)),
        "parameters_of": int(sum(math.prod(v.shape) for v in model.weights)),
        "cut": cut,
    }


def _share_trained(layer: HubLayer | None, training: set[int]) -> float:
    if layer is None or not any(id(v) in training for v in layer.variables):
        return 0.0
    cut = layer.cut_for(layer.unfrozen)
    return 1.0 if cut is None else round(1.0 - cut.depth, 4)


def _key(
    model: keras.Model, layer: HubLayer, trained: keras.Model | None, place: str, cut: graphs.Cut | None = None
) -> str:
    """Hash of the frozen variables in front of `cut` (or of `trained`), the graph, the range and the place."""
    behind = {id(v) for v in trained.variables} if trained is not None else set()
    if cut is not None:
        inside = set(graphs.variables_in_front(layer.graph, cut))
        front = [v for i, v in layer.module_variables.items() if i in inside]
    else:
        front = [v for v in model.variables if id(v) not in behind]
    return _key_of(layer, place, front)


def _key_of(layer: HubLayer, place: str, variables: Sequence[Any]) -> str:
    called = [str(value) for value in (layer.output_key, layer.form) if value not in (None, USUAL)]
    return sha256_bytes(place, str(layer.input_range), layer.packed_graph(), weights_hash(variables), *called)


def weights_hash(variables: Any) -> str:
    """sha256 over the values of variables, in their order."""
    return sha256_bytes(*(np.ascontiguousarray(v).tobytes() for v in variables))
