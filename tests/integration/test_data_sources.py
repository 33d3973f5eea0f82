"""tf.data Datasets and TensorFlow Datasets builders to Splits."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlkit.core.errors import InputError
from tlkit.core.files import cache_dir
from tlkit.data import image
from tlkit.data.spool import spool

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 6, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


def contents(splits: Any) -> dict[str, dict[bytes, Any]]:
    """Part -> pixels -> target."""
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {
        name: {part.inputs[i].tobytes(): part.target_array[i].tolist() for i in range(len(part))}
        for name, part in parts.items()
    }


# --- tf.data


def test_a_dataset_is_spooled_once_whatever_its_order_and_batches():
    import tensorflow as tf

    plain = tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(40) % 2))
    splits = [
        image.from_dataset(dataset, labels=["even", "odd"])
        for dataset in (plain, plain.batch(7), plain.shuffle(40, seed=1), plain.shuffle(40, seed=2).batch(16))
    ]
    assert len({version.fingerprint for version in splits}) == 1
    assert len(list((cache_dir() / "spool").glob("*/blobs.bin"))) == 1
    targets = {pixels: target for part in contents(splits[0]).values() for pixels, target in part.items()}
    assert targets == {pixels.tobytes(): i % 2 for i, pixels in enumerate(IMAGES)}
    assert splits[0].labels == ("even", "odd")
    assert [len(part) for part in (splits[0].train, splits[0].val, splits[0].test)] == [28, 6, 6]


def test_datasets_of_keras_give_their_classes_sizes_and_parts(tmp_path):
    import keras

    for i, pixels in enumerate(IMAGES):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    arguments = {"image_size": (8, 6), "label_mode": "categorical", "seed": 3, "verbose": False}
    train = keras.utils.image_dataset_from_directory(tmp_path / "data", **arguments)
    splits = image.from_dataset(train, test=train.take(1), image_size=4)
    assert splits.labels == ("a", "b")
    assert splits.train.target_array.dtype == np.int32
    assert splits.train.inputs[0].shape == (4, 4, 3)
    assert (len(splits.train) + len(splits.val), len(splits.test)) == (40, 32)
    assert len(splits.duplicates) == 32


def test_strings_vectors_and_floats_are_targets():
    import tensorflow as tf

    names = np.array(["cat", "ant"])[np.arange(40) % 2]
    assert image.from_dataset(tf.data.Dataset.from_tensor_slices((IMAGES, names))).labels == ("ant", "cat")
    several = np.stack([np.arange(40) % 2, np.ones(40)], -1)
    splits = image.from_dataset(tf.data.Dataset.from_tensor_slices((IMAGES, several)), labels=["odd", "any"])
    assert splits.train.target_array.shape == (28, 2)
    values = image.from_dataset(tf.data.Dataset.from_tensor_slices((IMAGES, np.linspace(0, 1, 40))))
    assert values.train.target_array.shape == (28, 1)


def test_datasets_that_cannot_be_used_are_refused():
    import tensorflow as tf

    def dataset(*arrays: Any) -> Any:
        return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])

    with pytest.raises(InputError, match=r"never ends: take the .repeat\(\) away"):
        image.from_dataset(dataset(IMAGES, np.arange(40) % 2).repeat())
    with pytest.raises(InputError, match=r"must give pairs \(image, target\). Received: ndarray"):
        image.from_dataset(dataset(IMAGES))
    with pytest.raises(InputError, match="All images hold floats in 0 to 1"):
        image.from_dataset(dataset(IMAGES / 255.0, np.arange(40) % 2))
    with pytest.raises(InputError, match="There is no usable example"):
        image.from_dataset(dataset(IMAGES, np.arange(40) % 2).take(0))
    assert not list((cache_dir() / "spool").glob(".tlkit-partial-*"))


def test_a_spool_that_was_cleared_says_so():
    spooled, places = spool([b"one", IMAGES[0], b"one"])
    assert spooled(places[0]) == spooled(places[2]) == b"one"
    np.testing.assert_array_equal(spooled(places[1]), IMAGES[0])
    spooled.path.unlink()
    with pytest.raises(InputError, match="is gone from the cache: read the source again"):
        spooled(0)


# --- TensorFlow Datasets


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def prepared(folder: Path, file_format: str, splits: tuple[str, ...] = ("train", "test"), kind: str = "class") -> Path:
    import tensorflow_datasets as tfds

    labels = tfds.features.ClassLabel(names=["even", "odd"])
    label = {"class": labels, "several": tfds.features.Sequence(labels), "number": np.float32}[kind]
    answer = {"class": lambda i: i % 2, "several": lambda i: list(range(i % 3)), "number": lambda i: i / 4}[kind]

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(shape=(None, None, 4)), "label": label}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _: Any) -> Any:
            return {name: self._generate_examples(k) for k, name in enumerate(splits)}

        def _generate_examples(self, k: int) -> Iterator[Any]:
            for i, pixels in enumerate(IMAGES):
                clear = np.concatenate([pixels, np.full((8, 6, 1), 255 * (i != 7), np.uint8)], -1)
                yield i, {"image": io.BytesIO(png(clear + np.uint8(k))), "label": answer(i)}

    builder = Tiny(data_dir=str(folder), file_format=file_format)
    builder.download_and_prepare()
    return Path(builder.data_dir)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_builders_splits_are_kept_and_its_alpha_composited(file_format, tmp_path):
    splits = image.from_tfds(prepared(tmp_path, file_format), background=(1, 2, 3), progress=False)
    assert splits.labels == ("even", "odd")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [32, 8, 40]
    targets = {**contents(splits)["train"], **contents(splits)["val"]}
    expected = {pixels.tobytes(): i % 2 for i, pixels in enumerate(IMAGES) if i != 7}
    expected[np.broadcast_to(np.array([1, 2, 3], np.uint8), (8, 6, 3)).tobytes()] = 1
    assert targets == expected
    assert {name.split("/")[0] for name in splits.test.ids} == {"test"}
    with ThreadPoolExecutor(8) as pool:  # readers of ArrayRecord are shared by threads
        again = list(pool.map(splits.train.inputs.__getitem__, list(range(32)) * 8))
    assert all(x.tobytes() in targets for x in again)
    assert image.resized(splits, 5).train.inputs[0].shape == (5, 5, 3)
    assert bool(list((cache_dir() / "spool").glob("*/blobs.bin"))) == (file_format == "tfrecord")


def test_a_builder_with_one_split_is_divided_and_targets_may_be_several_or_numbers(tmp_path):
    several = image.from_tfds(prepared(tmp_path / "a", "array_record", ("train",), "several"), progress=False)
    assert [len(part) for part in (several.train, several.val, several.test)] == [28, 6, 6]
    assert {tuple(row) for row in several.train.target_array.tolist()} == {(0, 0), (1, 0), (1, 1)}
    numbers = image.from_tfds(prepared(tmp_path / "b", "array_record", ("train",), "number"), progress=False)
    assert numbers.train.target_array.shape == (28, 1)


def test_builders_that_cannot_be_used_are_refused(tmp_path):
    folder = prepared(tmp_path, "array_record", ("test",))
    with pytest.raises(InputError, match="has no split 'train': it has test"):
        image.from_tfds(folder)
    with pytest.raises(InputError, match="has no feature 'picture': it has image, label"):
        image.from_tfds(folder, image="picture")
    with pytest.raises(InputError, match="The feature 'label' of 'tiny' is no image"):
        image.from_tfds(folder, image="label")
    with pytest.raises(InputError, match="TensorFlow Datasets cannot open 'no_such_builder'"):
        image.from_tfds("no_such_builder")
    with pytest.raises(InputError, match="TensorFlow Datasets cannot open"):
        image.from_tfds(tmp_path)
