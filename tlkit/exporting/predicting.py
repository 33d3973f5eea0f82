"""Try an exported file on a user's own files; TFLite files without TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Pipeline
from tlkit.core.excerpts import OF, averaged
from tlkit.core.format import Format, Opened
from tlkit.core.modality import FileInfo
from tlkit.core.naming import found as record_of
from tlkit.core.trouble import explained, first_line
from tlkit.data.earlier import of_line
from tlkit.data.sourcing import file_trouble
from tlkit.data.windows import PASSAGE
from tlkit.exporting import formats
from tlkit.modalities.parsed import NOTE, PLAIN, STEPS
from tlkit.modalities.prepare import named
from tlkit.tasks.spanning import ranked, reply
from tlkit.tasks.spans import OUTSIDE

if TYPE_CHECKING:
    from tlkit.core.run import Run
    from tlkit.core.task import Task


@dataclass(frozen=True)
class Prediction:
    """What the model says of one file.

    Attributes:
        file: The file.
        scores: Label and score, best first; of values, name and value in their own order; of labels of words, word
            and label with its score, in the order of the text, "O" left out; of a question, answers and their
            probability where no answer is the other case, "no answer" among them unless there always is one.
        note: What was done to the file, and how far scores differ in a client that resizes without antialiasing, as
            mobile ones do; "" where nothing was done.
    """

    file: str
    scores: tuple[tuple[str, float], ...]
    note: str = ""


def predict(
    run: Run | str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    *,
    top: int = 5,
    format: str | Format | None = None,
    task: Task | None = None,
    trust: bool = False,
    bad: Callable[[str], None] | None = None,
) -> list[Prediction]:
    """Run files through an exported file, as a client would, and name what comes out.

    Args:
        run: A run with an export, its folder, or one exported file.
        files: Images, sounds or texts; for a model that answers questions, texts with a question on the first line
            and its context below.
        top: How many labels, or answers, to give for each, > 0.
        format: Which of the run's files, or what one file is: a name or a record as `export` takes it. None is the
            float32 file for phones, before its quantised variants.
        task: Whose answers to name; None is what the file says.
        trust: Whether a format of the run's that lies outside tlkit may be imported.
        bad: Is told of each file that cannot be read, in a sentence, and the others are answered; None raises.

    Returns:
        One prediction for each file that can be read.

    Raises:
        InputError: If there is no exported file, it is damaged or takes no files, or one of `files` cannot be read.
    """
    if top < 1:
        raise InputError(f"`top` must be 1 or more. Received: top={top!r}.")
    model, kind = _exported(run, format, trust)
    with _whole(model):
        opened = kind.open(model, min(2, os.cpu_count() or 1))
    card = _card(run, opened, task)
    if "modality" not in card:
        raise InputError(
            f"{str(model)!r} does not say how its inputs are made: give `predict` the run, tlkit.load(...)."
        )
    with _whole(model):
        taken = named(card["modality"], trust=trust)
        shapes = {name: tuple(int(n) for n in shape) for name, shape in card["shapes"].items()}
        pipeline = Pipeline.of(card["pipeline"]) if "pipeline" in card else of_line(card["recipe"])[1]
        inside = FileInfo(pipeline, shapes, card.get("files", {}))
    if taken.parse is None:
        raise InputError(f"{str(model)!r} takes {taken.name} inputs, which cannot be read from files.")
    readings = _readings(files, taken.parse, inside, bad)
    with _whole(model):
        return [_prediction(file, reading, opened, card, top) for file, reading in readings]


def _exported(run: Run | str | os.PathLike[str], format: str | Format | None, trust: bool) -> tuple[Path, Format]:
    """The file to run, and its format."""
    place = Path(run) if isinstance(run, str | os.PathLike) else run.folder
    if place is None:
        raise InputError("The run has no folder of its own: give `predict` the folder of its exported files.")
    if not place.exists():
        raise InputError(f"There is no run folder or exported file {str(place)!r}.")
    asked = format
    if isinstance(asked, str):
        asked = record_of(asked, Format, "exporting.formats", trust=True)
    if not place.is_dir():
        kind = asked or _of_file(place, trust)
        if trouble := file_trouble(place):
            raise InputError(f"{str(place)!r} cannot be read: {trouble}.")
        return place, kind
    kind = asked or _of_folder(place, trust)
    if kind.serves:
        raise InputError(f"{kind.file} takes what clients of a server send, and no files: choose another `format`.")
    if not (place / kind.file).exists():
        raise InputError(f"{str(place)!r} holds no {kind.file}; make it with tlkit.export or `tlkit export`.")
    return place / kind.file, kind


def _of_folder(folder: Path, trust: bool) -> Format:
    """The first of tlkit's formats that is there; else the first of the run's own."""
    brought = [getattr(formats, name) for name in formats.__all__]
    there = [kind for kind in brought if not kind.serves and (folder / kind.file).is_file()]
    others = [name for name, file in _rows(folder).items() if name not in formats.__all__ and (folder / file).exists()]
    if not there and not others:
        raise InputError(f"{str(folder)!r} holds no exported file; make one with tlkit.export or `tlkit export`.")
    return there[0] if there else record_of(others[0], Format, "exporting.formats", trust=trust)


def _of_file(file: Path, trust: bool) -> Format:
    """What the run.json beside a file says that it is; a TFLite file where there is none."""
    names = [name for name, own in _rows(file.parent).items() if own == file.name]
    return record_of(names[0], Format, "exporting.formats", trust=trust) if names else formats.float32


def _rows(folder: Path) -> dict[str, str]:
    """Format and file of each export that the run.json of a folder names; none where it cannot be read."""
    try:
        rows = json.loads((folder / "run.json").read_text(encoding="utf-8"))["exports"]
        return {str(row["format"]): str(row["file"]) for row in rows}
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return {}


def _card(run: Run | str | os.PathLike[str], opened: Opened, task: Task | None) -> Mapping[str, Any]:
    """What the file says of itself, or the run where it cannot; of the task, what this one says."""
    card = opened.card
    if not (card or isinstance(run, str | os.PathLike)):
        from tlkit.exporting.describing import describe

        metadata = describe(run, run.data.test)
        card = {**metadata.card, "files": metadata.files}
    if task is None or not card:
        return card
    from tlkit.exporting.describing import task_card

    return {**card, **task_card(task)}


@dataclass(frozen=True, eq=False)
class Reading:
    """One thing of a user's as the model takes it.

    Attributes:
        value: Made as in training, with the batch axis; a dict of arrays where the model has several inputs.
        plain: Made as a client without our code makes it; None where that is the same.
        change: What was done to it ("resized from 480x640 to 224x224"), "" for nothing.
        steps: What each step of a sequence is the first piece of (a word), "" for none; () where there are no steps.
        shares: Of a text in windows, how much of it each row of `value` shows; () where `value` is one example.
        passages: Of a question with a text, what each row of `value` shows of the text; None elsewhere.
    """

    value: Any
    plain: np.ndarray | None = None
    change: str = ""
    steps: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    passages: Column | None = None


def _reading(parsed: Examples) -> Reading:
    every, columns = np.arange(len(parsed)), parsed.columns
    return Reading(
        parsed.inputs.take(every),
        columns[PLAIN].take(every) if PLAIN in columns else None,
        str(columns[NOTE][0]) if NOTE in columns else "",
        tuple(str(step) for step in columns[STEPS][0]) if STEPS in columns else (),
        tuple(columns[OF].take(every)["share"].tolist()) if OF in columns else (),
        columns.get(PASSAGE),
    )


def _readings(
    files: Sequence[str | os.PathLike[str]],
    parse: Callable[[Any, FileInfo], Examples],
    inside: FileInfo,
    bad: Callable[[str], None] | None,
) -> Iterator[tuple[str, Reading]]:
    """The files as the model takes them, one after the other; `bad` is told of those that cannot be read."""
    for file in files:
        try:
            trouble = file_trouble(Path(file))
            if trouble:
                raise InputError(f"{str(file)!r} cannot be read: {trouble}.")
            reading = _reading(parse(Path(file), inside))
        except Exception as error:
            if bad is None:
                raise
            sentence = explained(error)
            bad(sentence if str(file) in sentence else f"{str(file)!r} cannot be read: {sentence}")
            continue
        yield str(file), reading


@contextlib.contextmanager
def _whole(model: Path) -> Iterator[None]:
    """What a damaged file makes its runtime and the reading of its card do, as one sentence."""
    try:
        yield
    except (OSError, MemoryError, InputError):
        raise
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ImportError) as error:
        raise InputError(
            f"{str(model)!r} is damaged, or of another version of tlkit ({first_line(error)}): export the run again."
        ) from error


def _prediction(file: str, reading: Reading, opened: Opened, card: Mapping[str, Any], top: int) -> Prediction:
    if reading.passages is not None:
        return Prediction(file, tuple(_answers(reading.passages, reading, opened, card)[:top]), reading.change)
    if "heads" in card:
        return Prediction(file, tuple(_by_head(_answer(opened, reading, card), card, top)), reading.change)
    whole = np.asarray(_only(_answer(opened, reading, card)))
    outputs = whole.reshape(-1)
    if reading.steps and outputs.size == len(reading.steps) * len(card["labels"]):
        rows = outputs.reshape(len(reading.steps), -1)
        return Prediction(file, tuple(_labelled(reading.steps, rows, card["labels"])), reading.change)
    note = _note(reading, opened, card, outputs)
    if _is_map(whole, card):
        scores, meaning = _of_map(whole, card, top)
        return Prediction(file, tuple(scores), "; ".join(filter(None, (meaning, note))))
    return Prediction(file, tuple(_named(outputs, card, top)), note)


def _answer(opened: Opened, reading: Reading, card: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
    """What the file says of an example, or of a text in windows: the mean of what it says of each."""
    if not reading.shares:
        return opened.call(_given(card, reading.value))
    rows = [opened.call({k: v[i : i + 1] for k, v in reading.value.items()}) for i in range(len(reading.shares))]
    weights = np.asarray(reading.shares) if sum(reading.shares) else np.ones(1)
    of = np.zeros(len(rows), np.int64)
    return {name: averaged(np.concatenate([row[name] for row in rows]), of, weights) for name in rows[0]}


def _by_head(outputs: Mapping[str, np.ndarray], card: Mapping[str, Any], top: int) -> Iterator[tuple[str, float]]:
    for name, own in card["heads"].items():
        if _is_map(outputs[name], own):
            raise InputError(
                f"The head {name!r} gives more than one answer a file: predict with its own folder, {name}."
            )
        yield from ((f"{name}: {label}", score) for label, score in _named(outputs[name].reshape(-1), own, top))


def _named(outputs: np.ndarray, card: Mapping[str, Any], top: int) -> list[tuple[str, float]]:
    """Outputs by their labels or numbers, scores best first."""
    names = card["labels"] or [str(i) for i in range(outputs.size)]
    scores = list(zip(names, (float(v) for v in outputs), strict=True))
    return sorted(scores, key=lambda pair: -pair[1])[:top] if card["output"] == "probabilities" else scores


def _is_map(outputs: np.ndarray, card: Mapping[str, Any]) -> bool:
    """Whether there are many answers, one a position: of pixels, or of steps in time."""
    several = outputs.ndim > 2 and outputs.size > outputs.shape[-1]
    return several or (bool(card["labels"]) and outputs.size != len(card["labels"]))


def _of_map(outputs: np.ndarray, card: Mapping[str, Any], top: int) -> tuple[list[tuple[str, float]], str]:
    """A map of answers in a few lines, and what the lines say.

    Args:
        outputs: (1, positions..., k).
        card: Names of the k labels, or none.
        top: Labels given.
    """
    rows = outputs.reshape(-1, outputs.shape[-1])
    names, size = card["labels"] or [str(i) for i in range(rows.shape[1])], "x".join(map(str, outputs.shape[1:-1]))
    if len(names) != rows.shape[1]:
        raise InputError(f"The model gives {outputs.shape[1:]} values for a file, and has {len(names)} names for them.")
    if card["output"] == "probabilities" and len(names) > 1:
        shares = np.bincount(rows.argmax(axis=1), minlength=len(names)) / len(rows)
        scores = sorted(zip(names, shares.tolist(), strict=True), key=lambda pair: -pair[1])[:top]
        return scores, f"share of the {size} positions at which each label is the best"
    return list(zip(names, rows.mean(axis=0).tolist(), strict=True)), f"mean over {size} positions"


def _answers(passages: Column, reading: Reading, opened: Opened, card: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What the windows of a question answer, likeliest first."""
    if "longest" not in card:
        raise InputError(
            "The file does not say how long an answer may be, as an earlier tlkit exported it: export the run again."
        )
    replies = []
    for i in range(len(passages)):
        window = {name: rows[i : i + 1] for name, rows in reading.value.items()}
        replies.append(reply(_only(opened.call(window))[0], passages[i], card["longest"]))
    return ranked(replies, card["no_answer"])


def _labelled(steps: Sequence[str], rows: np.ndarray, labels: Sequence[str]) -> Iterator[tuple[str, float]]:
    for word, row in zip(steps, rows, strict=True):
        label = labels[int(row.argmax())]
        if word and label != OUTSIDE:
            yield f"{word} {label}", float(row.max())


def _note(reading: Reading, opened: Opened, card: Mapping[str, Any], outputs: np.ndarray) -> str:
    if reading.plain is None:
        return reading.change
    plain = np.asarray(_only(opened.call(_given(card, reading.plain)))).reshape(-1)
    apart = float(np.abs(plain - outputs).max())
    return f"{reading.change}; a client that resizes without antialiasing gets outputs up to {apart:.2g} apart"


def _given(card: Mapping[str, Any], value: Any) -> Mapping[str, np.ndarray]:
    return value if isinstance(value, Mapping) else {next(iter(card["shapes"])): value}


def _only(named: Mapping[str, Any]) -> Any:
    (value,) = named.values()
    return value
