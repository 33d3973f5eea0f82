"""Where a sound's samples come from, how it is checked and cut into windows, and what `Examples.read` makes of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Augmenting, Examples, Pipeline, Quarantined, Splits
from tlkit.core.files import sha256_bytes, sha256_file
from tlkit.core.numeric import is_number
from tlkit.data import audio_decode as decode
from tlkit.data.assembly import assemble
from tlkit.data.audio_decode import Limits, Scan
from tlkit.data.image_source import passed_over
from tlkit.data.labelling import Labelled
from tlkit.data.preflight import Checked, preflight, strict_message
from tlkit.data.sourcing import Division, file_trouble
from tlkit.data.splitting import checked_shares, group_names

Source = Callable[[int, int, int], np.ndarray]  # (position, start, stop) -> mono float32 at the sound's own rate

NOUN = "sounds"
AUDIO = "audio"  # the modality, and the step of the pipeline
_VERSION = 1  # of what turns a file into samples; a change makes cached features and fingerprints new
_HEAD_BYTES = 512
_LONGEST_S = 3_600  # of a window, 230 MB at 16 kHz
_BESIDE = (".lab", ".textgrid", ".srt", ".vtt", ".cue", ".m3u", ".m3u8", ".jpg", ".jpeg", ".png")  # lie beside sounds


@dataclass(frozen=True)
class Options:
    """What all sources of sound take, checked before anything is read; `audio.from_folder` says what each means."""

    division: Division
    seconds: float
    hop: float | None
    windows: str
    sample_rate: int
    augment: Augmenting | None
    limits: Limits = decode.LIMITS
    trim_db: float | None = None

    def __post_init__(self) -> None:
        low, high = decode.RATES
        if not (isinstance(self.sample_rate, int | np.integer) and low <= self.sample_rate <= high):
            raise InputError(
                f"`sample_rate` must be a whole number of Hz in {low} to {high}. "
                f"Received: sample_rate={self.sample_rate!r}."
            )
        for name in ("seconds", "hop"):
            value = getattr(self, name)
            absent = value is None and name == "hop"
            if not absent and not (is_number(value) and 0.01 <= value < float("inf")):
                raise InputError(f"`{name}` must be 0.01 s or more. Received: {name}={value!r}.")
        if self.seconds > _LONGEST_S:
            raise InputError(
                f"`seconds` must be at most {_LONGEST_S:,}, an hour: longer windows do not fit into memory. "
                f"Received: seconds={self.seconds!r}."
            )
        if self.trim_db is not None and not (is_number(self.trim_db) and self.trim_db > 0):
            raise InputError(f"`trim_db` must be positive or None. Received: trim_db={self.trim_db!r}.")
        if not isinstance(self.limits, Limits):
            raise InputError(f"`limits` must be data.audio.Limits(...). Received: limits={self.limits!r:.60}.")
        if self.windows not in ("all", "first"):
            raise InputError(f'`windows` must be "all" or "first". Received: windows={self.windows!r}.')

    @property
    def samples(self) -> int:
        """Length of a window."""
        return round(self.seconds * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """Distance between the starts of two windows."""
        return round((self.seconds if self.hop is None else self.hop) * self.sample_rate)


@dataclass(frozen=True)
class Cut:
    """The windows of one sound.

    Attributes:
        rate: The sound's own rate in Hz.
        frames: How long it is, what was trimmed left out.
        starts: Where each window starts, at the wanted rate, counted from `first`.
        silent: How many more were silent.
        first: Frame of its own at which it begins, when trimmed.
    """

    rate: int
    frames: int
    starts: tuple[int, ...]
    silent: int = 0
    first: int = 0


@dataclass(frozen=True, eq=False)
class AudioReader:
    """What reads windows of sounds, resampled. Safe to call from many threads.

    Attributes:
        source: The sounds.
        cuts: One a sound, by its position in the source.
        windows: int64 (n, 2), the sound of each example and its start at `sample_rate`.
        sample_rate: Samples per second that are given.
        samples: Length of what is given.
        trim_db: How silences at the ends were told, or None where sounds are as they were.
    """

    source: Source
    cuts: Mapping[int, Cut]
    windows: np.ndarray
    sample_rate: int
    samples: int
    trim_db: float | None = None

    def __call__(self, i: int) -> np.ndarray:
        """float32 (samples,) in [-1, 1] of example i."""
        position, start = (int(value) for value in self.windows[i])
        cut = self.cuts[position]

        def read(first: int, last: int) -> np.ndarray:
            return self.source(position, cut.first + first, cut.first + last)

        x = decode.stretch(read, cut.rate, cut.frames, rate=self.sample_rate, start=start, samples=self.samples)
        missing = self.samples - decode.resampled_length(cut.frames, cut.rate, self.sample_rate)
        return x if self.trim_db is None or missing < 2 else np.roll(x, missing // 2)

    @property
    def spec(self) -> ArraySpec:
        """Shape and dtype of what it gives."""
        return ArraySpec((self.samples,), "float32")

    @property
    def pipeline(self) -> Pipeline:
        """Everything that decides the samples, besides the content of the files."""
        return Pipeline().then(
            AUDIO,
            version=_VERSION,
            sample_rate=self.sample_rate,
            samples=self.samples,
            mix="mean",
            resample="soxr,HQ",
            pad="end,0" if self.trim_db is None else "both,0",
            trim_db=self.trim_db,
        )


@dataclass(frozen=True)
class SoundFiles:
    """Stretches of files, by position."""

    paths: tuple[Path, ...]

    def __call__(self, i: int, start: int, stop: int) -> np.ndarray:
        """Mono float32 (stop - start,) of file i."""
        return decode.read_file(self.paths[i], start, stop)


@dataclass(frozen=True, eq=False)
class SoundArrays:
    """Stretches of arrays, by position."""

    arrays: tuple[np.ndarray, ...]

    def __call__(self, i: int, start: int, stop: int) -> np.ndarray:
        """Mono float32 (stop - start,) of array i."""
        return decode.mono(self.arrays[i][start:stop])


@dataclass(frozen=True, eq=False)
class SoundRows:
    """Stretches of sounds that are read whole, by position."""

    read: Callable[[int], np.ndarray]

    def __call__(self, i: int, start: int, stop: int) -> np.ndarray:
        """Mono float32 (stop - start,) of row i."""
        return decode.mono(np.asarray(self.read(i))[start:stop])


def from_files(
    names: Sequence[str],
    paths: Sequence[Path],
    labelled: Labelled,
    *,
    fixed: Sequence[int],
    options: Options,
    quarantine: Sequence[Quarantined] = (),
) -> Splits:
    """Splits of files: listened to once, the broken ones left out. `quarantine` holds what was left out before."""
    for name in ("soundfile", "soxr"):  # before thousands of files are found unreadable
        decode.library(name)
    if quarantine and options.division.strict:
        raise InputError(strict_message(quarantine, len(names) + len(quarantine), NOUN))

    def check(i: int) -> Checked | tuple[str, Cut]:
        return check_file(paths[i], options)

    source = SoundFiles(tuple(paths))
    return _splits(names, source, check, labelled=labelled, fixed=fixed, options=options, quarantine=quarantine)


def from_waves(
    arrays: Sequence[np.ndarray], rate: int, labelled: Labelled, *, fixed: Sequence[int], options: Options
) -> Splits:
    """Splits of arrays (n,) or (n, channels) that `checked_wave` has passed."""
    if rate != options.sample_rate:
        decode.library("soxr")

    def check(i: int) -> Checked | tuple[str, Cut]:
        return check_wave(arrays[i], rate, options)

    ids = [str(i) for i in range(len(arrays))]
    return _splits(ids, SoundArrays(tuple(arrays)), check, labelled=labelled, fixed=fixed, options=options)


def from_rows(
    ids: Sequence[str],
    read: Callable[[int], np.ndarray],
    rate: int,
    labelled: Labelled,
    *,
    fixed: Sequence[int],
    options: Options,
) -> Splits:
    """Splits of sounds that `read(i)` gives as arrays (n,) or (n, channels), one at a time."""
    if rate != options.sample_rate:
        decode.library("soxr")

    def check(i: int) -> Checked | tuple[str, Cut]:
        try:
            wave = checked_wave(read(i), i)
        except InputError as error:
            return Checked(reason=str(error))
        return check_wave(wave, rate, options)

    return _splits(ids, SoundRows(read), check, labelled=labelled, fixed=fixed, options=options)


def check_file(path: Path, options: Options) -> Checked | tuple[str, Cut]:
    """Listen to one file: its digest and windows, or why it has none. Never raises."""
    if trouble := file_trouble(path):
        return Checked(reason=trouble)
    try:
        return sha256_file(path), cut(decode.scan_file(path, options.limits), options)
    except InputError as error:
        return Checked(reason=str(error))
    except (RuntimeError, TypeError, OSError):  # what soundfile raises where a file is no sound
        ignored = passed_over(path) or path.suffix.lower() in _BESIDE
        return Checked(ignored=True) if ignored else Checked(reason=_no_sound(path))


def _no_sound(path: Path) -> str:
    with path.open("rb") as file:
        return decode.explain(file.read(_HEAD_BYTES))


def check_wave(wave: np.ndarray, rate: int, options: Options) -> Checked | tuple[str, Cut]:
    """The same for one array."""
    try:
        scanned = decode.scan([wave] if len(wave) else [], rate, len(wave), options.limits)
        digest = sha256_bytes(str((wave.shape, wave.dtype.str, rate)), np.ascontiguousarray(wave).tobytes())
        return digest, cut(scanned, options)
    except InputError as error:
        return Checked(reason=str(error))


def checked_wave(array: Any, number: int) -> np.ndarray:
    """An array that is one sound: (n,) or (n, channels) of numbers.

    Raises:
        InputError: For another shape or other numbers; `number` names it.
    """
    x = np.asarray(array)
    if x.dtype.kind not in "iuf":
        raise InputError(f"Sound {number} must hold whole or floating numbers, not {x.dtype}.")
    if x.ndim not in (1, 2) or (x.ndim == 2 and not 0 < x.shape[1] <= max(8, x.shape[0])):
        raise InputError(f"Sound {number} must have the shape (samples,) or (samples, channels), not {x.shape}.")
    return x


def cut(scanned: Scan, options: Options) -> Cut:
    """Where the windows of a sound start; silent ones are left out.

    Raises:
        InputError: If all are silent.
    """
    rate, (first, frames) = options.sample_rate, decode.trimmed(scanned, options.trim_db)
    length = decode.resampled_length(frames, scanned.rate, rate)
    window_starts = starts(length, options.samples, options.hop_samples)[: 1 if options.windows == "first" else None]

    def entry(sample: int) -> int:
        return (first + sample * scanned.rate // rate) // scanned.step

    loud = tuple(s for s in window_starts if scanned.loud[entry(s) : entry(s + options.samples - 1) + 1].any())
    if not loud:
        where = f"its first {options.seconds:g} s" if options.windows == "first" else "all of its windows"
        raise InputError(f"silent in {where}: below {options.limits.silence_dbfs:g} dBFS")
    return Cut(scanned.rate, frames, loud, len(window_starts) - len(loud), first)


def starts(length: int, samples: int, hop: int) -> list[int]:
    """First samples of the windows of a sound.

    Windows follow each other at `hop`. What is left at the end, if it is half a hop or more, gets one more window that
    ends with the sound, so that only a sound shorter than a window is ever padded.

    Example:
        >>> starts(25, samples=10, hop=10), starts(24, samples=10, hop=10), starts(7, samples=10, hop=10)
        ([0, 10, 15], [0, 10], [0])
    """
    if length <= samples:
        return [0]
    regular = list(range(0, length - samples + 1, hop))
    left = length - samples - regular[-1]
    return [*regular, length - samples] if 2 * left >= hop else regular


def _splits(
    names: Sequence[str],
    source: Source,
    check: Callable[[int], Checked | tuple[str, Cut]],
    *,
    labelled: Labelled,
    fixed: Sequence[int],
    options: Options,
    quarantine: Sequence[Quarantined] = (),
) -> Splits:
    started = time.perf_counter()
    division = options.division
    groups = group_names(division.groups, names)
    cuts: dict[int, Cut] = {}

    def look(i: int) -> Checked:
        result = check(i)
        if isinstance(result, Checked):
            return result
        digest, cuts[i] = result
        return Checked(digest=digest)

    checks = preflight(names, look, noun=NOUN, strict=division.strict, progress=division.progress)
    windows = np.array([(i, start) for i in checks.sound for start in cuts[i].starts], dtype=np.int64).reshape(-1, 2)
    reader = AudioReader(source, cuts, windows, options.sample_rate, options.samples, options.trim_db)
    digests = dict(zip(checks.sound, checks.digests, strict=True))
    window_labels = dataclasses.replace(labelled, targets=labelled.targets[windows[:, 0]])
    splits = assemble(
        _examples(reader, names, digests, groups, window_labels.targets),
        window_labels,
        shares=checked_shares(division.split),
        seed=division.seed,
        fixed=[fixed[i] for i in windows[:, 0]] if fixed else (),
        augment=options.augment,
        quarantine=(*quarantine, *checks.quarantine),
    )
    notes = (*splits.notes, *_low_rates(reader), *_silences(reader))
    return dataclasses.replace(splits, notes=notes, seconds=time.perf_counter() - started)


def _examples(
    reader: AudioReader, names: Sequence[str], digests: Mapping[int, str], groups: Sequence[str], targets: np.ndarray
) -> Examples:
    """One example a window. Windows of one sound stay together, with their group or as a group of their own."""
    windows = [(int(i), int(start)) for i, start in reader.windows]
    owners = groups or (names if any(len(recording.starts) > 1 for recording in reader.cuts.values()) else ())
    return Examples(
        ids=tuple(_window_id(names[i], reader.cuts[i], start / reader.sample_rate) for i, start in windows),
        inputs=ReadColumn(
            reader,
            reader.spec,
            tuple(sha256_bytes(digests[i], str(start)) if start else digests[i] for i, start in windows),
        ),
        targets=ArrayColumn(targets),
        modality=AUDIO,
        pipeline=reader.pipeline,
        groups=tuple(owners[i] for i, _ in windows) if owners else (),
    )


def _window_id(name: str, recording: Cut, start_s: float) -> str:
    return name if recording.starts == (0,) else f"{name}@{start_s:.3f}s"


def _low_rates(reader: AudioReader) -> list[str]:
    low = sorted(recording.rate for recording in reader.cuts.values() if recording.rate < reader.sample_rate)
    if not low:
        return []
    return [
        f"{len(low)} of {len(reader.cuts)} sounds were recorded below {reader.sample_rate} Hz, down to {low[0]} Hz: "
        f"they hold nothing above {low[0] // 2} Hz, which a model can mistake for a difference of class."
    ]


def _silences(reader: AudioReader) -> list[str]:
    silent = [recording.silent for recording in reader.cuts.values() if recording.silent]
    of = f"{len(silent)} of {len(reader.cuts)} sounds"
    return [f"Silent windows were left out: {sum(silent)}, in {of}."] if silent else []
