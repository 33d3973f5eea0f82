"""Modules that are called in another way than most, called as most are: one tensor, or a dict of them, with a batch.

A list, a tuple or a dict of one tensor is that tensor; of several, a dict by name. A module without a batch axis, or
with a batch of one size only, is run example by example; grey, channels-first and whole-number images become
images (batch, height, width, 3) of any number; what computes in half precision computes in float32.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.errors import InputError
from tlkit.formats.hub_module import unique_names
from tlkit.layer import detectors
from tlkit.layer.endpoints import Endpoint
from tlkit.tokenizing.wordpiece import INPUTS

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, by ITU-R BT.601, as Pillow converts to grey
WAVE = 16_000  # samples with which it is tried whether a module takes a batch of numbers or one recording
CHANNELS = (1, 3)
BERT_WORDS = ("mask", "type", "segment", "id")  # by which the three inputs of a BERT are told apart, in this order


@dataclass(frozen=True)
class Form:
    """How a module is called, where it is not as most are; plain values, which a layer's config holds.

    Attributes:
        names: Of its inputs, where it takes several that are no plain dict; () elsewhere.
        alone: Whether its one tensor stands in a list, a tuple or a dict.
        shape: Of an example, where the module does not say its rank or its images' channels; () elsewhere.
        each: Examples that it takes at a time, always; 0 where it takes any number.
        batched: Whether its inputs have a batch axis at all.
        channels_first: Whether its images are (channels, height, width).
        grey: Whether images of three channels are made grey for it.
        whole: Whether its images are whole numbers, 0 to 255.
        float32: Whether it computes in half precision, and is made to compute in float32.
        size: (height, width) of its images where it was exported for others; () where it takes its own.
        tapped: Whether it is a detector that is tapped in front of its loops and suppression.
    """

    names: tuple[str, ...] = ()
    alone: bool = False
    shape: tuple[int | None, ...] = ()
    each: int = 0
    batched: bool = True
    channels_first: bool = False
    grey: bool = False
    whole: bool = False
    float32: bool = False
    size: tuple[int, ...] = ()
    tapped: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done to the data or the module that its user may not expect, each as the rest of a sentence."""
        lot = "one example" if self.each == 1 else f"{self.each} examples"
        applies = {
            f"takes {lot} at a time and no other number: examples go through it one by one": self.each and self.batched,
            "takes one example without a batch: examples go through it one by one": not self.batched,
            "takes grey pictures: pictures become grey by the luma weights .299, .587, .114": self.grey,
            "takes channels first: pictures are transposed where they enter it": self.channels_first,
            "was made in half precision: it computes in float32 here, from the same weights": self.float32,
            "is a detector: its feature maps are read, and its loops and suppression are left out": self.tapped,
        }
        return tuple(note for note, true in applies.items() if true)


USUAL = Form()


# -- finding the form


def form_of(endpoint: Endpoint, spec: Any = None) -> Form:
    """The form of a module, told by its specs and, where these leave it open, by the data.

    Args:
        endpoint: The module's own.
        spec: the spec of inputs of what it is to take; None where that is unknown.

    Raises:
        InputError: If the module does not say its input's rank, and there are no data to tell it.
    """
    if any(leaf.shape.rank == 0 and leaf.dtype != tf.string for leaf in endpoint.input_leaves[1:]):
        names = ", ".join(leaf.name for leaf in endpoint.input_leaves if leaf.shape.rank == 0)
        raise InputError(
            f"The module takes {names} besides, one value for all examples, which no data have: wrap it in a "
            "keras.Model that gives it."
        )
    if detectors.is_detector(endpoint):
        return replace(form_of(detectors.tapped(endpoint), spec), tapped=True)
    half = graphs.computes_in_half(endpoint.inference)
    leaves = endpoint.input_leaves
    if len(leaves) > 1:
        return _of_several(endpoint, leaves, half)
    inputs, named = endpoint.inputs, isinstance(spec, Mapping)
    form = Form(alone=not isinstance(inputs, tf.TypeSpec) and not (named and isinstance(inputs, Mapping)), float32=half)
    leaf, shape = leaves[0], None if spec is None or named else tuple(spec.shape)
    if leaf.shape.rank is None:
        if shape is None:
            raise InputError(
                "The module does not say of which rank its input is, so the data must: pass `data=` to build, or use "
                "finetune."
            )
        form = replace(form, shape=shape)
        leaf = tf.TensorSpec([None, *shape], leaf.dtype)
    elif leaf.shape.rank == 4 and leaf.shape[-1] is None and leaf.dtype.is_floating:
        if shape is None:
            raise InputError(
                "The module does not say how many channels its images have, so the data must: pass `data=` to build, "
                "or use finetune."
            )
        channels = shape[-1] if len(shape) == 3 else None
        form = replace(form, shape=() if channels is None else (None, None, channels))
        leaf = tf.TensorSpec([*leaf.shape[:-1], channels], leaf.dtype)
    batched = _takes_batch(endpoint, leaf, shape)
    form = replace(form, batched=batched, each=1 if not batched else leaf.shape[0] or 0)
    return _of_picture(form, leaf.shape[1:] if batched else leaf.shape, leaf.dtype, shape)


