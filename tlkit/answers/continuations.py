"""What a language model says: how likely it finds the tokens of an answer, and an answer that it wrote."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit.answers.tokens import LEADS, up_to_first_difference
from tlkit.core.section import Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines
from tlkit.generating.rows import tokens_of

KNOWN, LIKELIHOOD, RIGHT = "known", "likelihood", "right"

SAMPLES = """
<p>{{ view.says }}</p>
<table><thead><tr><th>asked</th>{% if view.before %}<th>before</th>{% endif %}<th>written</th><th>in the data</th></tr>
</thead><tbody>
{% for row in view.rows %}<tr><td>{{ row.asked }}</td>{% if view.before %}<td>{{ row.before }}</td>{% endif %}
<td>{{ row.written }}</td><td>{{ row.right }}</td></tr>{% endfor %}
</tbody></table>
"""


def token_likelihoods() -> Answer:
    """Log-probabilities of the tokens of an answer that is given, (b, tokens)."""
    return Answer(
        name="answer_tokens",
        tensors=(LIKELIHOOD, RIGHT, KNOWN),
        decode=lambda raw: {LIKELIHOOD: raw[..., 0], RIGHT: raw[..., 1], KNOWN: raw[..., 2]},
        agree=_agree_on_tokens,
        say=lambda decoded, example: [("log-probability of the answer", float(decoded[LIKELIHOOD].sum()))],
        merit=lambda targets, decoded: mean_likelihood(decoded),
        sections=(samples("Questions", "Answers"),),
    )


def continuation(end: int) -> Answer:
    """An answer as it was written, token by token.

    Args:
        end: Number of the token that ends one.
    """
    return Answer(
        name="written",
        tensors=("tokens", LEADS, LIKELIHOOD, KNOWN),
        decode=dict,
        agree=_agree,
        say=functools.partial(_say, end),
        merit=lambda targets, decoded: mean_likelihood(decoded),
        quantised=perplexity_gate,
    )


def mean_likelihood(decoded: Decoded) -> np.ndarray:
    """Mean log-probability of an answer's tokens, (b,)."""
    counts = np.maximum(decoded[KNOWN].sum(axis=-1), 1)
    return np.asarray((decoded[LIKELIHOOD] * decoded[KNOWN]).sum(axis=-1) / counts)


def perplexity_gate(comparison: Any, gates: Any) -> str | None:
    """The gate of files with weights of 8 bits: the perplexity of the right answers is surely no more times the model's
    than is allowed.
    """
    most = gates.max_perplexity_ratio
    if comparison.change_upper >= -math.log(most):
        return None
    ratio, sure = math.exp(-comparison.score_change), math.exp(-comparison.change_upper)
    return f"its perplexity is {ratio:.2f} times the model's, surely more than {sure:.2f} times; {most:g} allowed"


def _agree_on_tokens(expected: Decoded, actual: Decoded) -> Agreement:
    apart = np.abs(np.exp(expected[LIKELIHOOD]) - np.exp(actual[LIKELIHOOD])) * expected[KNOWN]
    return Agreement(apart.max(axis=-1), expected[RIGHT] == actual[RIGHT], np.ones_like(expected[RIGHT]))


def _agree(expected: Decoded, actual: Decoded) -> Agreement:
    """Texts are equal or not; the first token that differs is a tie where it led by less than a file may differ."""
    apart = np.abs(np.exp(expected[LIKELIHOOD]) - np.exp(actual[LIKELIHOOD])) * expected[KNOWN]
    equal, margin = up_to_first_difference(expected["tokens"], actual["tokens"], expected[LEADS])
    return Agreement(apart.max(axis=-1, initial=0.0), equal, margin)


def _say(end: int, decoded: Decoded, example: Mapping[str, Any]) -> Lines:
    """The text, and the probability by which its least sure token led."""
    return [(text_of(decoded["tokens"], str(example["tokenizer"]), end), float(np.min(decoded[LEADS])))]


def text_of(tokens: np.ndarray, tokenizer: str, end: int) -> str:
    """The text of some tokens.

    Args:
        tokens: Numbers, -1 behind the last.
        tokenizer: A tokenizer.json.
        end: Number of the token that ends an answer.
    """
    from tlkit.tokenizing.bytepairs import BytePairs

    return BytePairs(tokenizer, None, end, end).decode(tokens_of(tokens)).strip()


def _samples(what: str, facts: Any) -> Any:
    rows = facts.detail("samples")
    if not rows:
        return None
    before = ((facts.detail("before") or {}).get("details") or {}).get("samples") or []
    written_before = {row.get("id", row["asked"]): row["written"] for row in before}
    listed = [{**row, "before": written_before.get(row.get("id", row["asked"]), "")} for row in rows]
    says = f"{what} of the test, which training has not seen, and what the model wrote before and after training."
    return {"rows": listed, "before": bool(before), "says": says}


def samples(what: str, title: str) -> Section:
    """A section of the report that shows what was written before and after training, beside what is right.

    Args:
        what: Is answered, in the plural: "Questions".
        title: What is written, in the plural: "Answers".
    """
    return Section("samples", f"{title} before and after", functools.partial(_samples, what), SAMPLES, short=title)
