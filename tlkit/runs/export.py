"""export: files for phones and servers from a run, with proof."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlkit.core import trials
from tlkit.core.errors import GateError
from tlkit.core.files import held
from tlkit.core.format import Format
from tlkit.core.progress import Progress, shown
from tlkit.core.run import Run
from tlkit.core.task import Task
from tlkit.exporting import Gates, checked_formats
from tlkit.exporting import export as export_files
from tlkit.exporting.readme import write_readme
from tlkit.methods import one_head
from tlkit.report import run_json
from tlkit.runs import folder as run_folder


def export(
    run: Run | str | Path,
    folder: str | Path | None = None,
    formats: Sequence[str | Format] | None = None,
    *,
    max_drop: float = 0.01,
    gates: Gates | None = None,
    progress: Progress | None = None,
) -> Run:
    """Write SavedModel and TFLite files, prove that they agree with the model, and renew run.json and report.html.

    Of several heads the TFLite files answer for all in one signature and for each in one of its own, on weights that
    they share; each head's own files lie in a folder of its name.

    Args:
        run: A Run, or the folder of one.
        folder: Where the files go; None is the run's folder.
        formats: Which of "saved_model", "float32", "float16", "dynamic" and "int8", of "weight_only" and the pages
            "web" and "web_int8", which are written where they are named, and records of your own; None is the first
            five, as far as the task can have them.
        max_drop: Largest loss of score that dynamic, weight_only and int8 files may have, in [0, 1].
        gates: All that a file must keep to; takes the place of `max_drop`.
        progress: Where progress goes; None shows it.

    Returns:
        The run with its `exports`; on a worker beside the chief, the run as it was.

    Raises:
        GateError: If a file disagrees with the model; the good files, run.json and the report are written first.
        InputError: If there is no such run, or no such format.
    """
    if isinstance(run, Run) and (run.worker or trials.under_way() is not None):
        return run
    kept_to, progress = gates or Gates(max_drop=max_drop), progress or shown()
    if formats is not None:
        checked_formats(formats)  # before a run is opened
    with contextlib.ExitStack() as stack:
        place = run_folder.place_of(run)
        for target in (place, folder):
            if target is not None:
                stack.enter_context(held(target))
        opened = run_folder.opened(run)
        chosen_formats = checked_formats(formats, opened.task)
        if folder is not None:
            run_folder.check_target(Path(folder), [format.file for format in chosen_formats])
        exported, failure = _exported(opened, folder, chosen_formats, kept_to, progress)
        for part in (head for head in opened.task.inference if head.name):
            progress.line(f"head {part.name}")
            place = None if folder is None else Path(folder) / part.name
            _, failed = _exported(_head_run(opened, part.name, part.task), place, chosen_formats, kept_to, progress)
            failure = failure or failed
    if failure is not None:
        raise failure
    return exported


def _head_run(run: Run, head: str, task: Task) -> Run:
    """One head as it was saved below the run's folder, or of the run itself."""
    if run.folder is None:
        return one_head(run, head)
    opened = run_folder.load(run.folder / head, task=task)
    return opened if isinstance(opened, Run) else one_head(run, head)


def _exported(
    run: Run, folder: str | Path | None, formats: Sequence[Format], gates: Gates, progress: Progress
) -> tuple[Run, GateError | None]:
    """The run with what was exported, and the error that says what fell short."""
    started = time.perf_counter()
    failure: GateError | None = None
    try:
        exports = export_files(run, folder, formats, gates, say=progress.line)
    except GateError as error:
        failure, exports = error, error.exports
    seconds = {**run.seconds, "export": time.perf_counter() - started}
    exported = run_folder.save_record(replace(run, exports=exports, seconds=seconds))
    place = run.folder if folder is None else Path(folder)
    if place is not None:
        write_readme(exported, run_json(exported), place)
    return exported, failure
