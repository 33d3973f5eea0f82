"""A module and a task become one keras.Model; a model is arranged into what a phase freezes and what it trains."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.data.pairs import SIDES
from tlkit.errors import InputError
from tlkit.expected_range import settle_range
from tlkit.files import sha256_bytes
from tlkit.forms import USUAL
from tlkit.layer import HubLayer
from tlkit.types import Examples, Phase, Splits, Task

BACKBONE = "backbone"
OUTPUTS = {"sequence": ("sequence_output",)}
ONE_VECTOR = ("default", "pooled_output")
PAIR = "pair"  # what a head of pairs takes, and the layer that gives it
TAKES = ("vector", "sequence", PAIR)


def build(
    backbone: Any, task: Task, *, image_size: tuple[int, int] | None = None, data: Splits | None = None
) -> keras.Model:
    """A keras.Model: input, the module as layer "backbone", the task's head; its outputs are raw (logits).

    An image module takes pixels 0..255 as "image"; the layer scales them into the module's own range. However the
    module is called (with a list, a tuple or a dict of one tensor, without a batch, with a batch of 1 only, with grey
    or channels-first pictures), the model takes one tensor, or a dict of them, with any batch.

    Args:
        backbone: A HubLayer, or anything that HubLayer takes as handle.
        task: What the head is for.
        image_size: (height, width) for a module that takes any; None takes the module's own.
        data: What it is to take, where the module leaves that open: whether its one axis is a batch or a recording,
            whether pictures are made grey for it.

    Raises:
        InputError: If the module does not say which size it takes, or gives nothing to put a head on.
    """
    layer = backbone if isinstance(backbone, HubLayer) else HubLayer(backbone, name=BACKBONE)
    layer.shaped(None if data is None else data.train.spec)
    if is_image(layer):
        settle_range(layer)
    if task.takes not in TAKES:
        raise InputError(f"`Task.takes` must be one of {', '.join(TAKES)}. Received: takes={task.takes!r}.")
    inputs = _inputs(layer, image_size)
    choose_output(layer, layer.compute_output_spec(inputs), task.takes)
    if task.takes == PAIR:
        return _of_pairs(layer, task, inputs)
    features = _featured(layer(inputs), task.takes)
    return _checked(keras.Model(inputs, task.head(features), name=task.name), task)


def _checked(model: keras.Model, task: Task) -> keras.Model:
    """The model, if its outputs are what training, evaluation and export all know: one array, or heads by name."""
    if len(model.outputs) == 1 or task.heads or task.served is not None:
        return model

    def decoded(*raw: Any) -> Any:
        return task.decode(keras.tree.pack_sequence_as(model.output, list(raw)))

    specs = [tf.TensorSpec(t.shape, t.dtype) for t in keras.tree.flatten(model.output)]
    found = tf.function(decoded, autograph=False).get_concrete_function(*specs).structured_outputs
    if len(keras.tree.flatten(found)) == 1:
        return model
    raise InputError(
        f"The head of the task {task.name!r} gives {len(model.outputs)} outputs, and its `decode` makes no one array "
        "of them: let decode do that, or name the heads, as methods.multitask does."
    )


def _of_pairs(layer: HubLayer, task: Task, like: Any) -> keras.Model:
    """Both examples of a pair go through the one module, called twice; the head takes vectors (batch, 2, d)."""
    inputs: dict[str, Any] = {}
    vectors = []
    for side in SIDES:
        own = keras.tree.map_structure(
            lambda t, side=side: keras.Input(t.shape[1:], dtype=t.dtype, name=f"{side}_{t.name}"), like
        )
        inputs |= {t.name: t for t in keras.tree.flatten(own)}
        found = _featured(layer(own), PAIR)
        vectors.append(keras.layers.Reshape((1, found.shape[-1]))(found))
    raw = task.head(keras.layers.Concatenate(axis=1, name=PAIR)(vectors))
    return _checked(keras.Model(inputs, raw, name=task.name), task)


def is_image(layer: HubLayer) -> bool:
    """Whether the module takes one float tensor (batch, height, width, 1 or 3)."""
    leaves = layer.endpoint.input_leaves
    shape = leaves[0].shape
    return len(leaves) == 1 and leaves[0].dtype.is_floating and shape.rank == 4 and shape[-1] in (1, 3)


def own_image_size(layer: HubLayer) -> tuple[int, int] | None:
    """(height, width) that the module was exported for; None where it takes any."""
    height, width = layer.endpoint.input_leaves[0].shape[1:3]
    if height is None or width is None:
        size = layer.card.get("image_size")
        return (int(size[0]), int(size[1])) if size else None
    return int(height), int(width)


def _inputs(layer: HubLayer, image_size: tuple[int, int] | None) -> Any:
    specs = layer.endpoint.inputs
    if isinstance(specs, Mapping):
        return {k: keras.Input(s.shape[1:], dtype=s.dtype.name, name=k) for k, s in specs.items()}
    if not is_image(layer):
        return keras.Input(specs.shape[1:], dtype=specs.dtype.name, name="inputs")
    own = own_image_size(layer)
    fixed = layer.endpoint.input_leaves[0].shape[1:3].as_list()
    if image_size is not None and None not in fixed and tuple(image_size) != tuple(fixed):
        raise InputError(
            f"{layer.handle} takes images of {fixed[0]}x{fixed[1]} only; leave image_size out. "
            f"Received: image_size={tuple(image_size)}."
        )
    size = image_size or own
    if size is None:
        raise InputError(f"{layer.handle} takes images of any size; say which: image_size=(224, 224).")
    return keras.Input((*size, specs.shape[-1]), name="image")


def choose_output(layer: HubLayer, outputs: Any, takes: str) -> None:
    """Of a module that gives several outputs, let the layer give the one that a head takes.

    Args:
        layer: Whose `output_key` is set.
        outputs: What it gives, or specs of that.
        takes: As `Task.takes` has it.
    """
    if graphs.output_keys(outputs):
        layer.output_key = _chosen_key(outputs, layer, takes)


def _chosen_key(outputs: Any, layer: HubLayer, takes: str) -> str:
    """The output for a head; by the conventions of the hub's image and text modules."""
    for key in OUTPUTS.get(takes, ONE_VECTOR):
        if isinstance(outputs, Mapping) and key in outputs:
            return key
    keys = graphs.output_keys(outputs)
    if len(keys) == 1:
        return keys[0]
    shapes = ", ".join(f"{key} {_sizes(graphs.output_at(outputs, key))}" for key in keys)
    raise InputError(
        f"{layer.handle} gives several outputs; make HubLayer(..., output_key=one of {list(keys)}). "
        f"Their shapes are {shapes}."
    )


