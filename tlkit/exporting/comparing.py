"""How far an exported file's outputs are from those of the Keras model, measured as pure NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tlkit.core.task import LABEL, LABELS, VALUES
from tlkit.exporting.gates import NOT_FINITE, Comparison, Gates
from tlkit.tasks.metrics import paired_interval

VALUE_TOLERANCE = 0.1  # two values to regress "agree" when they differ by less than this share of the spread
LEAST_SPREAD = 0.05  # of the training targets' own: outputs that hardly vary are not judged by how little they do
SAME = 0.01  # of a value that never varies: nearer is right


def compare(
    expected: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    targets: np.ndarray | None,
    *,
    answer: str,
    unit: Sequence[float] | None = None,
    gates: Gates = Gates(),  # noqa: B008 (frozen)
) -> Comparison:
    """Compare a file's outputs with the Keras model's; of several outputs, the worst figure of each counts.

    Args:
        expected: Decoded outputs of the Keras model, float32 (n, ...), by name.
        outputs: Those of the file.
        targets: What was right, first axis the examples, or None; used where there is one output, and not where that
            is no guess at them (an embedding).
        answer: What a row of the outputs is, as `Task.answer` says it.
        unit: Of values, the spread of the training targets, a number a column; None where the task knows none.
        gates: For the margin and the confidence.
    """
    guessed = targets is not None and all(answer != VALUES or y.size == targets.size for y in expected.values())
    truth = targets if len(expected) == 1 and guessed else None
    own = None if unit is None else np.asarray(unit, np.float64)
    return worst([_compare_one(expected[k], outputs[k], truth, answer, own, gates) for k in expected])


def worst(each: Sequence[Comparison]) -> Comparison:
    """The worst of each figure; of no comparison at all, one of no difference."""
    if not each:
        return Comparison(0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    return Comparison(
        difference=max(c.difference for c in each),
        agreement=min(c.agreement for c in each),
        sure_agreement=min(c.sure_agreement for c in each),
        score=min(c.score for c in each),
        score_change=min(c.score_change for c in each),
        change_upper=min(c.change_upper for c in each),
        raw_size=max(c.raw_size for c in each),
        raw_ratio=max(c.raw_ratio for c in each),
    )


def merits(outputs: np.ndarray, targets: np.ndarray, *, answer: str) -> np.ndarray:
    """Score of each example, float64 (n,); their mean is the accuracy of labels, or the R2 of values.

    Targets below 0 are positions to leave out (padding of a sequence).
    """
    if answer == LABEL:
        right = targets if targets.ndim < outputs.ndim else targets.argmax(-1)
        return _masked_mean(outputs.argmax(-1) == right, right >= 0)
    if answer == LABELS:
        return _masked_mean((outputs > 0.5) == (targets > 0.5), targets >= 0)
    truth = targets.astype(np.float64).reshape(outputs.shape)
    errors, varies = outputs.astype(np.float64) - truth, np.ptp(truth, axis=0) > 0
    variance = np.where(varies, truth.var(axis=0), 1.0)
    missed = np.abs(errors) > SAME * np.abs(truth)  # there is no R2 where nothing varies: right or wrong
    return np.asarray(1.0 - _flat(np.where(varies, errors**2 / variance, missed)).mean(axis=1))


def _compare_one(
    expected: np.ndarray,
    outputs: np.ndarray,
    targets: np.ndarray | None,
    answer: str,
    unit: np.ndarray | None,
    gates: Gates,
) -> Comparison:
    if outputs.shape != expected.shape or not np.isfinite(outputs).all():
        return Comparison(NOT_FINITE, 0.0, 0.0, 0.0, -1.0, -1.0)
    if answer == VALUES:
        same, margin = _values_equal(expected, outputs, unit)
    else:
        same, margin = _labels_equal(expected, outputs, one=answer == LABEL)
    sure = same[margin > gates.float16_margin]
    score, change, upper = _change(expected, outputs, targets, answer, gates.confidence)
    return Comparison(
        difference=float(_differences(expected, outputs, answer, unit).max(initial=0.0)),
        agreement=float(same.mean()) if same.size else 1.0,
        sure_agreement=float(sure.mean()) if sure.size else 1.0,
        score=score,
        score_change=change,
        change_upper=upper,
    )


def _change(
    expected: np.ndarray, outputs: np.ndarray, targets: np.ndarray | None, answer: str, confidence: float
) -> tuple[float, float, float]:
    if targets is None or not len(targets):
        return 0.0, 0.0, 0.0
    before, after = (merits(y, targets, answer=answer) for y in (expected, outputs))
    change = paired_interval(before, after, confidence)
    return float(after.mean()), change.difference, change.high


def _differences(expected: np.ndarray, outputs: np.ndarray, answer: str, unit: np.ndarray | None) -> np.ndarray:
    """How far outputs lie apart: scores as they are, values in spreads, without the last bits of float32."""
    wide = expected.astype(np.float64)
    apart = np.abs(outputs - wide)
    if answer != VALUES:
        return apart
    if unit is None:
        size = float(np.sqrt(np.mean(np.square(wide)))) if wide.size else 0.0
        return apart / (size or 1.0)
    steps = 4 * np.spacing(np.abs(expected.astype(np.float32))).astype(np.float64)
    return np.asarray(np.maximum(apart - steps, 0.0) / np.maximum(unit, _spread(wide)))


def _spread(values: np.ndarray) -> np.ndarray:
    """Deviation of each column over all rows."""
    return np.asarray(values.reshape(-1, values.shape[-1]).std(axis=0)) if values.size else np.zeros(values.shape[-1])


def _labels_equal(expected: np.ndarray, outputs: np.ndarray, *, one: bool) -> tuple[np.ndarray, np.ndarray]:
    """Whether labels are equal, and how sure the model is of each: its best score minus its second best."""
    if one:
        best = np.sort(expected, axis=-1)
        second = best[..., -2] if best.shape[-1] > 1 else 0.0
        return expected.argmax(-1) == outputs.argmax(-1), best[..., -1] - second
    return (expected > 0.5) == (outputs > 0.5), np.abs(2 * expected - 1)  # yes against no of each label


def _values_equal(expected: np.ndarray, outputs: np.ndarray, unit: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    wide = expected.astype(np.float64)
    spread = wide.std(axis=0) if unit is None else np.maximum(_spread(wide), LEAST_SPREAD * unit)
    steps = 4 * np.spacing(np.abs(expected.astype(np.float32))).astype(np.float64)
    return np.abs(outputs - wide) <= VALUE_TOLERANCE * spread + steps, np.full(expected.shape, np.inf)


def _masked_mean(right: np.ndarray, counted: np.ndarray) -> np.ndarray:
    right, counted = _flat(right & counted), _flat(counted)
    return np.asarray(right.sum(axis=1) / np.maximum(counted.sum(axis=1), 1), dtype=np.float64)


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1)
