"""Features computed once: what is stored, found again, resumed, bounded; and who computes them."""

from __future__ import annotations

import dataclasses
import errno
import json
import os

import numpy as np
import pytest
from changing import reread

import tlkit
from tlkit import plans, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Pipeline, Splits
from tlkit.core.progress import quiet
from tlkit.features import cache_budget, engines, extract
from tlkit.model.partition import Front, front_of
from tlkit.training import inputs

SIZE, LABELS = 32, ("dark", "light", "red")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def layer(module_folder):
    from tlkit.layer.hub_layer import HubLayer

    return HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0))


def examples(count: int, seed: int = 1, augment=None) -> Examples:
    rng = np.random.default_rng(seed)
    targets = np.arange(count, dtype=np.int32) % len(LABELS)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8) // 2 + 60 * targets[
        :, None, None, None
    ].astype("uint8")
    names = tuple(f"{seed}-{i}" for i in range(count))
    return Examples(
        names,
        ReadColumn(images.__getitem__, ArraySpec((SIZE, SIZE, 3), "uint8"), names),
        ArrayColumn(targets),
        modality="image",
        augment=augment,
    )


class Darker:
    def __call__(self, x: np.ndarray, seed: int) -> np.ndarray:
        return x // 2 if seed % 2 else x

    def __repr__(self) -> str:
        return "Darker()"


def opener(layer, count: int = 10, cut=None):
    return engines.opener(front_of(layer, cut, ArraySpec((SIZE, SIZE, 3), "uint8")), count)


def request(layer, data: Examples, **options) -> extract.Request:
    opened = opener(layer)
    dtype = options.pop("dtype", "float32")
    return extract.Request(data, opened.front.key, extract.layout_of(opened, data, dtype), batch_size=4, **options)


def small_shards(monkeypatch, bytes_: int = 4 * 12 * 4) -> None:
    monkeypatch.setattr(extract, "SHARD_BYTES", bytes_)  # of 12 features each: 4 examples


# -- what is stored


@pytest.mark.numeric
def test_features_are_those_of_the_module(layer):
    data = examples(10)
    features = np.asarray(tlkit.extract(layer, data, batch_size=4))
    expected = np.asarray(layer(np.stack([data.inputs[i] for i in range(10)]).astype("float32"), training=False))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)


@pytest.mark.numeric
def test_features_at_every_cut_lead_to_the_output(layer):
    from tlkit import graph as graphs

    data = examples(6)
    whole = np.asarray(tlkit.extract(layer, data))
    for cut in graphs.cuts(layer.graph)[::4]:
        at_cut = tlkit.extract(layer, data, at=cut).take(np.arange(6))[0]
        np.testing.assert_allclose(np.asarray(layer.back(cut)(at_cut)), whole, atol=1e-5)


def test_what_is_there_is_not_computed_again(layer, monkeypatch):
    small_shards(monkeypatch)
    first = tlkit.extract(layer, examples(10), batch_size=4)
    again = tlkit.extract(layer, reread(examples(10), lambda i: 1 / 0), batch_size=4)  # nothing may be read
    assert (first.reused, again.reused, len(first.shards)) == (0, 10, 3)
    assert np.array_equal(first, again)
    order = np.asarray([9, 0, 5, 5])
    assert np.array_equal(first.take(order)[0], np.asarray(first)[order])


def test_other_data_views_weights_and_cuts_have_other_places(layer, module_folder):
    plain = request(layer, examples(4))
    others = [
        request(layer, examples(4, seed=2)),
        request(layer, examples(5)),
        request(layer, examples(4), view=0),
        request(layer, examples(4), view=1),
        request(layer, examples(4), view=1, seed=3),
        request(layer, examples(4, augment=Darker()), view=1),  # what changes the examples is part of it
        request(layer, examples(4), dtype="float16"),
        request(layer, dataclasses.replace(examples(4), pipeline=Pipeline().then("grey"))),
        dataclasses.replace(plain, key=front_of(layer, layer.cut_for(0.5), plain.examples.inputs.spec).key),
    ]
    assert len({r.folder for r in (plain, *others)}) == len(others) + 1
    bias = layer.variables[0]
    before = np.array(bias)
    bias.assign(before + 1)
    moved = request(layer, examples(4))
    bias.assign(before)
    assert moved.folder != plain.folder and request(layer, examples(4)).folder == plain.folder