def _of_several(endpoint: Endpoint, leaves: Sequence[Any], half: bool) -> Form:
    inputs = endpoint.inputs
    plain = isinstance(inputs, Mapping) and len(inputs) == len(leaves)
    sizes = {leaf.shape[0] if leaf.shape.rank else None for leaf in leaves}
    batch_size = sizes.pop() if len(sizes) == 1 else None
    return Form(names=() if plain else _names(leaves), each=batch_size or 0, float32=half)


def _names(leaves: Sequence[Any]) -> tuple[str, ...]:
    """A name for each input: those of the traced tensors, and those of word pieces where it is a BERT."""
    names = unique_names(re.sub(r"\W", "_", leaf.name or f"input_{i}") for i, leaf in enumerate(leaves))
    if len(leaves) == len(INPUTS) and all(s.dtype.is_integer and s.shape.rank == 2 for s in leaves):
        meant = [next((word for word in BERT_WORDS if word in name.lower()), "") for name in names]
        of = {"id": INPUTS[0], "mask": INPUTS[1], "type": INPUTS[2], "segment": INPUTS[2]}
        bert_names = tuple(of.get(word, "") for word in meant)
        return bert_names if set(bert_names) == set(INPUTS) else tuple(names)
    return tuple(names)


def _takes_batch(endpoint: Endpoint, leaf: Any, shape: tuple[int | None, ...] | None) -> bool:
    """Whether the first axis is the batch. Data tell; without them, what one output row stands for is tried."""
    rank = leaf.shape.rank
    if leaf.dtype == tf.string:
        return bool(rank != 0)
    if shape is not None:
        picture = len(shape) == 3 and leaf.shape[-1:] == shape[-1:] and leaf.shape[-1] in CHANNELS
        return not (rank == len(shape) and (picture or rank == 1 or leaf.shape.is_compatible_with(shape)))
    if rank == 0:
        return False
    if rank != 1 or not leaf.dtype.is_floating:
        return True
    if leaf.shape[0] is not None:
        return bool(leaf.shape[0] == 1)
    return _gives_row_for_each(endpoint, leaf)


def _gives_row_for_each(endpoint: Endpoint, leaf: Any) -> bool:
    """Whether a module of float [None] gives a row for each number: these are examples then, and no samples."""
    try:
        outputs = endpoint.call(tf.nest.pack_sequence_as(endpoint.inputs, [tf.zeros([WAVE], leaf.dtype)]), False)
    except (tf.errors.OpError, ValueError):
        return False
    return all(y.shape.rank and y.shape[0] == WAVE for y in tf.nest.flatten(outputs))


def _of_picture(form: Form, sizes: Any, dtype: Any, shape: tuple[int | None, ...] | None) -> Form:
    """What a picture needs to become one that the module takes; the form itself where its input is none."""
    if len(sizes) != 3 or (shape is not None and len(shape) != 3):
        return form
    given_channels = None if shape is None else shape[-1]
    first = sizes[-1] not in CHANNELS and sizes[0] in CHANNELS
    first = first and (given_channels in CHANNELS or (shape is None and sizes[1] == sizes[2]))
    channels = sizes[0] if first else sizes[-1]
    if channels not in CHANNELS or not (dtype.is_floating or dtype.is_integer):
        return form
    if dtype in (tf.int8, tf.uint16):
        raise InputError(
            f"The module takes images of {dtype.name}, and pixels are 0 to 255: wrap it in a keras.Model that shifts "
            "or scales them as it expects."
        )
    grey = channels == 1 and given_channels == 3
    return replace(form, channels_first=first, grey=grey, whole=dtype.is_integer)


