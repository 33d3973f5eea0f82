"""How good a language model is: by the likelihood of right answers, and by the answers that it writes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tlkit.answers.continuations import KNOWN, LIKELIHOOD, RIGHT, text_of
from tlkit.core.examples import Examples
from tlkit.core.task import Evaluation
from tlkit.data.dialogues import GENERAL, KIND
from tlkit.tasks import metrics
from tlkit.tasks.corpus_scores import OF_EACH, SCORES, cut_short

TEXTS = ("exact", "rouge_l", "chrf", "bleu")
SHOWN = 24  # answers that the report shows


def perplexity(likelihood: np.ndarray, known: np.ndarray) -> float:
    """exp of minus the mean log-probability of a token.

    Args:
        likelihood: float (n, tokens), log-probabilities.
        known: float (n, tokens), 1 where there is a token.

    Example:
        >>> round(perplexity(np.log([[0.5, 0.125]]), np.ones((1, 2))), 6)
        4.0
    """
    return float(np.exp(-(likelihood * known).sum() / max(1.0, float(known.sum()))))


def likelihood_scores(examples: Examples, outputs: Mapping[str, np.ndarray]) -> Evaluation:
    """Perplexity and token accuracy of answers, with bootstrap 95 % intervals over examples; of general texts too."""
    likelihood, right, known = (outputs[name].astype(np.float64) for name in (LIKELIHOOD, RIGHT, KNOWN))
    kinds = np.zeros(len(examples), np.int64)
    if KIND in examples.columns:
        kinds = np.asarray(examples.columns[KIND].take(np.arange(len(examples))))
    answers, general = np.flatnonzero(kinds != GENERAL), np.flatnonzero(kinds == GENERAL)
    scores = _perplexity_scores("perplexity", likelihood[answers], known[answers])
    hits, counts = right[answers].sum(axis=1), np.maximum(known[answers].sum(axis=1), 1)
    interval = metrics.bootstrap(lambda drawn: hits[drawn].sum() / counts[drawn].sum(), len(answers))
    share = float(hits.sum() / counts.sum()) if len(answers) else 0.0
    scores |= metrics.with_interval("token_accuracy", share, interval)
    if len(general):
        scores |= _perplexity_scores("general_perplexity", likelihood[general], known[general])
    means = (likelihood * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    headline = {**metrics.headline("perplexity", "Perplexity of answers", "bootstrap"), "lower_is_better": True}
    details = {
        "headline": {**headline, "unit": "value"},
        "example_scores": means.tolist(),
        "tokens": {"answers": int(known[answers].sum()), "general": int(known[general].sum())},
    }
    return Evaluation(metrics.finite({name: float(value) for name, value in scores.items()}), details)


def _perplexity_scores(name: str, likelihood: np.ndarray, known: np.ndarray) -> dict[str, float]:
    if not len(known):
        return metrics.with_interval(name, 0.0, (0.0, 0.0))
    interval = metrics.bootstrap(lambda drawn: perplexity(likelihood[drawn], known[drawn]), len(known))
    return metrics.with_interval(name, perplexity(likelihood, known), interval)


def written_scores(
    texts: tuple[str, ...], end: int, examples: Examples, outputs: Mapping[str, np.ndarray]
) -> Evaluation:
    """Scores of answers that the model wrote, against those of the data, and the first of them side by side."""
    written = [
        text_of(tokens, str(tokenizer), end)
        for tokens, tokenizer in zip(outputs["tokens"], _texts(examples, "tokenizer"), strict=True)
    ]
    right, questions = _texts(examples, "text"), _texts(examples, "asked")
    rows = [
        {"id": name, "asked": a[:400], "written": w[:400], "right": r[:400]}
        for name, a, w, r in list(zip(examples.ids, questions, written, right, strict=True))[:SHOWN]
    ]
    scores: dict[str, float] = {}
    for name in texts:
        scores[name], scores[f"{name}_low"], scores[f"{name}_high"] = SCORES[name](written, right)
    of_each = {
        name: [OF_EACH[name](answer, expected) for answer, expected in zip(written, right, strict=True)]
        for name in texts
        if name in OF_EACH
    }
    notes = cut_short(outputs["tokens"], "most")
    return Evaluation(metrics.finite(scores), {"samples": rows, "scores_of_samples": of_each, "notes": notes})


def _texts(examples: Examples, column: str) -> list[str]:
    return [str(text) for text in examples.columns[column].take(np.arange(len(examples)))]
