"""What of a model a phase trains: the frozen fronts, and the rest."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.batches import alone
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
    return replace(examples, columns={name: column for name, column in examples.columns.items() if name != "length"})


@dataclass(frozen=True, eq=False)
class Front:
    """A frozen stretch of a model.

    Attributes:
        run: Function of a batch that gives a tuple of tensors.
        key: Hash of all that decides what it gives.
        spec: `tf.TensorSpec` (or a structure of them) of what it takes, with an open batch.
        variables: TensorFlow variables that it may read.
        sides: Positions of the model's inputs that it takes besides the tensors of the front before it (masks).
        operations: Multiplications and additions for one example; sizes that are open count as 1.
        gives: Shapes of the tensors that it gives for one example; None where only tracing tells.
    """

    run: Callable[[Any], tuple[Any, ...]]
    key: str
    spec: Any
    variables: tuple[Any, ...]
    operations: float
    sides: tuple[int, ...] = ()
    gives: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A model as one phase sees it.

    Attributes:
        trained: The model that trains: from the tensors at the cut (or the inputs) to the raw outputs.
        fronts: What is frozen in front of it, input side first: from the inputs to the trunk, which later phases
            share, and from there to the phase's own cut. () where nothing can be computed once.
        sides: Positions of the model's inputs that `trained` takes besides the tensors at the cut (masks).
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
        if phase.unfrozen not in (0.0, 1.0):
            warnings.warn(
                "The model trains as it is, whatever `unfrozen` says: it has no HubLayer, or several.", stacklevel=2
            )
        return Arrangement(_twin(model), (), _had(model, model, None, "none"))
    flag(layer, phase)
    head, besides = _head_of(model, layer, layer.taps)
    if head is None and phase.unfrozen == 0 and any(model_layer.name == PAIR for model_layer in model.layers):
        return _frozen_pairs(model, layer)
    if phase.batch_stats == "adapt" or head is None:
        return Arrangement(_twin(model), (), _had(model, model, layer, "adapt" if head is not None else "not a chain"))
    halves = _halves(model, layer, phase.unfrozen)
    if halves is None:
        return Arrangement(_twin(model), (), _had(model, model, layer, "input"))
    sides = tuple(sorted({*halves.inputs, *besides}))
    if halves.cut is not None or set(layer.taps) - set(halves.tensors):
        trained = _back_and_head(layer, halves, head, besides)
    else:
        trained = head if halves.tensors == layer.taps or not layer.taps else _head_of(model, layer, halves.tensors)[0]
    fronts = _fronts(model, layer, halves, _trunk(model, layer, halves, later), trained)
    return Arrangement(trained, fronts, _had(model, trained, layer, _place(layer, halves)), sides)


def flag(layer: HubLayer, phase: Phase) -> None:
    """Say what of the module a phase trains."""
    layer.batch_stats = phase.batch_stats
    if phase.unfrozen > 0:
        layer.unfreeze(phase.unfrozen)
    else:
        layer.trainable = False


def _frozen_pairs(model: keras.Model, layer: HubLayer) -> Arrangement:
    """The vectors of both sides are computed once, and the head alone trains."""
    vectors = model.get_layer(PAIR).output
    head, before = keras.Model(vectors, model.output, name=f"{model.name}_head"), keras.Model(model.input, vectors)
    variables = tuple(v.value for v in before.variables)
    front = Front(
        _in_tuple(functools.partial(before, training=False)), _key(model, layer, head, "output of pairs"),
        _input_spec(model), variables, 2 * graphs.operations(layer.graph),
    )  # fmt: skip
    return Arrangement(head, (front,), _had(model, head, layer, "output of pairs"))


def _twin(model: keras.Model) -> keras.Model:
    """A model of the same layers for a phase to compile, so that what is saved keeps no optimizer of a phase."""
    try:
        return keras.Model(model.input, model.output, name=model.name)
    except (ValueError, AttributeError):  # subclassed: it has no graph to share
        return model


def _halves(model: keras.Model, layer: HubLayer, unfrozen: float) -> graphs.Halves | None:
    """What of the module is frozen; None where all of it trains, or nothing can be computed once."""
    halves = layer.halves(unfrozen)
    if halves.inputs and _before(model, layer) is not None:
        return None  # what lies behind needs the module's own inputs, which the model makes of others
    return halves if halves.tensors else None


def _place(layer: HubLayer, halves: graphs.Halves) -> str:
    """What a front ends with, for keys and the record."""
    return ",".join(halves.tensors) if layer.taps or halves.cut is not None else "output"


def _back_and_head(
    layer: HubLayer, halves: graphs.Halves, head: keras.Model, besides: Sequence[int] = ()
) -> keras.Model:
    names = ["at_cut", *(f"at_cut_{number}" for number in range(1, len(halves.tensors)))]
    tensors = [
        keras.Input(layer.graph.shapes[tensor][1:], name=name)
        for tensor, name in zip(halves.tensors, names, strict=True)
    ]
    specs = {i: layer.endpoint.input_leaves[i] for i in sorted({*halves.inputs, *besides})}
    sides = {i: keras.Input(spec.shape[1:], dtype=spec.dtype.name) for i, spec in specs.items()}
    features = layer.back(halves)(alone([*tensors, *(sides[i] for i in halves.inputs)]))
    listed = list(features) if layer.taps else [features]
    outputs = head(alone([*listed, *(sides[i] for i in besides)]))
    return keras.Model(alone([*tensors, *sides.values()]), outputs, name=f"{head.name}_and_back")


def parted(
    model: keras.Model, layer: HubLayer, halves: graphs.Halves
) -> tuple[Callable[[Any], tuple[Any, ...]], keras.Model, tuple[int, ...]]:
    """The model in two at the tensors of `halves`.

    Returns:
        A function from the model's inputs to those tensors; what takes them to the outputs; and the positions of the
        inputs that the latter takes besides.

    Raises:
        InputError: If other paths lead around the module, or what lies behind needs inputs that the model makes itself.
    """
    before = _before(model, layer)
    head, besides = _head_of(model, layer, layer.taps)
    if head is None or (halves.inputs and before is not None):
        raise InputError(f"The model cannot be divided inside {layer.handle}: it is no chain from inputs to outputs.")
    front = _after(before, layer.front(halves))
    if halves.cut is None and set(layer.taps) <= set(halves.tensors):
        ordered, besides = _head_of(model, layer, halves.tensors)
        return front, ordered or head, besides
    return front, _back_and_head(layer, halves, head, besides), tuple(sorted({*halves.inputs, *besides}))


def _trunk(model: keras.Model, layer: HubLayer, halves: graphs.Halves, later: Sequence[Phase]) -> graphs.Halves:
    """The earliest halves of this phase and those behind it, up to one that trains through it all."""
    earliest = halves
    for phase in later:
        if phase.unfrozen == 0 or phase.batch_stats == "adapt":
            continue
        candidate = _halves(model, layer, phase.unfrozen)
        if candidate is None or candidate.cut is None:
            break
        if earliest.cut is None or candidate.cut.depth < earliest.cut.depth:
            earliest = candidate
    return earliest


def _fronts(
    model: keras.Model, layer: HubLayer, halves: graphs.Halves, trunk: graphs.Halves, trained: keras.Model
) -> tuple[Front, ...]:
    before, spec = _before(model, layer), _input_spec(model)
    variables = (*layer.endpoint.variables, *(v.value for v in model.variables if id(v) not in _ids(layer.variables)))
    near, whole = _operations(layer, trunk), _operations(layer, halves)
    key = _key(model, layer, trained if trunk.cut is None else None, _place(layer, trunk), trunk)
    first = Front(_after(before, _front(layer, trunk)), key, spec, variables, near, gives=_known(layer, trunk))
    if halves.tensors == trunk.tensors:
        return (first,)
    key = _key(model, layer, trained, f"{_place(layer, trunk)} to {_place(layer, halves)}")
    shapes = (layer.graph.shapes[tensor] for tensor in trunk.tensors)
    at_trunk = [tf.TensorSpec([None, *shape[1:]], tf.float32) for shape in shapes]
    takes = alone((*at_trunk, *(keras.tree.flatten(spec)[i] for i in trunk.inputs)))
    between = layer.between(trunk, halves) if layer.taps or halves.cut is not None else _in_tuple(layer.back(trunk))
    return first, Front(between, key, takes, variables, whole - near, trunk.inputs, _known(layer, halves))


def _front(layer: HubLayer, halves: graphs.Halves) -> Callable[[Any], tuple[Any, ...]]:
    """From the layer's inputs to the front's tensors."""
    if layer.taps or halves.cut is not None:
        return layer.front(halves)
    return _in_tuple(lambda x: layer(x, training=False))


def _in_tuple(function: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda x: tuple(keras.tree.flatten(function(x)))


def _operations(layer: HubLayer, halves: graphs.Halves) -> float:
    """Of what lies in front."""
    graph = graphs.ending(layer.graph, layer.taps) if layer.taps else layer.graph
    return graphs.operations(graph) * (1 - (0.0 if halves.cut is None else halves.cut.cost_behind))


def _known(layer: HubLayer, halves: graphs.Halves) -> tuple[tuple[int, ...], ...] | None:
    """Shapes of the front's tensors for one example, where the graph alone tells all of their sizes."""
    if halves.cut is None and not layer.taps:
        return None
    shapes = [layer.graph.shapes[tensor] for tensor in halves.tensors]
    if not all(shape.rank and None not in shape.as_list()[1:] for shape in shapes):
        return None
    return tuple(tuple(shape.as_list()[1:]) for shape in shapes)


