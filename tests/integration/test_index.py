"""A collection embedded, searched and kept: texts, images, arrays; the wrong module, and faiss for large ones."""

from __future__ import annotations

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest
import zoo_checks

import tlkit
from tlkit.core.columns import ArrayColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Pipeline, Splits
from tlkit.core.progress import quiet
from tlkit.data import collection
from tlkit.datasets import samples
from tlkit.search import index as indexing
from tlkit.search.index import Index, Maker

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]
TEXTS = ("the good film", "a very bad plot", "anna in rome", "a long short film !", "the good film")
rng = np.random.default_rng(5)


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Examples:
    folder = tmp_path_factory.mktemp("texts")
    for i, text in enumerate(TEXTS):
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    return collection.texts(folder, progress=False).train


@pytest.fixture(scope="module")
def layer(module_folder) -> tlkit.HubLayer:
    return tlkit.HubLayer(module_folder("bert"))


@pytest.fixture(scope="module")
def made(layer, texts) -> Index:
    return tlkit.index(layer, texts, progress=quiet)


def vectors(count: int, width: int = 16) -> np.ndarray:
    rows = rng.normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plain(rows: np.ndarray) -> Index:
    return Index(rows, tuple(map(str, range(len(rows)))), (), Maker("none", None, "", None, None, Pipeline()))


def near(index: Index, query: np.ndarray, k: int, **options) -> list[int]:
    return [int(hit.id) for hit in index.nearest_vectors(query[None], k, **options)[0]]


# -- searching


def test_the_nearest_are_those_that_a_full_sort_finds(monkeypatch):
    monkeypatch.setattr(indexing, "_BLOCK", 7)
    items, queries = vectors(100), vectors(9)
    index = plain(items)
    scores = queries.astype(np.float64) @ items.T.astype(np.float64)
    for query, row in zip(queries, scores, strict=True):
        for k in (1, 7, 100, 200):
            assert near(index, query, k) == np.argsort(-row, kind="stable")[:k].tolist()


def test_equal_items_come_in_their_order_wherever_they_stand(monkeypatch):
    monkeypatch.setattr(indexing, "_BLOCK", 10)
    items = vectors(64, 24)
    twins = [3, 9, 10, 21, 40, 63]
    items[twins] = items[3]
    assert near(plain(items), items[3], 4) == twins[:4]
    assert near(plain(items), items[3], 6) == twins


def test_above_the_limit_faiss_answers_alike_and_is_kept(monkeypatch, tmp_path):
    pytest.importorskip("faiss")
    monkeypatch.setattr(indexing, "EXACT_BELOW", 50)
    index, query = plain(vectors(400)), vectors(1)[0]
    assert near(index, query, 5) == near(index, query, 5, exact=True)
    index.save(tmp_path / "index")
    assert (tmp_path / "index" / indexing.NEIGHBOURS).is_file()
    monkeypatch.setattr(indexing, "_linked", None)  # it is read, not made again
    assert near(Index.load(tmp_path / "index"), query, 5) == near(index, query, 5, exact=True)


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(indexing, "EXACT_BELOW", 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = plain(vectors(20))
    with pytest.raises(InputError, match=r"pip install 'tlkit\[ann\]'"):
        near(index, vectors(1)[0], 3)
    assert len(near(index, vectors(1)[0], 3, exact=True)) == 3


# -- what is embedded


def test_a_text_finds_itself_first(made, texts):
    assert made.texts == TEXTS and made.ids == tuple(f"{i}.txt" for i in range(5))
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-6)
    hits = made.nearest(["a very bad plot", "the good film"], k=2)
    assert hits[0][0][0] == "1.txt" and hits[0][0].text == "a very bad plot"
    assert [hit.id for hit in hits[1]] == ["0.txt", "4.txt"]  # the same text twice: in their order
    assert hits[0][0].score == pytest.approx(1, abs=1e-5)


