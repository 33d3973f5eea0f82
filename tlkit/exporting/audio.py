"""Sounds: clients send mono waveforms at the rate of the training sounds, in windows as the model takes them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline
from tlkit.data import audio_decode as decode
from tlkit.data import audio_source
from tlkit.data.audio_source import AUDIO
from tlkit.exporting.modality import About, Inside, Modality, Reading, Serving, Tensors
from tlkit.formats.tflite_metadata import audio_input

if TYPE_CHECKING:
    import keras

_ANY = decode.Limits(silence_dbfs=-math.inf, max_clipped=1.0)  # what a user asks about is heard, however it sounds


def _accepts(examples: Examples) -> bool:
    return examples.pipeline.get(AUDIO) is not None


def _serving(model: keras.Model, _examples: Examples) -> Serving:
    import tensorflow as tf

    (tensor,) = model.inputs

    def prepare(given: Tensors) -> Tensors:
        return {tensor.name: given["waveform"]}

    def sent(examples: Examples) -> dict[str, np.ndarray]:
        return {"waveform": examples.inputs.take(np.arange(len(examples)))}

    return Serving({"waveform": tf.TensorSpec(tensor.shape, tf.float32, name="waveform")}, prepare, sent=sent)


def _about(model: keras.Model, examples: Examples) -> About:
    rate, _ = _told(examples.pipeline)
    return About({tensor.name: audio_input(tensor.name, rate) for tensor in model.inputs})


def _told(pipeline: Pipeline) -> tuple[int, float | None]:
    """Sample rate and `trim_db` at which sounds were read."""
    read = pipeline.get(AUDIO)
    if read is None:
        raise InputError("The run does not say at which sample rate its sounds were read; export it from `finetune`.")
    return int(read["sample_rate"]), read["trim_db"]


def _read(file: Path, inside: Inside) -> Reading:
    """The first window of a file: mixed, trimmed and resampled as the training sounds were."""
    (rate, trim_db), (samples,) = _told(inside.pipeline), inside.shape
    try:
        scanned = decode.scan_file(file, _ANY)
    except InputError as error:
        raise InputError(f"{str(file)!r} cannot be read as a sound: {error}.") from error
    except (RuntimeError, TypeError, OSError) as error:  # what soundfile raises where a file is no sound
        raise InputError(f"{str(file)!r} cannot be read as a sound: {decode.explain(_head(file))}.") from error
    reader = audio_source.AudioReader(
        audio_source.SoundFiles((file,)),
        {0: _cut(scanned, trim_db)},
        np.zeros((1, 2), np.int64),
        rate,
        samples,
        trim_db,
    )
    return Reading(reader(0)[None], change=_change(reader.cuts[0].frames / scanned.rate, samples / rate))


def _cut(scanned: decode.Scan, trim_db: float | None) -> audio_source.Cut:
    first, frames = decode.trimmed(scanned, trim_db)
    return audio_source.Cut(scanned.rate, frames, (0,), first=first)


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
