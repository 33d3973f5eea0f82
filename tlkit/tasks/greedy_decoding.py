"""How a trained encoder-decoder writes: greedy choice of one token after the other, in one graph.

Modules that bring `start` and `step` (zoo/whisper_tiny_en.py, zoo/transformer.py) keep keys and values of what was
written; of others the whole module is asked again for each token.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.tokens import IDS, LEADS, SHARES
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.task import Function, Signature
from tlkit.data.teacher_forcing import PROMPTED, TOKENIZER
from tlkit.generating.search import STRETCHES, TIMES, log_shares
from tlkit.generating.stepping import DECODE, DEFAULT, shapes_of
from tlkit.layer.token_scores import LOGITS
from tlkit.tokenizing.bytepairs_graph import telling

if TYPE_CHECKING:
    import keras

ENCODE = "encode"
CROSS, CACHE = "cross_", "kv_cache_"
NEVER = -1e9  # logit of a token that may not come
NONE = -1  # what stands behind the end

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """What decides the text besides the scores.

    Attributes:
        prompt: Tokens before the first.
        end: The token that ends a text.
        never: Tokens that are never written; None is all above the end.
        width: Tokens of the module's rows; None where it takes any number.
        barred: Tokens that cannot be the first.
        longest: Most tokens of a text.
    """

    prompt: tuple[int, ...]
    end: int
    barred: tuple[int, ...]
    longest: int
    never: tuple[int, ...] | None = None
    width: int | None = None

    @property
    def capacity(self) -> int:
        """Places for prompt and text."""
        return len(self.prompt) + self.longest


def run(calls: Mapping[str, Function], inputs: Mapping[str, np.ndarray], *, whole: str) -> dict[str, np.ndarray]:
    """What a file writes for an example, by the function that clients call first; the loop is in its own graph."""
    outputs = calls[DEFAULT if DEFAULT in calls else whole](dict(inputs))
    return {name: np.asarray(outputs[name]) for name in (IDS, SHARES, LEADS)}


def run_apart(calls: Mapping[str, Function], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What follows the tokens 0 and 1 by the functions `encode` and `decode`; {} of a file without them.

    Returns:
        Probabilities of all tokens as "shares", float32 (1, 2, vocabulary).
    """
    if not {ENCODE, DECODE} <= set(calls):
        return {}
    read, shapes = calls[ENCODE](dict(inputs)), shapes_of(calls[DECODE])
    caches = {name: np.zeros((1, *shape[1:]), np.float32) for name, shape in shapes.items() if name.startswith(CACHE)}
    rows = []
    for place in range(2):
        given = {"ids": np.array([[place]], np.int32), "position": np.array(place, np.int32), **read, **caches}
        caches = dict(calls[DECODE](given))
        rows.append(np.exp(log_shares(caches.pop(LOGITS)[0])))
    return {SHARES: np.stack(rows)[None].astype(np.float32)}


def functions(
    model: keras.Model, examples: Examples, kind: str, *, longest: int, whole: str, noun: str
) -> dict[str, Signature]:
    """What `Deployment.functions` asks for.

    Args:
        model: Trained: an input and tokens in, logits out.
        examples: In use, so that their one input is what is read.
        kind: "trained", "file" or "server".
        longest: Most tokens of a text.
        whole: Name of the function that holds the loop.
        noun: What is written, for messages.

    Raises:
        InputError: If the model is not on one module, or the examples were not prepared for it.
    """
    import tensorflow as tf

    from tlkit.layer.lookup import backbone_of

    layer, settings = backbone_of(model), examples.pipeline.get(PROMPTED)
    if layer is None or settings is None:
        raise InputError(f"{noun} by a model on one module, with data that `finetune` prepared for it.")
    rules = _rules(settings, longest, layer.endpoint.inputs[IDS].shape[1])
    ((source, spec),) = examples.inputs.spec.items()
    sizes = (None, None) if kind == "server" else (1, spec.shape[0])
    specs = {source: tf.TensorSpec(sizes, spec.dtype)}
    cached = layer.function("start") is not None and layer.function("step") is not None
    write = functools.partial(greedy, layer, rules) if cached else functools.partial(settled, model, rules)
    apart = _apart(layer, rules, specs) if cached else {}
    if kind == "server":
        writing = Signature(telling(write, IDS, str(examples.columns[TOKENIZER][0])), specs)
        return {DEFAULT: writing, whole: writing, **apart}
    if kind == "trained" and cached:
        write = functools.partial(_proven, model, layer, rules)
    return {whole: Signature(write, specs), **apart}