def test_views_are_known_by_the_code_that_makes_them(layer):
    def darker(by):
        return lambda x, seed: x // by

    folders = [request(layer, examples(4, augment=darker(by)), view=0).folder for by in (2, 2, 3)]
    assert folders[0] == folders[1] != folders[2]


def test_a_stop_costs_the_shard_that_was_under_way(layer, monkeypatch):
    small_shards(monkeypatch)
    data = examples(12)

    def failing(i: int) -> np.ndarray:
        if i >= 9:
            raise KeyboardInterrupt
        return data.inputs[i]

    with pytest.raises(KeyboardInterrupt):
        tlkit.extract(layer, reread(data, failing), batch_size=4)
    assert request(layer, data).missing_bytes == 4 * 12 * 4
    resumed = tlkit.extract(layer, data, batch_size=4)
    assert resumed.reused == 8
    undisturbed = tlkit.extract(layer, dataclasses.replace(data, pipeline=Pipeline().then("elsewhere")), batch_size=4)
    assert np.array_equal(resumed, undisturbed)


def test_what_a_kill_left_half_written_goes(layer):
    from tlkit.core.files import PARTIAL

    asked = request(layer, examples(4))
    asked.folder.mkdir(parents=True)
    (asked.folder / f"{PARTIAL}abc.npy").write_bytes(b"half")
    tlkit.extract(layer, examples(4), batch_size=4)
    assert sorted(p.name for p in asked.folder.iterdir()) == ["000000.json", "000000.npy", "engine.json", "lock"]


ODD_RECORDS = ("null", "[]", "{}", "7", "[" * 100_000, '{"sha256": 1, "shape": 2, "rounding": "x"}')


@pytest.mark.long
@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "no record", "foreign record", "a pipe", *ODD_RECORDS])
def test_a_damaged_shard_is_computed_again(layer, monkeypatch, damage):
    small_shards(monkeypatch)
    data = examples(8)
    whole = np.asarray(tlkit.extract(layer, data, batch_size=4))
    path = request(layer, data).folder / "000001.npy"
    record = path.with_suffix(".json")
    if damage == "flipped bit":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "no record":
        record.unlink()
    elif damage == "a pipe":
        path.unlink()
        os.mkfifo(path)
    elif damage in ODD_RECORDS:
        record.write_text(damage)
        record.with_name("engine.json").write_text(damage)
    else:
        record.write_text(record.read_text().replace("[4,", "[3,"))
    again = tlkit.extract(layer, data, batch_size=4)
    assert again.reused == 4
    assert np.array_equal(again, whole)


def test_features_that_are_not_finite_are_refused_by_name(layer):
    data = examples(6)

    def read(i: int) -> np.ndarray:
        return np.full((SIZE, SIZE, 3), np.nan, "float32") if i == 4 else data.inputs[i]

    with pytest.raises(InputError, match=r"NaN or infinite features for 1 example.*1-4"):
        tlkit.extract(layer, reread(data, read))


def test_float16_takes_half_the_space_and_says_what_it_cost(layer):
    data = examples(8)
    exact, halved = tlkit.extract(layer, data), tlkit.extract(layer, data, dtype="float16")
    assert halved.shards[0][0].nbytes * 2 == exact.shards[0][0].nbytes
    gap = np.abs(np.asarray(exact) - np.asarray(halved)).max() / np.abs(np.asarray(exact)).max()
    assert 0 < halved.rounding < 1e-3 and halved.rounding == pytest.approx(gap)
    assert exact.rounding == 0
    with pytest.raises(InputError, match=r"one of float32, float16\. Received: 'int8'"):
        tlkit.extract(layer, data, dtype="int8")


# -- who computes them


