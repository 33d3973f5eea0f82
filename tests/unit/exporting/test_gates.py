import dataclasses

import numpy as np
import pytest

import tlkit
from tlkit import answers
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.format import Format
from tlkit.exporting import formats
from tlkit.exporting.comparing import compare, worst
from tlkit.exporting.gates import NOT_FINITE, Comparison, Gates
from tlkit.exporting.gates import failure as failure_of
from tlkit.tasks.metrics import paired_interval

BROUGHT = ("saved_model", "float32", "float16", "dynamic", "int8")
FINE = Comparison(0.0, 1.0, 1.0, 0.8, 0.0, 0.0)


def scores(*best: int, k: int = 3, sure: float = 0.8) -> np.ndarray:
    array = np.full((len(best), k), (1 - sure) / (k - 1), np.float32)
    array[np.arange(len(best)), best] = sure
    return array


LABEL, LABELS, VALUES = "label", "labels", "values"


def answer_of(kind: str, columns: int, unit: list[float] | None) -> tlkit.Answer:
    names = [str(i) for i in range(columns)]
    if kind == VALUES:
        as_it_is = answers.Affine("y", tuple(unit), (0.0,) * len(unit)) if unit else lambda raw: {"y": raw}
        return answers.values(names, as_it_is, name="y")
    return answers.scores(names, several=kind == LABELS, name="y")


def compared(
    expected: np.ndarray,
    outputs: np.ndarray,
    targets: np.ndarray | None = None,
    answer: str = LABEL,
    unit: list[float] | None = None,
    gates: Gates = Gates(),  # noqa: B008
) -> Comparison:
    judged = answer_of(answer, expected.shape[-1], unit)
    return compare(
        judged, {"y": expected}, {"y": outputs}, targets if targets is None else ArrayColumn(targets), gates=gates
    )


def merits(outputs: np.ndarray, targets: np.ndarray, answer: str) -> np.ndarray:
    return answer_of(answer, outputs.shape[-1], None).merit(targets, {"y": outputs})


def failure(name: str, comparison: Comparison, gates: Gates) -> str | None:
    return failure_of(getattr(formats, name), comparison, gates)


def test_equal_outputs_differ_in_nothing():
    comparison = compared(scores(0, 1, 2), scores(0, 1, 2), np.array([0, 1, 1]))
    assert (comparison.difference, comparison.agreement, comparison.score_change) == (0, 1, 0)
    assert comparison.score == pytest.approx(2 / 3)
    assert all(
        failure(name, comparison, Gates()) is None for name in ("saved_model", "float32", "float16", "dynamic", "int8")
    )


def test_accuracy_and_its_change():
    comparison = compared(scores(0, 1, 2, 0), scores(0, 1, 1, 1), np.array([0, 1, 2, 1]))
    assert comparison.agreement == 0.5
    assert comparison.score == 0.75
    assert comparison.score_change == 0.0  # one lost, one won
    assert comparison.change_upper > 0


def test_the_change_is_bounded_by_the_paired_interval():
    expected, targets = np.zeros(75, np.int64), np.zeros(75, np.int64)
    outputs = np.array([1] * 4 + [0] * 71)
    comparison = compared(scores(*expected), scores(*outputs), targets)
    interval = paired_interval(np.ones(75), 1.0 - outputs, 0.95)
    assert (comparison.score_change, comparison.change_upper) == (pytest.approx(-4 / 75), pytest.approx(interval.high))


@pytest.mark.parametrize(
    ("lost", "won", "fails"), [(0, 0, False), (2, 0, False), (8, 0, True), (8, 5, False), (0, 30, False)]
)
def test_only_a_significant_drop_fails(lost, won, fails):
    targets = np.zeros(200, np.int64)
    expected, outputs = np.zeros(200, np.int64), np.zeros(200, np.int64)
    outputs[:lost], expected[200 - won :] = 1, 1
    comparison = compared(scores(*expected), scores(*outputs), targets, gates=Gates())
    assert comparison.score_change == pytest.approx((won - lost) / 200)
    sentence = failure("int8", comparison, Gates(min_agreement=0))
    assert (sentence is not None) == fails
    assert not fails or "drops by 4.0 points" in sentence


def test_a_larger_allowance_lets_a_drop_pass():
    comparison = Comparison(0.5, 0.95, 1.0, 0.7, -0.05, -0.03)
    assert "1 allowed" in (failure("dynamic", comparison, Gates()) or "")
    assert failure("dynamic", comparison, Gates(max_drop=0.04)) is None


