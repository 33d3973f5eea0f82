"""Speech: recordings with what is said, for modules that give frames, and for those that write text themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.modality import NOTE, FileInfo, InputInfo, Modality
from tlkit.data import audio_decode as decode
from tlkit.data.audio_source import AUDIO as READ
from tlkit.data.audio_source import AudioReader, Cut, SoundFiles, starts
from tlkit.data.speech import TEXT
from tlkit.data.teacher_forcing import IDS, PROMPTED, TOKENIZER, room_for, with_tokens
from tlkit.formats.tflite_metadata import audio_input
from tlkit.modalities import audio_shown
from tlkit.modalities.audio import AUDIO

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer
    from tlkit.tokenizing.bytepairs import BytePairs

WAVEFORM = "waveform"  # the input of a module that writes text itself, beside its tokens
SPAN = "span"  # the column of the seconds at which a window begins and ends
PROMPT = ("<|startoftranscript|>", "<|notimestamps|>")
MOST_TOKENS = 224  # that a window may have; Whisper's decoder has 448 places, half of them for text before
LONGEST_S = 7_200  # of a recording that is transcribed
OVERLAP, OVERLAP_S = 0.2, 2.0  # of a window with the next one: that share, at least so many seconds, at most half

_HEARD = decode.Limits(max_clipped=1.0)


def _prepare(data: Splits, layer: HubLayer) -> Splits:
    """Recordings at the module's rate; with the tokens of their texts where the module takes those."""
    data = AUDIO.prepare(data, layer)
    _check_window(data, layer)
    if not writes(layer):
        return data
    tokenizer: Any = layer.tokenizer
    if not hasattr(tokenizer, "special"):
        raise InputError(f"{layer.handle} writes text, and brings no tokenizer.json: speech needs its byte pairs.")
    most = max(_width(part, tokenizer) for part in (data.train, data.val, data.test))
    train, val, test = (prompted(part, tokenizer, most) for part in (data.train, data.val, data.test))
    return dataclasses.replace(data, train=train, val=val, test=test, labels=())


def _check_window(data: Splits, layer: HubLayer) -> None:
    """Refuse windows of which a module hears the beginning alone, beside a text of all that is said in them."""
    most, settings = layer.card.get("window_s"), data.train.pipeline.get(READ)
    if most is None or settings is None:
        return
    seconds = settings["samples"] / settings["sample_rate"]
    if seconds > most:
        raise InputError(
            f"{layer.handle} hears {most:g} s at a time, and these recordings were read in windows of {seconds:g} s: "
            f"read them with `window_s={most:g}`, which leaves longer ones out."
        )


def writes(layer: HubLayer) -> bool:
    """Whether a module takes recordings and the tokens before the next, as Whisper does."""
    inputs = layer.endpoint.inputs
    return isinstance(inputs, dict) and set(inputs) == {WAVEFORM, IDS}


def prompted(examples: Examples, tokenizer: BytePairs, width: int = 0) -> Examples:
    """Recordings with the tokens before each, and as targets those that follow; -1 behind the prompt's own and the end.

    Args:
        examples: Of `data.speech`.
        tokenizer: Of the module.
        width: Least length of a row of tokens, so that several sets have one.

    Raises:
        InputError: If the tokenizer has no prompt, or a text has too many tokens.
    """
    if examples.pipeline.get(PROMPTED) is not None or TEXT not in examples.columns:
        return examples
    lacking = [token for token in PROMPT if token not in tokenizer.special]
    if lacking:
        raise InputError(
            f"The module's tokenizer has no token {lacking[0]!r}: speech is written by Whisper's kind alone."
        )
    prompt = [tokenizer.special[token] for token in PROMPT]
    texts = _tokens(examples, tokenizer)
    long = next((i for i, row in enumerate(texts) if len(row) > MOST_TOKENS), None)
    if long is not None:
        raise InputError(
            f"The text of {examples.ids[long]!r} has {len(texts[long])} tokens, and a window holds {MOST_TOKENS}: cut "
            "the recording."
        )
    width = max(width, _width(examples, tokenizer))
    barred = [tokenizer.end, *tokenizer.encode(" ")]
    return with_tokens(examples, {WAVEFORM: examples.inputs}, texts, tokenizer, prompt, width=width, barred=barred)


def _tokens(examples: Examples, tokenizer: BytePairs) -> list[list[int]]:
    """Of each text; they begin with a blank, as words do inside of a text."""
    return [tokenizer.encode(f" {text.strip()}") for text in examples.columns[TEXT].take(np.arange(len(examples)))]