def test_vectors_are_the_modules_own_features(made, layer, texts):
    alone = layer({k: v[None] for k, v in layer.tokenizer.inputs(TEXTS[1], 8).items()}).numpy()[0]
    np.testing.assert_allclose(made.vectors[1], alone / np.linalg.norm(alone), atol=1e-5)


def test_strings_go_into_a_module_of_strings_and_unknown_words_are_zeros(module_folder):
    words = Examples(
        ("a", "b"),
        ReadColumn(
            [np.array("the cat", object), np.array("a dog ran", object)].__getitem__,
            ArraySpec((), "string"),
            ("a", "b"),
        ),
        ArrayColumn(np.zeros(2)),
    )
    index = tlkit.index(module_folder("vocabulary"), words, progress=quiet)
    assert [row[0].id for row in index.nearest(["the cat", "a dog ran"], 1)] == ["a", "b"]
    assert indexing._unit(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("size", [(32, 32), (48, 40)])
def test_images_find_themselves_at_any_size(module_folder, size):
    images = rng.integers(0, 256, (6, *size, 3)).astype(np.uint8)
    examples = Examples(
        tuple("abcdef"),
        ReadColumn(images.__getitem__, ArraySpec((*size, 3), "uint8"), tuple(f"{size}{i}" for i in range(6))),
        ArrayColumn(np.zeros(6)),
        modality="image",
    )
    index = tlkit.index(module_folder("keras3_hub"), examples, progress=quiet)
    assert [row[0].id for row in index.nearest(list(images), 3)] == list("abcdef")
    assert index.made_by.image_size == (32, 32) and index.texts == ()


# -- kept


def test_a_saved_index_answers_alike_with_its_own_module(made, layer, tmp_path):
    queries = ["rome", "a long film"]
    saved = made.save(tmp_path / "index")
    opened = tlkit.load(saved.folder)
    assert opened.backbone is None and opened.made_by == made.made_by
    assert opened.nearest(queries, 3) == made.nearest(queries, 3)
    assert Index.load(saved.folder, layer).nearest(queries, 3) == made.nearest(queries, 3)
    assert sorted(p.name for p in saved.folder.iterdir()) == ["index.json", "items.json", "vectors.npy"]
    made.save(saved.folder)  # again, over itself


def test_another_module_or_other_weights_are_refused(made, module_folder, texts, tmp_path):
    folder = made.save(tmp_path / "index").folder
    with pytest.raises(InputError, match="is another module"):
        Index.load(folder, module_folder("text_encoder"))
    layer = tlkit.HubLayer(module_folder("bert"))
    index = tlkit.index(layer, texts, progress=quiet)
    layer.variables[0].assign(layer.variables[0] + 1.0)
    with pytest.raises(InputError, match="the same module with other weights"):
        index.nearest(["rome"])


def test_what_is_damaged_or_no_index_is_said(made, tmp_path):
    folder = made.save(tmp_path / "index").folder
    (folder / "items.json").write_text("{}")
    with pytest.raises(InputError, match=r"items\.json is damaged"):
        tlkit.load(folder)
    record = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**record, "format": 0}))
    with pytest.raises(InputError, match="another version"):
        Index.load(folder)
    with pytest.raises(InputError, match="is no index"):
        Index.load(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="something else than an index"):
        made.save(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").is_file()


def test_queries_of_another_kind_are_refused(made, module_folder, texts):
    for queries, message in (
        ("rome", "a list of queries"),
        ([np.zeros(3)], "takes texts"),
        (["rome", 3], "takes texts"),
    ):
        with pytest.raises(InputError, match=message):
            made.nearest(queries)
    with pytest.raises(InputError, match="`k` must be"):
        made.nearest(["rome"], k=0)
    assert made.nearest([]) == []
    with pytest.raises(InputError, match=r"vectors \(q, 8\)"):
        made.nearest_vectors(np.zeros((1, 3), np.float32))
    with pytest.raises(InputError, match="the examples are empty"):
        tlkit.index(module_folder("bert"), texts.subset([]), progress=quiet)


# -- collections


def test_a_table_and_a_folder_are_collections(tmp_path):
    (tmp_path / "table.csv").write_text("text,other\nfirst,1\n,2\nthird,3\n", encoding="utf-8")
    table = collection.texts(tmp_path / "table.csv", progress=False)
    assert table.train.ids == ("row 2", "row 4") and [q.name for q in table.quarantine] == ["row 3"]
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.txt").write_text("deep")
    (tmp_path / ".hidden").write_text("no")
    folder = collection.texts(tmp_path, progress=False).train
    assert folder.ids == ("inner/a.txt",)
    both = collection.joined({"t": table.train, "f": folder})
    assert both.ids == ("t/row 2", "t/row 4", "f/inner/a.txt") and [str(both.inputs[i]) for i in range(3)][2] == "deep"
    heavy = dataclasses.replace(folder, weights=np.array([2], np.float32), columns={"text": TextColumn(("read so",))})
    plain = dataclasses.replace(table.train, columns={"text": TextColumn(("one", "two"))})
    all_three = collection.joined({"t": plain, "f": heavy, "none": plain.subset([])}, np.array([1, 0, 1], np.int32))
    assert all_three.weights.tolist() == [1, 1, 2] and all_three.target_array.tolist() == [1, 0, 1]
    assert (
        tuple(all_three.columns["text"][i] for i in range(3)) == ("one", "two", "read so")
        and str(all_three.inputs[2]) == "deep"
    )
    with pytest.raises(InputError, match="one kind"):
        collection.joined({})
    with pytest.raises(InputError, match="holds no files"):
        (tmp_path / "empty").mkdir()
        collection.texts(tmp_path / "empty")


def test_images_of_a_folder_need_no_labels(tmp_path):
    root = samples.folder("emoji10", "noto")
    files = sorted(root.rglob("*.png"))[:3]
    (tmp_path / "deep").mkdir()
    for number, file in enumerate(files):
        (tmp_path / ("deep" if number else ".") / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no image")
    splits = collection.images(tmp_path, image_size=32, progress=False)
    assert len(splits.train) == 3 and {"deep/" + file.name for file in files[1:]} < set(splits.train.ids)
    assert splits.train.inputs[0].shape == (32, 32, 3) and not splits.train.target_array.any() and not splits.labels
    assert [q.name for q in splits.quarantine] == ["broken.png"]
    with pytest.raises(InputError, match="There is no folder"):
        collection.images(tmp_path / "none")


def test_as_if_few_labels_were_known():
    def examples(count, name):
        ids = tuple(f"{name}{i}" for i in range(count))
        return Examples(
            ids,
            ReadColumn(lambda i: np.float32([i]), ArraySpec((1,), "float32"), ids),
            ArrayColumn(np.arange(count, dtype=np.int32) % 2),
        )

    whole = Splits(examples(80, "t"), examples(20, "v"), examples(10, "e"), ("a", "b"))
    few, others = collection.few_labels(whole, 10, seed=3)
    assert (len(few.train), len(few.val), len(few.test)) == (8, 2, 10) and np.bincount(
        few.train.target_array
    ).tolist() == [
        4,
        4,
    ]
    assert sorted(few.train.ids + others.ids) == sorted(whole.train.ids) and not others.target_array.any()
    assert collection.few_labels(whole, 10, seed=3)[0].train.ids == few.train.ids
    assert collection.few_labels(whole, 10, seed=4)[0].train.ids != few.train.ids
    every, none = collection.few_labels(whole, 100)
    assert every.train.ids == whole.train.ids and every.val.ids == whole.val.ids and not len(none)
    values = dataclasses.replace(whole.train, targets=np.ones((80, 1), np.float32))
    assert len(collection.few_labels(dataclasses.replace(whole, train=values), 10)[0].train) == 8
    single, _ = collection.few_labels(dataclasses.replace(whole, train=whole.val, val=whole.train), 1)
    assert np.bincount(single.train.target_array).tolist() == [1, 1] and not len(
        single.val
    )  # about one: of each class at least
    for count in (0, 101):
        with pytest.raises(InputError, match=r"at least 1 and at most .*, 100"):
            collection.few_labels(whole, count)


OWN_KIND = """
import dataclasses
from pathlib import Path
import numpy as np
import tlkit

def scaled(examples):
    values = examples.inputs.take(np.arange(len(examples))).reshape(len(examples), 24, 1)
    deviations = values.std(axis=(1, 2), keepdims=True)
    return dataclasses.replace(examples, inputs=(values - values.mean(axis=(1, 2), keepdims=True)) / deviations)

def prepare(data, layer):
    parts = (scaled(part) if len(part) else part for part in (data.train, data.val, data.test))
    return tlkit.Splits(*parts)

def parse(source, info):
    values = np.load(source) if isinstance(source, Path) else np.asarray(source)
    assert info.shape == (24, 1)
    return tlkit.Examples(("query",), values[None], np.zeros((1, 0), np.float32), WAVES.name)

WAVES = tlkit.Modality(name=f"{__name__}.WAVES", prepare=prepare, parse=parse)
BARE = tlkit.Modality(name=f"{__name__}.BARE", prepare=prepare)
"""


@pytest.mark.parametrize("kind", ["WAVES", "BARE"])
def test_queries_of_ones_own_modality_are_read_and_prepared_as_its_items_are(kind, tmp_path, monkeypatch):
    (tmp_path / "own_waves.py").write_text(OWN_KIND)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_waves  # noqa: F401

    drawn = np.random.default_rng(0)
    items = (drawn.normal(size=(30, 24, 1)) * 50 + drawn.normal(size=(30, 1, 1)) * 300).astype(np.float32)
    collected = Examples(tuple(map(str, range(30))), items, np.zeros((30, 0), np.float32), f"own_waves.{kind}")
    keras.utils.set_random_seed(0)
    layers = [keras.Input((24, 1)), keras.layers.Conv1D(8, 5, activation="relu"), keras.layers.Flatten()]
    module = tlkit.HubLayer(keras.Sequential(layers))
    tlkit.index(module, collected, progress=quiet).save(tmp_path / "index")
    np.save(tmp_path / "seven.npy", items[7])
    monkeypatch.delitem(sys.modules, "own_waves")
    index = Index.load(tmp_path / "index", module)
    with pytest.raises(InputError, match="import `own_waves` first"):
        index.nearest([items[3]])
    monkeypatch.setenv("TLKIT_TRUST", "1")
    index = Index.load(tmp_path / "index", module)
    monkeypatch.setenv("TLKIT_TRUST", "0")
    queries = [items[3], tmp_path / "seven.npy" if kind == "WAVES" else items[7]]
    hits = index.nearest(queries, k=2)
    assert [(first.id, first.score) for first, _ in hits] == [("3", pytest.approx(1)), ("7", pytest.approx(1))]
    assert all(second.score < 0.99 for _, second in hits)
    monkeypatch.delitem(sys.modules, "own_waves")


def test_minilm_finds_the_paraphrase_first():
    module = zoo_checks.folder("minilm-l6-v2")
    sentences = ["A man is eating food.", "The stock market fell sharply on Tuesday.", "I really enjoyed the movie."]
    examples = Examples(
        tuple("abc"),
        ReadColumn([np.array(text, object) for text in sentences].__getitem__, ArraySpec((), "string"), tuple("abc")),
        ArrayColumn(np.zeros(3)),
        modality="text",
    )
    hits = tlkit.index(module, examples, progress=quiet).nearest(
        ["A man is eating a piece of bread.", "That film was wonderful.", "Shares lost value."], 1
    )
    assert [row[0].id for row in hits] == ["a", "c", "b"]
    assert hits[0][0].score == pytest.approx(0.755, abs=0.002)