@pytest.mark.long
@pytest.mark.numeric
def test_litert_gives_the_features_of_tensorflow(layer):
    for share in (0.0, 0.5):
        opened = opener(layer, cut=layer.cut_for(share) if share else None)
        x = np.stack([examples(5).inputs[i] for i in range(5)])
        engine = opened(engines.LITERT, x)
        assert engine.name == engines.LITERT
        np.testing.assert_allclose(engine.run(x)[0], opened(engines.TENSORFLOW).run(x)[0], atol=1e-4)


def test_the_choice_weighs_saving_against_converting(layer):
    front = dataclasses.replace(opener(layer).front, operations=0.77e9)
    assert engines.choice(front, 470)[0] == engines.TENSORFLOW
    assert engines.choice(front, 485)[0] == engines.LITERT
    engines.litert(front)  # converts it
    name, reason = engines.choice(front, 1)
    assert name == engines.LITERT and "cache" in reason
    file = engines._file((front,))
    file.write_bytes(file.read_bytes()[:-9] + b"damaged!!")
    assert engines.choice(front, 1)[0] == engines.TENSORFLOW  # what is damaged counts as not there
    engines.litert(front)
    assert engines.choice(front, 1)[0] == engines.LITERT


def test_what_cannot_go_to_litert_stays_in_tensorflow(layer, monkeypatch):
    import tensorflow as tf

    front = dataclasses.replace(opener(layer).front, operations=1e12)
    assert (
        engines.choice(dataclasses.replace(front, spec=tf.TensorSpec([None, 5], tf.int32)), 1000)[0]
        == engines.TENSORFLOW
    )
    assert (
        engines.choice(dataclasses.replace(front, spec=tf.TensorSpec([None, None, 3])), 1000)[0] == engines.TENSORFLOW
    )
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert engines.choice(front, 1000) == (engines.TENSORFLOW, "there is a GPU")


def test_a_front_that_does_not_convert_runs_in_tensorflow_and_says_why():
    import tensorflow as tf

    def run(x):
        return (tf.reshape(tf.math.bessel_i0(x), [-1, 4]),)  # no TFLite builtin

    opened = engines.opener(Front(run, "bessel", tf.TensorSpec([None, 4]), (), 1e12), 10_000)
    engine = opened(None, np.ones((2, 4), "float32"))
    assert engine.name == engines.TENSORFLOW and "BesselI0" in engine.reason
    assert np.asarray(engine.run(np.zeros((2, 4)))[0]).tolist() == [[1.0] * 4] * 2


def test_fronts_of_one_phase_are_converted_together(layer):
    import tensorflow as tf

    spec = ArraySpec((SIZE, SIZE, 3), "uint8")
    cut = layer.cut_for(0.5)
    first = front_of(layer, cut, spec)
    behind = layer.between(cut, None)
    second = Front(lambda x: (behind(x),), "rest", tf.TensorSpec([None, *cut.shape[1:]]), first.variables, 1e9)
    both = (dataclasses.replace(first, operations=1e9), second)
    assert engines.choice(second, 200)[0] == engines.TENSORFLOW  # 4.2 s
    assert engines.choice(second, 200, both)[0] == engines.LITERT  # 8.4 s, and converting both takes 5.6
    x = examples(4).inputs[0][None].astype(np.float32)
    (at_cut,) = engines.litert(both[0], both)(x)
    np.testing.assert_allclose(engines.litert(second, both)(at_cut)[0], np.asarray(layer(x)), atol=1e-4)
    assert "cache" in engines.choice(second, 1, both)[1]
    assert engines.choice(second, 1)[0] == engines.TENSORFLOW  # alone it is not converted


def test_one_front_that_does_not_convert_leaves_the_other_to_litert(layer):
    import tensorflow as tf

    fine = front_of(layer, None, ArraySpec((SIZE, SIZE, 3), "uint8"))
    bad = Front(lambda x: (tf.math.bessel_i0(x),), "bessel, again", tf.TensorSpec([None, 4]), (), 1e12)
    x = examples(4).inputs[0][None].astype(np.float32)
    np.testing.assert_allclose(engines.litert(fine, (fine, bad))(x)[0], np.asarray(layer(x)), atol=1e-4)
    with pytest.raises(InputError, match="BesselI0"):
        engines.litert(bad, (fine, bad))


