"""table_check: is another slice of a table worth starting from? Zero-shot, tuned, from scratch, and trees beside."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras

from tlkit import plans
from tlkit.choosing.transfer_check import SCRATCH, TUNED, Source, TransferCheck, compared
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.progress import Progress, quiet, shown
from tlkit.core.run import Phase, Run
from tlkit.core.task import Task
from tlkit.data.table import columns_of, module
from tlkit.data.table_columns import ENCODED
from tlkit.layer.hub_layer import HubLayer
from tlkit.methods.trees import trees
from tlkit.model.build import BACKBONE, build
from tlkit.model.evaluate import Headline, evaluate, headline
from tlkit.training.fit import fit

ZERO_SHOT, TREES, ON_BOTH = "zero-shot", "trees", "trees on both"
STEPS = 150  # of tuning; few rows are left at their start soon enough
RATE = 3e-4


def table_check(
    source: Splits,
    target: Source,
    task: Task,
    *,
    first: Sequence[Phase] | None = None,
    phases: Sequence[Phase] | None = None,
    score: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 256,
    progress: Progress | None = None,
) -> TransferCheck:
    """Train on another slice of a table, and see on this one what that was worth.

    "zero-shot" is the source's model as it is; "fine-tuned" is that model, trained on by `phases` on the target's rows;
    "from scratch" is a model of the target's rows alone. Trees (extra `methods`) learn from the target's rows, and from
    both slices, each weighing the same; they are no transfer, and the verdict says where they are better.

    Args:
        source: The other slice, which `tlkit.data.table` read.
        target: The slice that counts, read with `like=source`; or a function from a seed to such rows.
        task: `tasks.classify`, or `tasks.regress` of one value.
        first: Phases on the source, and of "from scratch"; None is `plans.whole()`.
        phases: Of the tuning; None is 150 steps at 3e-4.
        score: Name of the score; None is the area under the curve of two classes, else the headline.
        seeds: One comparison a seed; two or more give intervals.
        batch_size: Rows a step, at most.
        progress: Where progress goes; None shows it.

    Returns:
        Scores, paired differences with intervals, and a verdict; it prints as a table.

    Raises:
        InputError: If there are no seeds, or the slices are not read alike.
    """
    if not seeds:
        raise InputError("`seeds` is empty: give one or more, such as (0, 1, 2).")
    display = progress or shown()
    plan = tuple(first) if first is not None else plans.whole()
    table: dict[str, list[Headline]] = {}
    for seed in seeds:
        target_splits = target if isinstance(target, Splits) else target(seed)
        _check(source, target_splits)
        for way, value in _ways(source, target_splits, task, plan, phases, score, seed, batch_size).items():
            table.setdefault(way, []).append(value)
            display.line(f"{way}, seed {seed}: {value.name} {value.value:.3f}")
    return _compared({way: tuple(figure.value for figure in ones) for way, ones in table.items()}, table[SCRATCH][0])


def _ways(
    source: Splits,
    target: Splits,
    task: Task,
    first: tuple[Phase, ...],
    phases: Sequence[Phase] | None,
    score: str | None,
    seed: int,
    batch_size: int,
) -> dict[str, Headline]:
    small_batch = max(1, min(batch_size, len(target.train) // 2))
    tuning = (Phase(epochs=math.ceil(STEPS / math.ceil(len(target.train) / small_batch)), lr=RATE, unfrozen=1.0),)
    with tempfile.TemporaryDirectory(prefix="tlkit-") as scratch:
        alone = _trained(Path(scratch, "alone"), target, task, _lengthened(first, source, target), seed, small_batch)
        before = _trained(Path(scratch, "source"), source, task, first, seed, batch_size)
        zero_shot = _scored(before, target, score)
        tuned = fit(
            before.model, before.task, target, tuple(phases) if phases is not None else tuning, seed=seed,
            batch_size=small_batch, progress=quiet,
        )  # fmt: skip
        values = {SCRATCH: _scored(alone, target, score), ZERO_SHOT: zero_shot, TUNED: _scored(tuned, target, score)}
    like = values[SCRATCH]
    for way, other in ((TREES, None), (ON_BOTH, source)):
        values[way] = replace(like, value=trees(target, task, source=other, seed=seed).scores[like.name])
    return values


def _lengthened(first: tuple[Phase, ...], source: Splits, target: Splits) -> tuple[Phase, ...]:
    """From scratch few rows get more epochs, up to 20 times as many, so that it is not steps that they lack."""
    factor = min(20, max(1, len(source.train) // max(1, len(target.train))))
    return tuple(replace(phase, epochs=phase.epochs * factor) for phase in first)


def _trained(folder: Path, data: Splits, task: Task, plan: tuple[Phase, ...], seed: int, batch_size: int) -> Run:
    keras.utils.set_random_seed(seed)
    handle = module(data, folder, seed=seed, rare=3 if len(data.train) > 1000 else 1)
    model = build(HubLayer(handle, name=BACKBONE), task, data=data)
    return fit(model, task, data, plan, seed=seed, batch_size=batch_size, progress=quiet)


def _scored(run: Run, target: Splits, score: str | None) -> Headline:
    evaluation = evaluate(run.model, run.task, target.test)
    figure = headline(evaluation)
    if figure is None:
        raise InputError(f"The task {run.task.name} names no headline score, so trainings cannot be compared.")
    name = score or ("auc" if "auc" in evaluation.scores else figure.name)
    if name not in evaluation.scores:
        raise InputError(f"`score` must be one of {', '.join(evaluation.scores)}. Received: score={score!r}.")
    return replace(figure, name=name, value=evaluation.scores[name])


def _check(source: Splits, target: Splits) -> None:
    kinds = [[(c.input, c.kind) for c in columns_of(data.train.pipeline)] for data in (source, target)]
    if not kinds[0] or kinds[0] != kinds[1] or source.labels != target.labels:
        raise InputError("Both slices must have the same columns and labels: read the target with `like=source`.")
    for column in columns_of(source.train.pipeline):
        if column.kind not in ENCODED:
            raise InputError(f"Slices are compared without texts and images: leave out the column {column.name!r}.")


def _compared(scores: dict[str, tuple[float, ...]], like: Headline) -> TransferCheck:
    """Differences of ways of transfer, and what each of trees is ahead of the tuned model."""
    transfer = compared({way: values for way, values in scores.items() if way not in (TREES, ON_BOTH)}, like)
    beside = [compared({TUNED: scores[TUNED], way: scores[way]}, like).differences[0] for way in (TREES, ON_BOTH)]
    ahead = [gain for gain in beside if gain.mean > 0]
    remark = "".join(
        f" {gain.better[0].upper()}{gain.better[1:]} are {gain.mean:+.3f} ahead of {TUNED}." for gain in ahead
    )
    return replace(transfer, scores=scores, differences=(*transfer.differences, *beside), remark=remark)
