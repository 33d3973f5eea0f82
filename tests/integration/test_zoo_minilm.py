"""MiniLM from its package: sentences that mean the same lie close, the hub's conventions, cuts, and phones."""

import re

import numpy as np
import pytest
import zoo_checks

from tlkit import HubLayer, graph, zoo
from tlkit.zoo import minilm_l6_v2 as minilm
from tlkit.zoo.safetensorsfile import read_tensors
from tlkit.zoo.store import MANIFEST

tf = pytest.importorskip("tensorflow")

NAME = "minilm-l6-v2"
EATING = ["A man is eating food.", "A man is eating a piece of bread."]
FILMS = ["That film was wonderful.", "I really enjoyed the movie."]
STRANGER = "The stock market fell sharply on Tuesday."


@pytest.fixture(scope="module")
def loaded():
    return tf.saved_model.load(str(zoo_checks.folder(NAME)))


@pytest.fixture(scope="module")
def words(loaded):
    path = loaded.vocab_file.asset_path.numpy().decode()
    with open(path, encoding="utf-8") as file:
        return {word.rstrip("\n"): i for i, word in enumerate(file)}


def pieces(word, words):
    """WordPiece: the longest known beginning, again and again."""
    while word:
        end = next(n for n in range(len(word), 0, -1) if word[:n] in words)
        yield words[word[:end]]
        word = word[end:] and "##" + word[end:]


def encoded(texts, words, length=24):
    """The three inputs of plain English sentences."""
    inputs = {name: np.zeros((len(texts), length), np.int32) for name in minilm.INPUTS}
    for row, text in enumerate(texts):
        numbers = [i for word in re.findall(r"\w+|[^\w\s]", text.lower()) for i in pieces(word, words)]
        ids = [words["[CLS]"], *numbers, words["[SEP]"]]
        inputs["input_word_ids"][row, : len(ids)] = ids
        inputs["input_mask"][row, : len(ids)] = 1
    return {name: tf.constant(value) for name, value in inputs.items()}


def test_paraphrases_lie_closer_than_strangers(loaded, words):
    vectors = loaded(encoded([*EATING, *FILMS, STRANGER], words))["default"].numpy()
    similarity = vectors @ vectors.T
    assert similarity[0, 1] == pytest.approx(0.755, abs=0.002)  # as the authors' own example has it
    assert similarity[2, 3] > 0.6
    assert max(similarity[4, :4]) < 0.2 and np.max(similarity[:2, 2:4]) < 0.2


def test_padding_changes_nothing(loaded, words):
    short, long = (loaded(encoded(EATING, words, length)) for length in (12, 40))
    for key in ("default", "pooled_output"):
        np.testing.assert_allclose(short[key], long[key], atol=1e-5)
    np.testing.assert_allclose(short["sequence_output"], long["sequence_output"][:, :12], atol=1e-4)


def test_the_hub_interface(loaded, words):
    outputs = loaded.signatures["serving_default"](**encoded(EATING, words))
    assert {k: v.shape for k, v in outputs.items()} == {
        "default": (2, 384),
        "pooled_output": (2, 384),
        "sequence_output": (2, 24, 384),
    }
    assert len(words) == 30_522 and bool(loaded.do_lower_case.numpy())


@pytest.mark.slow
def test_all_of_it_trains(loaded, words):
    zoo_checks.check_interface(NAME, loaded, encoded(EATING, words))


def test_dropout_is_for_training_alone(loaded, words):
    first, second = (loaded(encoded(EATING, words), training=True)["default"].numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    still, again = (loaded(encoded(EATING, words))["default"].numpy() for _ in range(2))
    np.testing.assert_array_equal(still, again)


def test_it_can_be_cut_behind_every_block(loaded, words):
    layer = HubLayer(str(zoo_checks.folder(NAME)))
    assert [b.name for b in graph.blocks(layer.graph)][2:8] == [f"encoder/layer_{i}" for i in range(6)]
    ends = {b.tensor for b in graph.blocks(layer.graph)} - {None}
    assert {c.tensor for c in graph.cuts(layer.graph)} >= ends and len(ends) == 8
    inputs = encoded(EATING, words)
    whole = loaded(inputs)["default"].numpy()
    cut = next(c for c in graph.cuts(layer.graph) if c.tensor == graph.blocks(layer.graph)[4].tensor)
    front, back = graph.split(layer.graph, cut)
    flat = tf.nest.flatten(inputs)
    assert cut.inputs == (0,)  # the mask
    np.testing.assert_allclose(back(front(*flat), flat[0])["default"], whole, atol=1e-6)


@pytest.mark.slow
def test_it_converts_with_builtins(loaded, words):
    inputs = {name: value.numpy() for name, value in encoded(EATING[:1], words).items()}
    outputs = zoo_checks.litert(loaded, **dict.fromkeys(minilm.INPUTS, (1, 24)))(**inputs)
    expected = loaded({k: tf.constant(v) for k, v in inputs.items()})
    for key, value in expected.items():
        np.testing.assert_allclose(outputs[key], value, atol=1e-4)


@pytest.mark.slow
def test_the_variables_are_the_packages_and_two_builds_are_the_same_bytes(loaded, tmp_path):
    weights = minilm.variables(read_tensors(zoo_checks.files(minilm.PACKAGE, tmp_path)[minilm.WEIGHTS]))
    for ours, cached in zip(weights.values(), loaded.variables, strict=True):
        np.testing.assert_array_equal(ours, cached)
    again = zoo.build(NAME, tmp_path / "again")
    assert (again / MANIFEST).read_bytes() == (zoo_checks.folder(NAME) / MANIFEST).read_bytes()
