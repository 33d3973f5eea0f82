"""Choosing tokens: closed forms, seeds, beams against all answers, loops, and rows of tokens."""

import itertools

import numpy as np
import pytest

from tlkit.answers.continuations import continuation
from tlkit.core.errors import InputError
from tlkit.generating import rows
from tlkit.generating.search import Rule, kept_shares, lead, likelihoods, log_shares, loop_of, written
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


class Circle(Chain):
    """A model that says the same stretch of tokens again and again."""

    def __init__(self, period):
        self.period = period

    def begin(self, prompt):
        return np.eye(20)[0] * 9, 0

    def follow(self, token, state):
        return np.eye(20)[(state + 1) % self.period] * 9, state + 1


def test_a_loop_is_ended_and_said_once():
    answer = written(Circle(1), [1], Rule(most=50))
    assert answer.tokens == (0, 0, 0, 0) and not answer.ended
    assert loop_of([3] * 12, 3) == 4 and not loop_of([3] * 11, 3)


@pytest.mark.parametrize("period", range(1, 17))
def test_loops_of_every_period_are_ended(period):
    """In Python, and in the graphs of files."""
    tf = pytest.importorskip("tensorflow")
    from tlkit.tasks.greedy_decoding import repeats, repeats_at

    size = next(size for size in range(4, 17) if size % period == 0)
    answer = written(Circle(period), [1], Rule(most=60))
    assert answer.tokens == tuple(i % period for i in range(size))
    assert len(answer.leads) == size + 1
    text = [19, *(i % period for i in range(59))]
    first, last = (int(bound[0]) for bound in repeats(tf.constant([text])))
    assert (first, last) == (1 + size, 1 + 3 * size) and loop_of(text[:last], 3) == size
    assert not loop_of(text[: last - 1], 3)
    at_place = tf.function(lambda place: repeats_at(tf.constant([text, [19, *range(59)]]), place))
    ends = np.stack([at_place(tf.constant(place)) for place in range(60)])
    assert ends[:, 0].tolist() == [bool(loop_of(text[: place + 1], 3)) for place in range(60)] and not ends[:, 1].any()
    assert written(Circle(period), [1], Rule(most=60, repeats=0)).tokens == (*text[1:], 59 % period)


def test_beams_end_at_a_stop_and_where_all_that_may_follow_repeats():
    alone = written(Circle(1), [1], Rule("beam", most=50, beams=1))
    assert alone.tokens == (0,) * 11 and not alone.ended
    table = np.log(np.array([[0.05, 0.6, 0.35], [0.5, 0.1, 0.4], [1 / 3] * 3]))  # 0 is the end

    class Short(Chain):
        def begin(self, prompt):
            return table[0], None

        def follow(self, token, state):
            return table[token], None

    answer = written(Short(), [1], Rule("beam", most=2, beams=9, stop=(0,)))
    means = {(): 0.05, (1,): (0.6 * 0.5) ** 0.5, (2,): (0.35 / 3) ** 0.5}  # of those that are ended
    assert answer.ended and answer.tokens == max(means, key=means.get) == (1,)
    longer = written(Short(), [1], Rule("beam", most=2, beams=1, stop=(2,)))
    assert (longer.tokens, longer.ended) == ((1, 0), False)


def test_beams_are_ranked_by_the_mean_of_what_was_chosen():
    """The token that ends an answer counts as one; where none came there is none."""
    from tlkit.generating.search import _Beam

    assert _Beam((1, 2), -3.0, True, ()).mean == -1.0 and _Beam((1, 2), -3.0, False, ()).mean == -1.5
    assert _Beam((), -3.0, True, ()).mean == -3.0 and _Beam((), 0.0, False, ()).mean == 0.0


def test_leads_say_how_sure_each_token_was():
    greedy = written(Chain(), [1], Rule(most=3, repeats=0))
    assert greedy.leads[0] == pytest.approx(lead(TABLE[1])) and len(greedy.leads) == 3
    drawn = [written(Chain(), [2], Rule("sample", most=1, seed=seed)) for seed in range(200)]
    shares = kept_shares(TABLE[2])
    assert all(0 < answer.leads[0] <= 1 for answer in drawn)
    inner = [answer.leads[0] for answer in drawn if answer.tokens[0] in (1, 2, 3)]
    assert max(inner) <= max(shares[1:4]) / 2 + 1e-9  # in the middle of its share at best


def test_answers_are_compared_up_to_the_first_token_that_differs():
    """A near tie further back excuses nothing."""
    answer = continuation(0)
    nothing = np.zeros((1, 0), np.float32)
    outputs = {"tokens": np.array([[4, 5, 6, -1]]), "leads": np.array([[0.9, 0.8, 0.001, 0.7]])}
    outputs |= {"likelihood": nothing, "known": nothing}
    margins = {(4, 5, 6, -1): 0.001, (9, 9, 9, 9): 0.9, (4, 5, 7, 8): 0.001, (4, 5, 6, 7): 0.7}
    for tokens, margin in margins.items():
        agreement = answer.agree(outputs, {**outputs, "tokens": np.array([tokens])})
        assert agreement.equal[0] == (tokens == (4, 5, 6, -1)) and agreement.margin[0] == margin


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