# -- the endpoint of a form


def formed(endpoint: Endpoint, form: Form) -> Endpoint:
    """The endpoint that takes what modules of the usual form take, and gives what the module gives, with a batch."""
    if form == USUAL:
        return endpoint
    if form.tapped:
        return formed(detectors.tapped(endpoint), replace(form, tapped=False))
    specs = _specs(endpoint, form)
    run = _leafwise(endpoint, form)
    for loop in (_vectorized, _mapped):
        body = _body(form, run, loop, _example_specs(endpoint, form))
        try:
            inference = _traced(body, specs)
            break
        except Exception:  # vectorized_map raises anything, AssertionError among it, where it cannot
            if loop is _mapped or not form.each:
                raise
    return replace(
        endpoint,
        call=_traced_or(inference, body, form),
        inference=inference,
        inputs=specs,
        accepts=(specs,),
        takes_training=endpoint.takes_training and not form.each and not form.size,
    )


def _traced(body: Callable[[Any, bool], Any], specs: Any) -> Any:
    with tf.init_scope():
        return tf.function(lambda inputs: body(inputs, False), autograph=False).get_concrete_function(specs)


def _traced_or(inference: Any, body: Callable[[Any, bool], Any], form: Form) -> Callable[[Any, bool], Any]:
    """What was traced, or inside somebody's trace the body, which may know more sizes there.

    A loop is never traced anew: gradient tapes watch the variables of a function, not those inside such a loop.
    """

    def call(inputs: Any, training: bool) -> Any:
        looped = bool(form.each) and tf.nest.flatten(inputs)[0].shape[0] != 1
        return inference(inputs) if not training and (looped or tf.executing_eagerly()) else body(inputs, training)

    return call


def _specs(endpoint: Endpoint, form: Form) -> Any:
    """What the formed endpoint takes."""
    leaves = [_leaf_spec(spec, form) for spec in endpoint.input_leaves]
    if form.names:
        pairs = zip(form.names, leaves, strict=True)
        return {name: tf.TensorSpec(s.shape, s.dtype, name=name) for name, s in pairs}
    if form.alone or isinstance(endpoint.inputs, tf.TypeSpec):
        return leaves[0]
    return tf.nest.pack_sequence_as(endpoint.inputs, leaves)


def _leaf_spec(spec: Any, form: Form) -> Any:
    sizes = list(_own_sizes(spec, form))
    if form.channels_first:
        sizes = [*sizes[1:], sizes[0]]
    if form.grey:
        sizes[-1] = 3
    wide = form.whole or (form.float32 and spec.dtype.is_floating)
    return tf.TensorSpec([None, *sizes], tf.float32 if wide else spec.dtype, name=spec.name)


def _own_sizes(spec: Any, form: Form) -> Sequence[int | None]:
    """Sizes of one example as the module has them."""
    if spec.shape.rank is None:
        return form.shape
    sizes = list(spec.shape[1:] if form.batched else spec.shape)
    if form.shape:
        sizes[-1] = form.shape[-1]
    if form.size:
        sizes = [sizes[0], *form.size] if form.channels_first else [*form.size, sizes[-1]]
    return sizes


def _example_specs(endpoint: Endpoint, form: Form) -> Any:
    """Specs of what one example gives, as a loop over them must know."""
    outputs = endpoint.inference.structured_outputs
    if not form.each:
        return None

    def spec(output: Any) -> Any:
        shape = output.shape[1:] if form.batched and output.shape.rank else output.shape
        dtype = tf.float32 if form.float32 and output.dtype.is_floating else output.dtype
        return tf.TensorSpec([form.each, *shape] if form.batched and shape.rank is not None else shape, dtype)

    return tf.nest.map_structure(spec, outputs)


