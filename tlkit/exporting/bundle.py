"""The export of a run: write files of each format, run each apart from training, keep those that agree."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tlkit.core import excerpts, multi_targets
from tlkit.core.errors import GateError, InputError
from tlkit.core.export_table import table
from tlkit.core.files import LOCK, PARTIAL, held, write_atomic
from tlkit.core.format import Format
from tlkit.core.naming import check_found_again, import_path
from tlkit.core.naming import found as record_of
from tlkit.core.run import FILES, Exported, Run, caution
from tlkit.core.task import Answer, Decoded, Task
from tlkit.exporting import formats, heldout, placing, producing, saved_model, units
from tlkit.exporting.comparing import compare, worst
from tlkit.exporting.describing import labels_by_file
from tlkit.exporting.gates import Comparison, Gates, failure
from tlkit.exporting.readme import README
from tlkit.formats import tflite_metadata

KNOWN = tuple(formats.__all__)
NAMES = tuple(name for name in KNOWN if name not in formats.WHEN_ASKED)
MOST_EXAMPLES = 2000  # more would take long and hardly narrow the intervals


def export(
    run: Run,
    folder: str | os.PathLike[str] | None = None,
    formats: Sequence[str | Format] | None = None,
    gates: Gates = Gates(),  # noqa: B008 (frozen)
    *,
    threads: int | None = None,
    timeout_s: float = 1800.0,
    say: Callable[[str], None] | None = None,
) -> tuple[Exported, ...]:
    """Write a run as files of several formats, each checked against the Keras model.

    Every file is run in another process over the test examples (validation or training examples where there are none):
    TFLite files by LiteRT, the SavedModel by TensorFlow without Keras, yours by its `Format.open`. Files take the place
    of an earlier export's only once all are made and checked. A model of mixed precision is written, and compared, in
    float32.

    Args:
        run: A run of `finetune`, `fit` or `load`.
        folder: Where to write; None is the run's own folder.
        formats: Which of "saved_model", "float32", "float16", "dynamic" and "int8", of "weight_only" and the pages
            "web" and "web_int8", which are written where they are named, and records of your own; None is the first
            five, as far as the task can have them.
        gates: What a file must keep to.
        threads: Of the interpreter, also when files are timed; None is 2, or 1 on a single core.
        timeout_s: Seconds after which a worker that hangs is given up.
        say: Is told each stage in a few words.

    Returns:
        One record a file, in the order of `formats`.

    Raises:
        GateError: If a file falls short of its gate or cannot be made. The others have been written, it is kept aside
            under another ending, and the error carries all records as `exports`.
        InputError: If the run has no examples, or an argument is out of its range.
    """
    target, chosen = _target(run, folder), checked_formats(formats, run.task)
    with held(target):
        return _written(run, target, chosen, gates, threads, timeout_s, say or (lambda what: None))


def _written(
    run: Run,
    target: Path,
    chosen: tuple[Format, ...],
    gates: Gates,
    threads: int | None,
    timeout_s: float,
    say: Callable[[str], None],
) -> tuple[Exported, ...]:
    deployment = run.task.deployment
    checked_on, examples = heldout.examples_to_check(run.data, MOST_EXAMPLES)
    if deployment is not None:
        examples = deployment.examples(examples)
        examples = examples.subset(heldout.spread_over(examples, deployment.checked))
    if (warning := caution(checked_on)) is not None:
        say(f"note: {warning}")
    cores = min(2, os.cpu_count() or 1)
    run = dataclasses.replace(run, model=saved_model.in_float32(run.model))
    with placing.staging(target) as stage:
        job = producing.Job(run, examples, stage, threads or cores, timeout_s, say)
        expected, produced = producing.produce(job, chosen)
        judged = (_judged(job, format, produced[format.name], expected, gates) for format in chosen)
        exports = tuple(dataclasses.replace(exported, checked_on=checked_on) for exported in judged)
        for format, exported in zip(chosen, exports, strict=True):
            _place(produced[format.name], target / format.file, passed=exported.passed)
    for name, labels in labels_by_file(run.task).items():
        write_atomic(target / name, tflite_metadata.label_lines(labels))
    if not all(e.passed for e in exports):
        raise GateError(
            f"Not every exported file passed its gate. All are in {target}.\n"
            + table([dataclasses.asdict(row) for row in exports]),
            exports,
        )
    return exports


def _target(run: Run, folder: str | os.PathLike[str] | None) -> Path:
    chosen = folder if folder is not None else run.folder
    if chosen is None:
        raise InputError('The run has no folder of its own; say where to write: export(run, folder="exported").')
    return Path(chosen)


def checked_formats(formats: Sequence[str | Format] | Format | None, task: Task | None = None) -> tuple[Format, ...]:
    """The formats to write, each once; None is all that the task can have.

    Raises:
        InputError: If there are none, one that is not known or not for the task, or one that another process could not
            write.
    """
    stepwise = task is not None and task.deployment is not None
    if formats is None:
        formats = tuple(name for name in NAMES if not (stepwise and _brought(name).measures))
    chosen = (formats,) if isinstance(formats, str | Format) else tuple(formats)
    words = [entry for entry in chosen if not (isinstance(entry, Format) or "." in str(entry))]
    if not chosen or not set(words) <= set(KNOWN):
        raise InputError(f"`formats` must be some of {', '.join(KNOWN)}. Received: formats={list(chosen)!r}.")
    records = (
        record_of(entry, Format, "exporting.formats", trust=True) if isinstance(entry, str) else entry
        for entry in chosen
    )
    by_name = {format.name: format for format in records}
    measuring = next((name for name, format in by_name.items() if stepwise and format.measures), None)
    if measuring is not None:
        raise InputError(
            f"{measuring} measures the ranges of activations by calling one function, and this model answers by a loop "
            'over several: leave it out; "dynamic" and "weight_only" have weights of 8 bits.'
        )
    runs = [] if task is None else [part.name for part in task.inference if part.name]
    for format in by_name.values():
        _check_format(format, [other.file for other in by_name.values()], runs)
    return tuple(by_name.values())


def _brought(name: str) -> Format:
    return record_of(name, Format, "exporting.formats", trust=False)


def _check_format(format: Format, files: Sequence[str], runs: Sequence[str]) -> None:
    for name in ("write", "open"):
        if import_path(getattr(format, name)) is None:
            raise InputError(
                f"`{name}` of the format {format.name!r} cannot be called in another process: it must be a function of "
                "a module (a .py file that can be imported), and no lambda or function of a notebook or script."
            )
    if Path(format.file).name != format.file or format.file in ("", ".", ".."):
        raise InputError(f"`file` of the format {format.name!r} must be a name. Received: file={format.file!r}.")
    if files.count(format.file) > 1:
        raise InputError(f"Two formats would write {format.file!r}: give {format.name!r} another `file`.")
    if _is_reserved(format, runs):
        raise InputError(
            f"The format {format.name!r} would write {format.file!r}, which a run's folder has for something else: "
            "give it another `file`."
        )
    check_found_again(format, "exporting.formats")


def _is_reserved(format: Format, runs: Sequence[str]) -> bool:
    """Whether a run's folder has another use for the name of its file, also where cases are not told apart."""
    brought = [_brought(name) for name in KNOWN]
    names = {*FILES, README, *runs, *(other.file for other in brought if other.name != format.name)}
    file = format.file.casefold().removesuffix(placing.ASIDE)
    is_label_file = file.startswith("labels") and file.endswith(".txt")
    return is_label_file or file.startswith((LOCK, PARTIAL)) or file in {name.casefold() for name in names}


