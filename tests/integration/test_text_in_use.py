"""Texts through a BERT-like module: batches cut to their longest text, strings in, one label a text or a word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from changing import without

import tlkit
from tlkit import plans, tasks
from tlkit.core import batches
from tlkit.core.columns import ArrayColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import text
from tlkit.exporting import predict, saved_model
from tlkit.modalities.prepare import prepare

pytestmark = pytest.mark.usefixtures("module_cache")
LEARNING = (Phase(epochs=3, lr=3e-2), Phase(epochs=12, lr=1e-2, unfrozen=1.0))
PHASES = (Phase(epochs=2, lr=3e-2), Phase(epochs=2, lr=3e-3, unfrozen=0.5))
FILLER = ("the", "a", "very", "film", "films", "plot", "long", "short", "!")


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of 2 to 16 words, half of which hold "good" and the others "bad"."""
    rng = np.random.default_rng(seed)
    texts, answers = [], []
    for i in range(count):
        words = rng.choice(FILLER, rng.integers(1, 16)).tolist()
        words.insert(int(rng.integers(len(words) + 1)), ("bad", "good")[i % 2])
        texts.append(" ".join(words))
        answers.append(("negative", "positive")[i % 2])
    return texts, answers


@pytest.fixture(scope="module")
def data() -> Splits:
    return text.from_arrays(*sentences(120))


@pytest.fixture(scope="module")
def folder(module_folder) -> Path:
    return module_folder("bert")


def fitted(folder: Path, data: Splits, task=None, phases=PHASES, **options):
    import keras

    layer = tlkit.HubLayer(folder, name="backbone")
    keras.utils.set_random_seed(0)
    task = task or tasks.classify(data.labels)
    model = tlkit.build(layer, task)
    return tlkit.fit(model, task, prepare(data, layer), phases, batch_size=8, progress=quiet, **options)


@pytest.fixture(scope="module")
def run(folder, data, tmp_path_factory):
    return tlkit.finetune(
        tlkit.HubLayer(folder, name="backbone"), tasks.classify(data.labels), data, LEARNING,
        out=tmp_path_factory.mktemp("run"), batch_size=8, progress=quiet,
    )  # fmt: skip


# -- batches


def test_texts_of_like_length_come_together_and_every_one_comes_once():
    lengths = np.random.default_rng(0).integers(3, 60, 500)
    examples = Examples(
        tuple(map(str, range(500))),
        ReadColumn(lambda i: None, {"a": ArraySpec((64,), "int32")}, tuple(map(str, range(500)))),
        ArrayColumn(np.zeros(500)),
        columns={"length": ArrayColumn(lengths)},
    )
    order = batches.order_of_epoch(500, 1, 2, 3)
    pieces = batches.pieces_of(examples, order, 16)
    assert sorted(np.concatenate(pieces)) == list(range(500))
    assert [p.tolist() for p in pieces] == [p.tolist() for p in batches.pieces_of(examples, order, 16)]
    padded = sum(len(p) * batches.width_of(examples, p) for p in pieces)
    plain = sum(len(p) * batches.width_of(examples, p) for p in batches.chunks(order, 16))
    assert padded < 0.75 * plain
    assert lengths.sum() <= padded


def test_a_batch_is_as_wide_as_its_longest_text(data, folder):
    splits = prepare(data, tlkit.HubLayer(folder))
    short = np.flatnonzero(splits.train.lengths <= 8)[:4]
    (x,) = batches.read_batches(splits.train, [short])
    assert {value.shape for value in x.values()} == {(4, 8)}
    assert splits.train.inputs.spec["input_word_ids"].shape[0] > 8


def test_cutting_batches_to_their_longest_text_changes_nothing(data, folder):
    layer = tlkit.HubLayer(folder)
    splits = prepare(data, layer)
    parts = {name: without(getattr(splits, name), "length") for name in ("train", "val", "test")}
    whole = dataclasses.replace(splits, **parts)
    features, expected = (np.asarray(tlkit.extract(folder, s.train)) for s in (splits, whole))
    np.testing.assert_allclose(features, expected, atol=1e-5)
    cut = layer.cut_for(0.5)
    features, expected = (np.asarray(tlkit.extract(layer, s.train, at=cut)) for s in (splits, whole))
    mask = np.stack([splits.train.inputs[i]["input_mask"] for i in range(len(splits.train))]).astype(bool)
    np.testing.assert_allclose(features[mask], expected[mask], atol=1e-5)


