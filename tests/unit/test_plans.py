"""Plans are pure functions: what they give, and what they refuse."""

from __future__ import annotations

import doctest
import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit import plans
from tlkit.core.errors import InputError
from tlkit.core.run import Phase

RATES = st.floats(1e-6, 1e-1)


def epochs(phases: tuple[Phase, ...]) -> int:
    return sum(p.epochs for p in phases)


def shares(phases: tuple[Phase, ...]) -> list[float]:
    return [p.unfrozen for p in phases]


def test_docstrings_hold():
    assert doctest.testmod(plans).failed == 0


def test_plans_need_no_tensorflow():
    code = "import sys; from tlkit import plans; plans.gradual(), plans.recommend(9); sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_plan_is_said():
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        plans.nosuch  # noqa: B018


def test_feature_extraction_leaves_the_module_frozen():
    assert plans.feature_extraction(epochs=7, lr=0.1) == (Phase(epochs=7, lr=0.1),)


@given(first=st.integers(0, 50), second=st.integers(0, 50), share=st.floats(0.01, 1.0))
def test_two_phase_trains_as_long_as_it_was_asked(first, second, share):
    phases = plans.two_phase(epochs=(first, second), unfrozen=share, patience=3)
    assert epochs(phases) == first + second
    assert shares(phases) == [0.0] * (first > 0) + [share] * (second > 0)
    assert all(p.patience == 3 for p in phases)


@given(
    stages=st.integers(2, 12), each=st.integers(1, 9), rates=st.tuples(RATES, RATES).map(lambda r: (max(r), min(r))),
    share=st.floats(0.01, 1.0),
)  # fmt: skip
def test_gradual_thaws_more_and_more_at_falling_rates(stages, each, rates, share):
    phases = plans.gradual(stages, each, rates, unfrozen=share, lr_decay=0.8)
    assert epochs(phases) == stages * each
    assert shares(phases) == sorted(shares(phases)) and len(set(shares(phases))) == stages
    assert shares(phases)[0] == 0.0 and shares(phases)[-1] == pytest.approx(share)
    falling = [p.lr for p in phases]
    assert falling[0] == rates[0] and falling[-1] == pytest.approx(rates[1])
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(falling))
    assert [p.lr_decay for p in phases] == [1.0] + [0.8] * (stages - 1)


@given(few=st.integers(1, 10**6), more=st.integers(0, 10**6))
def test_recommend_unfreezes_no_less_where_there_is_more_data(few, more):
    less, much = plans.recommend(few, 10), plans.recommend(few + more, 10)
    assert shares(less)[-1] <= shares(much)[-1]
    assert shares(less)[0] == 0.0 and epochs(less) >= epochs(much)
    assert less[0].epochs * few >= 30 * min(few, 100)  # about 100 steps of 32, or 30 epochs where those are few


def test_recommend_uses_all_of_the_module_only_for_much_data():
    assert [plans.recommend(n, 10)[1].unfrozen for n in (100, 5_000, 50_000)] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: plans.feature_extraction(epochs=-1),
            r"`epochs` of a Phase must be a whole number, 0 or more. .*epochs=-1",
        ),
        (lambda: plans.feature_extraction(lr=0.0), "`lr` of a Phase must be positive and finite. Received: lr=0.0"),
        (lambda: plans.two_phase(epochs=(1, 2, 3)), r"hold two numbers each. Received: epochs=\(1, 2, 3\)"),
        (lambda: plans.two_phase(lr=(1e-3,)), "`epochs` and `lr` hold two numbers each"),
        (lambda: plans.two_phase(unfrozen=1.5), r"`unfrozen` of a Phase must lie in \[0, 1\]. Received: unfrozen=1.5"),
        (lambda: plans.two_phase(lr_decay=0.0), r"`lr_decay` of a Phase must lie in \(0, 1\]"),
        (lambda: plans.two_phase(patience=0), "`patience` of a Phase must be positive or None"),
        (lambda: plans.gradual(stages=1), r"`stages` must be 2 to 100 .* take feature_extraction\(\).*stages=1"),
        (lambda: plans.gradual(epochs=0), r"`epochs` 1 or more.*epochs=0"),
        (lambda: plans.gradual(unfrozen=0.0), r"`unfrozen` must lie in \(0, 1\]. Received: unfrozen=0.0"),
        (lambda: plans.gradual(unfrozen=1.01), r"`unfrozen` must lie in \(0, 1\]"),
        (lambda: plans.gradual(lr=(1e-4, 1e-3)), r"the second no higher than the first. Received: lr=\(0.0001, 0.001"),
        (lambda: plans.gradual(lr=(1e-3, 0.0)), "two positive rates"),
        (lambda: plans.gradual(lr_decay=1.2), r"`lr_decay` of a Phase must lie in \(0, 1\]. Received: lr_decay=1.2"),
        (lambda: plans.recommend(0), "must be 1 or more. Received: num_examples=0, num_classes=2"),
        (lambda: plans.recommend(9, 0), "num_classes=0"),
    ],
)
def test_refused_arguments_are_named(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