def test_float32_needs_every_label():
    comparison = Comparison(1e-5, 0.99, 1.0, 0.8, 0.0, 0.0, clear_agreement=0.995)
    assert "99.5000%" in (failure("float32", comparison, Gates()) or "")
    assert "99.5000%" in (failure("saved_model", comparison, Gates()) or "")
    assert "0.0002 exceeds 0.0001" in (failure("float32", Comparison(2e-4, 1, 1, 0, 0, 0), Gates()) or "")


def test_ties_may_swap_in_float32_and_nothing_else():
    expected = np.array([[0.50001, 0.49999], [0.8, 0.2]], np.float32)
    comparison = compared(expected, np.array([[0.49999, 0.50001], [0.8, 0.2]], np.float32))
    assert (comparison.agreement, comparison.clear_agreement) == (0.5, 1.0) and failure(
        "float32", comparison, Gates()
    ) is None
    strict = Gates(float32_difference=5e-6)
    assert failure("float32", compared(expected, expected[:, ::-1], gates=strict), strict)


def test_float16_may_swap_only_close_scores():
    expected = np.array([[0.52, 0.48], [0.51, 0.49]], np.float32)
    swapped = np.array([[0.52, 0.48], [0.499, 0.501]], np.float32)
    comparison = compared(expected, swapped)
    assert comparison.agreement == 0.5
    assert comparison.sure_agreement == 1.0
    assert failure("float16", comparison, Gates()) is None
    assert "more than 0.01 apart" in (
        failure("float16", compared(expected, swapped, gates=Gates(float16_margin=0.01)), Gates(float16_margin=0.01))
        or ""
    )
    assert "0.03 exceeds 0.02" in (failure("float16", Comparison(0.03, 1, 1, 0, 0, 0), Gates()) or "")


def test_agreement_gate_of_quantised_files():
    assert "85.0%" in (failure("int8", Comparison(0.5, 0.85, 1, 0.8, 0.02, 0.1), Gates()) or "")


@pytest.mark.parametrize("outputs", [np.full((2, 3), np.nan), np.zeros((2, 4))])
def test_what_cannot_be_compared_fails_every_gate(outputs):
    comparison = compared(scores(0, 1), outputs.astype(np.float32), np.array([0, 1]))
    assert comparison.difference == NOT_FINITE
    assert all("not finite" in (failure(name, comparison, Gates()) or "") for name in ("float32", "float16", "int8"))


def test_several_labels_each_count():
    expected = np.array([[0.9, 0.1, 0.6], [0.2, 0.8, 0.4]], np.float32)
    outputs = np.array([[0.9, 0.1, 0.4], [0.2, 0.8, 0.4]], np.float32)
    comparison = compared(expected, outputs, np.array([[1, 0, 1], [0, 1, 0]], np.float32), answer=LABELS)
    assert comparison.agreement == pytest.approx(5 / 6)
    assert comparison.score == pytest.approx(5 / 6)
    assert comparison.score_change == pytest.approx(-1 / 6)


def test_values_are_compared_relative_to_their_size():
    expected = np.linspace(1000, 2000, 50, dtype=np.float32)[:, None]
    comparison = compared(expected, expected * 1.00002, expected[:, 0], answer=VALUES)
    assert comparison.difference < 1e-4
    assert comparison.agreement == 1.0
    assert comparison.score == pytest.approx(1.0, abs=1e-6)
    assert failure("float32", comparison, Gates()) is None
    rough = compared(expected, expected + 200, expected[:, 0], answer=VALUES)
    assert rough.agreement == 0.0
    assert "agree in 0.0%" in (failure("int8", rough, Gates()) or "")


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_values_of_any_size_are_judged_alike(size):
    rng = np.random.default_rng(0)
    targets = (size * rng.normal(5, 1, (200, 1))).astype(np.float32)
    expected = targets + np.float32(0.3 * size) * rng.normal(size=targets.shape).astype(np.float32)
    fine = compared(expected, expected * np.float32(1.0001), targets, answer=VALUES, unit=[size])
    assert (fine.agreement, fine.score) == (1.0, pytest.approx(0.9, abs=0.03))
    assert fine.difference == pytest.approx(8e-4, rel=0.2)
    wrong = compared(expected, np.zeros_like(expected), targets, answer=VALUES, unit=[size])
    assert wrong.score < -10 and "answers agree in 0.0%" in (failure("int8", wrong, Gates()) or "")


def test_each_column_of_values_is_judged_by_its_own_spread():
    rng = np.random.default_rng(0)
    expected = (rng.normal(size=(50, 2)) * [1e-3, 1e6]).astype(np.float32)
    lost = expected * np.array([0, 1], np.float32)  # the small column has gone
    comparison = compared(expected, lost, expected, answer=VALUES, unit=[1e-3, 1e6])
    assert comparison.difference > 1 and comparison.agreement < 0.6 and comparison.score == pytest.approx(0.5, abs=0.02)