def test_with_and_without_the_cache_a_fit_ends_in_the_same_weights(data, folder):
    cached, streamed = (fitted(folder, data, cache=cache) for cache in ("require", "off"))
    for a, b in zip(cached.model.weights, streamed.model.weights, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-4)
    assert cached.phases[1].had["unfrozen"] == pytest.approx(0.5, abs=0.15)


# -- a run


def test_a_run_learns_what_its_texts_say(run):
    assert run.scores["accuracy"] > 0.9 and run.scores["auc"] > 0.9
    assert "report.html" in {p.name for p in run.folder.iterdir()}


def test_the_saved_model_brings_its_vocabulary(run):
    again = tlkit.load(run.folder)
    layer, original = again.model.get_layer("backbone"), run.model.get_layer("backbone")
    assert layer.tokenizer == original.tokenizer and layer.tokenizer.lower_case
    assert again.data.test.columns["text"].texts == run.data.test.columns["text"].texts


def test_exports_take_strings_and_predict_takes_files(run, tmp_path):
    import tensorflow as tf

    done = tlkit.export(run, formats=("saved_model", "float32", "dynamic"), progress=quiet)
    assert [row.passed for row in done.exports] == [True] * 3
    texts = ["Good film!", "the plot: BAD", ""]
    served = tf.saved_model.load(str(run.folder / "saved_model")).signatures["serving_default"]
    scores = served(text=tf.constant(texts))["probabilities"].numpy()
    for name, content in zip("abc", texts, strict=True):
        (tmp_path / f"{name}.txt").write_text(content or " ", encoding="utf-8")
    predictions = predict(run.folder, [tmp_path / f"{name}.txt" for name in "abc"])
    assert predictions[0].scores[0][0] == "positive" and predictions[1].scores[0][0] == "negative"
    for row, prediction in zip(scores, predictions, strict=True):
        assert dict(prediction.scores) == pytest.approx(dict(zip(run.task.labels, row, strict=True)), abs=1e-4)
    (tmp_path / "long.txt").write_text("very " * 50, encoding="utf-8")
    assert "of 52 word pieces" in predict(run.folder, [tmp_path / "long.txt"])[0].note


def test_a_saved_model_has_the_same_bytes_whenever_it_is_written(run, tmp_path):
    def written(trained, folder):
        saved_model.write_serving(trained, saved_model.trace(trained), saved_model.serving(trained), folder)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    first, again = written(run, tmp_path / "first"), written(tlkit.load(run.folder), tmp_path / "again")
    assert "saved_model.pb" in first and [name for name in first | again if first.get(name) != again.get(name)] == []


def test_mediapipe_makes_the_same_of_a_hundred_sentences(run, tmp_path):
    pytest.importorskip("mediapipe")
    client = pytest.importorskip("mediapipe.tasks.python.text", reason="MediaPipe needs libEGL and libGLESv2")
    tlkit.export(run, formats=("float32",), progress=quiet)
    texts, _ = sentences(100, seed=5)
    files = [tmp_path / f"{i}.txt" for i in range(len(texts))]
    for file, content in zip(files, texts, strict=True):
        file.write_text(content, encoding="utf-8")
    with client.TextClassifier.create_from_model_path(str(run.folder / "model.tflite")) as classifier:
        for content, prediction in zip(texts, predict(run.folder, files), strict=True):
            theirs = {c.category_name: c.score for c in classifier.classify(content).classifications[0].categories}
            assert theirs == pytest.approx(dict(prediction.scores), abs=1e-4), content


def test_predict_names_a_file_that_is_no_text(run, tmp_path):
    tlkit.export(run, formats=("float32",), progress=quiet)
    (tmp_path / "bytes.txt").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"bytes\.txt' cannot be read as a text"):
        predict(run.folder, [tmp_path / "bytes.txt"])
    with pytest.raises(InputError, match=r"nowhere\.txt' cannot be read: there is no such file"):
        predict(run.folder, [tmp_path / "nowhere.txt"])


