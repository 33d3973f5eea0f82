"""Texts longer than a module takes: in windows whose answers are averaged, the same in every file that is exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tlkit import tasks
from tlkit.cli import commands
from tlkit.core import excerpts
from tlkit.core.errors import InputError
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import text
from tlkit.data.long_texts import bounds
from tlkit.exporting import predict
from tlkit.formats import tflite_metadata
from tlkit.modalities.prepare import prepare, prepare_like
from tlkit.training import step

pytestmark = pytest.mark.usefixtures("module_cache")
LENGTH, FILLER = 8, ("the", "a", "very", "film", "films", "plot", "long", "short", "!")


def hidden_words(count: int) -> tuple[list[str], list[str]]:
    """Texts of 1 to 30 words; what tells their class stands at the end, where cutting loses it."""
    rng = np.random.default_rng(0)
    texts = [" ".join([*rng.choice(FILLER, rng.integers(1, 24)), *(("bad", "good")[i % 2],) * 3]) for i in range(count)]
    return texts, [("negative", "positive")[i % 2] for i in range(count)]


@pytest.fixture(scope="module")
def data():
    return text.from_arrays(*hidden_words(120), split=(0.6, 0.2, 0.2))


@pytest.fixture(scope="module")
def folder(module_folder) -> Path:
    return module_folder("bert")


@pytest.fixture(scope="module")
def run(folder, data, tmp_path_factory):
    done = tlkit.finetune(
        tlkit.HubLayer(folder, name="backbone"), tasks.classify(data.labels, dropout=0.0), data,
        (Phase(20, 5e-2),), length=LENGTH, long="windows", batch_size=16,
        out=tmp_path_factory.mktemp("run"), progress=quiet,
    )  # fmt: skip
    return tlkit.export(done, formats=("saved_model", "float32"), progress=quiet)


# -- windows


@pytest.mark.parametrize("count", [0, 1, 6, 7, 12, 13, 100])
def test_windows_show_every_piece_once_in_as_few_as_can_be(count):
    places = bounds(count, LENGTH)
    assert [i for start, end in places for i in range(start, end)] == list(range(count))
    assert len(places) == max(1, -(-count // (LENGTH - 2)))
    sizes = [end - start for start, end in places]
    assert max(sizes) - min(sizes) <= 1


def test_each_text_counts_once_and_stays_in_its_part(data, folder):
    layer = tlkit.HubLayer(folder)
    pieces = prepare(data, layer, length=LENGTH, long="windows")
    for name in ("train", "val", "test"):
        texts, windows = getattr(data, name), getattr(pieces, name)
        assert set(excerpts.texts_of(windows, "id")) == set(texts.ids)
        of = excerpts.owners(windows)
        np.testing.assert_allclose(np.bincount(of, windows.weights), len(windows) / len(texts), rtol=1e-5)
        np.testing.assert_allclose(
            np.bincount(of, windows.columns[excerpts.OF].take(np.arange(len(windows)))["share"]), 1.0, rtol=1e-5
        )
        assert max(windows.lengths) <= LENGTH and len(set(windows.ids)) == len(windows) > len(texts)
        assert excerpts.whole(windows).ids == texts.ids and excerpts.whole(windows).digests == texts.digests
    assert any("windows show them all" in note for note in pieces.notes)
    assert pieces.fingerprint != prepare(data, layer, length=LENGTH).fingerprint


def test_classes_are_balanced_by_texts_and_not_by_windows(data, folder):
    pieces = prepare(data, tlkit.HubLayer(folder), length=LENGTH, long="windows")
    task = tasks.classify(data.labels, class_weights="balanced")
    weights = step._sample_weights(task, pieces.train)
    sums = [weights[pieces.train.target_array == label].sum() for label in (0, 1)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_what_has_no_windows_says_so(data, folder, module_folder):
    layer = tlkit.HubLayer(folder)
    with pytest.raises(InputError, match="cut, windows"):
        prepare(data, layer, long="both")
    with pytest.raises(InputError, match="one target each"):
        prepare(data, tlkit.HubLayer(module_folder("word_table")), long="windows")
    splits = prepare(data, layer, length=LENGTH, long="windows")
    with pytest.raises(InputError, match="several heads"):
        tlkit.methods.task_mix(one=splits, two=splits)


# -- a run


def test_the_end_of_a_text_is_read_and_one_answer_a_text_is_judged(run, data):
    assert run.evaluation.outputs.shape == (len(data.test), 2)
    assert run.scores["accuracy"] > 0.8  # by their beginnings alone they cannot be told apart
    windows = run.data.test
    rows = tlkit.model.evaluate.decoded_outputs(run.model, run.task, windows)["probabilities"]
    first = [i for i, owner in enumerate(excerpts.texts_of(windows, "id")) if owner == data.test.ids[0]]
    shares = windows.columns[excerpts.OF].take(np.asarray(first))["share"][:, None]
    np.testing.assert_allclose((rows[first] * shares).sum(axis=0), run.evaluation.outputs[0], atol=1e-5)


def test_record_and_report_count_texts(run, data):
    record = json.loads((run.folder / "run.json").read_text())
    assert record["data"]["test"] == len(data.test) and record["data"]["train"] == len(data.train)
    assert len(run.evaluation.details["example_scores"]) == len(data.test)


def test_the_files_agree_and_the_saved_model_takes_whole_texts(run, data):
    import tensorflow as tf

    assert all(file.passed and file.largest_difference < 1e-4 for file in run.exports)
    assert [file.score for file in run.exports] == pytest.approx([run.scores["accuracy"]] * 2)
    served = tf.saved_model.load(str(run.folder / "saved_model")).signatures["serving_default"]
    texts = [str(data.test.inputs[i]) for i in range(len(data.test))]
    probabilities = served(text=tf.constant(texts))["probabilities"].numpy()
    np.testing.assert_allclose(probabilities, run.evaluation.outputs, atol=1e-5)
    pair = served(text=tf.constant(["", texts[0]]))["probabilities"].numpy()
    np.testing.assert_allclose(pair[1], probabilities[0], atol=1e-5)
    assert np.isfinite(pair).all()


def test_a_file_of_text_is_predicted_in_windows(run, data, tmp_path):
    longest = int(np.argmax([len(str(data.test.inputs[i])) for i in range(len(data.test))]))
    (tmp_path / "long.txt").write_text(str(data.test.inputs[longest]))
    (tmp_path / "empty.txt").write_text("~")
    answer, other = predict(run.folder, [tmp_path / "long.txt", tmp_path / "empty.txt"])
    expected = dict(zip(data.labels, run.evaluation.outputs[longest], strict=True))
    assert dict(answer.scores) == pytest.approx(expected, abs=1e-4)
    assert "windows of at most 8 word pieces" in answer.note and other.note == ""


def test_the_card_says_how_a_client_does_it(run):
    content = (run.folder / "model.tflite").read_bytes()
    assert "k = ceil(n / 6) windows" in content.decode("latin-1")
    assert ["text_windows", {}] in tflite_metadata.read_card(content)["pipeline"]


def test_an_opened_run_keeps_whole_texts_and_judges_alike(run, data):
    again = tlkit.load(run.folder)
    assert set(excerpts.whole(again.data.test).ids) == set(data.test.ids)
    prepared = prepare_like(data, again)
    assert excerpts.texts_of(prepared.test, "id") == excerpts.texts_of(run.data.test, "id")
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores["accuracy"] == run.scores["accuracy"]


def test_the_recipe_takes_windows_and_parts_of_batches(folder, tmp_path):
    texts, labels = hidden_words(60)
    rows = "".join(f'"{words}",{label}\n' for words, label in zip(texts, labels, strict=True))
    (tmp_path / "texts.csv").write_text(f"text,label\n{rows}")
    words = ["--data", str(tmp_path / "texts.csv"), "--module", str(folder), "--out", str(tmp_path / "run"),
             "--length", str(LENGTH), "--long", "windows", "--micro-batch", "5", "--batch-size", "16",
             "--epochs", "1", "1", "--unfrozen", "0.5", "--formats", "saved_model"]  # fmt: skip
    assert commands.main(["run", "text_classification", *words]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [sum(row[part] for row in record["data"]["balance"]) for part in ("train", "val", "test")] == [42, 9, 9]
    assert record["data"]["notes"][-1].endswith("windows show them all.")
    assert [phase["had"]["steps"] for phase in record["phases"]] == ["5 examples at a time"] * 2