def _sizes(tensor: Any) -> str:
    rank = getattr(tensor.shape, "rank", len(tensor.shape) if isinstance(tensor.shape, tuple) else None)
    return "(any)" if rank is None else f"({', '.join('any' if size is None else str(size) for size in tensor.shape)})"


def _featured(features: Any, takes: str) -> Any:
    """What a head takes: a vector for each step, or one for all, feature maps averaged over space."""
    if takes == "sequence":
        if len(features.shape) != 3:
            raise InputError(
                f"The task needs one vector a step, (batch, steps, d); the module gives shape {tuple(features.shape)}."
            )
        return features
    if len(features.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(name="pool")(features)
    if len(features.shape) == 3:
        return keras.layers.GlobalAveragePooling1D(name="pool")(features)
    if len(features.shape) != 2:
        raise InputError(f"A head needs features (batch, d); the module gives shape {tuple(features.shape)}.")
    return features


def uncut(takes: Any, examples: Examples) -> Examples:
    """The examples, never cut to the longest text of a batch where what takes them knows one length only.

    Args:
        takes: Specs, or Keras tensors, of what is taken, batch included.
        examples: Perhaps with `lengths`.
    """
    steps = [leaf.shape[1] for leaf in keras.tree.flatten(takes) if len(leaf.shape) > 1]
    fixed = bool(steps) and None not in steps
    return replace(examples, lengths=None) if fixed and examples.lengths is not None else examples


def all_layers(model: keras.Model) -> Iterator[Any]:
    """Layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def backbone_of(model: keras.Model) -> HubLayer | None:
    """The one HubLayer of a model; None where there is none, or several."""
    found = [layer for layer in model.layers if isinstance(layer, HubLayer)]
    return found[0] if len(found) == 1 else None


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
    """A module's front up to a cut (None: the whole of it), for examples of this `Examples.spec`.

    Args:
        layer: The module.
        cut: Where it ends.
        spec: `Examples.spec`; its sizes take the place of those that the module leaves open.
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
