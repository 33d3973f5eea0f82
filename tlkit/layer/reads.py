"""What a head takes of a module: one vector, a vector per step, feature maps, or the module's own table besides."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlkit.core.errors import InputError
from tlkit.core.task import Reads
from tlkit.data.pairs import SIDES
from tlkit.generating.rows import direction
from tlkit.tokenizing.bytepairs import BytePairs

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

__all__ = ["answers", "detector", "hidden_and_embedding", "history", "maps", "pair", "pooled", "steps"]


def __dir__() -> list[str]:
    return sorted(__all__)


TAPS = ("last", "narrow")
PARTS = ("neck", "labels", "reach")  # of a detector
VECTOR_KEYS, STEP_KEYS = ("default", "pooled_output"), ("sequence_output",)


def pooled() -> Reads:
    """One vector per example, (batch, d): the module's output, its feature maps or steps averaged.

    Of a module that reads byte pairs it is the state of a text's last token: it alone has seen all of the text.
    """
    return Reads("pooled()", _pooled)


def steps() -> Reads:
    """One vector per step of a sequence, (batch, steps, d)."""
    return Reads("steps()", _steps)


def maps(*strides: int, tap: str = "last") -> Reads:
    """Feature maps of an image module, {stride: (batch, height, width, channels)}.

    Args:
        strides: Pixels of the image per place of a map, such as 8, 16 and 32.
        tap: Which of the maps at a stride: "last", the deepest; or "narrow", the deepest that has at most half of the
            channels of the widest at its stride, where there is one. Nets often end in a wide layer for classifiers.

    Example:
        >>> maps(8, 16).name
        'maps(8, 16)'
    """
    if not strides or len(set(strides)) < len(strides):
        raise InputError(f"`maps` takes one or more strides, each once. Received: {strides}.")
    if tap not in TAPS:
        raise InputError(f"`tap` of `maps` must be one of {', '.join(TAPS)}. Received: tap={tap!r}.")
    suffix = "" if tap == "last" else f", tap={tap!r}"
    return Reads(f"maps({', '.join(map(str, strides))}{suffix})", _maps_reader(strides, tap))


def detector() -> Reads:
    """What a module gives that is a detector already, by stride, in front of its decoding.

    {"neck": {stride: (batch, height, width, channels)}, "labels": {stride: (.., labels)}, "reach": {stride: (.., 4)},
    "names": of its labels}: outputs "neck_8", "labels_8", "reach_8" and so on, and the "labels" of its card. Logits and
    reach are those of `answers.boxes`.

    Example:
        >>> detector().name
        'detector()'
    """
    return Reads("detector()", _detector)


def pair() -> Reads:
    """The vectors of the two members of a pair, (batch, 2, d): each passes the module by itself."""
    return Reads("pair()", _pooled, SIDES)


def history(horizon: int, season_length: int) -> Reads:
    """What a forecast is made of: a dict of what the module gives for the recent past, and the window's own numbers.

    "lags", "level" and "spread" are those of `layer.past.PastWindow`. Beside them stands "quantiles", (batch, steps,
    levels), of a module that forecasts them, as zoo:forecaster does, with "levels", a tuple; else "features", (batch,
    d), which a module of (batch, 72, 1) makes of the last 72 values in their deviations.

    Args:
        horizon: Steps ahead.
        season_length: Steps of a season.

    Example:
        >>> history(12, 4).name
        'history(12, 4)'
    """
    return Reads(f"history({horizon}, {season_length})", _history_reader(horizon, season_length))


def hidden_and_embedding() -> Reads:
    """{"hidden": (batch, steps, d), "embedding": (ids, d)}: a vector per step, and the table that ids are looked up in.

    For heads that give the likelihood of each id, as language models have them. The table trains only where the whole
    module does.
    """
    return Reads("hidden_and_embedding()", _hidden_and_embedding)


def answers() -> Reads:
    """{"states": (batch, tokens, d), "embedding": (ids, d), "targets": (batch, tokens)} of a causal module.

    Of each row only the states in front of the tokens of an answer, which are its targets, -1 behind the last: a head
    over a vocabulary costs as much as several blocks for each state. Rows are those of `tlkit.generating.rows`.
    """
    return Reads("answers()", _answers)


def choose_output(layer: HubLayer, outputs: Any, *, steps: bool = False) -> None:
    """Of a module that gives several outputs, let the layer give the one that a head takes.

    Args:
        layer: Whose `output_key` is set.
        outputs: What it gives, or specs of that.
        steps: Whether the head takes one vector per step.

    Raises:
        InputError: If nothing says which one that is.
    """
    from tlkit import graph as graphs

    if keys := graphs.output_keys(outputs):
        layer.output_key = _chosen_key(layer, outputs, keys, STEP_KEYS if steps else VECTOR_KEYS)


def _chosen_key(layer: HubLayer, outputs: Any, keys: Sequence[str], usual: Sequence[str]) -> str:
    """The output for a head; by the conventions of the hub's image and text modules."""
    from tlkit import graph as graphs

    for key in usual:
        if isinstance(outputs, Mapping) and key in outputs:
            return key
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


