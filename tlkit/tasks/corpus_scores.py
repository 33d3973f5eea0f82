"""Scores of written texts beside the right ones, each of a whole test with its bootstrap 95 % interval over texts."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

from tlkit.core.edits import distance
from tlkit.core.errors import InputError
from tlkit.tasks import metrics

DRAWS = 1000  # of the bootstrap
Interval = tuple[float, float, float]  # the score, and the ends of its 95 % interval
Score = Callable[[Sequence[str], Sequence[str]], Interval]
_PACKAGES = {"chrf": "sacrebleu", "bleu": "sacrebleu", "rouge_l": "rouge_score"}


def check_packages(names: Sequence[str]) -> None:
    """Refuse scores whose packages are missing, before any work."""
    for name in names:
        package = _PACKAGES.get(name)
        if package is not None and importlib.util.find_spec(package) is None:
            raise InputError(f"The score {name!r} needs the package {package!r}: run `pip install tlkit[generation]`.")


def exact(written: str, right: str) -> float:
    """Whether two texts are the same but for case and white space.

    Example:
        >>> exact("Yes,  please ", "yes, please")
        1.0
    """
    return float(written.casefold().split() == right.casefold().split())


def rouge_l(written: str, right: str) -> float:
    """F1 of the longest sequence of words that both texts have in this order, words by their stems.

    Source: Lin 2004, aclanthology.org/W04-1013.
    """
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped, unused-ignore]

    return float(RougeScorer(["rougeL"], use_stemmer=True).score(right, written)["rougeL"].fmeasure)


def error_rate(written: Sequence[str], right: Sequence[str]) -> Interval:
    """Edits of the parts between blanks over the parts that are right, of all texts together.

    Example:
        >>> error_rate(["HH AH L OW"], ["HH AH0 L OW"])[0]
        0.25
    """
    true = [text.split() for text in right]
    wrong = np.array([distance(a, b.split()) for a, b in zip(true, written, strict=True)])
    lengths = np.array([len(parts) for parts in true])

    def rate(drawn: np.ndarray) -> float:
        return float(wrong[drawn].sum() / max(1, lengths[drawn].sum()))

    low, high = metrics.bootstrap(rate, len(wrong))
    return rate(np.arange(len(wrong))), low, high


def cut_short(tokens: np.ndarray, argument: str) -> list[str]:
    """A note on texts that were ended because they had the most tokens; none where there are none.

    Args:
        tokens: What was written (n, most), below 0 behind the last.
        argument: Name of what says how many they may be.

    Example:
        >>> cut_short(np.array([[5, 6], [5, -1]]), "longest")
        ['1 of 2 texts were ended at 2 tokens, the most that `longest` and the module allow: they may lack their end.']
    """
    count, (total, most) = int((tokens >= 0).all(axis=1).sum()), tokens.shape
    allowed = f"{most:,} tokens, the most that `{argument}` and the module allow"
    return [f"{count:,} of {total:,} texts were ended at {allowed}: they may lack their end."] if count else []


def _by_sacrebleu(name: str, written: Sequence[str], right: Sequence[str]) -> Interval:
    """A score of a corpus, and as far to both sides as the middle 95 % of corpora drawn from it reach."""
    from sacrebleu import metrics as sacrebleu

    measure = getattr(sacrebleu, name)()
    score = float(measure.corpus_score(list(written), [list(right)]).score)
    if len(written) < 2:
        return score, score, score
    drawn = np.random.default_rng(0).integers(len(written), size=(DRAWS, len(written)))
    totals = np.array(measure._extract_corpus_statistics(list(written), [list(right)]))[drawn].sum(axis=1)
    low, high = np.percentile([measure._compute_score_from_stats(row.tolist()).score for row in totals], (2.5, 97.5))
    return score, float(low), float(high)


def _mean_of(name: str, written: Sequence[str], right: Sequence[str]) -> Interval:
    values = np.array([OF_EACH[name](text, reference) for text, reference in zip(written, right, strict=True)])
    low, high = metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    return float(values.mean()), low, high


LABELS = {"chrf": "chrF", "bleu": "BLEU", "rouge_l": "ROUGE-L", "exact": "Without an error", "per": "Error rate"}
OF_EACH: dict[str, Callable[[str, str], float]] = {"rouge_l": rouge_l, "exact": exact}  # whose means are reported
SCORES: dict[str, Score] = {
    "chrf": functools.partial(_by_sacrebleu, "CHRF"),
    "bleu": functools.partial(_by_sacrebleu, "BLEU"),
    **{name: functools.partial(_mean_of, name) for name in OF_EACH},
    "per": error_rate,
}