def _rules(settings: Mapping[str, Any], longest: int, width: int | None) -> Rules:
    """What the data's pipeline says, with no more room than a module of rows of one width has."""
    prompt, never = tuple(settings["prompt"]), settings.get("never")
    room = longest if width is None else min(longest, int(width) + 1 - len(prompt))
    never = None if never is None else tuple(never)
    return Rules(prompt, int(settings["end"]), tuple(settings["barred"]), room, never, width)


# -- with keys and values at hand


def greedy(layer: Any, rules: Rules, tensors: Mapping[str, Any]) -> Tensors:
    """Ids, shares and leads (batch, longest) of what is written for the one tensor (batch, n), in one graph."""
    import tensorflow as tf

    from tlkit import graph as graphs

    (source,) = tensors.values()
    cross, step, table = encoded(layer, source), graphs.OnValues(layer.function("step")), table_of(layer)
    values = step.read()
    count, start = tf.shape(source)[0], len(rules.prompt)
    prompt = tf.tile(tf.constant([rules.prompt], tf.int32), (count, 1))
    caches = _empty(source, cross, rules.capacity)
    names, shapes = list(caches), {name: cache.shape for name, cache in caches.items()}

    def following(ids: Any, position: Any, cache_values: Sequence[Any]) -> tuple[Any, list[Any]]:
        inputs = {**cross, **dict(zip(names, cache_values, strict=True)), "ids": ids, "position": position}
        outputs = step(values, inputs)
        new_caches = [outputs[name] for name in names]
        for cache, name in zip(new_caches, names, strict=True):
            cache.set_shape(shapes[name])
        return _logits(outputs, table), new_caches

    def body(place: Any, text: Any, shares: Any, leads: Any, going: Any, *cache_values: Any) -> tuple[Any, ...]:
        before = tf.reshape(tf.gather(text, tf.reshape(place - 1, (1,)), axis=1), (-1, 1))
        scores, new_caches = following(tf.maximum(before, 0), start + place - 1, cache_values)
        text, shares, leads, going = _written(rules, place, scores, text, shares, leads, going)
        return (place + 1, text, shares, leads, going, *new_caches)

    scores, cache_values = following(prompt, tf.constant(0), list(caches.values()))
    blank = _zeros(source) + tf.zeros((1, rules.longest))
    text = tf.cast(blank, tf.int32) + NONE
    going = tf.cast(blank[:, 0], tf.int32) == 0
    first = _written(rules, tf.constant(0), scores, text, blank, blank, going)
    ended = tf.while_loop(
        lambda place, *state: tf.logical_and(place < rules.longest, tf.reduce_any(state[3])),
        body,
        (tf.constant(1), *first, *cache_values),
    )
    return _cut(*ended[1:4])


def _written(
    rules: Rules, place: Any, scores: Any, text: Any, shares: Any, leads: Any, going: Any
) -> tuple[Any, Any, Any, Any]:
    """The text with the likeliest token at a place, and who goes on: nobody who is at the end, or repeats itself."""
    import tensorflow as tf

    token, share, lead = chosen(rules, scores, tf.equal(place, 0))
    goes = tf.logical_and(going, token != rules.end)
    at_place = tf.range(rules.longest)[None] == place
    written = tf.logical_and(at_place, goes[:, None])
    text, shares = (tf.where(written, values[:, None], rows) for values, rows in ((token, text), (share, shares)))
    leads = tf.where(tf.logical_and(at_place, going[:, None]), lead[:, None], leads)  # of the end too
    return text, shares, leads, tf.logical_and(goes, ~repeats_at(text, place))


def chosen(rules: Rules, scores: Any, first: Any) -> tuple[Any, Any, Any]:
    """The likeliest token of logits (..., vocabulary), its probability, and how far it is above the next."""
    import tensorflow as tf

    numbers = np.arange(int(scores.shape[-1]))
    outside = numbers > rules.end if rules.never is None else np.isin(numbers, rules.never)
    never = np.where(outside, NEVER, 0.0).astype(np.float32)
    at_first = np.where(np.isin(numbers, rules.barred), NEVER, 0.0).astype(np.float32)
    allowed = scores + never + at_first * tf.cast(first, tf.float32)
    best = tf.math.top_k(tf.nn.softmax(allowed), 2)
    return best.indices[..., 0], best.values[..., 0], best.values[..., 0] - best.values[..., 1]