def test_the_report_shows_the_texts_that_were_got_wrong(run, tmp_path):
    from tlkit import report

    wrong = [{"index": 0, "id": run.data.test.ids[0], "true": "negative", "predicted": "positive", "probability": 0.9,
              "true_probability": 0.1}]  # fmt: skip
    evaluation = dataclasses.replace(run.evaluation, details={**run.evaluation.details, "mistakes": wrong})
    page = report.write(dataclasses.replace(run, evaluation=evaluation), tmp_path / "report.html").read_text()
    assert f"<blockquote>{run.data.test.columns['text'][0]}</blockquote>" in page


# -- one label a word


def tagged(count: int, layer, seed: int = 0) -> Examples:
    """Sentences in which "anna" is a person and "rome" a place."""
    rng = np.random.default_rng(seed)
    kinds = {"anna": 1, "rome": 2}
    rows = [rng.choice([*FILLER, "anna", "rome", "in"], rng.integers(2, 14)).tolist() for _ in range(count)]
    encodings = [layer.tokenizer.encode_words(words, 24) for words in rows]
    targets = np.full((count, 24), -1, np.int32)
    for i, (words, (_, owners)) in enumerate(zip(rows, encodings, strict=True)):
        first = [int(np.flatnonzero(owners == w)[0]) for w in range(len(words))]
        targets[i, first] = [kinds.get(word, 0) for word in words]
    return Examples(
        tuple(f"{seed}-{i}" for i in range(count)),
        ReadColumn(
            lambda i: encodings[i][0],
            {name: ArraySpec((24,), "int32") for name in encodings[0][0]},
            tuple(map(str, range(count))),
        ),
        ArrayColumn(targets),
        modality="text",
        columns={
            "length": ArrayColumn(np.array([int(inputs["input_mask"].sum()) for inputs, _ in encodings])),
            "text": TextColumn(tuple(map(" ".join, rows))),
        },
    )


def test_words_are_tagged(folder, tmp_path):
    layer = tlkit.HubLayer(folder, name="backbone")
    labels = ("O", "B-person", "B-place")
    data = Splits(tagged(120, layer, 1), tagged(20, layer, 2), tagged(40, layer, 3), labels)
    run = fitted(folder, data, tasks.tag(labels), (*PHASES[:1], Phase(epochs=4, lr=1e-2, unfrozen=1.0)))
    evaluation = tlkit.evaluate(run.model, run.task, data.test)
    assert evaluation.scores["f1"] > 0.9 and evaluation.scores["accuracy"] > 0.95
    assert [row["label"] for row in evaluation.details["per_class"]] == ["person", "place"]
    assert evaluation.outputs.shape == (40, 24, 3)
    run = dataclasses.replace(run, evaluation=evaluation, folder=tmp_path)
    done = tlkit.export(run, formats=("float32",), progress=quiet)
    assert done.exports[0].passed
    (tmp_path / "one.txt").write_text("the film in Rome Anna very", encoding="utf-8")
    (prediction,) = predict(tmp_path, [tmp_path / "one.txt"])
    assert [name for name, _ in prediction.scores] == ["Rome B-place", "Anna B-person"]


# -- what cannot be


def test_what_texts_and_modules_lack_is_said(folder, module_folder, data):
    layer = tlkit.HubLayer(module_folder("text_encoder"))
    with pytest.raises(InputError, match="brings no vocabulary"):
        prepare(data, layer)
    with pytest.raises(InputError, match="`length` is for texts in pieces or words"):
        prepare(data, tlkit.HubLayer(module_folder("keras3_hub")), length=8)
    with pytest.raises(InputError, match="`image_size` is not for data of the modality 'text'; they take length, long"):
        prepare(data, tlkit.HubLayer(module_folder("keras3_hub")), image_size=(32, 32))
    with pytest.raises(InputError, match="one vector a step"):
        tlkit.build(tlkit.HubLayer(module_folder("keras3_hub")), tasks.tag(("O", "B-x")), image_size=(32, 32))
    with pytest.raises(InputError, match="must be int32"):
        tlkit.fit(
            tlkit.build(tlkit.HubLayer(folder), tasks.tag(("O", "B-x"))), tasks.tag(("O", "B-x")),
            dataclasses.replace(prepare(data, tlkit.HubLayer(folder)), labels=()), plans.feature_extraction(1),
        )  # fmt: skip


def test_a_run_opened_again_still_says_its_scores(run):
    assert tlkit.load(run.folder).scores == pytest.approx(run.scores)