def test_a_front_that_litert_computes_otherwise_runs_in_tensorflow(layer, monkeypatch):
    monkeypatch.setattr(engines, "litert", lambda front, together: lambda x: (np.zeros((len(x), 12), "float32"),))
    engine = opener(layer)(engines.LITERT, examples(4).inputs[0][None])
    assert engine.name == engines.TENSORFLOW and "other features" in engine.reason


def test_work_goes_on_with_the_engine_that_began_it(layer, monkeypatch):
    small_shards(monkeypatch)
    data = examples(8)
    tlkit.extract(layer, data, batch_size=4)
    asked = request(layer, data)
    began = asked.folder / "engine.json"
    assert json.loads(began.read_text())["name"] == engines.TENSORFLOW
    (asked.folder / "000001.json").unlink()
    monkeypatch.setattr(engines, "choice", lambda front, count: pytest.fail("the choice was made"))
    assert tlkit.extract(layer, data, batch_size=4).reused == 4
    assert asked.engine.startswith("tensorflow (")


# -- how much they may fill


def fitted(layer, lines: list[str], splits: Splits | None = None, **options):
    import keras

    from tlkit.model.build import build
    from tlkit.training.fit import fit

    keras.utils.set_random_seed(0)
    task = tasks.classify(LABELS)
    model = build(layer, task, image_size=(SIZE, SIZE))
    splits = splits or Splits(examples(24, 1), examples(9, 2), examples(9, 3), LABELS)
    progress = dataclasses.replace(quiet, line=lines.append)
    return fit(model, task, splits, plans.feature_extraction(2, lr=1e-2), batch_size=8, progress=progress, **options)


def head(run) -> list[np.ndarray]:
    return [np.array(v) for v in run.model.layers[-1].weights]