def _leafwise(endpoint: Endpoint, form: Form) -> Callable[[list[Any], bool], Any]:
    """The module as a function of its flat inputs, whole numbers as floats and half precision as float32."""
    other = form.float32 or form.whole or form.size
    graph = graphs.flatten(endpoint.inference, endpoint.variables) if other else None
    if graph is not None and form.float32 and graph.nodes:
        graph = graphs.widened(graph)
    if graph is not None and form.size:
        leaf, sizes = endpoint.input_leaves[0], _own_sizes(endpoint.input_leaves[0], form)
        shape = [leaf.shape[0], *sizes] if form.batched else sizes
        graph = graphs.at_sizes(graph, [tf.TensorSpec(shape, graph.whole.inputs[0].dtype)])
    direct = graphs.behind_cast(graph) if graph is not None and form.whole else None
    inference = None if graph is None else graph.whole

    def run(leaves: list[Any], training: bool) -> Any:
        if direct is not None and not training:
            return direct(*leaves)
        if inference is not None and not training:
            return inference(*(_as(value, t.dtype) for value, t in zip(leaves, inference.inputs, strict=False)))
        values = [_as(value, spec.dtype) for value, spec in zip(leaves, endpoint.input_leaves, strict=True)]
        return endpoint.call(tf.nest.pack_sequence_as(endpoint.inputs, values), training)

    return run


def _as(value: Any, dtype: Any) -> Any:
    if value.dtype == dtype:
        return value
    return tf.cast(tf.round(value) if dtype.is_integer and value.dtype.is_floating else value, dtype)


def _body(
    form: Form, run: Callable[[list[Any], bool], Any], loop: Callable[..., Any], like: Any
) -> Callable[[Any, bool], Any]:
    def body(inputs: Any, training: bool) -> Any:
        leaves = [inputs[name] for name in form.names] if form.names else tf.nest.flatten(inputs)
        leaves = [_entering(value, form) for value in leaves]
        if not form.each:
            return run(leaves, training)
        return _in_groups(form, lambda group: run(list(group), False), leaves, loop, like)

    return body


def _entering(value: Any, form: Form) -> Any:
    """Pictures (batch, height, width, channels) as the module has them."""
    if form.grey:
        value = tf.reduce_sum(tf.cast(value, tf.float32) * tf.constant(LUMA), axis=-1, keepdims=True)
    return tf.transpose(value, (0, 3, 1, 2)) if form.channels_first else value


# -- so many at a time


def _in_groups(
    form: Form, run: Callable[[Sequence[Any]], Any], leaves: list[Any], loop: Callable[..., Any], like: Any
) -> Any:
    """The module on any number of examples, run on `form.each` of them at a time; one alone takes no loop."""
    if leaves[0].shape[0] == 1:
        outputs = run([tf.repeat(x, form.each, axis=0) if form.batched else x[0] for x in leaves])
        return tf.nest.map_structure(lambda y: y[:1] if form.batched else y[None], outputs)
    if not form.batched:
        return loop(run, leaves, like)
    count = tf.shape(leaves[0])[0]
    outputs = loop(run, [_grouped(x, form.each, count) for x in leaves], like)
    return tf.nest.map_structure(lambda y: _ungrouped(y, count), outputs)


def _ungrouped(y: Any, count: Any) -> Any:
    rows = tf.reshape(y, tf.concat([[-1], tf.shape(y)[2:]], 0))[:count]
    return tf.ensure_shape(rows, [None, *y.shape[2:]])


def _grouped(x: Any, size: int, count: Any) -> Any:
    """(batch, ...) as (groups, size, ...); the last group is filled up with copies of the last example."""
    full = x if size == 1 else tf.concat([x, tf.repeat(x[-1:], -count % size, axis=0)], 0)
    return tf.reshape(full, tf.concat([[-1, size], tf.shape(x)[1:]], 0))


def _vectorized(run: Callable[[Sequence[Any]], Any], leaves: list[Any], like: Any) -> Any:
    """All at once, by operations that TensorFlow gives a further axis."""
    outputs = tf.vectorized_map(run, leaves, fallback_to_while_loop=False)
    return tf.nest.map_structure(lambda y, spec: tf.ensure_shape(y, [None, *spec.shape]), outputs, like)


def _mapped(run: Callable[[Sequence[Any]], Any], leaves: list[Any], like: Any) -> Any:
    return tf.map_fn(run, leaves, fn_output_signature=like)