def _judged(
    job: producing.Job, format: Format, produced: producing.Made, expected: Mapping[str, np.ndarray], gates: Gates
) -> Exported:
    if produced.path is None:
        return Exported(format.name, format.file, 0, 0.0, 0.0, 0.0, 0.0, 0.0, passed=False, failure=produced.failure)
    comparison, why = Comparison(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), produced.failure
    if why is None and (lacking := expected.keys() - produced.outputs.keys()):
        why = f"it gives no output {', '.join(sorted(lacking))}, only {', '.join(sorted(produced.outputs))}"
    if why is None:
        comparison = _compared(job, expected, produced.outputs, gates, answers_texts=format.serves)
        task = job.run.task.deployed
        size, ratio = units.raw_sizes(task, expected)
        answer = task.answers[0] if len(task.answers) == 1 else None
        why = failure(format, dataclasses.replace(comparison, raw_size=size, raw_ratio=ratio), gates, answer)
    return Exported(
        format=format.name,
        file=format.file if why is None else format.file + placing.ASIDE,
        bytes=placing.size(produced.path),
        latency_ms=produced.latency_ms,
        largest_difference=comparison.difference,
        agreement=comparison.agreement,
        score=comparison.score,
        score_change=comparison.score_change,
        passed=why is None,
        failure=why,
        signatures=produced.signatures,
        scores=comparison.scores,
    )