def repeats(text: Any, times: int = TIMES) -> tuple[Any, Any]:
    """Where each text begins to repeat itself: stretches of 4 to 16 tokens, several times in a row.

    Args:
        text: int32 (batch, longest), below 0 where nothing is written.
        times: As `Rule.repeats` has it.

    Returns:
        Behind the first of these stretches, and behind the last, int32 (batch,); `longest` where nothing repeats.
    """
    import tensorflow as tf

    longest = int(text.shape[1])
    first = tf.zeros_like(text[:, 0]) + longest
    last = first + 1  # so that stretches may end with the text
    for size in (size for size in STRETCHES if times and times * size <= longest):
        equal = tf.logical_and(tf.equal(text[:, size:], text[:, :-size]), text[:, size:] >= 0)
        counted = tf.pad(tf.cumsum(tf.cast(equal, tf.int32), axis=1), ((0, 0), (1, 0)))
        run = (times - 1) * size
        repeated = tf.equal(counted[:, run:] - counted[:, : counted.shape[1] - run], run)
        starts = tf.reduce_min(tf.where(repeated, tf.range(longest - times * size + 1)[None], longest), axis=1)
        ends = tf.where(starts < longest, starts + times * size, longest + 1)
        first, last = tf.where(ends < last, starts + size, first), tf.minimum(last, ends)
    return first, tf.minimum(last, longest)


def repeats_at(text: Any, place: Any, times: int = TIMES) -> Any:
    """Whether a text repeats itself up to a place and there, bool (batch,): what `repeats` says, for one place.

    Args:
        text: int32 (batch, longest), below 0 where nothing is written.
        place: int32 (), >= 0.
        times: As `Rule.repeats` has it.
    """
    import tensorflow as tf

    if not times:
        return tf.zeros_like(text[:, 0], tf.bool)
    sizes, width = np.array(STRETCHES)[:, None], times * STRETCHES[-1]
    counted = np.arange(width) >= width - (times - 1) * sizes  # the places that equal those a stretch before
    before = np.maximum(np.arange(width) - sizes, 0)
    last = tf.slice(tf.pad(text, ((0, 0), (width, 0)), constant_values=NONE), (0, place + 1), (-1, width))
    last = tf.ensure_shape(last, (text.shape[0], width))
    earlier = tf.gather(last, before, axis=1)
    equal = tf.logical_and(tf.equal(last[:, None], earlier), earlier >= 0)
    return tf.reduce_any(tf.reduce_all(tf.logical_or(equal, ~counted), axis=2), axis=1)


def encoded(layer: Any, source: Any) -> Tensors:
    """Keys and values of what is read, for each block of the decoder."""
    states = layer.function("encode")(inputs=source)["default"]
    cross: Tensors = layer.function("start")(inputs=states)
    return cross


def _zeros(source: Any) -> Any:
    """float32 (batch, 1) of zeros, whose batch is that of a tensor."""
    import tensorflow as tf

    return tf.cast(tf.zeros_like(source[:, :1]), tf.float32)


def _logits(outputs: Mapping[str, Any], table: Any) -> Any:
    """Scores of what follows the last token: the module's own, or products with its table."""
    import tensorflow as tf

    if LOGITS in outputs:
        return outputs[LOGITS][:, -1]
    return tf.matmul(outputs["default"][:, -1], table, transpose_b=True)


def table_of(layer: Any) -> Any:
    """The table that tokens are looked up in; None of a module that gives scores itself."""
    import tensorflow as tf

    if LOGITS in layer.function("step").structured_outputs:
        return None
    return tf.convert_to_tensor(layer.module_variables[layer.graph.resources[layer.embedding]].value)


def _empty(source: Any, cross: Mapping[str, Any], capacity: int) -> Tensors:
    """Caches with nothing in them, as many as there are keys and values of what is read."""
    import tensorflow as tf

    nothing = _zeros(source)[:, :, None]
    return {
        name.replace(CROSS, CACHE, 1): nothing + tf.zeros((1, capacity, int(tensor.shape[-1])))
        for name, tensor in cross.items()
    }


def _apart(layer: Any, rules: Rules, specs: Mapping[str, Any]) -> dict[str, Signature]:
    """`encode` and `decode` for clients with a loop of their own: one token of each example at a time."""
    import tensorflow as tf

    ((source, spec),) = specs.items()
    count = spec.shape[0]
    encoder = tf.function(lambda tensor: encoded(layer, tensor), autograph=False).get_concrete_function(spec)
    cross = {name: tf.TensorSpec(tensor.shape, tf.float32) for name, tensor in encoder.structured_outputs.items()}
    sizes = {name: (count, rules.capacity, int(state.shape[-1])) for name, state in cross.items()}
    caches = {name.replace(CROSS, CACHE, 1): tf.TensorSpec(shape, tf.float32) for name, shape in sizes.items()}
    tokens = {"ids": tf.TensorSpec((count, 1), tf.int32), "position": tf.TensorSpec((), tf.int32)}

    def encode(tensors: Mapping[str, Any]) -> Tensors:
        return encoded(layer, tensors[source])

    def decode(tensors: Mapping[str, Any]) -> Tensors:
        outputs = dict(layer.function("step")(**tensors))
        new_caches = {name: tensor for name, tensor in outputs.items() if name.startswith(CACHE)}
        return {LOGITS: _logits(outputs, table_of(layer)), **new_caches}

    return {ENCODE: Signature(encode, specs), DECODE: Signature(decode, {**tokens, **cross, **caches})}


