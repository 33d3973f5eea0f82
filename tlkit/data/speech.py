"""Recordings with what is said in them, as `Splits`: from tables, and from folders with a text beside each sound.

`read(i)` gives float32 (samples,) in [-1, 1]: a whole recording with silence behind it up to the window, mixed to mono
and resampled. Each recording is listened to once before it is used; what cannot be learned from goes to
`Splits.quarantine` by name and reason. A text that occurs several times lies in one split alone.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tlkit.core.columns import RaggedColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Column, Examples, Quarantined, Splits
from tlkit.core.numeric import is_number
from tlkit.core.remote import local
from tlkit.data import audio_decode as decode
from tlkit.data import audio_source
from tlkit.data.audio_decode import LIMITS, Limits
from tlkit.data.audio_source import AudioReader, Cut, SoundFiles
from tlkit.data.labelling import Labelled
from tlkit.data.listing import noted
from tlkit.data.preflight import Checked
from tlkit.data.sourcing import Division, Unchecked, checked_splits
from tlkit.data.spelling import spoken, words
from tlkit.data.splitting import PARTS, SHARES, Groups, shares_of
from tlkit.data.table_formats import read_any

__all__ = ["from_csv", "from_folder"]


def __dir__() -> list[str]:
    return sorted(__all__)


SPEECH = "speech"  # the modality
TEXT = "text"  # the column of what is said
SAMPLE_RATE = 16_000  # Hz, what speech modules take
WINDOW_S = 30.0  # what Whisper was trained on
LONGEST_S = 3_600.0
MOST_CHARACTERS_PER_S = 30.0  # people speak up to 20: more is the text of another recording
SPELLINGS = ("characters", "words")
_SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
_TRANSCRIPTS = ".trans.txt"  # of LibriSpeech: "1272-128104-0000 MISTER QUILTER IS"


@dataclass(frozen=True)
class Options:
    """What both loaders take, checked before anything is read; `from_csv` says what each means."""

    division: Division
    window_s: float
    sample_rate: int
    vocabulary: str | Sequence[str] | None
    augment: Augmenting | None
    limits: Limits

    def __post_init__(self) -> None:
        low, high = decode.RATES
        if not (isinstance(self.sample_rate, int | np.integer) and low <= self.sample_rate <= high):
            raise InputError(
                f"`sample_rate` must be a whole number of Hz in {low} to {high}. "
                f"Received: sample_rate={self.sample_rate!r}."
            )
        if not (is_number(self.window_s) and 0.1 <= self.window_s <= LONGEST_S):
            raise InputError(f"`window_s` must lie in 0.1 to {LONGEST_S:,.0f} s. Received: window_s={self.window_s!r}.")
        if isinstance(self.vocabulary, str) and self.vocabulary not in SPELLINGS:
            raise InputError(
                '`vocabulary` must be "characters", "words", a sequence of these or None. '
                f"Received: vocabulary={self.vocabulary!r:.60}."
            )
        if not isinstance(self.limits, Limits):
            raise InputError(f"`limits` must be data.audio.Limits(...). Received: limits={self.limits!r:.60}.")

    @property
    def samples(self) -> int:
        """Length of a window."""
        return round(self.window_s * self.sample_rate)


@dataclass(frozen=True, eq=False)
class Recordings:
    """Files and what is said in them, before anybody listened.

    Attributes:
        names: A name for each.
        paths: The files.
        texts: What is said.
        fixed: The part of each, where the source says so.
        quarantine: What was left out before.
        notes: On how they were found.
    """

    names: Sequence[str]
    paths: Sequence[Path]
    texts: Sequence[str]
    fixed: Sequence[int] = ()
    quarantine: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = field(default=())


def from_csv(
    table: str | os.PathLike[str],
    *,
    path: str = "path",
    text: str = "text",
    folder: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    window_s: float = WINDOW_S,
    sample_rate: int = SAMPLE_RATE,
    vocabulary: str | Sequence[str] | None = None,
    split: Sequence[float] | str = SHARES,
    seed: int = 0,
    groups: Groups | str | None = TEXT,
    strict: bool = False,
    augment: Augmenting | None = None,
    progress: bool = True,
    limits: Limits = LIMITS,
) -> Splits:
    """Recordings named in a table: CSV or TSV with a header, JSON Lines, or Parquet (extra `text`).

    Args:
        table: The file: .csv, .tsv, .jsonl or .parquet.
        path: Column of the files' paths, relative to `folder`.
        text: Column of what is said.
        folder: Where the paths start; by default the table's own folder.
        encoding: Of the table, as in `data.text.from_table`.
        separator: Between the columns, as in `data.text.from_table`.
        window_s: Seconds that the model hears at a time. A shorter recording has silence behind it; a longer one is
            left out, as nobody says which part of its text belongs to which part of its sound.
        sample_rate: Hz of what is read. A recording of another rate, 8,000 Hz or more, is resampled.
        vocabulary: None for modules that write text by tokens of their own. For `tasks.ctc` "characters" or "words" of
            the texts, lower case and without punctuation as `data.spelling.spoken` has them; or a sequence of all
            characters, or all words, that may occur.
        split: Shares of training, validation and test; or the column that holds train, val or test.
        seed: Another seed gives another division; the same seed gives the same on every machine.
        groups: What must stay on one side: "text", so that no text of the test is trained on; a column, such as
            "speaker"; a function of the path as the table writes it, or a mapping from it; None for nothing.
        strict: Raise on the first preflight that would leave out a file.
        augment: A tlkit.Augment for the training sounds, such as `data.audio.augmentation()`.
        progress: Say on stderr how the preflight goes, and what it found.
        limits: What is silent and what is clipped, so that it is quarantined.

    Returns:
        Splits whose column "text" is what is said. Targets are int32 numbers, filled up with 0: characters by code
        point, or by their place in `labels` from 1 where there is a `vocabulary`.

    Raises:
        InputError: If a column or a file is missing, a path appears twice, a text needs what the vocabulary lacks, or
            `tlkit[audio]` is not installed.
    """
    rows = read_any(table, encoding, separator, progress=progress)
    names, texts = rows.texts(path, "path"), rows.texts(text, "text")
    owners: Groups | None = groups if not isinstance(groups, str) else _owners(groups, text, texts, rows.texts)
    division = Division(shares_of(split), seed, owners, strict, progress)
    options = Options(division, window_s, sample_rate, vocabulary, augment, limits)
    fixed = rows.parts(split)
    paths, notes = rows.files(names, table, folder, progress=progress)
    return from_recordings(Recordings(names, paths, texts, fixed, notes=notes), options)


def _owners(groups: str, text: str, texts: Sequence[str], column: Callable[[str], Sequence[str]]) -> Sequence[str]:
    return [spoken(transcript) for transcript in texts] if groups in (TEXT, text) else column(groups)


def from_folder(
    folder: str | os.PathLike[str],
    *,
    window_s: float = WINDOW_S,
    sample_rate: int = SAMPLE_RATE,
    vocabulary: str | Sequence[str] | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | str | None = TEXT,
    strict: bool = False,
    augment: Augmenting | None = None,
    progress: bool = True,
    limits: Limits = LIMITS,
) -> Splits:
    """Recordings of a folder, folders inside it included, with what is said in NAME.txt beside NAME.wav.

    LibriSpeech's way is read too: lines of a recording's name and its text in a file that ends in .trans.txt. Hidden
    files are passed over; a sound without a text is quarantined.

    Args:
        folder: The folder.
        window_s, sample_rate, vocabulary, seed, strict, augment, progress, limits: As in `from_csv`.
        split: Shares of training, validation and test.
        groups: As there, of the path relative to `folder`; "folder" keeps what lies in one folder together, as where
            each speaker has one.

    Returns:
        As `from_csv`.

    Raises:
        InputError: If there is no such folder, or no recording with a text in it; and as `from_csv`.
    """
    root = local(folder, progress=progress)
    recordings = _beside(root)
    owners: Groups | None = groups if not isinstance(groups, str) else _by_name(groups, recordings)
    options = Options(
        Division(split, seed, owners, strict, progress), window_s, sample_rate, vocabulary, augment, limits
    )
    return from_recordings(recordings, options)


def _by_name(groups: str, files: Recordings) -> Sequence[str]:
    if groups not in (TEXT, "folder"):
        raise InputError(
            f'`groups` of a folder must be "text", "folder", a function, a mapping or None. Received: {groups!r:.60}.'
        )
    return [spoken(text) for text in files.texts] if groups == TEXT else [str(Path(n).parent) for n in files.names]


def _beside(root: Path) -> Recordings:
    """The sounds below a folder that have a text; those without are left out."""
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}: give one that holds recordings, and texts beside them.")
    files = sorted(p for p in root.rglob("*") if not any(part.startswith(".") for part in p.relative_to(root).parts))
    lines = _transcripts([path for path in files if path.name.endswith(_TRANSCRIPTS)])
    transcribed: list[tuple[str, Path, str]] = []
    lacking: list[Quarantined] = []
    for path in (path for path in files if path.suffix.lower() in _SOUNDS):
        name, text = path.relative_to(root).as_posix(), _text_of(path, lines)
        if text is None:
            lacking.append(Quarantined(name, f"no text: {path.stem}.txt is not beside it"))
        else:
            transcribed.append((name, path, text))
    if not transcribed:
        raise InputError(
            f"{str(root)!r} holds {len(lacking)} sounds and no text of any: write what is said in NAME.wav into "
            "NAME.txt beside it, or give a table with the columns path and text to `from_csv`."
        )
    names, paths, texts = zip(*transcribed, strict=True)
    return Recordings(names, paths, texts, quarantine=tuple(lacking))


def _transcripts(files: Sequence[Path]) -> dict[tuple[Path, str], str]:
    """(folder, name of a recording) -> what is said, of files with a line for each."""
    transcripts = {}
    for file in files:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, text = line.strip().partition(" ")
            transcripts[file.parent, name] = text
    return transcripts


def _text_of(sound: Path, lines: dict[tuple[Path, str], str]) -> str | None:
    file = sound.with_suffix(".txt")
    if file.is_file():
        return file.read_text(encoding="utf-8-sig", errors="replace")
    return lines.get((sound.parent, sound.stem))


def from_recordings(recordings: Recordings, options: Options) -> Splits:
    """Splits of files with texts: what both loaders, and `tlkit.datasets`, share.

    Raises:
        InputError: As `from_csv`.
    """
    for name in ("soundfile", "soxr"):  # before thousands of files are found unreadable
        decode.library(name)
    texts = [" ".join(text.split()) for text in recordings.texts]
    units, targets = _spelled(texts, options.vocabulary)
    cuts: dict[int, Cut] = {}

    def check(i: int) -> Checked:
        trouble = "no text: what is said in it is not written" if not words(texts[i]) else ""
        checked = Checked(reason=trouble) if trouble else _checked_file(recordings.paths[i], texts[i], options)
        if isinstance(checked, Checked):
            return checked
        digest, cuts[i] = checked
        return Checked(digest=digest)

    windows = np.stack([np.arange(len(texts)), np.zeros(len(texts), np.int64)], axis=1)
    reader = AudioReader(SoundFiles(tuple(recordings.paths)), cuts, windows, options.sample_rate, options.samples)
    lengths = np.array([[len(words(text))] for text in texts], np.float32).reshape(-1, 1)
    unchecked = Unchecked(
        recordings.names, Labelled(lengths, (), "values"), reader, check, reader.spec, SPEECH, reader.pipeline,
        "recordings", recordings.fixed, recordings.quarantine, targets=targets, columns={TEXT: TextColumn(texts)},
    )  # fmt: skip
    splits = checked_splits(unchecked, options.division, options.augment)
    notes = (*_low_rates(cuts, options.sample_rate), *_repeated(splits), *_shortened(cuts, options))
    return noted(dataclasses.replace(splits, labels=units), (*recordings.notes, *notes))


def _checked_file(path: Path, text: str, options: Options) -> Checked | tuple[str, Cut]:
    """Digest and extent of a recording, or why it cannot be learned from. Never raises."""
    seconds = _claimed_seconds(path)
    if seconds > options.window_s:
        return Checked(
            reason=f"{seconds:,.1f} s long, and a window holds {options.window_s:g} s: cut it where its text is known, "
            "or choose a longer `window_s`"
        )
    heard = audio_source.Options(
        options.division, options.window_s, None, "first", options.sample_rate, None, options.limits
    )
    checked = audio_source.check_file(path, heard)
    if isinstance(checked, Checked):
        return checked
    rate = len(text) * checked[1].rate / checked[1].frames
    if rate > MOST_CHARACTERS_PER_S:
        return Checked(reason=f"its text has {rate:.0f} characters a second of sound: it is of another recording")
    return checked


def _claimed_seconds(path: Path) -> float:
    """What the header says, so that nobody decodes a day of sound to leave it out; 0 where it says nothing."""
    try:
        about = decode.library("soundfile").info(str(path))
    except (RuntimeError, TypeError, OSError, ValueError):  # `check_file` says what is wrong
        return 0.0
    return about.frames / max(1, about.samplerate)  # type: ignore[no-any-return]


def _spelled(texts: Sequence[str], vocabulary: str | Sequence[str] | None) -> tuple[tuple[str, ...], Column]:
    """Units of the vocabulary, and the targets by their numbers; code points where there is none."""
    if vocabulary is None:
        return (), RaggedColumn([np.array([ord(c) for c in text] or [0], np.int32) for text in texts])
    parts = _parts(texts, vocabulary)
    units = tuple(sorted({unit for row in parts for unit in row}) if isinstance(vocabulary, str) else vocabulary)
    number = {unit: i for i, unit in enumerate(units, start=1)}
    unknown = Counter(unit for row in parts for unit in row if unit not in number)
    if unknown:
        unit, count = unknown.most_common(1)[0]
        raise InputError(
            f"{len(unknown)} of the texts' characters or words are not in `vocabulary`, {unit!r:.60} first ({count} "
            'times): add them, take these recordings out, or let `vocabulary="words"` collect them.'
        )
    return units, RaggedColumn([np.array([number[unit] for unit in row] or [0], np.int32) for row in parts])


def _parts(texts: Sequence[str], vocabulary: str | Sequence[str]) -> list[list[str]]:
    """What each text is spelled with."""
    by_character = vocabulary == "characters" or (
        not isinstance(vocabulary, str) and all(len(unit) == 1 for unit in vocabulary)
    )
    return [list(spoken(text)) if by_character else words(text) for text in texts]


def _low_rates(cuts: dict[int, Cut], sample_rate: int) -> list[str]:
    low = sorted(cut.rate for cut in cuts.values() if cut.rate < sample_rate)
    if not low:
        return []
    return [
        f"{len(low)} of {len(cuts)} recordings hold nothing above {low[0] // 2} Hz, as they were made at {low[0]} Hz; "
        f"the module hears {sample_rate} Hz."
    ]


def _repeated(splits: Splits) -> list[str]:
    """A note on texts that lie in several parts, where the groups are not the texts."""
    parts = [_texts(part) for part in (splits.train, splits.val, splits.test)]
    shared = parts[0] & (parts[1] | parts[2])
    if not shared:
        return []
    return [
        f"{len(shared)} texts of the training part are also in {PARTS[1]} or {PARTS[2]}, {min(shared)!r:.60} first: "
        'scores on these say less of new texts; `groups="text"` keeps them apart.'
    ]


def _texts(examples: Examples) -> set[str]:
    return {spoken(text) for text in examples.columns[TEXT].take(np.arange(len(examples)))}


def _shortened(cuts: dict[int, Cut], options: Options) -> list[str]:
    """A note where the window is far longer than what is heard."""
    seconds = [cut.frames / cut.rate for cut in cuts.values()]
    if not seconds or max(seconds) > 0.5 * options.window_s:
        return []
    return [
        f"The longest recording has {max(seconds):.1f} s, and the window {options.window_s:g} s: a shorter `window_s` "
        "costs less, and a module that was trained on long windows may be worse in it."
    ]