def _width(examples: Examples, tokenizer: BytePairs) -> int:
    """Length of rows that hold the prompt and the longest text; 0 where there are no texts."""
    if examples.pipeline.get(PROMPTED) is not None or TEXT not in examples.columns:
        return 0
    longest = max(map(len, _tokens(examples, tokenizer)), default=0)
    return room_for(len(PROMPT) + longest)


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    settings = examples.pipeline.get(READ)
    if examples.pipeline.get(PROMPTED) is None or settings is None:
        return AUDIO.describe(model, examples)  # type: ignore[misc]
    file = str(examples.columns[TOKENIZER][0]) if len(examples) else ""
    return InputInfo(
        {WAVEFORM: audio_input(WAVEFORM, int(settings["sample_rate"]))},
        files={f"{TOKENIZER}.json": file.encode()},
        says="Ids are tokens of the file tokenizer.json; the first two are the prompt, and the text ends before the "
        f"first {examples.pipeline.get(PROMPTED)['end']}.",  # type: ignore[index]
    )


def _parse(source: Any, info: FileInfo) -> Examples:
    """A recording in windows that overlap, each with the tokenizer that its text is read with."""
    file = Path(source)
    settings = info.pipeline.get(READ)
    if settings is None:
        raise InputError("The file does not say at which sample rate it takes recordings: export the run again.")
    rate, (samples,) = int(settings["sample_rate"]), next(iter(info.shapes.values()))
    scanned, note = _scanned(file)
    length = decode.resampled_length(scanned.frames, scanned.rate, rate)
    overlap = min(samples // 2, max(round(OVERLAP * samples), round(OVERLAP_S * rate)))
    begins = starts(length, samples, samples - overlap) if length > samples else [0]
    if length > samples and begins[-1] + samples < length:
        begins = [*begins, length - samples]
    windows = np.array([(0, start) for start in begins], np.int64)
    reader = AudioReader(
        SoundFiles((file,)), {0: Cut(scanned.rate, scanned.frames, tuple(begins))}, windows, rate, samples
    )
    notes = [note, f"{len(begins)} windows of {samples / rate:g} s" if len(begins) > 1 else ""]
    ids = tuple(f"{file}@{start / rate:.3f}s" for start in begins)
    inputs = ReadColumn(reader, reader.spec, ids)
    tokens = info.files.get(f"{TOKENIZER}.json", b"").decode()
    return Examples(
        ids=ids,
        inputs=DictColumn({WAVEFORM: inputs}) if tokens else inputs,
        targets=np.zeros((len(ids), 0), np.float32),  # type: ignore[arg-type]
        modality="speech",
        pipeline=info.pipeline,
        columns={
            NOTE: TextColumn(["; ".join(filter(None, notes))] * len(ids)),
            SPAN: ArrayColumn((windows[:, 1:] + [0, samples]).astype(np.float32) / rate),
            **({TOKENIZER: TextColumn([tokens] * len(ids))} if tokens else {}),
        },
    )


def _scanned(file: Path) -> tuple[decode.Scan, str]:
    """What listening to a file gave, and a note on what is wrong with it."""
    try:
        about = decode.library("soundfile").info(str(file))
        if about.frames > LONGEST_S * about.samplerate:
            raise InputError(f"it has {about.frames / about.samplerate:,.0f} s, more than {LONGEST_S:,}: cut it")
        try:
            return decode.scan_file(file, decode.LIMITS), ""
        except InputError as error:
            if not str(error).startswith("clipped"):
                raise
            return decode.scan_file(file, _HEARD), str(error)
    except InputError as error:
        raise InputError(f"{str(file)!r} cannot be transcribed: {error}.") from error
    except (RuntimeError, TypeError, OSError) as error:  # what soundfile raises where a file is no sound
        with file.open("rb") as opened:
            why = decode.explain(opened.read(512))
        raise InputError(f"{str(file)!r} cannot be transcribed: {why}.") from error


def show(examples: Examples, index: int) -> str:
    """A recording's player and spectrogram, without the silence that fills its window up."""
    inputs = examples.inputs.columns[WAVEFORM] if isinstance(examples.inputs, DictColumn) else examples.inputs
    example = examples.subset([index])
    wave = np.asarray(inputs[index])
    loud = np.flatnonzero(wave)
    end = min(len(wave), int(loud[-1]) + 1600) if len(loud) else len(wave)
    samples = ReadColumn(lambda _: wave[:end], dataclasses.replace(inputs.spec, shape=(end,)), ("",))
    return audio_shown.show(dataclasses.replace(example, inputs=samples, columns={}), 0)


SPEECH = Modality("speech", _prepare, serve=AUDIO.serve, describe=_describe, parse=_parse, show=show)
