"""Try an exported TFLite file on a user's own files, without TensorFlow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Pipeline
from tlkit.core.excerpts import averaged
from tlkit.core.trouble import explained, first_line
from tlkit.data.earlier import of_line
from tlkit.data.sourcing import file_trouble
from tlkit.exporting.modality import Inside, Reading, modality
from tlkit.formats import tflite, tflite_metadata
from tlkit.tasks.spanning import ranked, reply
from tlkit.tasks.spans import OUTSIDE

_PREFERRED = ("model.tflite", "model_float16.tflite", "model_int8.tflite", "model_dynamic.tflite")


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
    run_folder: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    *,
    top: int = 5,
    bad: Callable[[str], None] | None = None,
) -> list[Prediction]:
    """Run files through an exported TFLite file, as a mobile client would, and name what comes out.

    Args:
        run_folder: Folder of a run with an export (`model.tflite` is taken before its quantised variants), or one
            .tflite file.
        files: Images, sounds or texts; for a model that answers questions, texts with a question on the first line
            and its context below.
        top: How many labels, or answers, to give for each, > 0.
        bad: Is told of each file that cannot be read, in a sentence, and the others are answered; None raises.

    Returns:
        One prediction for each file that can be read.

    Raises:
        InputError: If there is no TFLite file, it is damaged or takes no files, or one of `files` cannot be read.
    """
    if top < 1:
        raise InputError(f"`top` must be 1 or more. Received: top={top!r}.")
    model = _model_file(Path(run_folder))
    content = _content(model)
    card = tflite_metadata.read_card(content)
    if "modality" not in card:
        raise InputError(
            f"{str(model)!r} was not exported by tlkit, or it is damaged: it does not say how its inputs are made. "
            "Export the run again: tlkit export RUN."
        )
    opened = tflite.open_tflite(model, threads=min(2, os.cpu_count() or 1))
    with _whole(model):
        kind = modality(card["modality"])
        shapes = {name: tuple(int(n) for n in detail["shape"][1:]) for name, detail in opened.inputs.items()}
        pipeline = Pipeline.of(card["pipeline"]) if "pipeline" in card else of_line(card["recipe"])[1]
        inside = Inside(pipeline, shapes, tflite_metadata.read_files(content))
    if kind.read is None:
        raise InputError(f"{str(model)!r} takes {kind.name} inputs, which cannot be read from files.")
    readings = _readings(files, kind.read, inside, bad)
    with _whole(model):
        return [_prediction(file, reading, opened, card, top) for file, reading in readings]


def _readings(
    files: Sequence[str | os.PathLike[str]],
    read: Callable[[Path, Inside], Reading],
    inside: Inside,
    bad: Callable[[str], None] | None,
) -> Iterator[tuple[str, Reading]]:
    """The files as the model takes them, one after the other; `bad` is told of those that cannot be read."""
    for file in files:
        try:
            trouble = file_trouble(Path(file))
            if trouble:
                raise InputError(f"{str(file)!r} cannot be read: {trouble}.")
            reading = read(Path(file), inside)
        except Exception as error:
            if bad is None:
                raise
            sentence = explained(error)
            bad(sentence if str(file) in sentence else f"{str(file)!r} cannot be read: {sentence}")
            continue
        yield str(file), reading


@contextlib.contextmanager
def _whole(model: Path) -> Iterator[None]:
    """What a damaged file makes LiteRT and the reading of its card do, as one sentence."""
    try:
        yield
    except (OSError, MemoryError, InputError):
        raise
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ImportError) as error:
        raise InputError(
            f"{str(model)!r} is damaged, or of another version of tlkit ({first_line(error)}): export the run again."
        ) from error


def _content(model: Path) -> bytes:
    trouble = file_trouble(model)
    if trouble:
        raise InputError(f"{str(model)!r} cannot be read: {trouble}.")
    return model.read_bytes()


def _model_file(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        return path
    if not path.is_dir():
        raise InputError(f"There is no run folder or .tflite file {str(path)!r}.")
    found = [path / name for name in _PREFERRED if (path / name).is_file()]
    if not found:
        raise InputError(f"{str(path)!r} holds no exported TFLite file; make one with tlkit.export or `tlkit export`.")
    return found[0]


def _prediction(file: str, reading: Reading, opened: tflite.Opened, card: dict[str, Any], top: int) -> Prediction:
    if reading.passages is not None:
        return Prediction(file, tuple(_answers(reading.passages, reading, opened, card)[:top]), reading.change)
    if "heads" in card:
        return Prediction(file, tuple(_by_head(_answer(opened, reading), card, top)), reading.change)
    whole = np.asarray(_only(_answer(opened, reading)))
    outputs = whole.reshape(-1)
    if reading.steps and outputs.size == len(reading.steps) * len(card["labels"]):
        rows = outputs.reshape(len(reading.steps), -1)
        return Prediction(file, tuple(_labelled(reading.steps, rows, card["labels"])), reading.change)
    note = _note(reading, opened, outputs)
    if _is_map(whole, card):
        scores, meaning = _of_map(whole, card, top)
        return Prediction(file, tuple(scores), "; ".join(filter(None, (meaning, note))))
    return Prediction(file, tuple(_named(outputs, card, top)), note)


def _answer(opened: tflite.Opened, reading: Reading) -> Mapping[str, np.ndarray]:
    """What the file says of an example, or of a text in windows: the mean of what it says of each."""
    if not reading.shares:
        return opened.call(_given(opened, reading.value))
    rows = [opened.call({k: v[i : i + 1] for k, v in reading.value.items()}) for i in range(len(reading.shares))]
    weights = np.asarray(reading.shares) if sum(reading.shares) else np.ones(1)
    of = np.zeros(len(rows), np.int64)
    return {name: averaged(np.concatenate([row[name] for row in rows]), of, weights) for name in rows[0]}


def _by_head(outputs: Mapping[str, np.ndarray], card: dict[str, Any], top: int) -> Iterator[tuple[str, float]]:
    for name, own in card["heads"].items():
        if _is_map(outputs[name], own):
            raise InputError(
                f"The head {name!r} gives more than one answer a file: predict with its own folder, {name}."
            )
        yield from ((f"{name}: {label}", score) for label, score in _named(outputs[name].reshape(-1), own, top))


def _named(outputs: np.ndarray, card: dict[str, Any], top: int) -> list[tuple[str, float]]:
    """Outputs by their labels or numbers, scores best first."""
    names = card["labels"] or [str(i) for i in range(outputs.size)]
    scores = list(zip(names, (float(v) for v in outputs), strict=True))
    return sorted(scores, key=lambda pair: -pair[1])[:top] if card["output"] == "probabilities" else scores


def _is_map(outputs: np.ndarray, card: dict[str, Any]) -> bool:
    """Whether there are many answers, one a position: of pixels, or of steps in time."""
    several = outputs.ndim > 2 and outputs.size > outputs.shape[-1]
    return several or (bool(card["labels"]) and outputs.size != len(card["labels"]))


def _of_map(outputs: np.ndarray, card: dict[str, Any], top: int) -> tuple[list[tuple[str, float]], str]:
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


def _answers(
    passages: Column, reading: Reading, opened: tflite.Opened, card: dict[str, Any]
) -> list[tuple[str, float]]:
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


def _note(reading: Reading, opened: tflite.Opened, outputs: np.ndarray) -> str:
    if reading.plain is None:
        return reading.change
    apart = float(np.abs(_run(opened, reading.plain) - outputs).max())
    return f"{reading.change}; a client that resizes without antialiasing gets outputs up to {apart:.2g} apart"


def _run(opened: tflite.Opened, value: Any) -> np.ndarray:
    return np.asarray(_only(opened.call(_given(opened, value)))).reshape(-1)


def _given(opened: tflite.Opened, value: Any) -> Mapping[str, np.ndarray]:
    return value if isinstance(value, Mapping) else {next(iter(opened.inputs)): value}


def _only(named: Mapping[str, Any]) -> Any:
    (value,) = named.values()
    return value
