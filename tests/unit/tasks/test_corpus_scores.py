"""Scores of written texts: of language models as of translators, and as the packages of the field have them."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.core.columns import ArrayColumn, TextColumn
from tlkit.core.examples import Examples
from tlkit.tasks import generation_scores
from tlkit.tasks.corpus_scores import SCORES

WRITTEN = ["the cat sat on a mat", "a dog", "red sky at night is a delight", "no"]
RIGHT = ["the cat sat on the mat", "the dog barked at the cat", "red sky at night", "no"]


@pytest.mark.parametrize(("name", "measure"), [("chrf", "CHRF"), ("bleu", "BLEU")])
def test_chrf_and_bleu_are_those_of_sacrebleu_s_corpus(name, measure):
    """Means over sentences are other numbers, which nobody can compare with those of papers."""
    sacrebleu = pytest.importorskip("sacrebleu")
    score, low, high = SCORES[name](WRITTEN, RIGHT)
    corpus = getattr(sacrebleu.metrics, measure)().corpus_score(WRITTEN, [RIGHT]).score
    of_each = getattr(sacrebleu, f"sentence_{name}")
    mean = np.mean([of_each(text, [right]).score for text, right in zip(WRITTEN, RIGHT, strict=True)])
    assert score == pytest.approx(corpus) and abs(score - mean) > 1 and low < score < high


def test_a_language_model_s_answers_are_scored_as_translations_are(monkeypatch):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    monkeypatch.setattr(generation_scores, "text_of", lambda tokens, _tokenizer, _end: WRITTEN[int(tokens[0])])
    columns = {name: TextColumn(RIGHT) for name in ("text", "asked", "tokenizer")}
    nothing = ArrayColumn(np.zeros(len(RIGHT), np.int32))
    examples = Examples(tuple("abcd"), nothing, nothing, "dialogue", columns=columns)
    names = ("bleu", "chrf", "rouge_l", "exact")
    evaluation = generation_scores.written_scores(names, 0, examples, {"tokens": np.arange(4)[:, None]})
    assert evaluation.details["notes"][0].startswith("4 of 4 texts were ended at 1 tokens, the most that `most`")
    for name in names:
        scores = evaluation.scores
        assert (scores[name], scores[f"{name}_low"], scores[f"{name}_high"]) == SCORES[name](WRITTEN, RIGHT)
    of_each = evaluation.details["scores_of_samples"]
    assert set(of_each) == {"rouge_l", "exact"} and of_each["exact"] == [0.0, 0.0, 0.0, 1.0]
    assert evaluation.scores["rouge_l"] == pytest.approx(np.mean(of_each["rouge_l"]))
