"""Labelled texts as `Splits`, from class folders, tables, arrays and TFDS builders; and tokenized for a BERT module.

`read(i)` gives a str in an object array of shape (). Every source is checked once before it is used; what is broken
goes to `Splits.quarantine` by name and reason, and texts that nearly repeat one of another part are noted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.remote import local
from tlkit.data import dialogues, labelling, translations
from tlkit.data.conll import read_sentences
from tlkit.data.listing import class_folders, listed_splits, noted
from tlkit.data.long_texts import check_way, in_windows, note
from tlkit.data.sourcing import Division
from tlkit.data.splitting import PARTS, SHARES, Groups, checked_lengths, shares_of
from tlkit.data.squad import from_questions, read_questions
from tlkit.data.table_formats import read_any
from tlkit.data.text_source import (
    MAX_CHARACTERS,
    QUESTIONS,
    TEXT,
    WORDS,
    Options,
    Tokenizer,
    from_files,
    from_sentences,
    from_texts,
    piece_counts,
    tokenized_examples,
)
from tlkit.data.windows import windowed
from tlkit.tokenizing.wordpiece import WordPiece

__all__ = [
    "MAX_CHARACTERS",
    "from_arrays",
    "from_conll",
    "from_csv",
    "from_dialogues",
    "from_folder",
    "from_pairs",
    "from_squad",
    "from_table",
    "from_tfds",
    "from_translations",
    "tokenized",
]


def __dir__() -> list[str]:
    return sorted(__all__)


Pair = tuple[Any, Any]
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

LONGEST = 512  # pieces that BERT modules have positions for


def from_folder(
    folder: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Texts, a file each, in one folder for each class, or in train, val and test folders of class folders.

    Of train/val/test (also training, validation, valid, dev, testing), one that is missing is taken out of training.
    A file is judged by its content, not its ending. Hidden files, tables and code are passed over; everything else
    that is no text, or an empty one, is quarantined.

    Args:
        folder: The folder; names of the class folders become the labels, sorted by code point.
        encoding: Python's name of the files' encoding. None reads UTF-8, and UTF-16 and UTF-32 with a byte order
            mark; what is none of them is read as charset-normalizer finds it, and a note says so.
        split: Shares of training, validation and test, where the folder does not say; 0 leaves a part empty.
        seed: Another seed gives another division; the same seed gives the same on every machine.
        groups: What must stay on one side: a function of the path relative to `folder`, or a mapping from it.
        strict: Raise on the first preflight that would leave out a file.
        progress: Say on stderr how the preflight goes, and what it found.
        max_characters: Longer texts are quarantined.

    Returns:
        Splits of int32 class numbers.

    Raises:
        InputError: If the folder cannot be learned from: missing, empty, one class, a class without usable texts,
            fewer texts than parts.
    """
    options = Options(Division(split, seed, groups, strict, progress), encoding, max_characters)
    return listed_splits(class_folders(folder, progress=progress), from_files, options)