def test_far_from_zero_the_spread_counts_and_not_the_size():
    years = np.linspace(1900, 2000, 50, dtype=np.float32)[:, None]
    assert compared(years, years + 15, years, answer=VALUES, unit=[30.0]).difference == pytest.approx(0.5, rel=0.05)
    late = np.float32(1.7e9) + 1000 * years  # float32 has steps of 128 here
    comparison = compared(late, np.nextafter(late, np.float32(np.inf)), late, answer=VALUES, unit=[3e4])
    assert failure("float32", comparison, Gates()) is None


def test_a_target_that_never_varies_is_right_or_wrong():
    expected = np.full((9, 1), 7.0, np.float32)
    right = compared(expected, expected * np.float32(1.0001), expected, answer=VALUES, unit=[7e-3])
    assert (right.score, right.agreement) == (1.0, 0.0)  # an eighth of the unit apart
    assert compared(expected, expected + 1, expected, answer=VALUES, unit=[7e-3]).score == 0.0


def test_the_task_says_whether_scores_are_shares_of_one_whole():
    by_chance = np.array([[0.45, 0.35, 0.2], [0.1, 0.4, 0.5]], np.float32)  # of sigmoids, no label is on
    other = by_chance[:, ::-1]
    assert compared(by_chance, other, answer=LABELS).agreement == 1.0
    assert compared(by_chance, other, answer=LABEL).agreement == 0.0
    rounded = by_chance * np.float32(0.98)  # shares that 8 bits do not let add up to 1
    assert compared(rounded, rounded[:, ::-1], answer=LABEL).agreement == 0.0


def test_what_spoils_values_is_named():
    lost = Comparison(0.5, 0.5, 0.5, 0.8, -0.5, -0.4, raw_size=2.5e5, raw_ratio=1e6)
    small = dataclasses.replace(lost, raw_size=2.0, raw_ratio=2.0)
    assert "beyond 65504" in (failure("float16", lost, Gates()) or "")
    assert "share one scale" in (failure("int8", lost, Gates()) or "")
    for name in ("float32", "float16", "dynamic", "int8"):
        message = failure(name, small, Gates()) or ""
        assert message and "raw outputs" not in message
    assert not any(failure(name, dataclasses.replace(FINE, raw_size=1e9, raw_ratio=1e9), Gates()) for name in BROUGHT)


def test_a_format_without_a_gate_is_judged_as_float32_and_none_passes_what_is_not_finite():
    gateless = Format("a.B", "b.bin", print, print)
    assert failure_of(gateless, dataclasses.replace(FINE, difference=2e-4), Gates()) == failure(
        "float32", dataclasses.replace(FINE, difference=2e-4), Gates()
    )
    lenient = dataclasses.replace(gateless, gate=lambda comparison, gates: None)
    assert failure_of(lenient, dataclasses.replace(FINE, difference=2e-4), Gates()) is None
    assert "not finite" in (failure_of(lenient, dataclasses.replace(FINE, difference=NOT_FINITE), Gates()) or "")


def test_merits_of_values_average_to_r2():
    rng = np.random.default_rng(0)
    targets, outputs = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    squares = ((outputs - targets) ** 2).sum(axis=0) / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    assert merits(outputs, targets, answer=VALUES).mean() == pytest.approx(1 - squares.mean())


def test_padding_of_sequences_does_not_count():
    outputs = np.eye(3, dtype=np.float32)[np.array([[0, 1, 2], [1, 1, 1]])]
    assert merits(outputs, np.array([[0, 0, -1], [1, -1, -1]]), answer=LABEL).tolist() == [0.5, 1.0]


def test_the_worst_of_several_outputs_counts():
    comparison = worst([compared(scores(0, 1), scores(0, 1)), compared(scores(0, 1), scores(0, 0))])
    assert (comparison.agreement, comparison.score) == (0.5, 0.0)
    assert comparison.difference == pytest.approx(0.7, abs=1e-6)


def test_passing_is_passing():
    assert failure("int8", FINE, Gates()) is None


@pytest.mark.parametrize(
    "wrong", [{"max_drop": 2}, {"min_agreement": -0.1}, {"float32_difference": -1}, {"confidence": 0.5}]
)
def test_gates_say_what_is_wrong(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Gates(**wrong)


def test_outputs_larger_than_what_is_compared_together_count_as_one(monkeypatch):
    rng = np.random.default_rng(0)
    expected = rng.dirichlet(np.ones(4), 50).astype(np.float32)
    outputs = np.roll(expected, 1, axis=0)
    targets = rng.integers(4, size=50)
    whole = compared(expected, outputs, targets)
    monkeypatch.setattr("tlkit.exporting.comparing.AT_ONCE", 7 * expected[:1].nbytes)
    assert compared(expected, outputs, targets) == whole
