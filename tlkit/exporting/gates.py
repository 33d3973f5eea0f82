"""How far an exported file may stray from the Keras model, and the sentence that says why one strays too far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tlkit.core.errors import InputError
from tlkit.core.format import Format
from tlkit.core.task import Answer

NOT_FINITE = 1e9  # stands for a difference that is no number, so that records stay valid JSON
LARGEST_FLOAT16 = 65504.0
_MEND = "leave `mean` and `std` out, so that they come from the training targets"


@dataclass(frozen=True)
class Gates:
    """What an exported file must keep to; a gain is never a failure.

    Attributes:
        float32_difference: Largest difference of an output that float32 files and the SavedModel may have; their
            labels must be equal but where the model's two best scores differ by less than twice that. Values to
            regress are compared relative to their spread, each column to its own; values whose task knows no spread,
            relative to their size (root mean square).
        float16_difference: The same for float16 files.
        float16_margin: Labels of float16 files must be equal wherever the model's two best scores differ by more.
        max_drop: Loss of score (accuracy; R2 for values; of boxes mean average precision, of masks mean overlap) that
            files of 8 bits may have, in [0, 1]. They fail when the one-sided paired interval of the change lies wholly
            below -max_drop.
        min_agreement: Share of equal labels that files of 8 bits need, in [0, 1].
        confidence: Of that interval, in (0.5, 1).
        max_perplexity_ratio: How many times the model's perplexity that of files of 8 bits of a language model may
            surely be, >= 1.
    """

    float32_difference: float = 1e-4
    float16_difference: float = 2e-2
    float16_margin: float = 4e-2
    max_drop: float = 0.01
    min_agreement: float = 0.90
    confidence: float = 0.95
    max_perplexity_ratio: float = 1.1

    def __post_init__(self) -> None:
        checks = {
            "float32_difference": (self.float32_difference >= 0, "be 0 or more"),
            "float16_difference": (self.float16_difference >= 0, "be 0 or more"),
            "float16_margin": (self.float16_margin >= 0, "be 0 or more"),
            "max_drop": (0 <= self.max_drop <= 1, "lie in [0, 1]"),
            "min_agreement": (0 <= self.min_agreement <= 1, "lie in [0, 1]"),
            "confidence": (0.5 < self.confidence < 1, "lie in (0.5, 1)"),
            "max_perplexity_ratio": (self.max_perplexity_ratio >= 1, "be 1 or more"),
        }
        for name, (fine, rule) in checks.items():
            if not fine:
                raise InputError(f"`{name}` of Gates must {rule}. Received: {name}={getattr(self, name)!r}.")

    @property
    def tie(self) -> float:
        """Two scores that are nearer than this may change places by what float32 files may differ."""
        return 2 * self.float32_difference


@dataclass(frozen=True)
class Comparison:
    """How the outputs of a file agree with those of the Keras model on the same examples.

    Attributes:
        difference: Largest difference; of values to regress, relative to their spread.
        agreement: Share of equal labels (of values: within a tenth of their spread), in [0, 1].
        sure_agreement: The same among those where the model's two best scores differ by more than the margin.
        score: Accuracy, R2 of values, mean average precision of boxes, mean overlap of masks; 0 where there are no
            targets.
        score_change: `score` minus that of the Keras model.
        change_upper: Upper end of the one-sided paired interval of the change.
        clear_agreement: The same among those where they differ by more than float32 files could turn round.
        raw_size: Largest of the model's values before they get their unit; 0 where nothing gets one.
        raw_ratio: How many times as large the largest column of these is as the smallest.
        scores: Of answers that are judged over all examples together, each score of the file by name, and its change
            as "name_change".
    """

    difference: float
    agreement: float
    sure_agreement: float
    score: float
    score_change: float
    change_upper: float
    clear_agreement: float = 1.0
    raw_size: float = 0.0
    raw_ratio: float = 1.0
    scores: Mapping[str, float] = field(default_factory=dict)


def failure(format: Format, comparison: Comparison, gates: Gates, answer: Answer | None = None) -> str | None:
    """The sentence that says why a file of this format falls short, or None when it passes.

    Args:
        format: Of the file.
        comparison: What `compare` found.
        gates: What it must keep to.
        answer: What the file gives, which may know how files with weights of 8 bits are judged.
    """
    gate = format.gate or exact
    if answer is not None and answer.quantised is not None and gate in (quantised, of_bytes):
        gate = answer.quantised
    why = gate(comparison, gates)
    return why or _too_far(comparison, NOT_FINITE)


def exact(comparison: Comparison, gates: Gates) -> str | None:
    """The gate of files in float32: nothing differs but the last bits, and every answer but ties is the same."""
    if (why := _too_far(comparison, gates.float32_difference)) is not None:
        return why
    if comparison.clear_agreement == 1:
        return None
    return f"its answers agree in {comparison.clear_agreement:.4%} of the cases that are no tie, not in all"


def halved(comparison: Comparison, gates: Gates) -> str | None:
    """The gate of files in float16: answers differ only where the model itself is not sure."""
    why = _too_far(comparison, gates.float16_difference)
    if why is None and comparison.sure_agreement < 1:
        why = f"answers differ where the two best scores are more than {gates.float16_margin:g} apart"
    if why is None or comparison.raw_size <= LARGEST_FLOAT16 / 4:
        return why
    reach = f"its raw outputs reach {comparison.raw_size:.2g}, and float16 holds nothing beyond {LARGEST_FLOAT16:.0f}"
    return f"{why}; {reach}: {_MEND}"


def quantised(comparison: Comparison, gates: Gates) -> str | None:
    """The gate of files of 8 bits: the score surely drops by no more than is allowed, and most answers are the same."""
    if comparison.difference >= NOT_FINITE:
        return _too_far(comparison, NOT_FINITE)
    if comparison.agreement < gates.min_agreement:
        return f"its answers agree in {comparison.agreement:.1%} of the examples, under {gates.min_agreement:.0%}"
    if comparison.change_upper < -gates.max_drop:
        drop, sure = -100 * comparison.score_change, -100 * comparison.change_upper
        allowed = f"{100 * gates.max_drop:g} allowed"
        return f"its score drops by {drop:.1f} points, surely by more than {sure:.1f}; {allowed}"
    return None


def of_bytes(comparison: Comparison, gates: Gates) -> str | None:
    """The gate of files whose activations are of 8 bits too: that of weights of 8 bits, and a cause that is known."""
    why = quantised(comparison, gates)
    if why is None or comparison.raw_ratio <= 100:
        return why
    cause = f"its raw outputs differ {comparison.raw_ratio:.2g} times in size, and share one scale of 256 steps"
    return f"{why}; {cause}: {_MEND}"


def _too_far(comparison: Comparison, allowed: float) -> str | None:
    if comparison.difference >= NOT_FINITE:
        return "its outputs are not finite or not of the model's shape"
    if comparison.difference <= allowed:
        return None
    return f"its largest difference {comparison.difference:.2g} exceeds {allowed:g}"
