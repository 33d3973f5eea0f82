"""Labelled sounds as `Splits`, from class folders, tables, arrays and TensorFlow Datasets.

`read(i)` gives float32 (samples,) in [-1, 1]: one window of a sound, mixed to mono and resampled. Every source is
listened to once before it is used; what is broken or silent goes to `Splits.quarantine` by name and reason. The
windows of one sound are examples of one group, so that no split tears them apart.

SpecAugment masks spectrograms, and these are waveforms: `augmentation` masks time and a band of frequencies instead.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.core.numeric import is_number
from tlkit.data import labelling
from tlkit.data.audio_augment import Augmentation
from tlkit.data.audio_decode import LIMITS, Limits
from tlkit.data.audio_source import Options, checked_wave, from_files, from_rows, from_waves
from tlkit.data.listing import Listing, class_folders, listed_splits, noted
from tlkit.data.sourcing import Division
from tlkit.data.splitting import SHARES, Groups, checked_lengths, shares_of
from tlkit.data.table_formats import read_any

__all__ = ["Limits", "augmentation", "from_arrays", "from_csv", "from_folder", "from_listing", "from_tfds"]


def __dir__() -> list[str]:
    return sorted(__all__)


Pair = tuple[Any, Any]

SAMPLE_RATE = 16_000  # Hz, what speech modules take


def from_folder(
    folder: str | os.PathLike[str],
    *,
    seconds: float = 1.0,
    hop: float | None = None,
    windows: str = "all",
    sample_rate: int = SAMPLE_RATE,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    augment: Augmenting | None = None,
    progress: bool = True,
    trim_db: float | None = None,
    limits: Limits = LIMITS,
) -> Splits:
    """Sounds in one folder for each class, or in train, val and test folders of class folders.

    Of train/val/test (also training, validation, valid, dev, testing), one that is missing is taken out of training.
    WAV, FLAC, OGG (Vorbis, Opus), MP3 and AIFF, told by content and not by ending. Hidden files, and the texts, tables
    and images that lie beside sounds, are passed over; everything else that cannot be read is quarantined.

    Args:
        folder: The folder; names of the class folders become the labels, sorted by code point.
        seconds: Length of a window. A shorter sound is padded with zeros at its end.
        hop: Seconds between the starts of two windows; None is `seconds`, so that they do not overlap. Half a hop or
            more that is left at the end of a sound gets a window that ends with it.
        windows: "all" of a sound, silent ones aside, or the "first".
        sample_rate: Hz of what is read. A sound of another rate, 8,000 Hz or more, is resampled.
        split: Shares of training, validation and test, where the folder does not say; 0 leaves a part empty.
        seed: Another seed gives another division; the same seed gives the same on every machine.
        groups: What must stay on one side, such as the speaker: a function of the path relative to `folder`, or a
            mapping from it.
        strict: Raise on the first preflight that would leave out a file.
        augment: A tlkit.Augment for the training sounds, such as `augmentation()`; or a function (float32 (samples,),
            seed).
        progress: Say on stderr how the preflight goes, and what it found.
        trim_db: Cut what is quieter than the sound's peak by so many decibels off both ends, and put what is left in
            the middle of its window: for words and other short sounds, 40 is usual. None keeps sounds as they are.
        limits: What is silent and what is clipped, so that it is quarantined.

    Returns:
        Splits of int32 class numbers. Ids are paths; "a/x.wav@1.500s" where a sound has several windows.

    Raises:
        InputError: If the folder cannot be learned from: missing, empty, one class, a class without usable sounds,
            fewer sounds than parts; or if `tlkit[audio]` is not installed.
    """
    options = Options(
        Division(split, seed, groups, strict, progress), seconds, hop, windows, sample_rate, augment, limits, trim_db
    )
    return from_listing(class_folders(folder, progress=progress), options)


def from_listing(listing: Listing, options: Options) -> Splits:
    """Splits of listed files: what `from_folder` and the samples share."""
    return listed_splits(listing, from_files, options)


def from_csv(
    table: str | os.PathLike[str],
    *,
    path: str = "path",
    label: str | Sequence[str] = "label",
    folder: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    seconds: float = 1.0,
    hop: float | None = None,
    windows: str = "all",
    sample_rate: int = SAMPLE_RATE,
    split: Sequence[float] | str = SHARES,
    seed: int = 0,
    groups: Groups | str | None = None,
    strict: bool = False,
    augment: Augmenting | None = None,
    progress: bool = True,
    trim_db: float | None = None,
    limits: Limits = LIMITS,
) -> Splits:
    """Sounds named in a table: CSV or TSV with a header, JSON Lines, or Parquet (extra `text`).

    Args:
        table: The file: .csv, .tsv, .jsonl or .parquet.
        path: Column of the files' paths, relative to `folder`.
        label: Column of the labels. If any row holds several, separated by `|`, the task is multi-label, and an empty
            cell means none. A sequence of columns gives numbers to regress, float32 (n, k); or classes and labels,
            where several columns hold 0 and 1 alone.
        folder: Where the paths start; by default the table's own folder.
        encoding: Of the table, as in `data.text.from_table`.
        separator: Between the columns, as in `data.text.from_table`.
        seconds, hop, windows, sample_rate, seed, strict, augment, progress, trim_db, limits: As in `from_folder`.
        split: Shares, or the column that holds train, val or test.
        groups: As in `from_folder`, of the path as the table writes it; or the column that names the groups.

    Raises:
        InputError: If a column, a label or a file is missing, or a path appears twice.
    """
    rows = read_any(table, encoding, separator, progress=progress)
    division = Division(shares_of(split), seed, rows.owners(groups), strict, progress)
    options = Options(division, seconds, hop, windows, sample_rate, augment, limits, trim_db)
    fixed, labelled, names = rows.parts(split), rows.labelled(label), rows.texts(path, "path")
    paths, notes = rows.files(names, table, folder, progress=progress)
    return noted(from_files(names, paths, labelled, fixed=fixed, options=options), notes)


def from_arrays(
    sounds: Any,
    targets: Any,
    *,
    sample_rate: int | None = None,
    val: Pair | None = None,
    test: Pair | None = None,
    labels: Sequence[str] | None = None,
    seconds: float = 1.0,
    hop: float | None = None,
    windows: str = "all",
    resampled_to: int = SAMPLE_RATE,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    augment: Augmenting | None = None,
    trim_db: float | None = None,
    limits: Limits = LIMITS,
    rate: int | None = None,
) -> Splits:
    """Sounds in memory: one array (n, samples) or a sequence of arrays (samples,) or (samples, channels).

    Args:
        sounds: Floats in -1 to 1; or whole numbers, which are scaled by what their type can hold (int64 by 16 bits).
        targets: Class numbers or names (n,), one-hot or multi-label rows (n, k), or floats to regress.
        sample_rate: Hz of these arrays; it must be given.
        val: (sounds, targets) of a validation part of its own; without it, it is taken out of `sounds`.
        test: The same for test.
        labels: Names of the classes, in the order of their numbers.
        seconds, hop, windows, split, seed, strict, augment, trim_db, limits: As in `from_folder`.
        resampled_to: Hz of what is read: what the module takes.
        groups: A group for each sound: a sequence over `sounds`, then `val`, then `test`; or by id, "0", "1", ...
        rate: The old name of `sample_rate`; beside it `sample_rate` is the old name of `resampled_to`.

    Raises:
        InputError: If lengths differ, the rate is missing, or an array is no sound; it is named by its position.
    """
    own_rate, resampled_to = _rates(sample_rate, resampled_to, rate)
    options = Options(
        Division(split, seed, groups, strict), seconds, hop, windows, resampled_to, augment, limits, trim_db
    )
    pairs = {part: pair for part, pair in enumerate(((sounds, targets), val, test)) if pair is not None}
    checked_lengths(pairs, "sounds")
    fixed = [part for part, (recordings, _) in pairs.items() for _ in range(len(recordings))] if len(pairs) > 1 else []
    arrays = [checked_wave(x, i) for i, x in enumerate(x for recordings, _ in pairs.values() for x in recordings)]
    labelled = labelling.from_parts([answers for _, answers in pairs.values()], labels)
    return from_waves(arrays, own_rate, labelled, fixed=fixed, options=options)


def _rates(sample_rate: int | None, resampled_to: int, rate: int | None) -> tuple[int, int]:
    """Hz of the arrays, and of what is read."""
    if rate is None and sample_rate is None:
        raise InputError("The sample rate of the sounds is missing; give it in Hz: sample_rate=16000.")
    if rate is not None:
        warnings.warn(
            "`rate` of audio.from_arrays is called `sample_rate`; what was `sample_rate` is `resampled_to`.",
            DeprecationWarning,
            stacklevel=3,
        )
        return _checked_rate(rate), resampled_to if sample_rate is None else sample_rate
    return _checked_rate(sample_rate), _checked_rate(resampled_to, "resampled_to")


def _checked_rate(value: Any, name: str = "sample_rate") -> int:
    if not is_number(value) or not value > 0:
        raise InputError(f"`{name}` must be a number of Hz, such as 16000. Received: {name}={value!r:.60}.")
    return value  # type: ignore[no-any-return]


def from_tfds(
    builder: Any,
    *,
    audio: str = "audio",
    label: str = "label",
    rate: int | None = None,
    seconds: float = 1.0,
    hop: float | None = None,
    windows: str = "all",
    sample_rate: int = SAMPLE_RATE,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    augment: Augmenting | None = None,
    progress: bool = True,
    trim_db: float | None = None,
    limits: Limits = LIMITS,
) -> Splits:
    """A TensorFlow Datasets builder: a name ("speech_commands"), the folder of a prepared one, or a builder object.

    Args:
        builder: As in `data.image.from_tfds`; its own train, validation and test are kept.
        audio: Feature that holds the sound.
        label: Feature that holds the target: a ClassLabel, a Sequence of ClassLabel (multi-label), or numbers.
        rate: Hz of these sounds; None is what the builder says.
        seconds, hop, windows, sample_rate, split, seed, strict, augment, progress, trim_db, limits: As in
            `from_folder`.
        groups: As in `from_folder`, of ids such as "train/17".

    Raises:
        InputError: If there is no such builder, feature or split, or nobody says the sounds' rate.
    """
    from tlkit.data.tfds_source import AUDIO, open_table

    division = Division(split, seed, groups, strict, progress)
    options = Options(division, seconds, hop, windows, sample_rate, augment, limits, trim_db)
    table = open_table(builder, audio, label, kind=AUDIO)
    recorded_rate = rate if rate is not None else table.rate
    if recorded_rate is None:
        raise InputError(f"The feature {audio!r} does not say its sample rate; give it in Hz: rate=16000.")
    return from_rows(table.ids, table.read, recorded_rate, table.labelled, fixed=table.parts, options=options)


def augmentation(
    shift: float = 0.1,
    gain_db: float = 6.0,
    band_stop: float = 0.1,
    time_mask: float = 0.1,
    snr_db: tuple[float, float] | None = (5.0, 20.0),
) -> Augmentation:
    """Changed copies of recordings, the same for the same seed; see `Augmentation`.

    Args:
        shift: Largest move in time, as a share of the window, in [0, 0.9]; zeros fill the gap.
        gain_db: Largest change of loudness, in [0, 40].
        band_stop: Largest band of frequencies that is taken out, as a share of the spectrum, in [0, 0.9].
        time_mask: Largest stretch that is silenced, as a share of the window, in [0, 0.9].
        snr_db: Range of the signal-to-noise ratio of the noise that is added, or None for none.

    Example:
        >>> x = np.zeros(100, dtype=np.float32)
        >>> augmentation()(x, seed=0).tolist() == x.tolist()  # there is no signal for a ratio
        True
    """
    return Augmentation(shift, gain_db, band_stop, time_mask, snr_db)