# -- what reads


def _settled(layer: HubLayer, inputs: Any, *, steps: bool = False) -> HubLayer:
    """The layer, giving one output; a layer that has been called stays as it is."""
    if not layer._inbound_nodes:
        layer.taps = ()
        choose_output(layer, layer.compute_output_spec(inputs), steps=steps)
    return layer


def _pooled(layer: HubLayer, inputs: Any) -> Any:
    import keras

    features = _single(_settled(layer, inputs)(inputs))
    if len(features.shape) == 4:
        return _made_once(layer, keras.layers.GlobalAveragePooling2D, name="pool")(features)
    if len(features.shape) == 3 and isinstance(layer.tokenizer, BytePairs):
        from tlkit.layer.last_state import LastState

        return _made_once(layer, LastState, layer.tokenizer.pad, name="last_state")([features, inputs])
    if len(features.shape) == 3:
        return _made_once(layer, keras.layers.GlobalAveragePooling1D, name="pool")(features)
    if len(features.shape) != 2:
        raise InputError(f"A head needs features (batch, d); the module gives shape {tuple(features.shape)}.")
    return features


def _made_once(layer: HubLayer, kind: type, *arguments: Any, name: str) -> Any:
    """A layer without weights behind the module: the members of a pair pass the same one, as names are unique."""
    layers = layer.__dict__.setdefault("_behind", {})  # a plain entry, which Keras does not track
    if not isinstance(layers.get(name), kind):
        layers[name] = kind(*arguments, name=name)
    return layers[name]


def _steps(layer: HubLayer, inputs: Any) -> Any:
    features = _single(_settled(layer, inputs, steps=True)(inputs))
    if len(features.shape) != 3:
        raise InputError(
            f"The task needs one vector a step, (batch, steps, d); the module gives shape {tuple(features.shape)}."
        )
    return features


def _single(features: Any) -> Any:
    if isinstance(features, tuple | list):
        raise InputError("This layer gives several tensors (`taps`): make a new HubLayer for a head that takes one.")
    check_features(features)
    return features


def check_features(features: Any) -> None:
    """Refuse an output that nothing can be learned on.

    Args:
        features: A tensor that the module gives, or its spec, batch included.
    """
    dtype = getattr(features.dtype, "name", features.dtype)
    if not str(dtype).startswith(("float", "bfloat")):
        raise InputError(
            f"A head needs features of float32, and the module gives {dtype}: choose another output by `output_key`, "
            "or another signature."
        )
    shape = tuple(features.shape) if getattr(features.shape, "rank", 0) is not None else (None,)
    if 0 in shape[1:]:
        raise InputError(f"The module gives features without numbers, of shape {shape}: choose another output.")
    if shape and shape[0] is not None:
        raise InputError(
            f"The module gives {shape[0]} row{'' if shape[0] == 1 else 's'} for a batch of any size, of shape {shape}, "
            "and a head needs one for each example: choose another output."
        )


@functools.cache  # so that two tasks that read the same maps have equal records
def _maps_reader(strides: tuple[int, ...], tap: str) -> Callable[[HubLayer, Any], dict[int, Any]]:
    return functools.partial(_maps, strides, tap)


def _maps(strides: tuple[int, ...], tap: str, layer: HubLayer, inputs: Any) -> dict[int, Any]:
    if not layer.taps:
        with contextlib.suppress(InputError):  # maps lie before all outputs
            _settled(layer, inputs)
    by_stride = layer.feature_maps if tap == "last" else layer.narrow_maps
    if missing := [stride for stride in strides if stride not in by_stride]:
        why = f"it {layer.graph.problem}" if layer.graph.problem else f"it has them at {sorted(by_stride)}"
        raise InputError(f"{layer.handle} gives no feature maps at stride {missing[0]}: {why}.")
    layer.taps = tuple(by_stride[stride] for stride in strides)
    return dict(zip(strides, layer(inputs), strict=True))


