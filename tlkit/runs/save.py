"""Save what `fit` or a method gave back as a run, as `finetune` does with its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tlkit.core.run import Run
from tlkit.runs import folder as run_folder
from tlkit.runs import invocation


def save(run: Run, folder: str | Path, *, seed: int = 0, batch_size: int = 32) -> Run:
    """Write a run into a folder: model, task, a few examples, run.json and report.html.

    `finetune` does so by itself; this is for runs of `tlkit.fit`, of methods, and for one that changed.

    Args:
        run: What is saved; the record that it has already is kept.
        folder: Where; made if need be.
        seed: Seed of the training, for the record.
        batch_size: Examples a step in training, for the record.

    Returns:
        The run with its `folder`, which `tlkit.load` opens.

    Raises:
        InputError: If the folder holds something else than a run.
    """
    record = invocation.describe(run, seed=seed, batch_size=batch_size)
    return run_folder.save(replace(run, record={**record, **run.record}), folder)
