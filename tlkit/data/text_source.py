"""Where texts come from, how they are checked and compared, and what is made of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Column, Examples, Pipeline, Quarantined, Splits
from tlkit.core.numeric import is_number
from tlkit.data import walking
from tlkit.data.conll import Sentence, WordsReader, kinds, word_targets
from tlkit.data.decoding import ENCODINGS, check_encoding, common_encoding, decode, decoded, tells
from tlkit.data.labelling import Labelled
from tlkit.data.preflight import Checked
from tlkit.data.sourcing import Division, FileSource, Unchecked, checked_splits, file_trouble
from tlkit.data.spool import blob_digest
from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.tokenizing.wordpiece import WordPiece
from tlkit.tokenizing.words import Words

MAX_CHARACTERS = 100_000
LIKENESS = 0.9  # share of word pairs that two texts have in common, from which they count as near duplicates
COMPARED = 100_000  # texts; more are not searched for near duplicates

_VERSION = 1  # of what turns a file into a text; a change makes cached features and fingerprints new
_MOST_BYTES = 4  # a character takes at most this many, in every encoding that people use
_PASSED_OVER = (
    *(".csv", ".tsv", ".json", ".jsonl", ".parquet", ".db", ".ini", ".cfg", ".py", ".ipynb", ".npy", ".npz"),
)
_WORD = re.compile(r"\w+|[^\w\s!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f]")  # a symbol such as an emoji is a word too

TEXT_MODALITY = "text"
TEXT = ArraySpec((), "string")
WORDS = ArraySpec((None,), "string")  # texts that are split into words, each of which has a label
QUESTIONS = {"question": TEXT, "context": TEXT}  # the answer is looked for in the context

Source = Callable[[int], bytes | str]
Look = Callable[[int, "Options", Callable[[str], None]], Checked]  # position, options, what hears a guessed encoding
Tokenizer = WordPiece | Words | BytePairs


@dataclass(frozen=True, eq=False)
class TextReader:
    """What reads texts: bytes or strings of a source, and how bytes are decoded."""

    source: Source
    encoding: str | None = None
    guesses: Mapping[int, str] = field(default_factory=dict)  # encodings that were guessed once, by position
    like: str = ""  # encoding of the texts that are too short to tell theirs

    def __call__(self, i: int) -> np.ndarray:
        """The text of example i: an object array of shape () that holds a str."""
        return np.array(as_text(self.source(i), self.encoding or self.guesses.get(i)), dtype=object)

    @property
    def pipeline(self) -> Pipeline:
        """Everything that decides the text, besides the content of the files."""
        like = {"like": self.like} if self.like else {}
        return Pipeline().then(TEXT_MODALITY, version=_VERSION, encoding=self.encoding or ENCODINGS, **like)


@dataclass(frozen=True, eq=False)
class TokenizedReader:
    """Texts, or words with a label each, as a module's inputs: int32 (length,) each."""

    texts: Column
    tokenizer: Tokenizer
    length: int

    def __call__(self, i: int) -> Any:
        """The inputs of example i."""
        x = self.texts[i]
        if isinstance(self.tokenizer, WordPiece) and np.ndim(x):
            return self.tokenizer.encode_words(x, self.length)[0]
        return self.tokenizer.inputs(text_of(x), self.length)


@dataclass(frozen=True)
class Options:
    """What all sources of text take, checked before anything is read; `data.text.from_folder` says what each means.

    `like` is the encoding of texts that are too short to tell theirs, once all of them were looked at.
    """

    division: Division
    encoding: str | None = None
    max_characters: int = MAX_CHARACTERS
    like: str = ""

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        if not is_number(self.max_characters) or not self.max_characters >= 1:
            raise InputError(f"`max_characters` must be positive. Received: max_characters={self.max_characters!r}.")


def from_files(
    names: Sequence[str],
    paths: Sequence[Path],
    labelled: Labelled,
    *,
    fixed: Sequence[int],
    options: Options,
    quarantine: Sequence[Quarantined] = (),
) -> Splits:
    """Splits of files: looked at once, the broken ones left out. `quarantine` holds what was left out before."""

    def look(i: int, options: Options, tell: Callable[[str], None]) -> Checked:
        return check_file(paths[i], options, tell)

    return _splits(
        names, FileSource(paths), look, labelled=labelled, fixed=fixed, options=options, quarantine=quarantine
    )