def front_of(layer: HubLayer, cut: graphs.Cut | None, spec: Any, *, of_any_length: bool = False) -> Front:
    """A module's front up to a cut (None: the whole of it), for examples of this the spec of inputs.

    Args:
        layer: The module.
        cut: Where it ends; of a layer with taps None is those that have a row per example.
        spec: the spec of inputs; its sizes take the place of those that the module leaves open.
        of_any_length: Leave those open, as batches are cut to their longest example.
    """
    layer_inputs = layer.endpoint.inputs
    if of_any_length:
        takes = layer_inputs
    elif isinstance(layer_inputs, Mapping):
        takes = {key: _batch_of(spec[key], layer_inputs[key]) for key in layer_inputs}
    else:
        takes = _batch_of(spec, layer_inputs)
    if cut is None:
        halves, run = layer.halves(0), _front(layer, layer.halves(0))
        inside = _variables(layer, halves) if layer.taps else layer.variables
        place, operations = _place(layer, halves), _operations(layer, halves)
    else:
        run = _in_tuple(layer.front(cut))
        numbers = graphs.variables_in_front(layer.graph, cut)
        inside = [layer.module_variables[i] for i in numbers if i in layer.module_variables]
        place, operations = ",".join(cut.tensors), graphs.operations(layer.graph) * (1 - cut.cost_behind)
    return Front(run, _key_of(layer, place, inside), takes, tuple(layer.endpoint.variables), operations)


