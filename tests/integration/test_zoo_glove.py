"""GloVe from its package: the vectors know analogies; texts and row numbers give the same means."""

import numpy as np
import pytest
import zoo_checks

from tlkit import zoo
from tlkit.core.errors import InputError
from tlkit.zoo import store
from tlkit.zoo.store import MANIFEST

tf = pytest.importorskip("tensorflow")

TEXTS = ["A king, and HIS queen!", "zzqqxx José", "", "?!", "well-known\nu.s. facts"]


@pytest.fixture(scope="module")
def texts():
    return tf.saved_model.load(str(zoo_checks.folder("glove-50d")))


@pytest.fixture(scope="module")
def ids():
    return tf.saved_model.load(str(zoo_checks.folder("glove-50d-ids")))


@pytest.fixture(scope="module")
def words(ids):
    with open(ids.vocab_file.asset_path.numpy().decode(), encoding="utf-8") as file:
        return file.read().splitlines()


def test_king_without_man_with_woman_is_queen(ids, words):
    table = ids.variables[0].numpy()
    rows = {word: i for i, word in enumerate(words[:20_000])}
    sought = table[rows["king"]] - table[rows["man"]] + table[rows["woman"]]
    unit = table[1:20_000] / np.linalg.norm(table[1:20_000], axis=1, keepdims=True)
    nearest = [words[1 + i] for i in np.argsort(unit @ sought)[::-1][:2]]
    assert nearest == ["king", "queen"]


def test_texts_give_the_means_of_their_words(texts, ids, words):
    rows = {word: i for i, word in enumerate(words)}
    table = ids.variables[0].numpy()
    lists = [["a", "king", "and", "his", "queen"], ["josé"], [], [], ["well", "known", "u", "s", "facts"]]
    expected = [np.mean([table[rows[w]] for w in ws], axis=0) if ws else np.zeros(50) for ws in lists]
    np.testing.assert_allclose(texts(tf.constant(TEXTS)), expected, atol=1e-6)
    padded = np.zeros((len(lists), 7), np.int32)
    for row, text_words in zip(padded, lists, strict=True):
        row[: len(text_words)] = [rows[w] for w in text_words]
    np.testing.assert_allclose(ids(tf.constant(padded)), expected, atol=1e-6)


def test_bytes_that_are_no_text_are_skipped(texts):
    np.testing.assert_allclose(texts(tf.constant([b"\xff\xfe king"])), texts(tf.constant(["king"])))


def test_no_texts_and_no_words(texts, ids):
    assert texts(tf.constant([], tf.string)).shape == (0, 50)
    np.testing.assert_array_equal(ids(tf.zeros((2, 0), tf.int32)), np.zeros((2, 50)))


def test_both_share_row_numbers_and_vectors(texts, ids, words):
    assert len(words) == len(set(words)) == 400_001 and words[:3] == ["[PAD]", "the", ","]
    other = texts.vocab_file.asset_path.numpy().decode()
    with open(other, encoding="utf-8") as file:
        assert file.read().splitlines() == words
    np.testing.assert_array_equal(texts.variables[0], ids.variables[0])


@pytest.mark.parametrize(
    ("name", "example"), [("glove-50d", ["a king", "queens"]), ("glove-50d-ids", np.array([[5, 6], [7, 0]], np.int32))]
)
def test_the_hub_interface(texts, ids, name, example):
    loaded = texts if name == "glove-50d" else ids
    zoo_checks.check_interface(name, loaded, tf.constant(example))
    assert loaded.signatures["serving_default"](inputs=tf.constant(example))["default"].shape == (2, 50)


def test_padding_learns_nothing(ids):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ids(tf.constant([[5, 0, 0]])))
    gradient = tf.convert_to_tensor(tape.gradient(loss, ids.trainable_variables[0])).numpy()
    assert set(np.flatnonzero(gradient.any(axis=1))) == {5}


def test_row_numbers_convert_with_builtins(ids):
    rows = np.array([[5, 600, 0, 0]], np.int32)
    vector = zoo_checks.litert(ids, inputs=rows.shape)(inputs=rows)["default"]
    np.testing.assert_allclose(vector, ids(tf.constant(rows)), atol=1e-6)


def test_strings_do_not_convert_and_the_card_says_what_does(texts):
    with pytest.raises(Exception, match="String"):
        zoo_checks.litert(texts, inputs=(1,))
    assert "glove-50d-ids" in zoo.cards()["glove-50d"].inputs


def test_without_pyarrow_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(store.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(store, "fetch", lambda *_, **__: pytest.fail("downloaded for nothing"))
    with pytest.raises(InputError, match=r"zoo:glove-50d needs pyarrow.*pip install tlkit\[text\]"):
        zoo.build("glove-50d", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glove-50d", "glove-50d-ids"])
def test_two_builds_are_the_same_bytes(name, tmp_path):
    again = zoo.build(name, tmp_path)
    assert (again / MANIFEST).read_bytes() == (zoo_checks.folder(name) / MANIFEST).read_bytes()