def from_table(
    table: str | os.PathLike[str],
    *,
    text: str = "text",
    label: str | Sequence[str] = "label",
    encoding: str | None = None,
    separator: str | None = None,
    split: Sequence[float] | str = SHARES,
    seed: int = 0,
    groups: Groups | str | None = None,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Texts in a table: CSV or TSV with a header, JSON Lines, or Parquet (extra `text`), by the ending of its name.

    Args:
        table: The file: .csv, .tsv, .jsonl or .parquet.
        text: Column of the texts, stripped of outer blanks.
        label: Column of the labels. If any row holds several, separated by `|` or as a list, the task is multi-label,
            and an empty cell means none. A sequence of columns gives numbers to regress, float32 (n, k); or classes and
            labels, where several columns hold 0 and 1 alone.
        encoding: As in `from_folder`; for the whole table.
        separator: The character between the columns of CSV and TSV; None finds it, and notes another than usual.
        split: Shares, or the column that holds train, val or test.
        seed, strict, progress, max_characters: As in `from_folder`.
        groups: As in `from_folder`, of ids such as "row 17", as an editor counts; or the column that names the groups.

    Raises:
        InputError: If the table cannot be read, or a column or a label is missing.
    """
    options = Options(Division(shares_of(split), seed, None, strict, progress), encoding, max_characters)
    rows = read_any(table, encoding, separator, progress=progress)
    fixed, texts = rows.parts(split), rows.texts(text, "text")
    options = dataclasses.replace(options, division=dataclasses.replace(options.division, groups=rows.owners(groups)))
    ids = [f"row {number}" for number in range(rows.first, rows.first + len(texts))]
    splits = from_texts(ids, texts.__getitem__, rows.labelled(label), fixed=fixed, options=options)
    return noted(splits, rows.notes)


from_csv = from_table  # as image and audio call it


def from_arrays(
    texts: Sequence[str],
    targets: Any,
    *,
    val: Pair | None = None,
    test: Pair | None = None,
    labels: Sequence[str] | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Texts in memory: a sequence of str, or of bytes in UTF-8.

    Args:
        texts: The texts.
        targets: Class numbers or names (n,), one-hot or multi-label rows (n, k), or floats to regress.
        val: (texts, targets) of a validation part of its own; without it, it is taken out of `texts`.
        test: The same for test.
        labels: Names of the classes, in the order of their numbers.
        split, seed, strict, max_characters: As in `from_folder`.
        groups: A group for each text: a sequence over `texts`, then `val`, then `test`; or by id, "0", "1", ...

    Raises:
        InputError: If lengths differ, or something is no text; it is named by its position.
    """
    options = Options(Division(split, seed, groups, strict), None, max_characters)
    pairs = {part: pair for part, pair in enumerate(((texts, targets), val, test)) if pair is not None}
    checked_lengths(pairs, "texts")
    for part, (part_texts, _) in pairs.items():
        if isinstance(part_texts, str | bytes):
            raise InputError(f"The texts for {PARTS[part]} must be a sequence of texts. Received: one text.")
    parts = [part for part, (part_texts, _) in pairs.items() for _ in range(len(part_texts))]
    flat = [_checked(text, i) for i, text in enumerate(text for part_texts, _ in pairs.values() for text in part_texts)]
    labelled = labelling.from_parts([answers for _, answers in pairs.values()], labels)
    ids = [str(i) for i in range(len(flat))]
    return from_texts(ids, flat.__getitem__, labelled, fixed=parts if len(pairs) > 1 else [], options=options)


def from_tfds(
    builder: Any,
    *,
    text: str = "text",
    label: str = "label",
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """A TensorFlow Datasets builder: a name ("imdb_reviews"), the folder of a prepared one, or a builder object.

    Args:
        builder: As in `data.image.from_tfds`; its own train, validation and test are kept.
        text: Feature that holds the text.
        label: Feature that holds the target: a ClassLabel, a Sequence of ClassLabel (multi-label), or numbers.
        split, seed, strict, progress, max_characters: As in `from_folder`.
        groups: As in `from_folder`, of ids such as "train/17".

    Raises:
        InputError: If there is no such builder, feature or split.
    """
    from tlkit.data.tfds_source import open_table

    options = Options(Division(split, seed, groups, strict, progress), None, max_characters)
    table = open_table(builder, text, label, kind="text")
    read = cast("Callable[[int], bytes]", table.read)
    return from_texts(table.ids, read, table.labelled, fixed=table.parts, options=options)


def from_conll(
    train: str | os.PathLike[str],
    *,
    val: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Sentences with a label for each word, from files of the CoNLL shared tasks.

    A line holds a word in its first column and the label in its last; an empty line ends a sentence. `read(i)` gives
    an object array (words,) of str; `tokenized` makes a module's inputs and targets of it.

    Args:
        train: The file of training sentences.
        val: The file for validation; without it, sentences are taken out of `train`.
        test: The same for test.
        encoding, seed, strict, progress, max_characters: As in `from_folder`.
        split: As in `from_folder`; the labels that occur in a sentence are balanced.
        groups: As in `from_folder`, of ids such as "train/29": the part, and the line of the first word.

    Returns:
        Splits of int32 (n, words) numbers of labels, -1 behind a sentence's last word.

    Raises:
        InputError: If a file cannot be read, or a line has no label.
    """
    options = Options(Division(split, seed, groups, strict, progress), encoding, max_characters)
    files = {part: path for part, path in enumerate((train, val, test)) if path is not None}
    by_part = {part: read_sentences(local(path, progress=progress), encoding) for part, path in files.items()}
    ids = [f"{PARTS[part]}/{sentence.line}" for part, part_sentences in by_part.items() for sentence in part_sentences]
    parts = [part for part, part_sentences in by_part.items() for _ in part_sentences]
    sentences = [sentence for part_sentences in by_part.values() for sentence in part_sentences]
    return from_sentences(ids, sentences, fixed=parts if len(files) > 1 else [], options=options)


def from_squad(
    train: Paths,
    *,
    val: Paths | None = None,
    test: Paths | None = None,
    encoding: str | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Questions whose answers are passages of a context, from JSON files in the format of SQuAD 1.1 or 2.0.

    An input is `question` and `context`, each as other texts are read; `tokenized` makes a module's inputs and
    targets of them. Where the file gives several answers, the first is learned, and scores take any. All questions on a
    context stay in one part. What is quarantined, by the question's id: an answer that does not stand in the context
    where the file says, none at all without `is_impossible`, an id that two questions have.

    Args:
        train: The file of training questions, or several.
        val: Those for validation; without them, questions are taken out of `train`.
        test: The same for test.
        encoding, seed, strict, progress: As in `from_folder`.
        split: As in `from_folder`; questions without an answer are balanced.
        max_characters: As in `from_folder`; of a question, and of a context.

    Returns:
        Splits of int32 (n, 2): the answer's first character in the context and the one behind its last; -1 and -1 for
        a question without an answer.

    Raises:
        InputError: If a file cannot be read, or has another structure.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250; Rajpurkar, Jia and Liang 2018, arXiv:1806.03822.
    """
    options = Options(Division(split, seed, None, strict, progress), encoding, max_characters)
    files = {part: _listed(paths) for part, paths in enumerate((train, val, test)) if paths is not None}
    part_questions = [
        (part, question)
        for part, part_paths in files.items()
        for path in part_paths
        for question in read_questions(local(path, progress=progress), encoding)
    ]
    if not part_questions:
        raise InputError("`train` names no file; give one, or several.")
    parts, questions = zip(*part_questions, strict=True)
    ids = [question.id for question in questions]
    return from_questions(ids, questions, fixed=parts if len(files) > 1 else [], options=options)


def from_pairs(
    table: str | os.PathLike[str],
    *,
    prompt: str = "prompt",
    answer: str = "answer",
    system: str | None = None,
    general: Sequence[str] = (),
    mix: float = 0.0,
    encoding: str | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Prompts and answers for a language model, a row each of a CSV, TSV, JSON Lines or Parquet file.

    No prompt and no answer, apart from case and marks, lies in two parts.

    Args:
        table: The file.
        prompt: Column of what is asked.
        answer: Column of what is to be answered.
        system: What the model is told before each prompt; None tells it nothing.
        general: Texts of another kind: how well the model still predicts them is measured before and after training.
        mix: Share of general texts among the training examples, in [0, 1), against forgetting; at most a
            third of them, as forgetting is measured by the others.
        encoding, split, seed, strict, progress: As in `from_folder`.
        max_characters: As in `from_folder`, of each text.

    Returns:
        Splits whose inputs are "messages" (JSON) and "answer"; the module's chat template is applied by `finetune`.

    Raises:
        InputError: If the file cannot be read, or a column is missing.
    """
    options = Options(Division(split, seed, None, strict, progress), encoding, max_characters)
    turns, notes = dialogues.turns_of_pairs(local(table, progress=progress), prompt, answer, system, encoding)
    return noted(dialogues.divided(turns, general, mix, options), notes)


def from_translations(
    table: str | os.PathLike[str],
    *,
    source: str = "source",
    target: str = "target",
    groups: str | None = None,
    encoding: str | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Texts and what is to be written out of them, a row each of a CSV, TSV, JSON Lines or Parquet file.

    A sentence and its translation, a description and its summary, a word and its phonemes. No source and no target,
    apart from case and marks, lies in two parts.

    Args:
        table: The file.
        source: Column of what is read.
        target: Column of what is to be written.
        groups: Column of what must stay in one part, such as the document; None is nothing more.
        encoding, split, seed, strict, progress: As in `from_folder`.
        max_characters: As in `from_folder`, of each text.

    Returns:
        Splits whose inputs are the sources, with the column "text" of what is to be written.

    Raises:
        InputError: If the file cannot be read, or a column is missing.
    """
    options = Options(Division(split, seed, None, strict, progress), encoding, max_characters)
    return translations.of_table(local(table, progress=progress), source, target, groups, options)


def from_dialogues(
    path: Paths,
    *,
    system: str | None = None,
    general: Sequence[str] = (),
    mix: float = 0.0,
    encoding: str | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = MAX_CHARACTERS,
) -> Splits:
    """Dialogues for a language model: each message of the assistant's is an answer to all that came before.

    Args:
        path: A .jsonl file, each line `{"prompt": ..., "answer": ...}` or `{"messages": [{"role": ..., "content":
            ...}, ...]}`; a .yml file as chatterbot has them; a folder of such; or several.
        system: As in `from_pairs`, where a dialogue does not begin with it; so are all that follow.
        general, mix: As in `from_pairs`.
        encoding, seed, strict, progress: As in `from_folder`.
        split: As in `from_folder`; a dialogue stays whole.
        max_characters: As in `from_folder`, of each message.

    Raises:
        InputError: If a file cannot be read, or holds something else; names the line.
    """
    options = Options(Division(split, seed, None, strict, progress), encoding, max_characters)
    files = [file for place in _listed(path) for file in dialogues.files_of(local(place, progress=progress))]
    read = [dialogues.turns_of_file(file, system, encoding) for file in files]
    turns, notes = ([part for parts in kind for part in parts] for kind in zip(*read, strict=True))
    return noted(dialogues.divided(turns, general, mix, options), notes)


def tokenized(
    splits: Splits, tokenizer: Tokenizer, length: int | None = None, *, stride: int | None = None, long: str = "cut"
) -> Splits:
    """The same splits as a module's inputs; `lengths` of the Examples are their pieces before any cut.

    `WordPiece` gives the three inputs of a BERT module, `Words` the numbers that a table of word vectors takes.

    Of sentences with a label for each word, a word's first piece gets its label: int32 (n, length), -1 elsewhere.

    A question becomes one or more windows over its context, [CLS] question [SEP] window [SEP], of whole words; their
    ids are "q17", "q17@1", "q17@2". Targets are int32 (n, 4): first and last piece of the answer, 0 and 0 (the [CLS])
    where the window does not hold all of it, then the context's first piece and the one behind its last. A question
    keeps at most 64 pieces, and half of the length.

    Args:
        splits: Text splits, or those of `from_conll` or `from_squad`.
        tokenizer: The module's own vocabulary.
        length: Pieces in all, [CLS] and [SEP] included (words and the padding before them); longer texts are cut, and a
            note says how many. None takes what 99 of 100 training texts need, in eights, at most 512; of questions with
            contexts at most 384.
        stride: Pieces from the start of one window to the next; None is a quarter of the length.
        long: What becomes of longer texts: "cut" keeps their beginning; "windows" makes as few windows of one text as
            show it all, of about the same size and without overlap, each an example with the text's target. Windows
            weigh so that each text counts once in training; `evaluate` and exports average what they say, weighted by
            their sizes.

    Raises:
        InputError: If the examples are no texts, or have a label for each word or a question and the tokenizer is no
            `WordPiece`; if `length` has no room for a piece, or there are no windows to stride or to make.

    Example:
        >>> texts = from_arrays(["good film", "bad film"] * 4, [1, 0] * 4)
        >>> pieces = WordPiece(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"))
        >>> tokenized(texts, pieces).train.inputs.spec["input_word_ids"]
        ArraySpec(shape=(8,), dtype='int32')
    """
    check_way(long)
    if long == "windows" and (splits.train.inputs.spec != TEXT or not isinstance(tokenizer, WordPiece)):
        raise InputError(
            'long="windows" is for texts with one target each and a module of word pieces; leave it out. Questions '
            "with contexts are read in windows anyway, and word vectors take texts of any length."
        )
    if splits.train.inputs.spec in (QUESTIONS, WORDS) and not isinstance(tokenizer, WordPiece):
        raise InputError(
            "A label for each word and answers to questions need a module of word pieces, and this one takes the whole "
            "text as one: choose one such as zoo:minilm-l6-v2."
        )
    if splits.train.inputs.spec == QUESTIONS and isinstance(tokenizer, WordPiece):
        return windowed(splits, tokenizer, length, stride)
    if stride is not None:
        raise InputError("`stride` is for questions with contexts; leave it out.")
    if splits.train.inputs.spec not in (TEXT, WORDS):
        raise InputError(f"Only texts can be tokenized. Received: {splits.train.inputs.spec}.")
    parts = (splits.train, splits.val, splits.test)
    counts = [piece_counts(examples, tokenizer) for examples in parts]
    chosen = _length_for(counts[0]) if length is None else length
    tokenizer.check_length(chosen)
    cut = int(sum((lengths > chosen).sum() for lengths in counts))
    total = sum(map(len, counts))
    if long == "windows" and isinstance(tokenizer, WordPiece):
        windows = [in_windows(examples, tokenizer, chosen) for examples in parts]
        notes = [note(cut, total, chosen, sum(map(len, windows)))] if cut else []
        return dataclasses.replace(
            splits, train=windows[0], val=windows[1], test=windows[2], notes=(*splits.notes, *notes)
        )
    train, val, test = (
        tokenized_examples(examples, tokenizer, chosen, lengths)
        for examples, lengths in zip(parts, counts, strict=True)
    )
    verb = "is longer than {} {} and is cut" if cut == 1 else "are longer than {} {} and are cut"
    notes = [f"{cut:,} of {total:,} texts {verb.format(chosen, tokenizer.unit)}."] if cut else []
    return dataclasses.replace(splits, train=train, val=val, test=test, notes=(*splits.notes, *notes))


def _length_for(counts: np.ndarray) -> int:
    needed = float(np.percentile(counts, 99)) if len(counts) else 1.0
    return min(LONGEST, 8 * int(np.ceil(needed / 8)))


def _listed(paths: Paths) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _checked(text: Any, i: int) -> str | bytes:
    if not isinstance(text, str | bytes):
        raise InputError(f"Text {i} must be a str. Received: {text!r:.60} ({type(text).__name__}).")
    return text
