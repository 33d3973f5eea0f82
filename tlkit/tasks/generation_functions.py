"""The functions of a trained language model: with a cache where that is known, for servers, and through the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.task import Signature
from tlkit.data.dialogue_rows import TOKENIZER
from tlkit.generating.rows import NONE
from tlkit.generating.search import Rule
from tlkit.generating.stepping import CACHE, DECODE, DEFAULT, NEXT, PREFILL
from tlkit.tasks.cached_decoders import CachedDecoder, cached_decoder
from tlkit.tasks.greedy_decoding import repeats, repeats_at
from tlkit.tokenizing.bytepairs_graph import telling

if TYPE_CHECKING:
    import keras

PIECE = 32  # tokens of a prompt that are read at a time
GENERATE = "generate"
STEP = 32  # capacities are multiples of it


def functions(head: str, rule: Rule, model: keras.Model, examples: Examples, kind: str) -> dict[str, Signature]:
    """The functions of a kind, as `Deployment.functions` gives them.

    Args:
        head: Name of the layer that gives scores.
        rule: How an answer is chosen; for how many tokens there is room.
        model: The trained model.
        examples: Of use.
        kind: "trained", "file" or "server".
    """
    from tlkit.layer.lookup import backbone_of

    layer = backbone_of(model)
    if layer is None:
        raise InputError("The model has no HubLayer, or several, so there is no function to export.")
    scores, capacity = model.get_layer(head), capacity_of(examples, rule)
    decoder = cached_decoder(layer)
    if kind == "trained":
        return {NEXT: _whole(layer, scores, None)}
    if decoder is None:
        exports = {NEXT: _whole(layer, scores, capacity)}
    else:
        exports = {f"{PREFILL}{PIECE}": _prefill(decoder, capacity), DECODE: _decode(layer, decoder, scores, capacity)}
    if kind == "file":
        return exports
    answering = _answering(exports, decoder, rule, capacity)
    telling_text = telling(answering.call, "tokens", str(examples.columns[TOKENIZER][0]))
    whole = Signature(telling_text, answering.inputs)
    return {DEFAULT: whole, GENERATE: whole, **exports}


def capacity_of(examples: Examples, rule: Rule) -> int:
    """Tokens that a prompt and its answer may have together."""
    spec = examples.inputs.spec
    answer = max(rule.most, int(spec["answer"].shape[0]))
    return STEP * -(-(int(spec["prompt"].shape[0]) + answer) // STEP)


def _table(layer: Any) -> Any:
    """The table of tokens, as the layer has it now."""
    return layer.module_variables[layer.graph.resources[layer.embedding]].value


def _whole(layer: Any, scores: Any, width: int | None) -> Signature:
    """All tokens, and the place behind which scores are asked for."""
    import tensorflow as tf

    def following(inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = layer(inputs["tokens"], training=False)
        states, table = outputs if isinstance(outputs, tuple | list) else (outputs, _table(layer))
        at = tf.gather(states, inputs["input_pos"], batch_dims=1)[:, None]
        return {"logits": scores.logits(at, tf.convert_to_tensor(table))}

    return Signature(
        following, {"tokens": tf.TensorSpec((1, width), tf.int32), "input_pos": tf.TensorSpec((1,), tf.int32)}
    )


def _names(decoder: CachedDecoder, capacity: int) -> list[str]:
    """Names of the caches, as LiteRT-LM has them."""
    return [f"{CACHE}{'kv'[i % 2]}_{i // 2}" for i in range(len(decoder.shapes(capacity)))]


def _specs(decoder: CachedDecoder, capacity: int, tokens: int) -> dict[str, Any]:
    import tensorflow as tf

    shapes = dict(zip(_names(decoder, capacity), decoder.shapes(capacity), strict=True))
    return {
        "tokens": tf.TensorSpec((1, tokens), tf.int32),
        "input_pos": tf.TensorSpec((tokens,), tf.int32),
        **{name: tf.TensorSpec(shape, tf.float32) for name, shape in shapes.items()},
    }


def _stepped(decoder: CachedDecoder, capacity: int, inputs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    names = _names(decoder, capacity)
    states, caches = decoder.states(inputs["tokens"], [inputs[name] for name in names], inputs["input_pos"][0])
    return states, dict(zip(names, caches, strict=True))


def _prefill(decoder: CachedDecoder, capacity: int) -> Signature:
    """Fills the caches for a piece of a prompt, and gives no scores."""
    return Signature(lambda inputs: _stepped(decoder, capacity, inputs)[1], _specs(decoder, capacity, PIECE))


def _decode(layer: Any, decoder: CachedDecoder, scores: Any, capacity: int) -> Signature:
    """One token: scores of the next, and the caches."""

    def decode(inputs: Mapping[str, Any]) -> dict[str, Any]:
        states, caches = _stepped(decoder, capacity, inputs)
        return {"logits": scores.logits(states, _table(layer)), **caches}

    return Signature(decode, _specs(decoder, capacity, 1))


def _answering(exports: Mapping[str, Signature], decoder: CachedDecoder | None, rule: Rule, capacity: int) -> Signature:
    """A whole answer in one call: tokens of a prompt -> tokens of the likeliest answer, -1 behind the last."""
    import tensorflow as tf

    decode = exports[NEXT if decoder is None else DECODE]

    def asked(tokens: Any, place: Any, caches: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Scores behind the token at a place, and the caches."""
        if decoder is None:
            outputs = dict(decode.call({"tokens": tokens[None], "input_pos": place[None]}))
        else:
            inputs = {"tokens": tokens[place][None, None], "input_pos": place[None], **caches}
            outputs = dict(decode.call(inputs))
        return outputs.pop("logits")[0, -1], outputs

    def answer(inputs: Mapping[str, Any]) -> dict[str, Any]:
        prompt = inputs["tokens"][0][-(capacity - rule.most) :]
        count = tf.shape(prompt)[0]
        row = tf.ensure_shape(tf.pad(prompt, [[0, capacity - count]]), (capacity,))
        caches = {} if decoder is None else _empty(decoder, capacity)

        def going(place: Any, done: Any, *_: Any) -> Any:
            return tf.logical_and(place < count + rule.most - 1, tf.logical_not(done))

        def body(place: Any, done: Any, row: Any, written: Any, caches: dict[str, Any]) -> Any:
            scores, caches = asked(row, place, caches)
            token, number = tf.argmax(scores, output_type=tf.int32), place - count + 1  # of the answer
            done = tf.logical_and(number >= 0, tf.reduce_any(tf.equal(token, list(rule.stop) or [-1])))
            says = tf.logical_and(number >= 0, tf.logical_not(done))
            row = tf.where(tf.logical_and(says, tf.range(capacity) == place + 1), token, row)
            written = tf.where(tf.logical_and(says, tf.range(rule.most) == number), token, written)
            done = tf.logical_or(done, repeats_at(written[None], tf.maximum(number, 0), rule.repeats)[0])
            return place + 1, done, row, written, caches

        start = tf.constant(0) if decoder is not None else count - 1
        begun = (start, tf.constant(False), row, tf.fill((rule.most,), NONE), caches)
        _, _, _, written, _ = tf.while_loop(going, body, begun)
        once = tf.range(rule.most) < repeats(written[None], rule.repeats)[0][0]
        return {"tokens": tf.where(once, written, NONE)[None]}

    return Signature(answer, {"tokens": tf.TensorSpec((1, None), tf.int32)})


def _empty(decoder: CachedDecoder, capacity: int) -> dict[str, Any]:
    import tensorflow as tf

    shapes = dict(zip(_names(decoder, capacity), decoder.shapes(capacity), strict=True))
    return {name: tf.zeros(shape) for name, shape in shapes.items()}
