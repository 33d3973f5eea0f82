"""transfer_check: did starting from a pretrained module help? Several trainings over seeds, compared in pairs."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from tlkit import graph as graphs
from tlkit import hub, plans
from tlkit.core import trials
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.progress import Progress, quiet, shown
from tlkit.core.run import Phase, Run
from tlkit.core.task import Task
from tlkit.core.workers import each
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import is_image
from tlkit.modalities.prepare import prepare
from tlkit.model.build import BACKBONE, build
from tlkit.model.evaluate import Headline, evaluate, headline
from tlkit.runs.folder import save_record
from tlkit.tasks.metrics import mean_interval
from tlkit.training.fit import fit

SCRATCH, FROZEN, TUNED, ADAPTED = "from scratch", "frozen", "fine-tuned", "adapted"

Source = Splits | Callable[[int], Splits]


@dataclass(frozen=True)
class Difference:
    """How much better one way of training is than another over the same seeds: the mean, with its interval.

    The interval has the check's `level`; `low` and `high` are None where there is one seed.
    """

    better: str
    than: str
    mean: float
    low: float | None
    high: float | None

    @property
    def proved(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class TransferCheck:
    """What each way of training scored.

    Attributes:
        score: Name of the headline score.
        scores: One score a seed, by way of training.
        differences: Each way against those before it; above 0 is better, of error rates too.
        unit: "share" where scores read well as percentages, else "value".
        level: Of the differences' intervals: 1 - 0.05 / m for m ways besides that from scratch, so that the m intervals
            against training from scratch, by which `helped` is judged, hold together with 95 % (Bonferroni).
        remark: What else is to be said, behind the verdict.
    """

    score: str
    scores: Mapping[str, tuple[float, ...]]
    differences: tuple[Difference, ...]
    unit: str = "share"
    level: float = 0.95
    remark: str = ""

    @property
    def helped(self) -> bool:
        """Whether a training that started from the module is better than one from scratch, by the whole interval.

        The intervals allow for the number of such trainings: `level`.
        """
        return any(difference.proved and difference.than == SCRATCH for difference in self.differences)

    @property
    def verdict(self) -> str:
        """One sentence."""
        against = [difference for difference in self.differences if difference.than == SCRATCH]
        best = max(against, key=lambda difference: (difference.proved, difference.mean))
        sentence = f"{best.better} against {SCRATCH}: {best.mean:+.3f} {self.score}{_interval(best.low, best.high)}"
        if self.helped:
            return f"Transfer helped: {sentence}{self._allowing}.{self.remark}"
        reason = "no interval with one seed" if best.low is None else "the interval holds 0 or lies below it"
        return (
            f"Transfer did not help as far as these runs can tell ({reason}): {sentence}{self._allowing}.{self.remark}"
        )

    @property
    def _allowing(self) -> str:
        """What the intervals are, behind the sentence that rests on them."""
        against = [difference for difference in self.differences if difference.than == SCRATCH]
        if len(against) == 1 or against[0].low is None:
            return ""
        return f", by the {100 * self.level:.1f} % interval that allows for {len(against)} comparisons"

    def shown_in(self, run: Run) -> Run:
        """The run with this check in its record and its report; where it has a folder, both are written anew."""
        record = {**asdict(self), "verdict": self.verdict, "helped": self.helped}
        return save_record(replace(run, record={**run.record, "transfer": record}))

    def __str__(self) -> str:
        lines = []
        for name, values in self.scores.items():
            low, high = mean_interval(values)
            lines.append(f"{name:<14} {statistics.fmean(values):.3f}{_interval(low, high)}")
        lines += [f"{d.better} - {d.than}: {d.mean:+.3f}{_interval(d.low, d.high)}" for d in self.differences]
        return "\n".join([*lines, self.verdict])


def transfer_check(
    handle: Any,
    task: Task,
    data: Source,
    *,
    phases: Sequence[Phase] | None = None,
    adapted: tuple[Task, Source] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 32,
    image_size: tuple[int, int] | None = None,
    length: int | None = None,
    input_range: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> TransferCheck:
    """Train from scratch, on the frozen module, and by `phases`, over several seeds, and compare the test scores.

    From scratch is the same net with fresh weights, all of it trained in training mode for as many epochs as `phases`
    have together. A module that has no `training` argument is trained from scratch with the statistics of its BatchNorm
    at mean 0 and variance 1, which makes that way weaker. Inside `tlkit.cluster.ray` trainings of a module that is a
    file are shared out. Differences are of pairs with the same seed, so what a seed
    makes easy or hard cancels.

    Args:
        handle: What HubLayer takes as handle; no HubLayer and no loaded SavedModel, as every training needs fresh
            variables. Of a keras.Model every training has a copy.
        task: What to learn; its headline score is compared.
        data: Splits, or a function from a seed to Splits, so that the division varies with the seed too.
        phases: Of the fine-tuned runs; None takes `plans.recommend`.
        adapted: A task that a method has made, with its data, for one more way: (dann(task), domain_mix(...)).
        seeds: One run of each way a seed; two or more give intervals.
        batch_size: Examples a step.
        image_size: (height, width), for modules that take any.
        length: Word pieces of a text, for modules that take any.
        input_range: Range of the pixels that an image module takes, as `finetune` has it.
        progress: Where progress goes; None shows it.

    Returns:
        Scores, paired differences with intervals, and a verdict; it prints as a table.

    Raises:
        InputError: If there are no seeds, `handle` is a HubLayer or a loaded SavedModel, or the task has no headline
            score.
    """
    if trials.under_way() is not None:
        raise InputError("`transfer_check` tests, and a search must not: leave it out of the runs that are searched.")
    if not seeds:
        raise InputError("`seeds` is empty: give one or more, such as (0, 1, 2).")
    _check_fresh(handle)
    display = progress or shown()
    ways = (SCRATCH, FROZEN, TUNED) if adapted is None else (SCRATCH, FROZEN, TUNED, ADAPTED)
    calls = list(itertools.product(seeds, ways))
    how = (batch_size, image_size, length, input_range)
    figures: dict[tuple[int, str], Headline] = {}
    work = _Trainings(handle, task, data, phases, adapted, how)
    for number, figure in each(work, calls, elsewhere=isinstance(handle, str | os.PathLike)):
        seed, way = calls[number]
        figures[calls[number]] = figure
        display.line(f"{way}, seed {seed}: {figure.name} {figure.value:.3f}")
    scores = {way: tuple(figures[seed, way].value for seed in seeds) for way in ways}
    return compared(scores, figures[calls[0]])


@dataclass(eq=False)
class _Trainings:
    """The trainings of a check, by seed and way; the data of a seed are made once for all ways that follow."""

    handle: Any
    task: Task
    data: Source
    phases: Sequence[Phase] | None
    adapted: tuple[Task, Source] | None
    how: tuple[Any, ...]

    last: tuple[int, dict[str, tuple[Task, Splits, tuple[Phase, ...]]]] | None = None

    def __call__(self, seed: int, way: str) -> Headline:
        if self.last is None or self.last[0] != seed:
            self.last = seed, _ways(self.task, _of_seed(self.data, seed), self.phases, self.adapted, seed)
        task, data, plan = self.last[1][way]
        return _scored(self.handle, task, data, plan, way == SCRATCH, seed, *self.how)


def compared(scores: Mapping[str, tuple[float, ...]], like: Headline) -> TransferCheck:
    """The check of scores by way of training, from scratch first, each against those before it; `like` says of what."""
    sign = -1.0 if like.lower_is_better else 1.0
    level = 1 - 0.05 / max(1, len(scores) - 1)
    pairs = itertools.combinations(scores, 2)
    differences = tuple(_difference(scores, late, early, sign, level) for early, late in pairs)
    return TransferCheck(like.name, scores, differences, like.unit, level)


def _ways(
    task: Task, splits: Splits, phases: Sequence[Phase] | None, adapted: tuple[Task, Source] | None, seed: int
) -> dict[str, tuple[Task, Splits, tuple[Phase, ...]]]:
    plan = tuple(phases) if phases is not None else plans.recommend(len(splits.train), max(1, len(task.labels)))
    epochs, lr = sum(phase.epochs for phase in plan), plan[0].lr
    ways = {
        SCRATCH: (task, splits, (Phase(epochs=epochs, lr=1e-3, unfrozen=1.0, batch_stats="adapt"),)),
        FROZEN: (task, splits, plans.feature_extraction(epochs=epochs, lr=lr)),
        TUNED: (task, splits, plan),
    }
    if adapted is not None:
        ways[ADAPTED] = (adapted[0], _of_seed(adapted[1], seed), plan)
    return ways


def _check_fresh(handle: Any) -> None:
    """Refuse what would share its variables with every training."""
    if isinstance(handle, HubLayer):
        raise InputError("`handle` is a layer, and every training needs a fresh one: give what the layer was made of.")
    if hub.is_restored(handle):
        raise InputError(
            "`handle` is a loaded SavedModel, whose variables every training would change: give the folder that it was "
            "loaded from."
        )


def _scored(
    handle: Any,
    task: Task,
    data: Splits,
    plan: tuple[Phase, ...],
    afresh: bool,
    seed: int,
    batch_size: int,
    image_size: tuple[int, int] | None,
    length: int | None,
    input_range: tuple[float, float] | None,
) -> Headline:
    keras.utils.set_random_seed(seed)
    layer = HubLayer(handle, name=BACKBONE, input_range=input_range)
    model = build(layer, task, image_size=image_size, data=data)
    if afresh:
        fresh_weights(layer, seed)
        plan = plan if layer.endpoint.takes_training else tuple(replace(p, batch_stats="frozen") for p in plan)
    prepared = prepare(data, layer, image_size=model.input.shape[1:3] if is_image(layer) else None, length=length)
    run = fit(model, task, prepared, plan, seed=seed, batch_size=batch_size, progress=quiet)
    figure = headline(evaluate(run.model, run.task, prepared.test, batch_size=batch_size))
    if figure is None:
        raise InputError(f"The task {task.name} names no headline score, so trainings cannot be compared.")
    return figure


def fresh_weights(layer: HubLayer, seed: int) -> None:
    """Give a module the weights that it could have had before its training.

    Kernels are drawn by He's rule, with the inputs that an output sums over as fan-in: of a depthwise kernel
    (h, w, c, m) these are h * w. Scales and variances of BatchNorm are 1, all else of one axis is 0.

    Args:
        layer: Its variables are written.
        seed: Of the draw.

    Source: He et al. 2015, arXiv:1502.01852, eq. 10.
    """
    rng = np.random.default_rng(seed)
    ones = {i for norm in graphs.batch_norms(layer.graph) for i in (norm.gamma, norm.variance)}
    depthwise, unknown = graphs.depthwise_kernels(layer.graph), not layer.graph.nodes
    for index, variable in layer.module_variables.items():
        shape = tuple(variable.shape)
        if not str(variable.dtype).startswith("float"):
            continue
        if len(shape) < 2:
            variable.assign(np.full(shape, 1.0 if index in ones or "gamma" in variable.path else 0.0))
        else:
            summed = shape[:-2] if index in depthwise or (unknown and _looks_depthwise(shape)) else shape[:-1]
            variable.assign(rng.normal(0, (2.0 / np.prod(summed)) ** 0.5, shape))


def _looks_depthwise(shape: tuple[int, ...]) -> bool:
    """Whether a kernel is (h, w, c, 1) with several c, where no graph says what it is used by."""
    return len(shape) == 4 and shape[-1] == 1 and shape[-2] > 1


def _of_seed(data: Source, seed: int) -> Splits:
    return data if isinstance(data, Splits) else data(seed)


def _difference(
    scores: Mapping[str, tuple[float, ...]], better: str, than: str, sign: float, level: float
) -> Difference:
    pairs = [sign * (a - b) for a, b in zip(scores[better], scores[than], strict=True)]
    return Difference(better, than, statistics.fmean(pairs), *mean_interval(pairs, level))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None else f" [{low:.3f}, {high:.3f}]"
