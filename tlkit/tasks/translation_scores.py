"""Scores of translations, as of whole corpora, with what copying the source would have had."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkit.answers.tokens import IDS, text_of
from tlkit.core.examples import Examples
from tlkit.core.task import Decoded, Evaluation
from tlkit.data.teacher_forcing import TOKENIZER
from tlkit.data.translations import SOURCE, WANTED
from tlkit.tasks import metrics
from tlkit.tasks.corpus_scores import LABELS, SCORES, cut_short

SHOWN = 24  # translations that the report shows


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
    details = {"headline": headline, "samples": samples, "notes": cut_short(decoded[IDS], "longest")}
    return Evaluation(metrics.finite(scores), details, None)