# -- by the trained model itself


def settled(model: keras.Model, rules: Rules, tensors: Mapping[str, Any], draft: Any = None) -> Tensors:
    """What the trained model writes, by whole passes: each puts the likeliest token behind what stands before it.

    A pass settles one token more at least, so that the end is what greedy choice writes, whatever the draft was; where
    the draft is right, one pass proves it.

    Args:
        model: An input and tokens in, logits out.
        rules: What decides besides.
        tensors: The one input, (batch, n).
        draft: int32 (batch, longest), -1 behind the end; None begins with nothing.

    Source: Santilli et al. 2023, arXiv:2305.10427 (Jacobi decoding).
    """
    import tensorflow as tf

    ((name, source),) = tensors.items()
    start, blank = len(rules.prompt), tf.cast(_zeros(source), tf.int32)
    prompt = blank + tf.constant([rules.prompt], tf.int32)
    draft = blank + tf.fill((1, rules.longest), rules.end) if draft is None else draft
    first = tf.range(rules.longest)[None, :, None] == 0

    def passed(text: Any) -> tuple[Any, Any, Any]:
        ids = tf.concat([prompt, text[:, :-1]], axis=1)
        if rules.width is not None:  # what fills the row up is behind all that counts
            ids = tf.pad(ids, ((0, 0), (0, rules.width + 1 - rules.capacity)), constant_values=rules.end)
        scores = model({name: source, "ids": ids}, training=False)
        return chosen(rules, scores[:, start - 1 : start - 1 + rules.longest], first)

    def body(_text: Any, _shares: Any, _leads: Any, _same: Any, count: Any) -> tuple[Any, ...]:
        text, shares, leads = passed(_text)
        text = _ended(rules, text)
        return text, shares, leads, tf.reduce_all(text == _text), count + 1

    zeros = tf.cast(draft, tf.float32) * 0.0
    begun = _ended(rules, tf.where(draft < 0, rules.end, draft))
    ended = tf.while_loop(
        lambda _text, _shares, _leads, same, count: tf.logical_and(~same, count <= rules.longest),
        body,
        (begun, zeros, zeros, tf.constant(False), tf.constant(0)),
    )
    text = tf.where(ended[0] == rules.end, NONE, ended[0])
    return _cut(text, *ended[1:3])


def _ended(rules: Rules, text: Any) -> Any:
    """The text with the end in every place behind its first end, and behind what it repeats."""
    import tensorflow as tf

    over = tf.cumsum(tf.cast(text == rules.end, tf.int32), axis=1) > 0
    behind = tf.range(rules.longest)[None] >= repeats(text)[1][:, None]
    return tf.where(tf.logical_or(over, behind), rules.end, text)


def _cut(text: Any, shares: Any, leads: Any) -> Tensors:
    """What is left of texts: of three equal stretches the first; behind it the lead of the end, or a loop's least."""
    import tensorflow as tf

    (first, last), place = repeats(text), tf.range(int(text.shape[1]))[None]
    before = tf.logical_and(place < first[:, None], text >= 0)
    count = tf.reduce_sum(tf.cast(before, tf.int32), axis=1)
    ended = tf.where(first < last, last, count + 1)  # behind what decided that the text goes on no more
    deciding = tf.logical_and(place >= count[:, None], place < ended[:, None])
    least = tf.reduce_min(tf.where(deciding, leads, 1.0), axis=1)
    behind = tf.where(place == count[:, None], least[:, None], 0.0)
    return {
        IDS: tf.where(before, text, NONE), SHARES: tf.where(before, shares, 0.0), LEADS: tf.where(before, leads, behind)
    }  # fmt: skip


def _proven(model: keras.Model, layer: Any, rules: Rules, tensors: Mapping[str, Any]) -> Tensors:
    """What the trained model writes, begun with what is written with keys and values at hand."""
    return settled(model, rules, tensors, greedy(layer, rules, tensors)[IDS])
