"""Data as a module takes them: at its size, in its pieces, at its rate."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from tlkit.core.batches import steps_of
from tlkit.core.checks import check_given
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.modality import InputInfo, Modality, Serving
from tlkit.core.naming import check_found_again, found
from tlkit.core.run import Run
from tlkit.data.long_texts import TEXT_WINDOWS
from tlkit.modalities.plain import describe_inputs, serve_inputs
from tlkit.modalities.text import is_text, takes_tokens

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer


def modality_of(examples: Examples) -> Modality:
    """The modality that examples name."""
    return named(examples.modality)


def named(name: str, *, trust: bool = False) -> Modality:
    """The modality of a name: one word for what tlkit brings, an import path for a user's own."""
    return found(name, Modality, "modalities", trust=trust)


def prepare(data: Splits, layer: HubLayer, **settings: Any) -> Splits:
    """The data as a module takes them; what was done, or is odd, is added to their notes.

    Args:
        data: Of any modality; what the module takes already passes unchanged.
        layer: The module.
        **settings: What the modality's `prepare` takes: `image_size`, `length`, `long`, ...; None is left to it.

    Raises:
        InputError: If the modality knows no such setting, the data cannot be made to fit, or the module's tokenizer is
            another module's.
    """
    modality = modality_of(data.train)
    chosen = {name: value for name, value in settings.items() if value is not None}
    parameters = _parameters(modality)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        names = [parameter.name for parameter in parameters]
        for name in chosen:
            if name not in names:
                hint = f"; they take {', '.join(names)}" if names else ""
                raise InputError(f"`{name}` is not for data of the modality {modality.name!r}{hint}: leave it out.")
    _check_tokenizer(layer)
    check_found_again(modality, "modalities")
    prepared = modality.prepare(data, layer, **chosen)
    check_given(prepared, Splits, "prepare", f"the modality {modality.name!r}")
    return prepared


def _parameters(modality: Modality) -> list[inspect.Parameter]:
    """What its `prepare` takes behind the data and the module."""
    return list(inspect.signature(modality.prepare).parameters.values())[2:]


def known_settings(examples: Examples, **settings: Any) -> dict[str, Any]:
    """Those of the settings that the modality of the examples knows by name."""
    names = {parameter.name for parameter in _parameters(modality_of(examples))}
    return {name: value for name, value in settings.items() if name in names}


def _check_tokenizer(layer: HubLayer) -> None:
    """Refuse tokens that the table has no rows for: TensorFlow says so amid a step, and on GPUs never."""
    tokenizer = layer.tokenizer
    table = None if tokenizer is None else layer.embedding
    if tokenizer is None or table is None:
        return
    rows = int(layer.graph.variables[layer.graph.resources[table]].shape[0])
    if tokenizer.size > rows:
        raise InputError(
            f"{layer.handle} has a table of {rows:,} tokens, and its tokenizer {tokenizer.size:,}: that is another "
            "model's, so put the model's own beside it."
        )


def prepare_like(data: Splits, run: Run, *, length: int | None = None) -> Splits:
    """The data as the model of a trained run takes them: images at its size, texts at the length that it learned.

    Args:
        data: As in `prepare`.
        run: Trained, or opened from its folder.
        length: Word pieces of a text; None is that of the run's own data.
    """
    from tlkit.layer.lookup import backbone_of, is_image

    layer = backbone_of(run.model)
    if layer is None:
        return data
    settings: dict[str, Any] = {"length": length}
    spec = data.train.inputs.spec
    if is_text(spec) and takes_tokens(layer):
        settings["length"] = steps_of(run.data.train.inputs.spec) if length is None else length
        settings["long"] = "windows" if run.data.test.pipeline.get(TEXT_WINDOWS) is not None else None
    shape = run.model.input_shape
    if is_image(layer) and isinstance(shape, tuple) and len(shape) == 4 and None not in shape[1:3]:
        settings |= known_settings(data.train, image_size=(shape[1], shape[2]))
    return prepare(data, layer, **settings)


def serving_of(model: Any, examples: Examples) -> Serving:
    """What clients of the SavedModel send, and what is made of it."""
    serve = modality_of(examples).serve
    return serve_inputs(model, examples) if serve is None else serve(model, examples)


def described(model: Any, examples: Examples) -> InputInfo:
    """What TFLite metadata say of the inputs."""
    describe = modality_of(examples).describe
    return describe_inputs(model, examples) if describe is None else describe(model, examples)