def _compared(
    job: producing.Job, expected: Decoded, outputs: Decoded, gates: Gates, *, answers_texts: bool
) -> Comparison:
    """Of texts in windows their answers are compared, which the SavedModel gives and the others' clients work out."""
    task, examples = job.run.task.deployed, excerpts.whole(job.examples)
    expected = excerpts.together(job.examples, expected)
    outputs = outputs if answers_texts else excerpts.together(job.examples, outputs)
    comparisons = []
    for answer in task.answers:
        rows, targets = multi_targets.of_answer(examples, None if len(task.answers) == 1 else answer.name)
        if len(task.answers) > 1 and (targets is None or not len(targets)):
            continue  # no example has a label of its kind
        judged = examples if rows is None else examples.subset(rows.tolist())
        from_model = _rows(task.own(answer, expected), rows)
        for from_file in _of_answer(task, answer, outputs):
            compared = compare(answer, from_model, _rows(from_file, rows), targets, gates=gates, examples=judged)
            comparisons.append(compared if len(task.answers) == 1 else _of_head(compared, answer.name))
    of_answers = worst(comparisons)
    score = {name: getattr(of_answers, name) for name in ("score", "score_change", "change_upper")}
    further = _further(task, expected, outputs, gates)
    return worst([of_answers, *(dataclasses.replace(comparison, **score) for comparison in further)])


def _further(task: Task, expected: Decoded, outputs: Decoded, gates: Gates) -> Iterator[Comparison]:
    """By what else the files of a deployment are compared, which has no score."""
    for number, check in enumerate(() if task.deployment is None else task.deployment.further):
        model_side, file_side = (
            {name.removeprefix(f"{number}."): value for name, value in side.items() if name.startswith(f"{number}.")}
            for side in (expected, outputs)
        )
        if model_side:
            yield compare(check.answer, model_side, file_side, None, gates=gates)


def _of_head(comparison: Comparison, head: str) -> Comparison:
    return dataclasses.replace(comparison, scores={f"{head}.{name}": x for name, x in comparison.scores.items()})


def _of_answer(task: Task, answer: Answer, outputs: Decoded) -> Iterator[Decoded]:
    """What a file says, as one of all answers and in the answer's own signature, if it has one."""
    yield task.own(answer, outputs)
    alone = {name: f"{answer.name}.{name}" for name in task.outputs[answer.name]}
    if len(task.answers) > 1 and set(alone.values()) <= set(outputs):
        yield {name: outputs[full] for name, full in alone.items()}


def _rows(decoded: Decoded, rows: np.ndarray | None) -> Decoded:
    return decoded if rows is None else {name: value[rows] for name, value in decoded.items()}


def _place(produced: producing.Made, final: Path, *, passed: bool) -> None:
    """Put a file in its place; where none could be made, that of an earlier model must not pass for this one's."""
    if produced.path is None:
        placing.remove(final)
        placing.remove(final.with_name(final.name + placing.ASIDE))
    else:
        placing.place(produced.path, final, passed=passed)
