"""How far an exported file may stray from the Keras model: measured as pure NumPy, judged by `Gates`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlkit.errors import InputError
from tlkit.tasks.metrics import paired_interval

NOT_FINITE = 1e9  # stands for a difference that is no number, so that records stay valid JSON
VALUE_TOLERANCE = 0.1  # two values to regress "agree" when they differ by less than this share of the spread


@dataclass(frozen=True)
class Gates:
    """What an exported file must keep to; a gain is never a failure.

    Attributes:
        float32_difference: Largest difference of an output that float32 files and the SavedModel may have; their
            labels must all be equal. Values to regress are compared relative to their size (root mean square).
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
        difference: Largest difference; of values to regress, relative to their root mean square.
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
    probabilities: bool,
    gates: Gates = Gates(),
) -> Comparison:
    """Compare a file's outputs with the Keras model's; of several outputs, the worst figure of each counts.

    Args:
        expected: Decoded outputs of the Keras model, float32 (n, ...), by name.
        outputs: Those of the file.
        targets: What was right, first axis the examples, or None; used where there is one output, and not where that
            is no guess at them (an embedding).
        probabilities: Whether outputs are scores of labels (else they are values).
        gates: For the margin and the confidence.
    """
    guessed = targets is not None and all(probabilities or y.size == targets.size for y in expected.values())
    truth = targets if len(expected) == 1 and guessed else None
    return worst([_compare_one(expected[k], outputs[k], truth, probabilities, gates) for k in expected])


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


def failure(format: str, found: Comparison, gates: Gates) -> str | None:
    """The sentence that says why a file of this format falls short, or None when it passes."""
    if found.difference >= NOT_FINITE:
        return "its outputs are not finite or not of the model's shape"
    if format in ("saved_model", "float32"):
        return _exact_failure(found, gates)
    return _float16_failure(found, gates) if format == "float16" else _quantised_failure(found, gates)


def merits(outputs: np.ndarray, targets: np.ndarray, *, probabilities: bool) -> np.ndarray:
    """Score of each example, float64 (n,); their mean is the accuracy of labels, or the R2 of values.

    Targets below 0 are positions to leave out (padding of a sequence).
    """
    if probabilities and targets.ndim == outputs.ndim - 1:
        return _masked_mean(outputs.argmax(-1) == targets, targets >= 0)
    if probabilities:
        return _masked_mean((outputs > 0.5) == (targets > 0.5), targets >= 0)
    variance = np.maximum(targets.astype(np.float64).var(axis=0), 1e-12)
    squares = (outputs.astype(np.float64) - targets.reshape(outputs.shape)) ** 2
    shares = _flat(squares / variance.reshape(outputs.shape[1:])).mean(axis=1)
    return np.asarray(1.0 - shares)


def _compare_one(
    expected: np.ndarray, outputs: np.ndarray, targets: np.ndarray | None, probabilities: bool, gates: Gates
) -> Comparison:
    if outputs.shape != expected.shape or not np.isfinite(outputs).all():
        return Comparison(NOT_FINITE, 0.0, 0.0, 0.0, -1.0, -1.0)
    same, margin = _labels_equal(expected, outputs) if probabilities else _values_equal(expected, outputs)
    size = 1.0 if probabilities else max(float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))), 1e-12)
    sure = same[margin > gates.float16_margin]
    score, change, upper = _change(expected, outputs, targets, probabilities, gates.confidence)
    return Comparison(
        difference=float(np.abs(outputs.astype(np.float64) - expected).max(initial=0.0)) / size,
        agreement=float(same.mean()) if same.size else 1.0,
        sure_agreement=float(sure.mean()) if sure.size else 1.0,
        score=score,
        score_change=change,
        change_upper=upper,
    )


def _change(
    expected: np.ndarray, outputs: np.ndarray, targets: np.ndarray | None, probabilities: bool, confidence: float
) -> tuple[float, float, float]:
    if targets is None or not len(targets):
        return 0.0, 0.0, 0.0
    before, after = (merits(y, targets, probabilities=probabilities) for y in (expected, outputs))
    change = paired_interval(before, after, confidence)
    return float(after.mean()), change.difference, change.high


def _labels_equal(expected: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether labels are equal, and how sure the model is of each: its best score minus its second best."""
    if np.allclose(expected.sum(-1), 1.0, atol=1e-3) and expected.shape[-1] > 1:
        best = np.sort(expected, axis=-1)
        return expected.argmax(-1) == outputs.argmax(-1), best[..., -1] - best[..., -2]
    return (expected > 0.5) == (outputs > 0.5), np.abs(2 * expected - 1)  # yes against no of each label


def _values_equal(expected: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = np.maximum(expected.std(axis=0), 1e-12)
    return np.abs(outputs - expected) <= VALUE_TOLERANCE * spread, np.full(expected.shape, np.inf)


def _masked_mean(right: np.ndarray, counted: np.ndarray) -> np.ndarray:
    right, counted = _flat(right & counted), _flat(counted)
    return np.asarray(right.sum(axis=1) / np.maximum(counted.sum(axis=1), 1), dtype=np.float64)


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1)


def _exact_failure(found: Comparison, gates: Gates) -> str | None:
    if found.difference > gates.float32_difference:
        return f"its largest difference {found.difference:.2g} exceeds {gates.float32_difference:g}"
    return None if found.agreement == 1 else f"its labels agree in {found.agreement:.1%} of the examples, not in all"


def _float16_failure(found: Comparison, gates: Gates) -> str | None:
    if found.difference > gates.float16_difference:
        return f"its largest difference {found.difference:.2g} exceeds {gates.float16_difference:g}"
    if found.sure_agreement < 1:
        return f"labels differ where the two best scores are more than {gates.float16_margin:g} apart"
    return None


def _quantised_failure(found: Comparison, gates: Gates) -> str | None:
    if found.agreement < gates.min_agreement:
        return f"its labels agree in {found.agreement:.1%} of the examples, under {gates.min_agreement:.0%}"
    if found.change_upper < -gates.max_drop:
        drop, sure = -100 * found.score_change, -100 * found.change_upper
        allowed = f"{100 * gates.max_drop:g} allowed"
        return f"its score drops by {drop:.1f} points, surely by more than {sure:.1f}; {allowed}"
    return None
