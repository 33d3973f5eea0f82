"""What a module takes, made of the data: images at its size, texts as numbers of word pieces; sounds are checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlkit.core.batches import steps_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.run import Run
from tlkit.data import image, pairs, text
from tlkit.data.audio_source import AUDIO
from tlkit.data.long_texts import TEXT_WINDOWS
from tlkit.data.text_source import QUESTIONS, TEXT, WORDS
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import backbone_of, is_image
from tlkit.tokenizing.wordpiece import INPUTS


def fed(
    data: Splits,
    layer: HubLayer,
    *,
    image_size: tuple[int, int] | None = None,
    length: int | None = None,
    long: str = "cut",
) -> Splits:
    """The data as a module takes them.

    Args:
        data: Images of any size, texts, pairs of texts, or what the module takes already, which passes unchanged.
        layer: The module.
        image_size: (height, width) of images.
        length: Word pieces of a text, special ones included, or words; None is what 99 % of the training texts need.
        long: What becomes of longer texts, "cut" or "windows", as `data.text.tokenized` has it.

    Raises:
        InputError: If the module's vocabulary is unknown, it has another length, or sounds have another sample rate.
    """
    _check_rate(data, layer)
    if long != "cut" and data.train.inputs.spec == pairs.PAIRS:
        raise InputError(f'long="{long}" is for single texts, and these are pairs; leave it out.')
    if data.train.inputs.spec == pairs.PAIRS:
        return pairs.together(fed(pairs.apart(data), layer, length=length), data)
    if takes_tokens(layer) and is_text(data.train.inputs.spec):
        return _in_tokens(data, layer, length, long)
    if long != "cut" and data.train.pipeline.get(TEXT_WINDOWS) is None:
        raise InputError(f'long="{long}" is for texts and modules of word pieces; leave it out.')
    if length is not None and takes_tokens(layer) and isinstance(data.train.inputs.spec, Mapping):
        raise InputError(f"The texts are word pieces already; give data.text.tokenized the length {length} instead.")
    if length is not None:
        raise InputError(f"`length` is for texts in pieces or words, and {layer.handle} takes none; leave it out.")
    if takes_tokens(layer) and isinstance(data.train.inputs.spec, Mapping):
        return _at_its_length(data, layer)
    return image.resized(data, image_size) if is_image(layer) and image_size is not None else data


def fed_as(data: Splits, run: Run, *, length: int | None = None) -> Splits:
    """The data as the model of a trained run takes them: images at its size, texts at the length that it learned.

    Args:
        data: As in `fed`.
        run: Trained, or opened from its folder.
        length: As in `fed`; None is that of the run's own data.
    """
    layer = backbone_of(run.model)
    if layer is None:
        return data
    if length is None and takes_tokens(layer) and is_text(data.train.inputs.spec):
        length = steps_of(run.data.train.inputs.spec)
    long = (
        "windows" if is_text(data.train.inputs.spec) and run.data.test.pipeline.get(TEXT_WINDOWS) is not None else "cut"
    )
    return fed(data, layer, image_size=_image_size(run.model.input_shape, layer), length=length, long=long)


def _image_size(shape: Any, layer: HubLayer) -> tuple[int, int] | None:
    """(height, width) that a model takes; None where it takes no single image, or any size."""
    if not is_image(layer) or not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:3]:
        return None
    return shape[1], shape[2]


def _check_rate(data: Splits, layer: HubLayer) -> None:
    wanted, sound = layer.card.get("sample_rate"), data.train.pipeline.get(AUDIO)
    if wanted is not None and sound is not None and sound["sample_rate"] != wanted:
        raise InputError(
            f"{layer.handle} takes sounds of {wanted} Hz, and these were read at {sound['sample_rate']} Hz: read them "
            f"with `sample_rate={wanted}` (of audio.from_arrays: `resampled_to={wanted}`)."
        )


def takes_tokens(layer: HubLayer) -> bool:
    """Whether a module takes the three inputs of a BERT, or numbers of the words that it brings."""
    inputs = layer.endpoint.inputs
    return set(inputs) == set(INPUTS) if isinstance(inputs, Mapping) else layer.tokenizer is not None


def is_text(spec: Any) -> bool:
    """Whether examples are texts, texts split into words, or questions with contexts."""
    return spec in (TEXT, WORDS, QUESTIONS)


def _in_tokens(data: Splits, layer: HubLayer, length: int | None, long: str) -> Splits:
    tokenizer = layer.tokenizer
    if tokenizer is None:
        raise InputError(
            f"{layer.handle} takes word pieces and brings no vocabulary (`vocab_file`); tokenize the texts yourself: "
            "tlkit.data.text.tokenized(data, WordPiece.from_file('vocab.txt'), length)."
        )
    own = layer.endpoint.input_leaves[0].shape[1]
    if own is not None and length not in (None, own):
        raise InputError(f"{layer.handle} takes texts of {own} {tokenizer.unit} only. Received: length={length}.")
    pieces = text.tokenized(data, tokenizer, own or length, long=long)
    return pieces if own is None else _of_one_length(pieces)


def _at_its_length(data: Splits, layer: HubLayer) -> Splits:
    """Texts that are word pieces already, at the one length that the module takes."""
    own, has = layer.endpoint.input_leaves[0].shape[1], steps_of(data.train.inputs.spec)
    if own is None:
        return data
    if has != own:
        raise InputError(
            f"{layer.handle} takes texts of {own} word pieces only, and these were made with {has}: give "
            f"tlkit.data.text.tokenized the length {own}."
        )
    return _of_one_length(data)


def _of_one_length(data: Splits) -> Splits:
    """The same, never cut to the longest text of a batch: the module takes one length only."""
    train, val, test = map(_without_lengths, (data.train, data.val, data.test))
    return dataclasses.replace(data, train=train, val=val, test=test)


def _without_lengths(examples: Examples) -> Examples:
    return dataclasses.replace(examples, columns={k: v for k, v in examples.columns.items() if k != "length"})
