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

from tlkit.core.checks import naming_mistakes
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline
from tlkit.core.excerpts import OF, averaged
from tlkit.core.format import Format, Opened
from tlkit.core.modality import NOTE, PLAIN, FileInfo
from tlkit.core.naming import found as record_of
from tlkit.core.task import Answer, Decoded, Task
from tlkit.core.trouble import explained, first_line
from tlkit.data.earlier import of_line
from tlkit.data.sourcing import file_trouble
from tlkit.exporting import formats
from tlkit.exporting.drawings import Drawings, drawings
from tlkit.exporting.driving import driven
from tlkit.modalities.prepare import named
from tlkit.tasks.recording import as_recorded, restore

if TYPE_CHECKING:
    from tlkit.core.run import Run

MOST_STEPS = 10_000  # of an answer that is made step by step


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
        drawn: PNG files with what is said drawn on the file's image, one an answer that can be drawn.
    """

    file: str
    scores: tuple[tuple[str, float], ...]
    note: str = ""
    drawn: tuple[str, ...] = ()


def predict(
    run: Run | str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    *,
    top: int = 5,
    format: str | Format | None = None,
    task: Task | None = None,
    trust: bool = False,
    bad: Callable[[str], None] | None = None,
    drawn: str | os.PathLike[str] | None = None,
) -> list[Prediction]:
    """Run files through an exported file, as a client would, and name what comes out.

    Args:
        run: A run with an export, its folder, or one exported file.
        files: Images, sounds, texts, or tables with the header of the training table; for a model that answers
            questions, texts with a question on the first line and its context below.
        top: How many labels, or answers, to give for each, > 0.
        format: Which of the run's files, or what one file is: a name or a record as `export` takes it. None is the
            float32 file for phones, before its quantised variants.
        task: Whose answers to name; None is what the file says.
        trust: Whether a format, modality or task of the run's that lies outside tlkit may be imported.
        bad: Is told of each file that cannot be read, in a sentence, and the others are answered; None raises.
        drawn: Folder that gets a PNG of each image with its boxes, mask or points drawn in, at the size of its file;
            made where it is missing. None draws nothing.

    Returns:
        One prediction for each file that can be read, and for each row of one that is a table.

    Raises:
        InputError: If there is no exported file, it is damaged or takes no files, one of `files` cannot be read, or
            `drawn` is asked of answers that nothing can be drawn of, or is the folder of one of `files`.
    """
    if top < 1:
        raise InputError(f"`top` must be 1 or more. Received: top={top!r}.")
    model, kind = _exported(run, format, trust)
    with _whole(model):
        opened = kind.open(model, min(2, os.cpu_count() or 1))
    card = _card(run, opened)
    if "modality" not in card:
        raise InputError(
            f"{str(model)!r} does not say how its inputs are made: give `predict` the run, tlkit.load(...)."
        )
    with _whole(model):
        modality = named(card["modality"], trust=trust)
        shapes = {name: tuple(int(n) for n in shape) for name, shape in card["shapes"].items()}
        pipeline = Pipeline.of(card["pipeline"]) if "pipeline" in card else of_line(card["recipe"])[1]
        inside = FileInfo(pipeline, shapes, card.get("files", {}))
    if modality.parse is None:
        raise InputError(f"{str(model)!r} takes {modality.name} inputs, which cannot be read from files.")
    readings = _readings(files, modality.parse, inside, bad)
    with _whole(model):
        task = _task_of(card, str(model), trust, task)
        if task.deployment is not None:
            opened = driven(opened, task.deployment.run)
        called = Called(opened, tuple(shapes), task.deployed, model)
    places = None if drawn is None else drawings(drawn, called.task, files)
    return [_prediction(called, file, parsed, top, places) for file, parsed in readings]


def read_files(
    run: Run, files: Sequence[str | os.PathLike[str]], bad: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Examples]]:
    """Files as the model of a run takes them, one after the other.

    Args:
        run: Whose examples say how files are read.
        files: As `predict` takes them.
        bad: As `predict` has it.

    Raises:
        InputError: If its inputs cannot be read from files, or one cannot be read and `bad` is None.
    """
    from tlkit.exporting.describing import describe

    metadata = describe(run, run.data.test)
    card = metadata.card
    modality = named(card["modality"])
    if modality.parse is None:
        raise InputError(f"The run takes {modality.name} inputs, which cannot be read from files.")
    shapes = {name: tuple(int(n) for n in shape) for name, shape in card["shapes"].items()}
    return _readings(files, modality.parse, FileInfo(Pipeline.of(card["pipeline"]), shapes, metadata.files), bad)


def _exported(run: Run | str | os.PathLike[str], format: str | Format | None, trust: bool) -> tuple[Path, Format]:
    """The file to run, and its format."""
    place = Path(run) if isinstance(run, str | os.PathLike) else run.folder
    if place is None:
        raise InputError("The run has no folder of its own: give `predict` the folder of its exported files.")
    if not place.exists():
        raise InputError(f"There is no run folder or exported file {str(place)!r}.")
    chosen = format
    if isinstance(chosen, str):
        chosen = record_of(chosen, Format, "exporting.formats", trust=True)
    if not place.is_dir():
        kind = chosen or _of_file(place, trust)
        if trouble := file_trouble(place):
            raise InputError(f"{str(place)!r} cannot be read: {trouble}.")
        return place, kind
    kind = chosen or _of_folder(place, trust)
    if kind.serves:
        raise InputError(f"{kind.file} takes what clients of a server send, and no files: choose another `format`.")
    if not (place / kind.file).exists():
        raise InputError(f"{str(place)!r} holds no {kind.file}; make it with tlkit.export or `tlkit export`.")
    return place / kind.file, kind


def _of_folder(folder: Path, trust: bool) -> Format:
    """The first of tlkit's formats that is there; else the first of the run's own."""
    brought = [getattr(formats, name) for name in formats.__all__]
    present = [kind for kind in brought if not kind.serves and (folder / kind.file).is_file()]
    further = [name for name, file in _rows(folder).items() if name not in formats.__all__ and (folder / file).exists()]
    if not present and not further:
        raise InputError(f"{str(folder)!r} holds no exported file; make one with tlkit.export or `tlkit export`.")
    return present[0] if present else record_of(further[0], Format, "exporting.formats", trust=trust)


def _of_file(file: Path, trust: bool) -> Format:
    """What the run.json beside a file says that it is; a TFLite file where there is none."""
    names = [name for name, file_name in _rows(file.parent).items() if file_name == file.name]
    return record_of(names[0], Format, "exporting.formats", trust=trust) if names else formats.float32


def _rows(folder: Path) -> dict[str, str]:
    """Format and file of each export that the run.json of a folder names; none where it cannot be read."""
    record = folder / "run.json"
    if not record.is_file():  # a pipe would be waited for
        return {}
    try:
        rows = json.loads(record.read_text(encoding="utf-8"))["exports"]
        return {str(row["format"]): str(row["file"]) for row in rows}
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return {}


def _card(run: Run | str | os.PathLike[str], opened: Opened) -> Mapping[str, Any]:
    """What the file says of itself, or the run where it cannot."""
    if opened.card or isinstance(run, str | os.PathLike):
        return opened.card
    from tlkit.exporting.describing import describe

    metadata = describe(run, run.data.test)
    return {**metadata.card, "files": metadata.files}


def _task_of(card: Mapping[str, Any], model: str, trust: bool, task: Task | None = None) -> Task:
    """The task that the file was made for, made again; or the one that was made anew, with what training decided."""
    if task is not None:
        return as_recorded(task, card.get("made_by", task.made_by))
    if "made_by" not in card:
        raise InputError(
            f"{model!r} does not say what its outputs mean, as an earlier tlkit exported it: export the run again."
        )
    try:
        return restore(card["made_by"], trust=trust)
    except InputError as error:
        raise InputError(f"What the outputs of {model!r} mean is not known. {error}") from None


def _readings(
    files: Sequence[str | os.PathLike[str]],
    parse: Callable[[Any, FileInfo], Examples | Sequence[Examples]],
    inside: FileInfo,
    bad: Callable[[str], None] | None,
) -> Iterator[tuple[str, Examples]]:
    """The files as the model takes them, one after the other; `bad` is told of those that cannot be read."""
    for file in files:
        try:
            trouble = file_trouble(Path(file))
            if trouble:
                raise InputError(f"{str(file)!r} cannot be read: {trouble}.")
            parsed = parse(Path(file), inside)
        except Exception as error:
            if bad is None and isinstance(error, InputError | OSError | MemoryError):
                raise
            if bad is None:
                raise InputError(f"{str(file)!r} cannot be read: {first_line(error)}") from error
            sentence = explained(error)
            bad(sentence if str(file) in sentence else f"{str(file)!r} cannot be read: {sentence}")
            continue
        if isinstance(parsed, Examples):
            yield str(file), parsed
        else:
            yield from ((example.ids[0], example) for example in parsed)


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


@dataclass(frozen=True, eq=False)
class Called:
    """A file that is ready to run, the names of its inputs, what its outputs mean, and where it is."""

    opened: Opened
    inputs: tuple[str, ...]
    task: Task
    file: Path = Path()

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """Decoded outputs of one example, without the batch axis."""
        inputs = value if isinstance(value, Mapping) else {self.inputs[0]: value}
        with _whole(self.file):
            outputs = self.opened.call({name: np.asarray(array)[None] for name, array in inputs.items()})
            decoded = {name: np.asarray(array)[0] for name, array in outputs.items()}
            for answer in self.task.answers:
                self.task.own(answer, decoded)  # a KeyError where the file gives no output of the answer
            return decoded


def _prediction(called: Called, file: str, parsed: Examples, top: int, places: Drawings | None = None) -> Prediction:
    task, note = called.task, str(parsed.columns[NOTE][0]) if NOTE in parsed.columns else ""
    values = [parsed.inputs[i] for i in range(len(parsed))]
    if len(values) == 1:
        values = [_written_on(called, values[0])]
    outputs = [called(value) for value in values]
    examples = [
        {name: column[i] for name, column in parsed.columns.items()} | {"input": v} for i, v in enumerate(values)
    ]
    all_lines: list[tuple[str, float]] = []
    for answer in task.answers:
        with naming_mistakes(answer.name, "say" if answer.together is None else "together"):
            lines = _said(answer, [task.own(answer, output) for output in outputs], examples, _shares(parsed))
            lines = [(text, float(score)) for text, score in lines]
        lines = lines[:top] if answer.ranked else lines
        all_lines += [(f"{answer.name}: {text}" if len(task.answers) > 1 else text, score) for text, score in lines]
    if PLAIN in parsed.columns:
        further = _plain_note(task, called(parsed.columns[PLAIN][0]), outputs[0])
        note = f"{note}; {further}" if further else note
    pictures = [] if places is None else places.write(file, task, outputs[0], examples[0])
    return Prediction(file, tuple(all_lines), note, tuple(pictures))


def _said(
    answer: Answer, decoded: Sequence[Decoded], examples: Sequence[Mapping[str, Any]], shares: np.ndarray
) -> list[tuple[str, float]]:
    """What an answer says of one thing, which may be several examples."""
    if answer.together is not None:
        return answer.together(decoded, examples)
    of = np.zeros(len(decoded), np.int64)
    mean = {name: averaged(np.stack([output[name] for output in decoded]), of, shares)[0] for name in decoded[0]}
    return answer.say(mean if len(decoded) > 1 else decoded[0], examples[0])


def _shares(parsed: Examples) -> np.ndarray:
    """How much of the thing each of its examples shows."""
    if OF not in parsed.columns:
        return np.ones(len(parsed))
    shares = np.asarray(parsed.columns[OF].take(np.arange(len(parsed)))["share"])
    return shares if shares.sum() else np.ones(len(parsed))


def _written_on(called: Called, value: Any) -> Any:
    """The input behind the last step of an answer that is made step by step; of others the input itself."""
    for answer in called.task.answers:
        if answer.again is not None:
            value = _continued(called, answer, answer.again, value)
    return value


def _continued(called: Called, answer: Answer, again: Callable[[Any, Decoded], Any | None], value: Any) -> Any:
    for _ in range(MOST_STEPS):
        decoded = called.task.own(answer, called(value))
        with naming_mistakes(answer.name, "again"):
            following = again(value, decoded)
        if following is None:
            return value
        value = following
    raise InputError(f"The answer {answer.name!r} does not end: `again` gave {MOST_STEPS:,} further inputs.")


def _plain_note(task: Task, plain: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> str:
    expected, actual = ({name: array[None] for name, array in side.items()} for side in (outputs, plain))
    differences = (
        answer.agree(task.own(answer, expected), task.own(answer, actual)).difference for answer in task.answers
    )
    apart = max(float(difference.max(initial=0.0)) for difference in differences)
    return f"a client that resizes without antialiasing gets outputs up to {apart:.2g} apart" if apart else ""
