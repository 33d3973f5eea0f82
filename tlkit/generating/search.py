"""Ways to choose the next token: pure functions of scores and a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tlkit.core.errors import InputError

GREEDY = "greedy"
RULES = (GREEDY, "sample", "beam")
STRETCHES = tuple(range(4, 17))  # tokens of a stretch that ends an answer when it comes several times in a row
TIMES = 3


@dataclass(frozen=True)
class Rule:
    """How an answer is chosen.

    Attributes:
        name: "greedy", "sample" or "beam".
        most: Most tokens of an answer, >= 1.
        stop: Tokens that end it.
        temperature: Scores are divided by it before one is drawn, > 0.
        top_k: Of so many likeliest tokens one is drawn; 0 is all.
        top_p: Of the fewest tokens that have this probability together one is drawn, in (0, 1].
        beams: Beginnings that are followed at a time, >= 1.
        seed: Of what is drawn.
        repeats: How often the last 4 to 16 tokens may be said in a row before an answer is ended; 0 lets it go on.
    """

    name: str = "greedy"
    most: int = 64
    stop: tuple[int, ...] = ()
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beams: int = 4
    seed: int = 0
    repeats: int = TIMES

    def __post_init__(self) -> None:
        checks = {
            "name": (self.name in RULES, f"be one of {', '.join(RULES)}"),
            "most": (self.most >= 1, "be 1 or more"),
            "temperature": (self.temperature > 0, "be positive"),
            "top_k": (self.top_k >= 0, "be 0 or more"),
            "top_p": (0 < self.top_p <= 1, "lie in (0, 1]"),
            "beams": (self.beams >= 1, "be 1 or more"),
            "repeats": (self.repeats >= 0, "be 0 or more"),
        }
        for name, (fine, rule) in checks.items():
            if not fine:
                raise InputError(f"`{name}` of a Rule must {rule}. Received: {name}={getattr(self, name)!r}.")


class Steps(Protocol):
    """A model that is asked token by token; states are never changed, so that several beginnings may share one."""

    def begin(self, prompt: Sequence[int]) -> tuple[np.ndarray, Any]:
        """Scores (tokens of the vocabulary,) of what follows a prompt, and the state behind it."""

    def follow(self, token: int, state: Any) -> tuple[np.ndarray, Any]:
        """The same behind one more token."""


@dataclass(frozen=True)
class Written:
    """An answer.

    Attributes:
        tokens: Of it, without the one that ended it.
        leads: By how much of the probability each token was chosen, and behind them what ended the answer; the least of
            a loop's that was cut. Of beams all are 1.
        ended: Whether a token of `Rule.stop` came, or else it was cut.
    """

    tokens: tuple[int, ...]
    leads: tuple[float, ...]
    ended: bool


def log_shares(scores: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities that scores stand for, float64.

    Example:
        >>> np.exp(log_shares(np.array([0.0, 0.0]))).tolist()
        [0.5, 0.5]
    """
    scores = scores.astype(np.float64)
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def kept_shares(scores: np.ndarray, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
    """Probabilities by which a token is drawn, float64, 0 for those that `top_k` and `top_p` leave out.

    Example:
        >>> kept_shares(np.log([0.5, 0.3, 0.2]), top_k=2).round(3).tolist()
        [0.625, 0.375, 0.0]
        >>> kept_shares(np.log([0.5, 0.3, 0.2]), top_p=0.4).tolist()
        [1.0, 0.0, 0.0]

    Source: Fan et al. 2018, arXiv:1805.04833 (top k); Holtzman et al. 2020, arXiv:1904.09751 (top p).
    """
    shares = np.exp(log_shares(scores / temperature))
    order = np.argsort(-shares, kind="stable")
    count = len(order) if not top_k else min(top_k, len(order))
    before = np.cumsum(shares[order]) - shares[order]
    kept_tokens = order[:count][before[:count] < top_p]
    chosen = np.zeros_like(shares)
    chosen[kept_tokens] = shares[kept_tokens]
    return np.asarray(chosen / chosen.sum())


def loop_of(tokens: Sequence[int], times: int) -> int:
    """Size of the shortest stretch of 4 to 16 tokens that was said `times` times in a row at the end; 0 if none was.

    Example:
        >>> loop_of([9, 1, 2, 3, 4, 1, 2, 3, 4], times=2), loop_of([1, 2, 3, 4], times=2)
        (4, 0)
    """
    last = list(tokens[-STRETCHES[-1] * times :]) if times else []
    sizes = (size for size in STRETCHES if last and times * size <= len(last))
    return next((size for size in sizes if last[-size * times :] == last[-size:] * times), 0)


def written(steps: Steps, prompt: Sequence[int], rule: Rule) -> Written:
    """The answer to a prompt.

    Args:
        steps: The model.
        prompt: One token or more.
        rule: How tokens are chosen.
    """
    begun = steps.begin(prompt)
    if rule.name == "beam":
        return _by_beams(steps, begun, rule)
    draw = np.random.Generator(np.random.Philox(rule.seed)) if rule.name == "sample" else None
    return _one_by_one(steps, begun, rule, lambda scores: _chosen(scores, rule, draw))


def _chosen(scores: np.ndarray, rule: Rule, draw: np.random.Generator | None) -> tuple[int, float]:
    """A token, and its lead: of a draw by how much shares may be other and the same token is drawn."""
    if draw is None:
        return int(scores.argmax()), lead(scores)
    shares = np.cumsum(kept_shares(scores, rule.temperature, rule.top_k, rule.top_p))
    place = draw.random() * shares[-1]
    token = int(np.searchsorted(shares, place, side="right"))
    low, high = shares[token - 1] if token else 0.0, shares[token]
    gaps = [place - low if low > 0 else 1.0, high - place if high < shares[-1] else 1.0]
    return token, float(min(gaps))


def _one_by_one(
    steps: Steps, begun: tuple[np.ndarray, Any], rule: Rule, choose: Callable[[np.ndarray], tuple[int, float]]
) -> Written:
    (scores, state), tokens, leads = begun, list[int](), list[float]()
    while True:
        token, token_lead = choose(scores)
        leads.append(token_lead)
        if token in rule.stop:
            return Written(tuple(tokens), tuple(leads), True)
        tokens.append(token)
        if size := loop_of(tokens, rule.repeats):
            rest = len(tokens) - size * (rule.repeats - 1)
            return Written(tuple(tokens[:rest]), (*leads[:rest], min(leads[rest:], default=1.0)), False)
        if len(tokens) >= rule.most:
            return Written(tuple(tokens), tuple(leads), False)
        scores, state = steps.follow(token, state)


def lead(scores: np.ndarray) -> float:
    """Difference of probability between the likeliest token and the next.

    Example:
        >>> round(lead(np.log([0.5, 0.3, 0.2])), 6)
        0.2
    """
    if len(scores) < 2:
        return 1.0
    total = log_shares(scores)
    second, first = np.partition(total, -2)[-2:]
    return float(np.exp(first) - np.exp(second))


@dataclass(frozen=True)
class _Beam:
    """A beginning: its tokens, their log-probability, whether it is ended, and where the model stands."""

    tokens: tuple[int, ...]
    total: float
    ended: bool
    at: tuple[np.ndarray, Any]

    @property
    def mean(self) -> float:
        return self.total / max(1, len(self.tokens) + self.ended)


def _by_beams(steps: Steps, begun: tuple[np.ndarray, Any], rule: Rule) -> Written:
    """The beginning of the highest mean log-probability a token, as many followed as `beams`."""
    beams = [_Beam((), 0.0, False, begun)]
    for _ in range(rule.most):
        if all(beam.ended for beam in beams):
            break
        grown = [beam for beam in beams if beam.ended]
        for beam in (beam for beam in beams if not beam.ended):
            shares = log_shares(beam.at[0])
            for token in np.argsort(-shares, kind="stable")[: rule.beams]:
                total = beam.total + float(shares[token])
                if int(token) in rule.stop:
                    grown.append(dataclasses.replace(beam, total=total, ended=True))
                elif not loop_of((*beam.tokens, int(token)), rule.repeats):
                    grown.append(_Beam((*beam.tokens, int(token)), total, False, beam.at))
        if not grown:  # all that may follow repeats what was said
            break
        best = sorted(grown, key=lambda beam: -beam.mean)[: rule.beams]
        beams = [beam if beam.ended else _followed(steps, beam) for beam in best]
    best_beam = max(beams, key=lambda beam: (beam.ended, beam.mean))
    return Written(best_beam.tokens, (1.0,) * (len(best_beam.tokens) + 1), best_beam.ended)


def _followed(steps: Steps, beam: _Beam) -> _Beam:
    return dataclasses.replace(beam, at=steps.follow(beam.tokens[-1], beam.at[1]))


def likelihoods(steps: Steps, begun: tuple[np.ndarray, Any], answer: Sequence[int]) -> np.ndarray:
    """Log-probability of each token of an answer, float32 (n,), behind what the model was given."""
    scores, state = begun
    logs = []
    for place, token in enumerate(answer):
        logs.append(log_shares(scores)[token])
        if place < len(answer) - 1:
            scores, state = steps.follow(token, state)
    return np.array(logs, np.float32)