def _detector(layer: HubLayer, inputs: Any) -> dict[str, Any]:
    from tlkit import graph as graphs

    structure = layer.graph.structure
    outputs = {key: layer.graph.outputs[graphs.output_at(structure, key)] for key in graphs.output_keys(structure)}
    strides = sorted(int(key[7:]) for key in outputs if re.fullmatch(r"labels_\d+", key))
    keys = [f"{kind}_{stride}" for kind in PARTS for stride in strides]
    if not strides or not set(keys) <= set(outputs) or not layer.card.get("labels"):
        raise InputError(
            f"{layer.handle} is no detector that says how it is made: its outputs are {sorted(outputs) or 'one tensor'}"
            ', and neck_S, labels_S and reach_S of each stride S are wanted. Leave out `head="module"`.'
        )
    layer.taps = tuple(outputs[key] for key in keys)
    tensors = dict(zip(keys, layer(inputs), strict=True))
    by_kind = {kind: {stride: tensors[f"{kind}_{stride}"] for stride in strides} for kind in PARTS}
    return {**by_kind, "names": tuple(str(name) for name in layer.card["labels"])}


@functools.cache
def _history_reader(horizon: int, season_length: int) -> Callable[[HubLayer, Any], dict[str, Any]]:
    return functools.partial(_history, horizon, season_length)


def _history(horizon: int, season_length: int, layer: HubLayer, inputs: Any) -> dict[str, Any]:
    from tlkit.layer.past import PastWindow

    module_inputs = layer.endpoint.inputs
    if not (isinstance(module_inputs, Mapping) and "lags" in module_inputs):
        past = PastWindow(horizon, season_length, name="past")(inputs)
        features = _pooled(layer, _sequence_of(layer, past["context"]))
        return {"features": features, **{name: past[name] for name in ("lags", "level", "spread")}}
    steps, levels = module_inputs["lags"].shape[1], layer.card.get("levels")
    if horizon > steps:
        raise InputError(f"{layer.handle} forecasts at most {steps} steps ahead. Received: horizon={horizon}.")
    past = PastWindow(steps, season_length, name="past")(inputs)
    window = {name: past[name] for name in module_inputs}
    quantiles = _single(_settled(layer, window)(window))
    if levels is None or quantiles.shape[1:] != (steps, len(levels)):
        raise InputError(f"{layer.handle} does not say which quantiles it gives: write `levels` into its card.")
    scaling = {name: past[name] for name in ("level", "spread")}
    return {"quantiles": quantiles[:, :horizon], "levels": tuple(levels), "lags": past["lags"][:, :horizon], **scaling}


def _sequence_of(layer: HubLayer, context: Any) -> Any:
    """The context as a module of sequences takes it."""
    import keras

    leaves = layer.endpoint.input_leaves
    fits = len(leaves) == 1 and len(leaves[0].shape) == 3
    if not fits or leaves[0].shape[1] not in (None, context.shape[1]) or leaves[0].shape[2] not in (None, 1):
        raise InputError(
            f"{layer.handle} is no module for forecasts: it must take one float32 (batch, {context.shape[1]}, 1), or "
            "context, known and lags as zoo:forecaster does."
        )
    return keras.layers.Reshape((context.shape[1], 1), name="sequence")(context)


def _hidden_and_embedding(layer: HubLayer, inputs: Any) -> dict[str, Any]:
    if not layer.taps:
        _settled(layer, inputs, steps=True)
    table, outputs = layer.embedding, layer.graph.outputs
    if table is None or len(outputs) > 1:
        raise InputError(f"{layer.handle} does not look ids up in a table and give one vector per step.")
    layer.taps = (outputs[0], table)
    hidden, embedding = layer(inputs)
    if len(hidden.shape) != 3:
        raise InputError(
            f"The task needs one vector a step, (batch, steps, d); the module gives shape {tuple(hidden.shape)}."
        )
    return {"hidden": hidden, "embedding": embedding}


def _answers(layer: HubLayer, inputs: Any) -> dict[str, Any]:
    from tlkit.layer.answer_states import AnswerStates

    specs, tokenizer = layer.endpoint.input_leaves, layer.tokenizer
    if len(specs) != 1 or not isinstance(tokenizer, BytePairs):
        raise InputError(
            f"{layer.handle} is no language model that tlkit can train: it takes the numbers of byte pairs alone, and "
            "brings their `tokenizer_file`, as zoo:smollm2-135m does."
        )
    read = _hidden_and_embedding(layer, inputs)
    choose = AnswerStates(tokenizer.pad, direction(tokenizer.pad, tokenizer.size), name="answer_states")
    states, targets = choose([read["hidden"], inputs])
    return {"states": states, "embedding": read["embedding"], "targets": targets}
