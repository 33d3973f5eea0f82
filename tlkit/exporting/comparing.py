"""How far an exported file's outputs are from those of the Keras model: pure NumPy, some examples at a time.

Arrays may lie on disk: outputs as large as masks are never in memory together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.examples import Column, Examples
from tlkit.core.task import Agreement, Answer, Decoded, Tally
from tlkit.exporting.gates import NOT_FINITE, Comparison, Gates
from tlkit.tasks.metrics import drawn_counts, paired_interval

RESAMPLES = 500  # of the examples, for the interval of a change that is no mean over them
AT_ONCE = 1 << 26  # bytes of the model's outputs that are compared together


def compare(
    answer: Answer,
    expected: Decoded,
    actual: Decoded,
    targets: Column | None,
    *,
    gates: Gates = Gates(),  # noqa: B008 (frozen)
    examples: Examples | None = None,
) -> Comparison:
    """Compare a file's outputs with the Keras model's.

    Args:
        answer: What the outputs are.
        expected: Decoded outputs of the Keras model, (n, ...), by the answer's own names.
        actual: Those of the file.
        targets: What was right, n of them; None where that is not known.
        gates: For the margin and the confidence.
        examples: These n, for answers that are judged over all of them together, by their `tally`.
    """
    if any(actual[name].shape != expected[name].shape for name in expected):
        return NO_OUTPUTS
    agreements: list[Agreement] = []
    before, after = [np.zeros(0)], [np.zeros(0)]
    together = None
    if answer.tally is not None and examples is not None and targets is not None:
        together = _Together(answer.tally(), answer.tally(), examples)
    for rows, model_rows, file_rows, truth in _pieces(answer, expected, actual, targets):
        if not all(np.isfinite(value).all() for value in file_rows.values()):
            return NO_OUTPUTS
        agreements.append(answer.agreement(model_rows, file_rows))
        if together is not None:
            together.update(rows, truth, model_rows, file_rows)
        elif answer.merit is not None and truth is not None:
            before.append(answer.merits(truth, model_rows))
            after.append(answer.merits(truth, file_rows))
    scores: dict[str, float] = {}
    if together is not None:
        scores, score, change, upper = together.change(gates.confidence)
    else:
        score, change, upper = _change(np.concatenate(before), np.concatenate(after), gates.confidence)
    largest = max((float(agreement.difference.max(initial=0.0)) for agreement in agreements), default=0.0)
    equal, sure, clear = (_agreed(agreements, above) for above in (-1.0, gates.float16_margin, gates.tie))
    return Comparison(largest, equal, sure, score, change, upper, clear_agreement=clear, scores=scores)


NO_OUTPUTS = Comparison(NOT_FINITE, 0.0, 0.0, 0.0, -1.0, -1.0, clear_agreement=0.0)


def worst(comparisons: Sequence[Comparison]) -> Comparison:
    """The worst of each figure; of no comparison at all, one of no difference."""
    if not comparisons:
        return Comparison(0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    names = dict.fromkeys(name for c in comparisons for name in c.scores)
    return Comparison(
        difference=max(c.difference for c in comparisons),
        agreement=min(c.agreement for c in comparisons),
        sure_agreement=min(c.sure_agreement for c in comparisons),
        clear_agreement=min(c.clear_agreement for c in comparisons),
        score=min(c.score for c in comparisons),
        score_change=min(c.score_change for c in comparisons),
        change_upper=min(c.change_upper for c in comparisons),
        raw_size=max(c.raw_size for c in comparisons),
        raw_ratio=max(c.raw_ratio for c in comparisons),
        scores={name: min(c.scores[name] for c in comparisons if name in c.scores) for name in names},
    )


def _pieces(
    answer: Answer, expected: Decoded, actual: Decoded, targets: Column | None
) -> Iterator[tuple[slice, dict[str, np.ndarray], dict[str, np.ndarray], Any]]:
    """Which examples are compared together, the model's outputs of them, the file's and the targets."""
    count = len(next(iter(expected.values())))
    size = sum(value.nbytes for value in expected.values()) // max(1, count)
    step = max(1, AT_ONCE // max(1, size))
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        truth = None if targets is None else targets.take(np.arange(rows.start, rows.stop))
        model_rows, file_rows = (_counted(answer, side, rows, truth) for side in (expected, actual))
        yield rows, model_rows, file_rows, truth


def _counted(answer: Answer, side: Decoded, rows: slice, truth: Any) -> dict[str, np.ndarray]:
    outputs = {name: np.asarray(value[rows]) for name, value in side.items()}
    return outputs if answer.counted is None or truth is None else dict(answer.counted(truth, outputs))


def _agreed(agreements: Sequence[Agreement], above: float) -> float:
    """Share of what is equal where the model is surer than that; 1 where there is nothing."""
    sure = [agreement.equal[agreement.margin > above] for agreement in agreements]
    count = sum(equal.size for equal in sure)
    return sum(int(equal.sum()) for equal in sure) / count if count else 1.0


def _change(before: np.ndarray, after: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Score of the file, its change, and the upper end of the interval of that; all 0 where nothing is judged."""
    if not len(after):
        return 0.0, 0.0, 0.0
    change = paired_interval(before, after, confidence)
    return float(after.mean()), change.difference, change.high


@dataclasses.dataclass(frozen=True, eq=False)
class _Together:
    """The answers of the model and of a file, each judged over all examples together."""

    model: Tally
    file: Tally
    examples: Examples

    def update(self, rows: slice, truth: Any, model_rows: Decoded, file_rows: Decoded) -> None:
        """Take in both answers to some examples."""
        piece = dataclasses.replace(
            self.examples.subset(range(rows.start, rows.stop)), targets=ArrayColumn(np.asarray(truth))
        )
        self.model.update(piece, model_rows)
        self.file.update(piece, file_rows)

    def change(self, confidence: float) -> tuple[dict[str, float], float, float, float]:
        """Scores of the file and their changes by name; of the first its value, its change, and the upper end of that.

        The interval of a loss is a bootstrap over the examples; a gain needs none.
        """
        count = len(self.examples)
        once, drawn = np.ones((1, count)), drawn_counts(count, resamples=RESAMPLES)
        before, after = self.model.scores(once), self.file.scores(once)
        if not after:
            return {}, 0.0, 0.0, 0.0
        changes = {name: float(values[0] - before[name][0]) for name, values in after.items()}
        scores = {name: float(values[0]) for name, values in after.items()}
        first = next(iter(after))
        upper = change = changes[first]
        if change < 0:
            upper = float(np.nanquantile(self.file.scores(drawn)[first] - self.model.scores(drawn)[first], confidence))
        return scores | {f"{name}_change": x for name, x in changes.items()}, scores[first], change, upper
