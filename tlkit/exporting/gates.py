"""How far an exported file may stray from the Keras model: measured as pure NumPy, judged by `Gates`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.task import LABEL, LABELS, VALUES
from tlkit.tasks.metrics import paired_interval

NOT_FINITE = 1e9  # stands for a difference that is no number, so that records stay valid JSON
VALUE_TOLERANCE = 0.1  # two values to regress "agree" when they differ by less than this share of the spread
LEAST_SPREAD = 0.05  # of the training targets' own: outputs that hardly vary are not judged by how little they do
LARGEST_FLOAT16 = 65504.0
SAME = 0.01  # of a value that never varies: nearer is right


@dataclass(frozen=True)
class Gates:
    """What an exported file must keep to; a gain is never a failure.

    Attributes:
        float32_difference: Largest difference of an output that float32 files and the SavedModel may have; their
            labels must all be equal. Values to regress are compared relative to their spread, each column to its own;
            values whose task knows no spread, relative to their size (root mean square).
        float16_difference: The same for float16 files.
        float16_margin: Labels of float16 files must be equal wherever the model's two best scores differ by more.
        max_drop: Loss of score (accuracy; R2 for values) that dynamic and int8 files may have, in [0, 1]. They fail
            when the one-sided paired interval of the change lies wholly below -max_drop.
        min_agreement: Share of equal labels that dynamic and int8 files need, in [0, 1].
        confidence: Of that interval, in (0.5, 1).
    """

    float32_difference: float = 1e-4
    float16_difference: float = 2e-2
    float16_margin: float = 4e-2
    max_drop: float = 0.01
    min_agreement: float = 0.90
    confidence: float = 0.95

    def __post_init__(self) -> None:
        checks = {
            "float32_difference": (self.float32_difference >= 0, "be 0 or more"),
            "float16_difference": (self.float16_difference >= 0, "be 0 or more"),
            "float16_margin": (self.float16_margin >= 0, "be 0 or more"),
            "max_drop": (0 <= self.max_drop <= 1, "lie in [0, 1]"),
            "min_agreement": (0 <= self.min_agreement <= 1, "lie in [0, 1]"),
            "confidence": (0.5 < self.confidence < 1, "lie in (0.5, 1)"),
        }
        for name, (fine, rule) in checks.items():
            if not fine:
                raise InputError(f"`{name}` of Gates must {rule}. Received: {name}={getattr(self, name)!r}.")


@dataclass(frozen=True)
class Comparison:
    """How the outputs of a file agree with those of the Keras model on the same examples.

    Attributes:
        difference: Largest difference; of values to regress, relative to their spread.
        agreement: Share of equal labels (of values: within a tenth of their spread), in [0, 1].
        sure_agreement: The same among those where the model's two best scores differ by more than the margin.
        score: Accuracy, or R2 of values; 0 where there are no targets.
        score_change: `score` minus that of the Keras model.
        change_upper: Upper end of the one-sided paired interval of the change.
    """

    difference: float
    agreement: float
    sure_agreement: float
    score: float
    score_change: float
    change_upper: float


def compare(
    expected: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    targets: np.ndarray | None,
    *,
    answer: str,
    unit: Sequence[float] | None = None,
    gates: Gates = Gates(),
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
    )


def failure(format: str, found: Comparison, gates: Gates, *, kind: str = "labels") -> str | None:
    """The sentence that says why a file of this format falls short, or None when it passes.

    Args:
        format: Of the file.
        found: What `compare` found.
        gates: What it must keep to.
        kind: What is compared, as people call it: "labels" or "values".
    """
    if found.difference >= NOT_FINITE:
        return "its outputs are not finite or not of the model's shape"
    if format in ("saved_model", "float32"):
        return _exact_failure(found, gates, kind)
    return _float16_failure(found, gates, kind) if format == "float16" else _quantised_failure(found, gates, kind)


def coarse_outputs(format: str, standard: np.ndarray) -> str | None:
    """Why a file may fail that holds these outputs before they get their unit, float (n, k): a clause, or None."""
    largest = np.abs(standard).max(axis=0, initial=0.0)
    if format == "float16" and largest.max(initial=0.0) > LARGEST_FLOAT16 / 4:
        return f"its raw outputs reach {largest.max():.2g}, and float16 holds nothing beyond {LARGEST_FLOAT16:.0f}"
    if format == "int8" and largest.max(initial=0.0) > 100 * largest.min(initial=np.inf):
        return f"its raw outputs reach {largest.max():.2g} and {largest.min():.2g}, and share one scale of 256 steps"
    return None


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


def _exact_failure(found: Comparison, gates: Gates, kind: str) -> str | None:
    if found.difference > gates.float32_difference:
        return f"its largest difference {found.difference:.2g} exceeds {gates.float32_difference:g}"
    return None if found.agreement == 1 else f"its {kind} agree in {found.agreement:.1%} of the examples, not in all"


def _float16_failure(found: Comparison, gates: Gates, kind: str) -> str | None:
    if found.difference > gates.float16_difference:
        return f"its largest difference {found.difference:.2g} exceeds {gates.float16_difference:g}"
    if found.sure_agreement < 1:
        return f"{kind} differ where the two best scores are more than {gates.float16_margin:g} apart"
    return None


def _quantised_failure(found: Comparison, gates: Gates, kind: str) -> str | None:
    if found.agreement < gates.min_agreement:
        return f"its {kind} agree in {found.agreement:.1%} of the examples, under {gates.min_agreement:.0%}"
    if found.change_upper < -gates.max_drop:
        drop, sure = -100 * found.score_change, -100 * found.change_upper
        allowed = f"{100 * gates.max_drop:g} allowed"
        return f"its score drops by {drop:.1f} points, surely by more than {sure:.1f}; {allowed}"
    return None
