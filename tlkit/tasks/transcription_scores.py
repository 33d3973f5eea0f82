"""Scores of transcripts: word and character error rate with intervals, and what was heard as what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlkit.core.edits import EQUAL, Edit, align, distance
from tlkit.core.examples import Examples
from tlkit.core.task import Evaluation
from tlkit.data.speech import TEXT
from tlkit.data.spelling import spoken, words
from tlkit.tasks import metrics

WORST, CONFUSED = 24, 30  # recordings, and pairs of words, that the report shows


def evaluate_transcripts(examples: Examples, texts: Sequence[str]) -> Evaluation:
    """Scores of what a model heard.

    Both texts are brought to one spelling first, as `data.spelling.spoken` has it: lower case without punctuation,
    numbers and contractions in words, American spelling.

    Args:
        examples: Their column "text" is what was said.
        texts: What the model heard, one an example.

    Returns:
        Scores wer, edits of words over all words said, which may exceed 1; cer, the same of characters, each with a
        bootstrap 95 % interval over recordings; `exact`, the share of recordings without an error; `substituted`,
        `deleted` and `inserted`, the parts of the wer. `example_scores` are minus the wer of each recording.
    """
    true = [str(examples.columns[TEXT][i]) for i in range(len(examples))]
    edits = [align(words(a), words(b)) for a, b in zip(true, texts, strict=True)]
    wrong = np.array([sum(edit.kind != EQUAL for edit in alignment) for alignment in edits])
    lengths = np.array([sum(edit.true is not None for edit in alignment) for alignment in edits])
    pairs = [(spoken(a), spoken(b)) for a, b in zip(true, texts, strict=True)]
    misspelled, characters = np.array([(distance(a, b), len(a)) for a, b in pairs]).reshape(-1, 2).T
    kinds = Counter(edit.kind for alignment in edits for edit in alignment)
    count = max(1, int(lengths.sum()))
    scores = {
        **_rate("wer", wrong, lengths),
        **_rate("cer", misspelled, characters),
        "exact": float((wrong == 0).mean()),
        **{kind: kinds[kind] / count for kind in ("substituted", "deleted", "inserted")},
    }
    rates = wrong / np.maximum(lengths, 1)
    details = {
        "headline": metrics.headline("wer", "Word error rate", "bootstrap", lower_is_better=True),
        "example_scores": (-rates).tolist(),
        "transcripts": {
            "words": int(lengths.sum()),
            "recordings": len(true),
            "worst": [_shown(examples.ids[i], float(rates[i]), edits[i]) for i in _worst(wrong, rates)],
            "confused": _confused(edits),
        },
    }
    return Evaluation(metrics.finite(scores), details, None)


def _rate(name: str, wrong: np.ndarray, of: np.ndarray) -> dict[str, float]:
    """Errors over what there is, with the interval of drawing recordings anew."""

    def rate(rows: Any) -> float:
        return float(wrong[rows].sum() / max(1, of[rows].sum()))

    return metrics.with_interval(name, rate(slice(None)), metrics.bootstrap(rate, len(wrong)))


def _worst(wrong: np.ndarray, rates: np.ndarray) -> list[int]:
    """Recordings with an error, those with the highest rate first."""
    order = np.lexsort((-wrong, -rates))
    return [int(i) for i in order[:WORST] if wrong[i]]


def _shown(name: str, rate: float, edits: Sequence[Edit]) -> dict[str, Any]:
    return {"id": name, "wer": rate, "edits": [{"kind": e.kind, "true": e.true, "said": e.said} for e in edits]}


def _confused(edits: Sequence[Sequence[Edit]]) -> list[dict[str, Any]]:
    """What was heard as what, most often first; None where nothing was said, or heard."""
    pairs = Counter((edit.true, edit.said) for alignment in edits for edit in alignment if edit.kind != EQUAL)
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], str(pair[0])))
    return [{"true": true, "said": heard, "count": count} for (true, heard), count in ordered[:CONFUSED]]


def judged(write: Callable[[np.ndarray], str], of: str) -> Callable[[Examples, Any], Evaluation]:
    """What `tasks.gathered` takes, of decoded outputs that `write` turns into texts.

    Args:
        write: One example's row of the tensor -> its text.
        of: Name of the tensor.
    """
    return lambda examples, decoded: evaluate_transcripts(examples, [write(row) for row in decoded[of]])
