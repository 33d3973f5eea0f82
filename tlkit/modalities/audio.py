"""Sounds: waveforms at the rate that the module takes, in windows; clients send them likewise."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality, Serving, Tensors
from tlkit.data import audio_decode as decode
from tlkit.data import audio_source
from tlkit.data.audio_source import AUDIO as READ
from tlkit.formats.tflite_metadata import audio_input
from tlkit.modalities.audio_shown import show
from tlkit.modalities.pages import beside
from tlkit.modalities.parsed import one_example

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

_ANY = decode.Limits(silence_dbfs=-math.inf, max_clipped=1.0)  # what a user asks about is heard, however it sounds


def _prepare(data: Splits, layer: HubLayer) -> Splits:
    """Sounds as they are, if they were read at the module's rate; where nothing says which that is, a note does."""
    module_rate, settings = layer.card.get("sample_rate"), data.train.pipeline.get(READ)
    if module_rate is not None and settings is not None and settings["sample_rate"] != module_rate:
        raise InputError(
            f"{layer.handle} takes sounds of {module_rate} Hz, and these were read at {settings['sample_rate']} Hz: "
            f"read them with `sample_rate={module_rate}` (of audio.from_arrays: `resampled_to={module_rate}`)."
        )
    if settings is None or "sample_rate" in layer.card:
        return data
    rate = settings["sample_rate"]
    note = (
        f"{layer.handle} has no card that says at which rate it takes sounds: they are given to it at {rate:,} Hz, as "
        "they were read. If it was trained on another, read them with that `sample_rate`."
    )
    return data if note in data.notes else dataclasses.replace(data, notes=(*data.notes, note))


def _serve(model: keras.Model, _examples: Examples) -> Serving:
    import tensorflow as tf

    (tensor,) = model.inputs

    def prepare(tensors: Tensors) -> Tensors:
        return {tensor.name: tensors["waveform"]}

    def sent(examples: Examples) -> dict[str, np.ndarray]:
        return {"waveform": examples.inputs.take(np.arange(len(examples)))}

    return Serving({"waveform": tf.TensorSpec(tensor.shape, tf.float32, name="waveform")}, prepare, sent=sent)


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    rate, _ = _told(examples.pipeline)
    return InputInfo({tensor.name: audio_input(tensor.name, rate) for tensor in model.inputs})


def _told(pipeline: Pipeline) -> tuple[int, float | None]:
    """Sample rate and `trim_db` at which sounds were read."""
    settings = pipeline.get(READ)
    if settings is None:
        raise InputError("The run does not say at which sample rate its sounds were read; export it from `finetune`.")
    return int(settings["sample_rate"]), settings["trim_db"]


def _parse(source: Any, info: FileInfo) -> Examples:
    """The first window of a file: mixed, trimmed and resampled as the training sounds were."""
    file = Path(source)
    (rate, trim_db), (samples,) = _told(info.pipeline), info.shape
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
    note = _change(reader.cuts[0].frames / scanned.rate, samples / rate)
    return one_example(str(file), READ, ArrayColumn(reader(0)[None]), note, info.pipeline)


def _cut(scanned: decode.Scan, trim_db: float | None) -> audio_source.Cut:
    first, frames = decode.trimmed(scanned, trim_db)
    return audio_source.Cut(scanned.rate, frames, (0,), first=first)


def _change(seconds: float, takes: float) -> str:
    """What became of a sound of `seconds`."""
    if abs(seconds - takes) < 1e-3:
        return ""
    return (
        f"its first {takes:.2f} s of {seconds:.2f} s"
        if seconds > takes
        else f"its {seconds:.2f} s padded to {takes:.2f} s"
    )


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(512)
    except OSError:
        return b""


AUDIO = Modality(
    "audio",
    _prepare,
    serve=_serve,
    describe=_describe,
    parse=_parse,
    show=show,
    calls={"page": beside("audio_page.js")},
)