def from_texts(
    ids: Sequence[str], source: Source, labelled: Labelled, *, fixed: Sequence[int], options: Options
) -> Splits:
    """Splits of strings, or of bytes to decode, that a source gives by position."""

    def look(i: int, options: Options, tell: Callable[[str], None]) -> Checked:
        return check_text(source(i), options, tell)

    return _splits(ids, source, look, labelled=labelled, fixed=fixed, options=options)


def check_file(path: Path, options: Options, tell: Callable[[str], None] | None = None) -> Checked:
    """Look at one file; `tell` hears the encoding that was guessed. Never raises."""
    if path.suffix.lower() in _PASSED_OVER or (not path.suffix and walking.is_note(path.name)):
        return Checked(ignored=True)  # a table beside the texts, a README
    trouble = file_trouble(path)
    if trouble:
        return Checked(reason=trouble)
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES * (options.max_characters + 1):
            return Checked(reason=f"over-long: {size} bytes, and at most {options.max_characters} characters are read")
        return check_text(path.read_bytes(), options, tell)
    except OSError as error:
        return Checked(reason=f"it cannot be read: {error}")


def check_text(content: bytes | str, options: Options, tell: Callable[[str], None] | None = None) -> Checked:
    """Look at one text; `tell` hears the encoding that was guessed. Never raises."""
    try:
        text, guess = (content, "") if isinstance(content, str) else decoded(content, options.encoding, options.like)
        digest = sha256_of(text)
    except InputError as error:
        return Checked(reason=str(error))
    if not text:
        return Checked(reason="empty")
    if not any(character.isprintable() and not character.isspace() for character in text):
        return Checked(reason="empty: it holds white space or control characters alone")
    if len(text) > options.max_characters:
        return Checked(reason=f"over-long: {len(text)} characters, and at most {options.max_characters} are read")
    if guess and tell:
        tell(guess)
    return Checked(digest=digest)


def as_text(content: bytes | str, encoding: str | None) -> str:
    """The text of a source's bytes or string."""
    return content if isinstance(content, str) else decode(content, encoding)


def read_text(path: Path, pipeline: Pipeline) -> tuple[str, str]:
    """The text of a file, and a note where its encoding had to be guessed, or "".

    Args:
        path: The file.
        pipeline: What made the examples of training, whose encoding the file is read in.

    Raises:
        InputError: If it cannot be read, or holds no text.
    """
    trouble = file_trouble(path)
    if trouble:
        raise InputError(f"{str(path)!r} cannot be read as a text: {trouble}.")
    step = pipeline.get(TEXT_MODALITY) or {}
    encoding, like = step.get("encoding", ENCODINGS), step.get("like", "")
    try:
        text, guess = decoded(path.read_bytes(), None if encoding == ENCODINGS else encoding, like)
    except (OSError, InputError) as error:
        raise InputError(f"{str(path)!r} cannot be read as a text: {error}.") from error
    return text, f"not UTF-8, and read as {guess}" if guess else ""


def text_of(x: Any) -> str:
    """The str of one example that is a text; words with blanks between."""
    return " ".join(str(part) for part in np.asarray(x, dtype=object).reshape(-1))


