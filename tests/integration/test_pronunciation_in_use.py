"""g2p-en adapted to another way to say words: a recurrence, a head of its own and tokens of two kinds."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
import zoo_checks

import tlkit
from tlkit.core.progress import quiet
from tlkit.model.deployed import used

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tokenizers")
pytestmark = pytest.mark.slow

SOUNDS = {"b": "B", "d": "D", "k": "K", "l": "L", "m": "M", "n": "N", "p": "P", "t": "T"}
VOWELS = {"a": "AE1", "e": "EH1", "i": "IH1", "o": "AA1"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Made-up words as the module says them, but that each ends in a vowel more, as in some dialects."""
    root = tmp_path_factory.mktemp("words")
    rows = [(f"{a}{v}{b}", f"{SOUNDS[a]} {VOWELS[v]} {SOUNDS[b]} AH0") for a in SOUNDS for v in VOWELS for b in SOUNDS]
    with (root / "words.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("word", "phonemes"), *rows])
    data = tlkit.data.text.from_translations(
        root / "words.csv", source="word", target="phonemes", split=(0.6, 0.1, 0.3), progress=False
    )
    task = tlkit.tasks.translate(("per", "exact"), checked=4, scored=30)
    phases = (tlkit.Phase(epochs=4, lr=3e-3, unfrozen=0.5),)
    handle = str(zoo_checks.folder("g2p-en"))
    done = tlkit.finetune(handle, task, data, phases, out=root / "run", batch_size=16, progress=quiet)
    return tlkit.export(done, formats=("float32",), progress=quiet)


def test_a_dialect_is_learned_behind_the_frozen_encoder(run):
    assert run.scores["per"] < run.scores["per_before"] / 2 and run.scores["exact"] > run.scores["exact_before"]
    assert 0.3 < run.phases[0].had["unfrozen"] < 0.7 and "computed once" in run.phases[0].had["front"]


def test_states_at_hand_write_what_whole_passes_write(run):
    examples = run.task.deployment.examples(run.data.test).subset(range(3))
    fast, slow = (used(run.task, run.model, examples, kind) for kind in ("file", "trained"))
    for fast_row, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(fast_row["ids"], other["ids"])
        np.testing.assert_allclose(fast_row["shares"], other["shares"], atol=1e-5)


def test_no_more_phonemes_are_written_than_the_longest(run):
    """Its rows of 24 phonemes stay as they are."""
    task = tlkit.tasks.translate(("per",), longest=2)
    examples = run.task.deployment.examples(run.data.test).subset(range(3))
    fast, slow = (used(task, run.model, examples, kind) for kind in ("file", "trained"))
    whole = used(run.task, run.model, examples, "file")
    for fast_row, slow_row, whole_row in zip(fast, slow, whole, strict=True):
        assert fast_row["ids"].shape == slow_row["ids"].shape == (1, 2)
        np.testing.assert_array_equal(fast_row["ids"], slow_row["ids"])
        np.testing.assert_array_equal(fast_row["ids"], whole_row["ids"][:, :2])


def test_files_pronounce_words_that_are_typed(run, tmp_path):
    assert all(file.passed for file in run.exports)
    (tmp_path / "words.txt").write_text("Bat\nmop\n")
    spoken = [prediction.scores[0][0] for prediction in tlkit.predict(run, [tmp_path / "words.txt"])]
    assert [bool(re.fullmatch(r"[A-Z]+[0-2]?( [A-Z]+[0-2]?)*", text)) for text in spoken] == [True, True]
    assert spoken[0].startswith("B ") and spoken[1].startswith("M ")


def test_what_was_trained_is_published_with_both_tokenizers(run, tmp_path):
    layer = tlkit.HubLayer(str(tlkit.publish(run, tmp_path / "published")))
    assert layer.asset("source_tokenizer_file") and layer.tokenizer.decode([5, 6]).count(" ") == 1
    assert layer.function("step") is not None
