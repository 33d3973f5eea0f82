"""Texts through a table of word vectors: strings in, the vocabulary in the file, MediaPipe as a client."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import readme_checks
from changing import reread, without
from modules import VOCABULARY

import tlkit
from tlkit import methods, tasks
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import text
from tlkit.exporting import predict
from tlkit.formats import tflite_metadata
from tlkit.modalities.prepare import prepare

pytestmark = pytest.mark.usefixtures("module_cache")
PHASES = (Phase(epochs=4, lr=3e-2), Phase(epochs=4, lr=1e-2, unfrozen=1.0))


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of words known and unknown, in small letters and capitals; each has a cat or a dog."""
    rng = np.random.default_rng(seed)
    filler = [word for word in VOCABULARY if word not in ("cat", "dog")]
    texts, answers = [], []
    for i in range(count):
        words = [*rng.choice([*filler, "whale", "naïve"], rng.integers(1, 12)).tolist(), ("cat", "dog")[i % 2]]
        rng.shuffle(words)
        words = [(str.lower, str.upper, str.capitalize)[rng.integers(3)](word) for word in words]
        texts.append(rng.choice([" ", ", ", "—"]).join(words) + "!")
        answers.append(("meows", "barks")[i % 2])
    return texts, answers


@pytest.fixture(scope="module")
def data() -> Splits:
    return text.from_arrays(*sentences(160))


@pytest.fixture(scope="module")
def run(module_folder, data, tmp_path_factory):
    layer = tlkit.HubLayer(module_folder("word_table"), name="backbone")
    done = tlkit.finetune(
        layer, tasks.classify(data.labels), data, PHASES, out=tmp_path_factory.mktemp("run"), batch_size=16,
        progress=quiet,
    )  # fmt: skip
    return tlkit.export(done, progress=quiet)


def test_all_files_agree_with_the_model(run):
    assert run.scores["accuracy"] > 0.95
    assert [row.passed for row in run.exports] == [True] * 5, run.exports


def test_the_saved_model_takes_strings_and_predict_takes_files(run, tmp_path):
    import tensorflow as tf

    texts = ["The CAT sat!", "a—Dog", "whales ran", "cat " * 30 + "dog " * 60]
    served = tf.saved_model.load(str(run.folder / "saved_model")).signatures["serving_default"]
    scores = served(text=tf.constant(texts))["probabilities"].numpy()
    files = [tmp_path / f"{i}.txt" for i in range(len(texts))]
    for file, content in zip(files, texts, strict=True):
        file.write_text(content, encoding="utf-8")
    predictions = predict(run.folder, files)
    for row, prediction in zip(scores, predictions, strict=True):
        assert dict(prediction.scores) == pytest.approx(dict(zip(run.task.labels, row, strict=True)), abs=1e-4)
    assert [prediction.scores[0][0] for prediction in predictions[:2]] == ["meows", "barks"]
    assert predictions[0].note == "" and "of 90 words" in predictions[3].note


def test_mediapipe_makes_the_same_of_a_hundred_sentences(run, tmp_path):
    pytest.importorskip("mediapipe")
    client = pytest.importorskip("mediapipe.tasks.python.text", reason="MediaPipe needs libEGL and libGLESv2")
    texts = [*sentences(98, seed=5)[0], "", "naïve Cat_ dog2 cAt"]
    files = [tmp_path / f"{i}.txt" for i in range(len(texts))]
    for file, content in zip(files, texts, strict=True):
        file.write_text(content or " ", encoding="utf-8")
    with client.TextClassifier.create_from_model_path(str(run.folder / "model.tflite")) as classifier:
        for content, prediction in zip(texts, predict(run.folder, files), strict=True):
            theirs = {c.category_name: c.score for c in classifier.classify(content).classifications[0].categories}
            assert theirs == pytest.approx(dict(prediction.scores), abs=1e-4), content


def test_the_file_says_each_word_as_it_may_be_written(run):
    lines = tflite_metadata.read_files((run.folder / "model.tflite").read_bytes())["vocab.txt"].decode().splitlines()
    rows = dict(line.split(" ") for line in lines)
    assert {rows[word] for word in ("cat", "Cat", "CAT")} == {str(1 + VOCABULARY.index("cat"))}
    assert {rows[word] for word in ("<PAD>", "<START>", "<UNKNOWN>")} == {"0"}


def test_one_length_for_all_changes_no_feature(run, data):
    layer = run.model.get_layer("backbone")
    prepared = prepare(data, layer)
    whole = without(prepared.train, "length")
    np.testing.assert_allclose(tlkit.extract(layer, prepared.train), tlkit.extract(layer, whole), atol=1e-6)


def test_a_collection_of_texts_is_searched(module_folder, tmp_path):
    for name, content in {"1": "the cat sat", "2": "the dog ran", "3": "a Dog!"}.items():
        (tmp_path / f"{name}.txt").write_text(content)
    splits = tlkit.data.collection.texts(tmp_path, progress=False)
    with pytest.raises(InputError, match=r"data\.train"):
        tlkit.index(module_folder("word_table"), splits)
    index = tlkit.index(module_folder("word_table"), splits.train)
    assert index.nearest(["DOG a"], k=1)[0][0].id == "3.txt"


def test_a_bert_teaches_it(module_folder, data, run, tmp_path):
    bert = tlkit.finetune(
        tlkit.HubLayer(module_folder("bert")), tasks.classify(data.labels), data, (Phase(epochs=1, lr=1e-2),),
        out=tmp_path / "teacher", batch_size=16, length=24,
        progress=quiet,
    )  # fmt: skip
    student = tlkit.finetune(
        tlkit.HubLayer(module_folder("word_table")), methods.distill(tasks.classify(data.labels)),
        methods.taught(data, bert), (Phase(epochs=1, lr=1e-2),), out=tmp_path / "student", batch_size=16,
        progress=quiet,
    )  # fmt: skip
    assert 0 <= student.scores["accuracy"] <= 1


def test_labels_of_words_need_word_pieces(module_folder):
    layer = tlkit.HubLayer(module_folder("word_table"))
    asked = text.from_arrays(["a cat", "a dog"] * 4, ["x", "y"] * 4)
    words = dataclasses.replace(asked, train=reread(asked.train, spec=tlkit.data.text_source.WORDS))
    with pytest.raises(InputError, match="need a module of word pieces"):
        prepare(words, layer)


def test_the_readme_runs(run):
    front = readme_checks.check(run.folder, run)
    assert front["tags"][-1] == "words" and "accuracy" in front["metrics"]
