from pathlib import Path

import numpy as np
import pytest

from tlkit.core.columns import ArrayColumn, RaggedColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.data.splitting import spread
from tlkit.exporting.heldout import examples_to_check, store


def examples(targets: np.ndarray, dictionary: bool = False) -> Examples:
    def read(i: int):
        x = np.full((2, 2, 3), i, np.uint8)
        return {"a": x, "b": x[0]} if dictionary else x

    names = tuple(map(str, range(len(targets))))
    return Examples(names, ReadColumn(read, ArraySpec((2, 2, 3), "uint8"), names), ArrayColumn(targets))


def test_every_class_has_its_turn():
    targets = np.array([0] * 50 + [1] * 3 + [2] * 10)
    chosen = targets[list(spread(targets, 9))]
    assert np.bincount(chosen).tolist() == [3, 3, 3]
    assert np.bincount(targets[list(spread(targets, 15))]).tolist() == [6, 3, 6]


def test_the_same_seed_draws_the_same():
    targets = np.arange(40) % 4
    assert spread(targets, 12, seed=3) == spread(targets, 12, seed=3) != spread(targets, 12, seed=4)
    assert sorted(spread(targets, 100)) == list(range(40))


def test_values_are_drawn_without_regard():
    assert len(set(spread(np.linspace(0, 1, 20), 5))) == 5
    assert len(set(spread(np.zeros((20, 3), np.int64), 5))) == 5


def test_validation_and_training_examples_stand_in_for_test_examples_in_this_order():
    none, some, more = (examples(np.zeros(count, np.int64)) for count in (0, 3, 5))

    def chosen(*parts, most=10):
        name, checked = examples_to_check(Splits(*parts), most)
        return name, len(checked)

    assert chosen(more, more, some) == ("test", 3) and chosen(none, none, some, most=2) == ("test", 2)
    assert chosen(more, some, none) == ("val", 3)
    assert chosen(some, none, none) == ("train", 3)
    with pytest.raises(InputError, match="has no examples to check an export with"):
        examples_to_check(Splits(none, none, none), 10)


def test_ragged_inputs_are_stored_as_a_batch_has_them(tmp_path: Path):
    rows = RaggedColumn([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)], fill=-1, most=4)
    ragged = Examples(("a", "b"), rows, ArrayColumn(np.zeros(2)))
    stored = store(ragged, ["x"], tmp_path / "one")["x"]
    assert stored.dtype == np.float32 and np.array_equal(stored, rows.take(np.arange(2)))


def test_inputs_are_stored_by_name(tmp_path: Path):
    arrays = store(examples(np.zeros(4, np.int64)), ["image"], tmp_path / "one")
    assert arrays["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert np.load(tmp_path / "one" / "image.npy").shape == (4, 2, 2, 3)
    several = store(examples(np.zeros(4, np.int64), dictionary=True), ["b", "a"], tmp_path / "two")
    assert {name: array.shape for name, array in several.items()} == {"b": (4, 2, 3), "a": (4, 2, 2, 3)}


def test_texts_are_stored_without_python_objects(tmp_path):
    texts = ["plain", "", "fällend ✓ 猫"]
    names = tuple("abc")
    stored = Examples(
        names,
        ReadColumn(lambda i: np.asarray(texts[i], object), ArraySpec((), "string"), names),
        ArrayColumn(np.zeros(3, np.int32)),
    )
    store(stored, ["texts"], tmp_path / "inputs")
    again = np.load(tmp_path / "inputs" / "texts.npy", allow_pickle=False)
    assert again.shape == (3,) and [text.decode() for text in again] == texts
