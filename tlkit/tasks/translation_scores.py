"""Scores of translations, as of whole corpora, with what copying the source would have had."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

from tlkit.answers.tokens import IDS, text_of
from tlkit.core.edits import distance
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.task import Decoded, Evaluation
from tlkit.data.teacher_forcing import TOKENIZER
from tlkit.data.translations import SOURCE, WANTED
from tlkit.tasks import metrics
from tlkit.tasks.generation_scores import exact

SHOWN = 24  # translations that the report shows
DRAWS = 1000  # of the bootstrap
Interval = tuple[float, float, float]  # the score, and the ends of its 95 % interval
Score = Callable[[Sequence[str], Sequence[str]], Interval]


def check_scores(names: Sequence[str]) -> None:
    """Refuse scores whose packages are missing, before any work."""
    packages = {"chrf": "sacrebleu", "bleu": "sacrebleu", "rouge_l": "rouge_score"}
    for name in names:
        package = packages.get(name)
        if package is not None and importlib.util.find_spec(package) is None:
            raise InputError(f"The score {name!r} needs the package {package!r}: run `pip install tlkit[generation]`.")


def evaluate_translations(names: Sequence[str], examples: Examples, decoded: Decoded) -> Evaluation:
    """Scores of what was written, each with a bootstrap 95 % interval over texts, and those of the source itself.

    Args:
        names: Of scores, the headline's first.
        examples: In use; their columns are what was read and what is right.
        decoded: "ids" of what was written.
    """
    rows = np.arange(len(examples))
    source, right, files = (
        [str(text) for text in examples.columns[name].take(rows)] for name in (SOURCE, WANTED, TOKENIZER)
    )
    written = [text_of(file, ids) for file, ids in zip(files, decoded[IDS], strict=True)]
    scores: dict[str, float] = {}
    for name in names:
        scores[name], scores[f"{name}_low"], scores[f"{name}_high"] = SCORES[name](written, right)
        scores[f"{name}_of_source"] = SCORES[name](source, right)[0]
    samples = [
        {"id": name, "asked": a[:400], "written": b[:400], "right": c[:400]}
        for name, a, b, c in list(zip(examples.ids, source, written, right, strict=True))[:SHOWN]
    ]
    first, unit = names[0], "value" if names[0] in ("chrf", "bleu") else "share"
    headline = metrics.headline(first, LABELS[first], "bootstrap", unit, lower_is_better=first == "per")
    return Evaluation(metrics.finite(scores), {"headline": headline, "samples": samples}, None)


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


def _mean_of(score: Callable[[str, str], float], written: Sequence[str], right: Sequence[str]) -> Interval:
    values = np.array([score(text, reference) for text, reference in zip(written, right, strict=True)])
    low, high = metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    return float(values.mean()), low, high


def _rouge_l(written: str, right: str) -> float:
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


LABELS = {"chrf": "chrF", "bleu": "BLEU", "rouge_l": "ROUGE-L", "exact": "Without an error", "per": "Error rate"}
SCORES: dict[str, Score] = {
    "chrf": functools.partial(_by_sacrebleu, "CHRF"),
    "bleu": functools.partial(_by_sacrebleu, "BLEU"),
    "rouge_l": functools.partial(_mean_of, _rouge_l),
    "exact": functools.partial(_mean_of, exact),
    "per": error_rate,
}
