"""TensorFlow Datasets builders whose rows are series, values of series, or rows of tables."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.data import series, table


def prepared(folder, features, rows, splits=("train",), file_format="array_record"):
    """A builder of these features on disk; `rows(split)` gives its rows."""
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            yield from enumerate(rows(split))

    builder = Tiny(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()
    return builder


def recordings(split):
    rng = np.random.default_rng(len(split))
    for i in range(12):
        steps = 8 + i % 3
        x = rng.normal(size=steps).astype(np.float32)
        yield {"value": np.stack([x, -x], 1), "x": x, "y": 2 * x, "label": i % 2, "size": float(i), "name": f"r{i}"}


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    import tensorflow_datasets as tfds

    features = {
        "value": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
        "x": tfds.features.Sequence(np.float32),
        "y": tfds.features.Sequence(np.float32),
        "label": tfds.features.ClassLabel(names=["still", "moving"]),
        "size": np.float32,
        "name": tfds.features.Text(),
    }
    return prepared(tmp_path_factory.mktemp("gestures"), features, recordings, ("train", "test"))


def test_a_series_a_row_with_its_own_test(gestures):
    data = series.from_tfds(gestures, split=(0.75, 0.25, 0))
    assert data.labels == ("still", "moving") and (len(data.train), len(data.val), len(data.test)) == (9, 3, 12)
    assert data.train.inputs.spec.shape == (10, 2) and data.test.ids[0] == "test/0"
    longest = [row["value"] for row in recordings("test") if len(row["value"]) == 10]  # the others are stretched
    own = data.test.inputs.values
    assert all(np.abs(own - row).max(axis=(1, 2)).min() < 1e-6 for row in longest)  # tfds keeps no order
    assert any("have other lengths (8 to 10 steps)" in note for note in data.notes)


def test_several_features_are_channels_and_numbers_are_values(gestures):
    data = series.from_tfds(gestures.data_dir, value=["x", "y"], label="size", split=(0.75, 0.25, 0))
    assert data.train.inputs.spec.shape == (10, 2) and data.train.target_array.dtype == np.float32
    np.testing.assert_allclose(data.train.inputs.values[..., 1], 2 * data.train.inputs.values[..., 0], rtol=1e-6)


@pytest.mark.parametrize(
    "names, says",
    [
        ({"value": "missing"}, "has no feature 'missing': it has label, name, size, value, x, y"),
        ({"value": "name"}, "'name' of 'tiny' is no sequence of numbers"),
        ({"value": "size"}, "'size' of 'tiny' is no sequence of numbers"),
        ({"value": ["value", "x"]}, "'value' of 'tiny' is no sequence of numbers"),
        ({"label": "other"}, "has no feature 'other'"),
    ],
)
def test_what_is_no_series_is_refused(gestures, names, says):
    with pytest.raises(InputError, match=says):
        series.from_tfds(gestures, **names)


def test_channels_of_different_lengths_are_refused(tmp_path):
    import tensorflow_datasets as tfds

    features = {name: tfds.features.Sequence(np.float32) for name in "xy"} | {"label": np.int64}
    builder = prepared(tmp_path, features, lambda _: [{"x": [1, 2, 3], "y": [1, 2], "label": 0}])
    with pytest.raises(InputError, match="Row 0 of 'tiny' has channels of different lengths: x 3, y 2"):
        series.from_tfds(builder, value=["x", "y"])


def test_a_value_a_row_is_a_history_and_a_long_table(tmp_path):
    import tensorflow_datasets as tfds

    features = {"time": tfds.features.Text(), "value": np.float32}
    features |= {name: tfds.features.Text() for name in ("series", "kind")}
    wave = np.sin(np.arange(40) / 2).astype(np.float32)

    def rows(_):
        for name in "abcdefgh":
            for i, number in enumerate(wave):
                time = f"{2020 + i // 12}-{1 + i % 12:02d}"
                yield {"time": time, "value": number, "series": name, "kind": "early" if name < "e" else "late"}

    builder = prepared(tmp_path, features, rows)
    data = series.history(builder, horizon=4, season_length=12, origins=2)
    assert {name.partition("@")[0] for name in data.test.ids} == set("abcdefgh")
    np.testing.assert_allclose(data.test.targets.values[-1], wave[-4:])
    labelled = series.from_table(builder, label="kind", series="series")
    assert labelled.train.inputs.spec.shape == (40, 1) and labelled.labels == ("early", "late")


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_builder_of_one_value_a_feature_is_a_table(tmp_path, file_format):
    import tensorflow_datasets as tfds

    features = {
        "age": np.float32, "job": tfds.features.Text(), "note": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=["no", "yes"]),
    }  # fmt: skip

    def rows(split):
        for i in range(20):
            yield {"age": i, "job": ["cook", "clerk"][i % 2], "note": f"row {i} of {split}", "label": i % 2}

    builder = prepared(tmp_path, features, rows, ("train", "test"), file_format)
    data = table.from_tfds(builder, texts=["note"], split=(0.8, 0.2, 0))
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 20) and data.labels == ("no", "yes")
    assert set(data.test.inputs.columns["note"].texts) == {f"row {i} of test" for i in range(20)}
    assert any("Texts (1): note." in note for note in data.notes)


def test_a_builder_with_sequences_is_no_table(gestures):
    with pytest.raises(InputError, match="'tiny' is no table: its feature 'value' holds several values a row"):
        table.from_tfds(gestures)


def test_splits_whose_names_say_no_part_are_noted(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "x": tfds.features.Sequence(np.float32),
        "label": tfds.features.ClassLabel(names=["still", "moving"]),
        "size": np.float32,
    }

    def rows(split):
        yield from ({name: row[name] for name in features} for row in recordings(split))

    waves = prepared(tmp_path / "waves", features, rows, ("train", "extra"))
    flat = {name: feature for name, feature in features.items() if name != "x"}
    sizes = prepared(
        tmp_path / "sizes", flat, lambda split: ({name: row[name] for name in flat} for row in recordings(split)),
        ("train", "extra"),
    )  # fmt: skip
    note = "Left out: splits of 'tiny' that are no train, val or test: 'extra' (12)."
    for data in (series.from_tfds(waves, value="x"), table.from_tfds(sizes, label="label")):
        assert data.notes.count(note) == 1