def sha256_of(text: str) -> str:
    """sha256 of a text in UTF-8, whatever its file's encoding was."""
    try:
        return blob_digest(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        where = f"position {error.start}"
        raise InputError(f"no Unicode text: half of a surrogate pair stands alone at {where}") from error


def from_sentences(
    ids: Sequence[str], sentences: Sequence[Sentence], *, fixed: Sequence[int], options: Options
) -> Splits:
    """Splits of sentences with a label for each word; the names of the labels are sorted by code point."""

    def check(i: int) -> Checked:
        checked = check_text(" ".join(sentences[i].words), options)
        return (
            dataclasses.replace(checked, digest=sha256_of("\n".join(sentences[i].words))) if checked.digest else checked
        )

    labels = tuple(sorted({label for sentence in sentences for label in sentence.labels}))
    targets = word_targets(sentences, {label: i for i, label in enumerate(labels)})
    reader = WordsReader(tuple(sentences))
    unchecked = Unchecked(
        ids,
        kinds(sentences),
        reader,
        check,
        WORDS,
        TEXT_MODALITY,
        Pipeline().then("sentences", version=_VERSION),
        "sentences",
        fixed,
        targets=targets,
    )
    splits = dataclasses.replace(checked_splits(unchecked, options.division), labels=labels)
    return dataclasses.replace(splits, notes=(*splits.notes, *near_duplicates(splits)))


def piece_counts(examples: Examples, tokenizer: Tokenizer) -> np.ndarray:
    """int32 (n,) pieces or words of each text before any cut, special ones included."""

    def count(x: Any) -> int:
        if isinstance(tokenizer, WordPiece) and np.ndim(x):
            return tokenizer.count_words(x)
        return tokenizer.count(text_of(x))

    return np.fromiter((count(examples.inputs[i]) for i in range(len(examples))), dtype=np.int32, count=len(examples))


def tokenized_examples(examples: Examples, tokenizer: Tokenizer, length: int, counts: np.ndarray) -> Examples:
    """The same examples as a module's inputs; `counts` are their pieces before any cut."""
    targets = examples.targets
    if isinstance(tokenizer, WordPiece) and examples.inputs.spec == WORDS:
        targets = ArrayColumn(_piece_targets(examples, tokenizer, length))
    texts = TextColumn([text_of(examples.inputs[i]) for i in range(len(examples))])
    reader = TokenizedReader(examples.inputs, tokenizer, length)
    return dataclasses.replace(
        examples,
        targets=targets,
        inputs=ReadColumn(reader, tokenizer.spec(length), examples.digests),
        modality=tokenizer.modality,
        pipeline=examples.pipeline.then(tokenizer.step, **tokenizer.arguments, length=length),
        columns={**examples.columns, "length": ArrayColumn(counts), "text": texts},
    )


def _piece_targets(examples: Examples, tokenizer: WordPiece, length: int) -> np.ndarray:
    """int32 (n, length): the label of each word at its first piece, -1 elsewhere."""
    targets = np.full((len(examples), length), -1, dtype=np.int32)
    for i in range(len(examples)):
        _, owners = tokenizer.encode_words(examples.inputs[i], length)
        first = np.flatnonzero((owners >= 0) & (np.diff(owners, prepend=-1) != 0))
        targets[i, first] = examples.target_array[i, owners[first]]
    return targets


def near_duplicates(splits: Splits) -> list[str]:
    """A note on texts of validation and test that nearly repeat one of another part; none where there are none.

    Two texts are alike if, apart from case, punctuation and white space, `LIKENESS` of their distinct pairs of
    neighbouring words are the same. Exact, and fast, because two such texts share one of their rarest pairs.

    Source: Bayardo, Ma and Srikant 2007, doi:10.1145/1242572.1242591 (prefix filtering); Broder 1997 (shingles).
    """
    parts = (splits.train, splits.val, splits.test)
    total = sum(map(len, parts))
    if total > COMPARED:
        return [f"Near duplicates were not looked for: {total:,} texts are more than {COMPARED:,}."]
    repeats = list(_repeats(parts))
    if not repeats:
        return []
    single = len(repeats) == 1
    count = (
        "One text of val and test nearly repeats" if single else f"{len(repeats):,} texts of val and test nearly repeat"
    )
    return [f"{count} one of another part, so scores may flatter: {repeats[0][0]!r} and {repeats[0][1]!r}."]


def _repeats(parts: Sequence[Examples]) -> Iterator[tuple[str, str]]:
    """Ids of each text that nearly repeats one of an earlier part, and of that one."""
    texts = _word_pairs([text_of(examples.inputs[i]) for examples in parts for i in range(len(examples))])
    names = [name for examples in parts for name in examples.ids]
    digests = [digest for examples in parts for digest in examples.digests]
    holders: dict[int, list[int]] = defaultdict(list)  # which texts of the earlier parts have a pair among their rarest
    seen_digests: set[str] = set()
    start = 0
    for examples in parts:
        positions = range(start, start + len(examples))
        for i in positions if start else ():
            if digests[i] not in seen_digests:  # exact duplicates are reported as such
                likes = (earlier for earlier in _candidates(holders, texts[i]) if _alike(texts[i], texts[earlier]))
                yield from ((names[i], names[earlier]) for earlier in itertools.islice(likes, 1))
        for i in positions:
            for pair in _rarest(texts[i]):
                holders[pair].append(i)
        seen_digests.update(examples.digests)
        start = positions.stop


def _candidates(holders: Mapping[int, Sequence[int]], pairs: np.ndarray) -> list[int]:
    return list(dict.fromkeys(other for pair in _rarest(pairs) for other in holders.get(pair, ())))


def _alike(first: np.ndarray, second: np.ndarray) -> bool:
    if min(len(first), len(second)) < LIKENESS * max(len(first), len(second)):
        return False
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common >= LIKENESS * (len(first) + len(second) - common)


def _rarest(pairs: np.ndarray) -> list[int]:
    """Those of which two texts that are alike must share one: none of a text without words."""
    rarest: list[int] = pairs[: len(pairs) - math.ceil(LIKENESS * len(pairs)) + 1].tolist()
    return rarest


def _word_pairs(texts: Sequence[str]) -> list[np.ndarray]:
    """The distinct pairs of neighbouring words of each text (the last pairs with its end), as sorted numbers.

    Pairs are numbered by how often they occur in all texts, the rarest first.
    """
    number: dict[str, int] = {}
    words = [[number.setdefault(word, len(number)) for word in _WORD.findall(text.casefold())] for text in texts]
    end = len(number)
    sizes = [len(text_words) + 1 for text_words in words]
    flat = np.fromiter((word for text_words in words for word in (*text_words, end)), dtype=np.int64, count=sum(sizes))
    inner = np.flatnonzero(flat[:-1] != end)
    _, pairs, counts = np.unique(flat[inner] * (end + 1) + flat[inner + 1], return_inverse=True, return_counts=True)
    by_rarity = np.empty(len(counts), dtype=np.int64)
    by_rarity[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    owners = np.repeat(np.arange(len(texts)), sizes)[inner]
    distinct = np.unique(owners * len(counts) + by_rarity[pairs])
    starts = np.searchsorted(distinct, np.arange(1, len(texts)) * len(counts))
    return [text_pairs % max(1, len(counts)) for text_pairs in np.split(distinct, starts)]


def _splits(
    ids: Sequence[str],
    source: Source,
    look: Look,
    *,
    labelled: Labelled,
    fixed: Sequence[int],
    options: Options,
    quarantine: Sequence[Quarantined] = (),
) -> Splits:
    """Splits of texts; those too short to tell their encoding are read once more, in one that they have in common."""

    def read(options: Options) -> tuple[Splits, dict[int, str]]:
        guesses: dict[int, str] = {}
        reader = TextReader(source, options.encoding, guesses, options.like)
        unchecked = Unchecked(
            ids, labelled, reader, lambda i: look(i, options, functools.partial(guesses.__setitem__, i)), TEXT,
            TEXT_MODALITY, reader.pipeline, "texts", fixed, quarantine,
        )  # fmt: skip
        return checked_splits(unchecked, options.division), guesses

    splits, guesses = read(options)
    like = _like(guesses, source)
    if like:
        division = dataclasses.replace(options.division, progress=False)
        splits, guesses = read(dataclasses.replace(options, division=division, like=like))
    notes = _encodings(guesses, len(ids), like)
    return dataclasses.replace(splits, notes=(*notes, *splits.notes, *near_duplicates(splits)))


def _like(guesses: Mapping[int, str], source: Source) -> str:
    """Encoding of the texts that are too short to tell theirs, by all that are not UTF-8; "" where there are none."""
    contents = [(content, guess) for i, guess in guesses.items() if isinstance(content := source(i), bytes)]
    short = [content for content, _ in contents if not tells(content)]
    return common_encoding(short, [(content, guess) for content, guess in contents if tells(content)])


def _encodings(guesses: Mapping[int, str], total: int, like: str) -> list[str]:
    if not guesses:
        return []
    counts = ", ".join(f"{name} ({count:,})" for name, count in Counter(sorted(guesses.values())).most_common(5))
    verb = "is not UTF-8 and was" if len(guesses) == 1 else "are not UTF-8 and were"
    together = f"; those too short to tell are read as {like}, as all of them together are"
    short = together if like and len(guesses) > 1 else ""
    return [f"{len(guesses):,} of {total:,} texts {verb} read as {counts}{short}; pass `encoding` if that is wrong."]