def _variables(layer: HubLayer, halves: graphs.Halves) -> list[Any]:
    """Of the layer, those that lead to the tensors of a front."""
    inside = graphs.variables_of(layer.graph, halves.tensors)
    return [layer.module_variables[i] for i in inside if i in layer.module_variables]


def _batch_of(spec: Any, like: Any) -> Any:
    return tf.TensorSpec([None, *spec.shape], like.dtype)


def _input_spec(model: keras.Model) -> Any:
    """What the model takes; images come as whole pixels, and every front casts what it is given."""
    return keras.tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), model.input)


def _ids(variables: Sequence[Any]) -> set[int]:
    return {id(v) for v in variables}


def _head_of(model: keras.Model, layer: HubLayer, tensors: Sequence[str]) -> tuple[keras.Model | None, tuple[int, ...]]:
    """The layers behind the backbone as a model of their own; None where other paths lead around it.

    Args:
        model: The whole model.
        layer: Its backbone.
        tensors: Of a layer with taps all of them, in the order in which the head is to take them.

    Returns:
        The head, and the positions of the model's inputs that it takes behind the backbone's tensors: all of them where
        it looks at any, as a language model looks for what it was asked.
    """
    for inputs, outputs in _calls(layer):
        listed = [outputs[layer.taps.index(name)] for name in tensors] if len(tensors) > 1 else [outputs]
        same = [a is b for a, b in zip(keras.tree.flatten(inputs), model.inputs, strict=False)]
        whole = tuple(range(len(model.inputs))) if same and all(same) and len(same) == len(model.inputs) else ()
        for besides in dict.fromkeys(((), whole)):
            try:
                with _places_kept(model.inputs):
                    takes = alone([*listed, *(model.inputs[i] for i in besides)])
                    return keras.Model(takes, model.output, name=f"{model.name}_head"), besides
            except (ValueError, AttributeError):
                continue
    return None, ()


@contextlib.contextmanager
def _places_kept(inputs: Sequence[Any]) -> Iterator[None]:
    """Let a model share inputs of another: Keras numbers them anew, and then cannot save the other one."""
    places = [getattr(tensor, "_keras_history", None) for tensor in inputs]  # a Keras-private name; pinned by a test
    yield
    for tensor, place in zip(inputs, places, strict=True):
        if place is not None:
            tensor._keras_history = place


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
    model: keras.Model, layer: HubLayer, trained: keras.Model | None, place: str, halves: graphs.Halves | None = None
) -> str:
    """Hash of the frozen variables in front of `halves` (or of `trained`), the graph, the range and the place."""
    behind = {id(v) for v in trained.variables} if trained is not None else set()
    if halves is not None and layer.taps:
        front = _variables(layer, halves)
    elif halves is not None and halves.cut is not None:
        inside = set(graphs.variables_in_front(layer.graph, halves.cut))
        front = [v for i, v in layer.module_variables.items() if i in inside]
    else:
        front = [v for v in model.variables if id(v) not in behind]
    return _key_of(layer, place, front)


def _key_of(layer: HubLayer, place: str, variables: Sequence[Any]) -> str:
    settings = [str(value) for value in (layer.output_key, layer.form) if value not in (None, USUAL)]
    return sha256_bytes(place, str(layer.input_range), layer.packed_graph(), weights_hash(variables), *settings)


def weights_hash(variables: Any) -> str:
    """sha256 over the values of variables, in their order."""
    return sha256_bytes(*(np.ascontiguousarray(v).tobytes() for v in variables))
