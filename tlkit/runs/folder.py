"""A run's folder: what is written there, and opened again."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkit import tasks
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import PARTIAL, atomic_file, write_atomic
from tlkit.core.naming import TRUST, trusted
from tlkit.core.run import CHECKPOINTS, EXAMPLES, MODEL, RECORD, REPORT, TASK, Run
from tlkit.core.task import Task
from tlkit.core.trouble import first_line, of_system
from tlkit.exporting import readme
from tlkit.layer import answer_states, last_state, past
from tlkit.layer.hub_layer import HubLayer  # registers the layer, so that Keras can open its files
from tlkit.methods import one_head
from tlkit.modalities.prepare import modality_of
from tlkit.model.build import decoded_specs
from tlkit.report import run_json
from tlkit.report import write as write_report
from tlkit.runs.kept_examples import keep, kept_splits
from tlkit.search import index
from tlkit.tasks import anomaly_layers, detection_regions, generation_layers, text_scores
from tlkit.tasks.recording import as_recorded

LAYERS = (  # of its files: Keras finds those alone whose files were imported
    HubLayer, answer_states.AnswerStates, last_state.LastState, generation_layers.TokenScores,
    anomaly_layers.WhitenPlaces, detection_regions.Regions, detection_regions.Moved, past.PastWindow,
    text_scores.TextScores,
)  # fmt: skip
_REMEDY = "Put back a copy of the file, or make the run again in this folder with --fresh (fresh=True in Python)."


def finished(folder: Path, words: Sequence[str]) -> Mapping[str, Any] | None:
    """The record of the run in `folder`, if these words made it and it was exported; None where there is none.

    Raises:
        InputError: If the folder holds the run of another command.
    """
    if not _is_there(folder / RECORD):
        return None
    record = read_record(folder / RECORD)
    complete = bool(record["exports"]) and all(row.get("passed") for row in record["exports"])
    if record["arguments"] == list(words):
        return {**record, "folder": str(folder)} if complete else None
    if not complete and record["arguments"]:
        return None  # the fit's checkpoints know whether it can go on; other formats or gates do not hinder it
    made_by = f"tlkit {shlex.join(record['arguments'])}" if record["arguments"] else "made in Python"
    raise InputError(
        f"{folder} holds the run of another command ({made_by}); choose another --out, or start over with --fresh. "
        f"For other formats or gates no training is needed: tlkit export {folder}."
    )


_KINDS = {
    "arguments": list, "exports": list, "phases": list, "scores": dict, "details": dict, "seconds": dict, "data": dict,
    "task": dict,
}  # fmt: skip


def read_record(path: Path) -> dict[str, Any]:
    """What a run.json says, with every part that others read of the kind that it must be.

    Raises:
        InputError: If it is damaged, or was not written by tlkit.
    """
    record = _read_json(path)
    parts = {name: record.get(name, kind()) for name, kind in _KINDS.items()}
    wrong = [name for name, kind in _KINDS.items() if not isinstance(parts[name], kind)]
    rows = [row for name in ("exports", "phases") if name not in wrong for row in parts[name]]
    if "schema" not in record or wrong or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} is not what tlkit writes there. {_REMEDY}")
    if not all("format" in row for row in parts["exports"]) or not all(isinstance(w, str) for w in parts["arguments"]):
        raise InputError(f"{path} is not what tlkit writes there. {_REMEDY}")
    return {**record, **parts}


def _read_json(path: Path) -> dict[str, Any]:
    if _is_there(path) and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is no file that can be read. {_REMEDY}")
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is missing. {_REMEDY}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it holds no JSON ({first_line(error)}). {_REMEDY}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {of_system(error)}.") from error
    if not isinstance(plain, dict):
        raise InputError(f"{path} is not what tlkit writes there: a {type(plain).__name__}, no record. {_REMEDY}")
    return plain


def mark_unfinished(folder: Path) -> None:
    """Let a run that starts over be gone on with by the same command, if it is killed: the one that lies there has not
    been exported then.
    """
    with contextlib.suppress(InputError):  # there is none, or a damaged one
        record = read_record(folder / RECORD)
        write_atomic(folder / RECORD, json.dumps({**record, "exports": []}, indent=1))


def _is_there(path: Path) -> bool:
    """Whether something has that name, be it a broken link."""
    return path.exists() or path.is_symlink()


def check_folder(folder: Path) -> None:
    """Refuse a folder where something else lies in the place of a file that a run writes, before any work.

    Raises:
        InputError: If so; names it.
    """
    for name in (RECORD, TASK, EXAMPLES, MODEL, REPORT):
        if (folder / name).is_dir():
            raise InputError(f"{folder / name} is a folder where a file is written: move it away.")
    if _is_there(folder / CHECKPOINTS) and not (folder / CHECKPOINTS).is_dir():
        raise InputError(f"{folder / CHECKPOINTS} is a file where a folder is needed: move it away.")
    if not _is_there(folder / RECORD) and not _is_there(folder / CHECKPOINTS):  # no run, and none that was killed
        _check_others(folder, (MODEL, TASK, EXAMPLES, REPORT))


def check_target(folder: Path, names: Sequence[str]) -> None:
    """Refuse to export into a folder whose files of these names are nobody's run and no earlier export's.

    Raises:
        InputError: If so; names one.
    """
    if not _is_there(folder / RECORD) and not readme.is_written(folder):
        _check_others(folder, names)


def _check_others(folder: Path, names: Sequence[str]) -> None:
    for name in (*names, readme.README):
        if _is_there(folder / name) and not (name == readme.README and readme.is_written(folder)):
            raise InputError(
                f"{folder / name} is there already, and no run of tlkit wrote it: choose another folder, or move it "
                "away."
            )


def save(run: Run, folder: str | Path) -> Run:
    """Write model, task, record, kept examples and report into `folder`; each file is whole or as it was.

    Each head of several is a run of its own in a folder of its name below it.

    Returns:
        The run with its `folder`; on a worker beside the chief, the run as it was.
    """
    if run.worker:
        return run
    path = Path(folder)
    check_folder(path)
    path.mkdir(parents=True, exist_ok=True)
    for left in path.glob(f"{PARTIAL}*"):  # by a run that was killed while it wrote
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    run = replace(run, folder=path)
    with atomic_file(path / MODEL) as partial:
        run.model.save(partial)
    name, arguments = run.task.made_by
    write_atomic(path / TASK, json.dumps({"task": name, "arguments": dict(arguments)}, indent=1))
    keep(run, path / EXAMPLES)
    for part in run.task.inference:
        if part.name:
            save(one_head(run, part.name), path / part.name)
    return save_record(run)


def save_record(run: Run) -> Run:
    """Write run.json and report.html again, after an export for instance; the record first, without which is no run."""
    if run.folder is None:
        return run
    write_atomic(run.folder / RECORD, json.dumps(run_json(run), indent=1, allow_nan=False))
    answers = dict.fromkeys((*run.task.answers, *run.task.deployed.answers))  # those trained on, and what is used
    write_report(run, run.folder / REPORT, [section for answer in answers for section in answer.sections])
    return run


# -- opening


def load(path: str | Path, *, task: Task | None = None, trust: bool = False) -> Any:
    """Open what tlkit saved.

    Args:
        path: A run's folder, an index's folder, or a .keras file.
        task: Of a run whose task is your own: the task, made anew; what validation decided of it (`Task.finish`) is
            taken from the run's record. tlkit's own tasks are made from the record alone.
        trust: Whether to import the function outside tlkit that made a run's task and the modality of its examples,
            and to load graphs that the scan refuses; so does TLKIT_TRUST=1 (--trust on the command line).

    Returns:
        A Run (its data are the examples kept for exports), an Index, or the keras.Model.

    Raises:
        InputError: If there is nothing to open, or it cannot be opened; UnsafeModuleError if the file carries a graph
            that reads or writes files.

    Example:
        >>> run = tlkit.load("runs/mine", task=my_task(["cat", "dog"]))  # doctest: +SKIP
    """
    target = Path(path)
    if task is not None and not isinstance(task, Task):
        raise InputError(f"`task` must be a Task. Received: {type(task).__name__}.")
    with _trusted(trust):
        if target.suffix == ".keras" and not target.is_dir():
            return _load_model(target)
        if (target / index.RECORD).is_file():
            return index.Index.load(target)
        if not _is_there(target / RECORD):
            raise InputError(f"{target} is neither a .keras file nor a run's folder (it has no {RECORD}).")
        return _load_run(target, task)


@contextlib.contextmanager
def _trusted(trust: bool) -> Iterator[None]:
    """Layers are made by Keras from their configs alone, so that trust reaches them by the environment."""
    before = os.environ.get(TRUST)
    if trust:
        os.environ[TRUST] = "1"
    try:
        yield
    finally:
        if trust and before is None:
            del os.environ[TRUST]
        elif before is not None:
            os.environ[TRUST] = before


def opened(run: Run | str | Path) -> Run:
    """The run itself, or the one in a folder."""
    loaded = run if isinstance(run, Run) else load(run)
    if not isinstance(loaded, Run):
        raise InputError(f"What is wanted is a run or its folder. Received: {run!r}.")
    return loaded


def place_of(run: Run | str | Path) -> Path | None:
    """The folder that holds a run, made sure of where it is a path."""
    if isinstance(run, Run):
        return run.folder
    if not _is_there(Path(run) / RECORD):
        raise InputError(f"{run} is no run's folder (it has no {RECORD}); give the folder that `out` or --out named.")
    return Path(run)


def _load_model(path: Path) -> keras.Model:
    remedy = f" {_REMEDY}" if path.name == MODEL else ""
    if not path.is_file():
        problem = "is a folder, no file" if path.is_dir() else "is missing"
        raise InputError(f"{path} {problem}; give the path of a .keras file.{remedy}")
    try:
        with path.open("rb") as file:  # Keras says "not found" of files that may not be read, or are damaged
            is_archive = zipfile.is_zipfile(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {of_system(error)}.") from error
    if not is_archive:
        raise InputError(f"{path} is damaged: it is no whole .keras archive.{remedy}")
    try:
        return keras.saving.load_model(path, custom_objects={"HubLayer": HubLayer})
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever Keras meets in a file is a finding about the file
        cause = _own_cause(error)
        if cause is not None:
            raise cause from None
        raise InputError(f"{path} cannot be opened as a Keras model: {first_line(error)}") from error


def _own_cause(error: BaseException | None) -> InputError | None:
    """The refusal behind Keras' own message, which would dump the whole config, graph included."""
    while error is not None:
        if isinstance(error, InputError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _load_run(folder: Path, task: Task | None) -> Run:
    record = read_record(folder / RECORD)
    task = _task_of(folder / TASK, task)
    data = _examples_of(folder / EXAMPLES)
    if trusted():  # what is imported now is there for exports and reports, when trust has ended
        modality_of(data.train)
    model = _load_model(folder / MODEL)
    _check_task(task, model, data, record, folder)
    return Run(model=model, task=task, data=data, seconds=record["seconds"], record=record, folder=folder)


def _task_of(path: Path, task: Task | None) -> Task:
    """The task that a file names, or the one that was made anew, with what training decided of it."""
    plain = _read_json(path)
    if not isinstance(plain.get("task"), str) or not isinstance(plain.get("arguments"), dict):
        raise InputError(f"{path} is not what tlkit writes there: it names no task. {_REMEDY}")
    try:
        if task is not None:
            return as_recorded(task, (plain["task"], plain["arguments"]))
        return tasks.restore((plain["task"], plain["arguments"]))
    except InputError as error:
        raise InputError(f"{path} does not make {'a task' if task is None else 'this task'}. {error}") from error
    except Exception as error:  # wrong values in a record lead anywhere
        raise InputError(f"{path} does not make a task ({first_line(error)}). {_REMEDY}") from error


def _examples_of(path: Path) -> Splits:
    if not path.is_file():
        raise InputError(f"{path} is missing. {_REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        return kept_splits(arrays)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {of_system(error)}.") from error
    except (ValueError, TypeError, OSError, EOFError, LookupError, AttributeError, zipfile.BadZipFile, zlib.error) as e:
        raise InputError(f"{path} is damaged: it does not hold the examples kept for exports. {_REMEDY}") from e


def _check_task(task: Task, model: keras.Model, data: Splits, record: Mapping[str, Any], folder: Path) -> None:
    """Refuse a task or examples whose labels are not those that the record has of each; the two may differ."""
    try:
        if task.begin is None:
            decoded_specs(model, task)
    except InputError as error:
        raise InputError(
            f"The task in {folder / TASK} and the model in {folder / MODEL} are of two runs. {error} {_REMEDY}"
        ) from error
    for path, labels, recorded in (
        (folder / TASK, task.labels, record["task"].get("labels")),
        (folder / EXAMPLES, data.labels, record["data"].get("labels", task.labels)),
    ):
        if labels and recorded and tuple(recorded) != tuple(labels):
            raise InputError(f"{path} has other labels than {folder / RECORD}: they are of two runs. {_REMEDY}")