def test_what_does_not_fit_is_streamed_with_the_same_result(layer, tmp_path, monkeypatch):
    lines: list[str] = []
    cached = fitted(layer, lines)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("TLKIT_CACHE_GB", "0")
    streamed = fitted(layer, lines)
    off = fitted(layer, lines, cache="off")
    assert "need 0.00 GB, and the cache may hold 0.00 GB more; raise TLKIT_CACHE_GB" in " ".join(lines)
    assert cached.phases[0].had["front"].startswith("computed once, by tensorflow (")
    assert streamed.phases[0].had["front"] == "streamed by tensorflow: there is no room for the features"
    assert off.phases[0].had["front"] == 'streamed by tensorflow: cache="off"'
    for other in (streamed, off):
        for a, b in zip(head(cached), head(other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_cached_views_are_the_streamed_ones(layer):
    splits = Splits(examples(24, 1, Darker()), examples(9, 2), examples(9, 3), LABELS)
    cached, off = (fitted(layer, [], splits, views=3, cache=cache) for cache in ("require", "off"))
    for a, b in zip(head(cached), head(off), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    single = fitted(layer, [], splits, views=1)
    assert not all(np.allclose(a, b) for a, b in zip(head(cached), head(single), strict=True))


def test_require_refuses_before_any_work(layer, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE_GB", "0")
    with pytest.raises(InputError, match=r'The features need .* GB, .*raise TLKIT_CACHE_GB.*cache="require"'):
        fitted(layer, [], cache="require")
    with pytest.raises(InputError, match="must be one of auto, require, off"):
        fitted(layer, [], cache="always")
    monkeypatch.setenv("TLKIT_CACHE_GB", "plenty")
    with pytest.raises(InputError, match="TLKIT_CACHE_GB must be a number of gigabytes"):
        fitted(layer, [])


def test_a_disk_that_fills_up_meanwhile_leads_to_streaming(layer, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(extract, "_store", full)
    lines: list[str] = []
    run = fitted(layer, lines)
    assert run.phases[0].had["front"].startswith("streamed")
    assert any(line.startswith("The disk is full: ") for line in lines)
    with pytest.raises(InputError, match="The disk is full"):
        fitted(layer, [], cache="require")


def test_the_longest_unused_goes_first(tmp_path, monkeypatch):
    root = tmp_path / "cache" / "features"
    for age, name in enumerate(("new", "middle", "old")):
        (root / name).mkdir(parents=True)
        (root / name / "0.npy").write_bytes(bytes(1000))
        os.utime(root / name, (1e9 - age, 1e9 - age))
    monkeypatch.setenv("TLKIT_CACHE_GB", "0.0000035")
    assert cache_budget.make_room(500) == 500
    assert cache_budget.make_room(1200, keep=[root / "old"]) == 1500
    assert sorted(p.name for p in root.iterdir()) == ["new", "old"]
    cache_budget.touch(root / "old")
    assert cache_budget.make_room(2000) == 2500
    assert [p.name for p in root.iterdir()] == ["old"]
    assert cache_budget.make_room(9999) == 2500  # it can never fit, so nothing goes
    assert [p.name for p in root.iterdir()] == ["old"]


def test_settings_are_checked():
    with pytest.raises(InputError, match="`views` must be 0 or more"):
        inputs.check(inputs.Settings(views=-1))
    with pytest.raises(InputError, match=r"one of float32, float16\. Received: 'bfloat16'"):
        inputs.check(inputs.Settings(cache_dtype="bfloat16"))


def test_a_layer_that_two_models_share_is_split_in_both(module_folder):
    """Which call of a layer belongs to a model, only Keras' private `_inbound_nodes` says."""
    from tlkit.core.run import Phase
    from tlkit.layer.hub_layer import HubLayer
    from tlkit.model.build import build
    from tlkit.model.partition import arrange

    layer = HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0))
    models = [build(layer, tasks.classify(LABELS), image_size=(SIZE, SIZE)) for _ in range(2)]
    assert len(layer._inbound_nodes) == 2
    for model in models:
        arranged = arrange(model, Phase(epochs=1, lr=1e-3))
        assert len(arranged.fronts) == 1
        assert arranged.trained.layers[-1] is model.layers[-1]


# -- modules with masks


def tokens(count: int, seed: int) -> Examples:
    from modules import TOKENS

    rng = np.random.default_rng(seed)
    targets = np.arange(count, dtype=np.int32) % len(LABELS)
    rows = [
        {
            "input_word_ids": rng.integers(1 + 5 * label, 6 + 5 * label, TOKENS).astype("int32"),
            "input_mask": (np.arange(TOKENS) < 4 + label).astype("int32"),
            "input_type_ids": np.zeros(TOKENS, "int32"),
        }
        for label in targets
    ]
    names = tuple(f"{seed}-{i}" for i in range(count))
    spec = {k: ArraySpec((TOKENS,), "int32") for k in rows[0]}
    return Examples(names, ReadColumn(rows.__getitem__, spec, names), ArrayColumn(targets))


def test_a_masked_module_is_cut_and_computed_once(module_folder):
    import keras

    from tlkit.layer.hub_layer import HubLayer
    from tlkit.model.build import build
    from tlkit.training.fit import fit

    splits = Splits(tokens(24, 1), tokens(9, 2), tokens(9, 3), LABELS)
    results = {}
    for cache in ("require", "off"):
        keras.utils.set_random_seed(0)
        layer, task = HubLayer(module_folder("text_encoder"), name="backbone"), tasks.classify(LABELS, dropout=0.0)
        model = build(layer, task)
        cut = layer.cut_for(0.5)
        assert cut is not None and cut.inputs  # the attention mask is made of the inputs, behind the cut
        before = [np.array(v) for v in layer.variables]
        run = fit(
            model, task, splits, plans.two_phase((2, 2), lr=(1e-2, 1e-3), unfrozen=0.5), batch_size=8, cache=cache
        )
        moved = [not np.array_equal(a, np.array(v)) for a, v in zip(before, layer.variables, strict=True)]
        assert any(moved) and not all(moved)
        assert 0 < run.phases[1].had["unfrozen"] < 1
        assert run.phases[1].had["front"].startswith("computed once" if cache == "require" else "streamed")
        results[cache] = [np.array(v) for v in model.weights]
    for a, b in zip(results["require"], results["off"], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
