"""Choosing tokens: closed forms, seeds, beams against all answers, loops, and rows of tokens."""

import itertools

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.generating import rows
from tlkit.generating.search import Rule, kept_shares, likelihoods, log_shares, loops, written
from tlkit.generating.stepping import run

TABLE = np.random.default_rng(0).normal(size=(5, 5)) * 2  # scores of the next token by the last


class Chain:
    """A model that sees the last token alone."""

    def begin(self, prompt):
        return TABLE[prompt[-1]], None

    def follow(self, token, state):
        return TABLE[token], None


def total(tokens, start):
    return sum(log_shares(TABLE[a])[b] for a, b in itertools.pairwise((start, *tokens)))


def test_greedy_takes_the_likeliest_until_a_stop():
    last, best = 1, []
    while (last := int(TABLE[last].argmax())) != 0 and len(best) < 6:
        best.append(last)
    assert written(Chain(), [1], Rule(most=6, stop=(0,), repeats=0)).tokens == tuple(best)


def test_beams_find_the_likeliest_of_all_answers_of_a_length():
    answer = written(Chain(), [1], Rule("beam", most=3, beams=25, repeats=0))
    every = itertools.product(range(5), repeat=3)
    assert answer.tokens == max(every, key=lambda tokens: total(tokens, 1))


def test_samples_follow_their_seed_and_their_shares():
    rule = Rule("sample", most=4, repeats=0)
    assert written(Chain(), [2], rule) == written(Chain(), [2], rule)
    drawn = [written(Chain(), [2], Rule("sample", most=1, seed=seed)).tokens[0] for seed in range(2000)]
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 2000, kept_shares(TABLE[2]), atol=0.04)
    few = {written(Chain(), [2], Rule("sample", most=1, seed=seed, top_k=2)).tokens[0] for seed in range(50)}
    assert few == set(np.argsort(-TABLE[2])[:2].tolist())


def test_a_loop_is_ended_and_said_once():
    class Same(Chain):
        def begin(self, prompt):
            return np.eye(5)[3], None

        def follow(self, token, state):
            return np.eye(5)[3], None

    answer = written(Same(), [1], Rule(most=50))
    assert answer.tokens == (3, 3, 3, 3) and not answer.ended
    assert loops([3] * 12, 3) and not loops([3] * 11, 3)


def test_the_likelihood_of_an_answer_is_the_sum_over_its_tokens():
    np.testing.assert_allclose(
        likelihoods(Chain(), Chain().begin([1]), (4, 2, 0)).sum(), total((4, 2, 0), 1), rtol=1e-6
    )


@pytest.mark.parametrize(
    "wrong",
    [{"name": "best"}, {"most": 0}, {"temperature": 0}, {"top_k": -1}, {"top_p": 0}, {"beams": 0}, {"repeats": -1}],
)
def test_a_rule_refuses_what_means_nothing(wrong):
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}` of a Rule must"):
        Rule(**wrong)


def test_rows_hold_a_prompt_and_its_answer():
    for pad, size in ((0, 100), (99, 100)):
        sign = rows.direction(pad, size)
        row = rows.packed([5, 6, 7], [8, 9], 10, pad, sign)
        assert rows.unpacked(row, pad, sign) == ([5, 6, 7], [8, 9])
        cut = rows.packed([5, 6, 7], [8, 9], 5, pad, sign)
        assert rows.unpacked(cut, pad, sign) == ([6, 7], [8, 9])
        general = rows.packed([], [5, 6, 7], 10, pad, sign)
        assert rows.unpacked(general, pad, sign) == ([5], [6, 7])


def test_a_file_without_known_functions_is_refused():
    inputs = {"prompt": np.array([[1]]), "answer": np.array([[-1]])}
    with pytest.raises(InputError, match="has a function 'decode' or 'next'"):
        run({"other": lambda feeds: {}}, inputs, rule=Rule())
