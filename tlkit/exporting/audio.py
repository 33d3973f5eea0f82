"""Sounds: clients send mono waveforms at the rate of the training sounds, in windows as the model takes them."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlkit.errors import InputError
from tlkit.exporting.metadata import audio_input
from tlkit.exporting.modality import About, Inside, Modality, Reading, Serving, Tensors
from tlkit.types import Examples

if TYPE_CHECKING:
    import keras


def _accepts(examples: Examples) -> bool:
    return examples.recipe.startswith("audio ")


def _serving(model: keras.Model, _examples: Examples) -> Serving:
    import tensorflow as tf

    (tensor,) = model.inputs

    def prepare(given: Tensors) -> Tensors:
        return {tensor.name: given["waveform"]}

    def sent(examples: Examples) -> dict[str, np.ndarray]:
        return {"waveform": np.stack([examples.read(i) for i in range(len(examples))])}

    return Serving({"waveform": tf.TensorSpec(tensor.shape, tf.float32, name="waveform")}, prepare, sent=sent)


def _about(model: keras.Model, examples: Examples) -> About:
    return About({tensor.name: audio_input(tensor.name, _rate(examples.recipe)) for tensor in model.inputs})


def _rate(recipe: str) -> int:
    """Samples a second, from the recipe of the training sounds."""
    found = re.search(r"\brate=(\d+)", recipe)
    if found is None:
        raise InputError("The run does not say at which sample rate its sounds were read; export it from `finetune`.")
    return int(found[1])


def _read(file: Path, inside: Inside) -> Reading:
    """The first window of a file, mixed and resampled as the training sounds were."""
    from tlkit.data import audio_decode as decode

    rate, (samples,) = _rate(inside.recipe), inside.shape
    try:
        info = decode.library("soundfile").info(str(file))
        read = functools.partial(decode.read_file, file)
        value = decode.stretch(read, info.samplerate, info.frames, rate=rate, start=0, samples=samples)
    except (RuntimeError, OSError) as error:  # soundfile raises the first
        raise InputError(f"{str(file)!r} cannot be read as a sound: {decode.explain(_head(file))}.") from error
    return Reading(value[None], change=_change(info.frames / info.samplerate, samples / rate))


def _change(has: float, takes: float) -> str:
    """What became of a sound of `has` seconds."""
    if abs(has - takes) < 1e-3:
        return ""
    return f"its first {takes:.2f} s of {has:.2f} s" if has > takes else f"its {has:.2f} s padded to {takes:.2f} s"


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(512)
    except OSError:
        return b""


KIND = Modality("audio", _accepts, _serving, _about, read=_read)
