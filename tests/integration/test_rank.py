"""rank on small modules: what it measures is what the parts measure, and the front is drawn."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
from changing import reread
from fitting import data

import tlkit
from tlkit.choosing import rank
from tlkit.choosing.rank import Ranked, Ranking
from tlkit.choosing.transferability import h_score, logme
from tlkit.core import workers
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec
from tlkit.core.files import cache_dir
from tlkit.core.progress import quiet
from tlkit.core.workers import Pool

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]


def test_modules_are_ranked_by_their_frozen_features(module_folder, tmp_path):
    import keras

    inputs = keras.Input((32, 32, 3))
    colours = keras.Model(
        inputs, keras.layers.GlobalAveragePooling2D()(inputs)
    )  # the classes differ in their mean colour
    folder = str(module_folder("keras3_hub"))
    ranking = tlkit.rank(
        [folder, colours], data(), progress=quiet, input_range=(0, 1)
    )  # of `colours`: the other has a card
    assert ranking.rows[0].handle != folder and ranking.rows[0].logme > ranking.rows[1].logme
    layer = tlkit.HubLayer(folder, input_range=(0.0, 1.0))
    train = data().train
    features = np.asarray(tlkit.extract(layer, train))
    row = ranking.rows[1]
    assert row.logme == pytest.approx(logme(features, train.target_array), abs=1e-4)
    assert row.h_score == pytest.approx(h_score(features, train.target_array), abs=1e-4)
    assert row.converts and row.megabytes > 0 and row.latency_ms > 0 and row.dimensions == features.shape[1]
    assert ranking.rows[0].handle in ranking.pareto
    assert "LogME" in str(ranking) and len(str(ranking).splitlines()) == 3
    assert ranking.plot(tmp_path / "rank.png").stat().st_size > 5_000


def test_a_row_is_made_once_for_a_module_and_its_data(module_folder, monkeypatch):
    folders = [module_folder("keras3_hub"), str(module_folder("keras3_hub"))]
    first = tlkit.rank(folders, data(), convert=False, progress=quiet)
    calls = []
    monkeypatch.setattr(rank, "_ranked", lambda *call: calls.append(call) or first.rows[0])
    assert tlkit.rank(folders, data(), convert=False, progress=quiet) == first
    assert not calls
    changed = dataclasses.replace(data(), train=data().train.subset(range(20)))
    tlkit.rank(folders, changed, convert=False, progress=quiet)
    tlkit.rank(folders, data(), convert=False, input_range=(0, 1), progress=quiet)
    for file in (cache_dir() / "ranked").iterdir():
        file.write_text('{"handle": 1')
    tlkit.rank(folders, data(), convert=False, progress=quiet)
    assert len(calls) == 3  # the second of two equal modules finds the row of the first


def test_a_module_that_is_missing_is_named_before_any_is_ranked(module_folder, monkeypatch):
    monkeypatch.setattr(rank, "_ranked", lambda *call: pytest.fail("work was wasted"))
    with pytest.raises(InputError, match="nowhere"):
        tlkit.rank([module_folder("keras3_hub"), "./nowhere"], data(), progress=quiet)


def two_outputs():
    import keras

    inputs = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(2, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, [keras.layers.GlobalAveragePooling2D()(maps), maps])


def unscaled():
    import keras

    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(inputs)))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (two_outputs, r"gives several outputs; make HubLayer\(..., output_key=one of \['0', '1'\]"),
        (unscaled, "Nothing says which range of pixels"),
    ],
)
@pytest.mark.parametrize("pooled", [False, True])
def test_a_module_that_cannot_be_ranked_is_named_before_any_is(second, message, pooled, module_folder, monkeypatch):
    monkeypatch.setattr(rank, "_ranked", lambda *call, **settings: pytest.fail("work was wasted"))
    here = Pool(1, lambda function, calls: ((i, function(*call)) for i, call in enumerate(calls)), lambda f: f)
    with workers.pooled(here) if pooled else contextlib.nullcontext(), pytest.raises(InputError, match=message):
        tlkit.rank([module_folder("keras3_hub"), second()], data(), convert=not pooled, progress=quiet)


@pytest.mark.parametrize("most", [0, rank.MOST_OPEN_BYTES])
def test_modules_stay_open_from_the_check_on_while_memory_may_hold_them(most, module_folder, monkeypatch):
    handed = []
    made = rank._ranked
    monkeypatch.setattr(rank, "_ranked", lambda module, *call: handed.append(module) or made(module, *call))
    monkeypatch.setattr(rank, "MOST_OPEN_BYTES", most)
    modules = [module_folder("keras3_hub"), unscaled()]
    other = dataclasses.replace(data(), train=data().train.subset(range(20 + bool(most))))  # no row is kept of
    ranking = tlkit.rank(modules, other, convert=False, input_range=(0, 1), progress=quiet)
    assert len(ranking.rows) == 2 and [isinstance(module, tlkit.HubLayer) for module in handed] == [most > 0] * 2


def test_pictures_of_their_own_size_are_converted_at_it():
    import keras

    inputs = keras.Input((None, None, 3))
    two = [
        keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(size, 3)(inputs)))
        for size in (2, 4)
    ]
    pictures = reread(data().train, spec=ArraySpec((None, None, 3), "uint8"))
    ranking = tlkit.rank(two, dataclasses.replace(data(), train=pictures), progress=quiet, input_range=(0, 1))
    assert all(row.converts and row.latency_ms > 0 for row in ranking.rows)


def row(handle: str, score: float, latency_ms: float | None) -> Ranked:
    return Ranked(handle, score, None, 2, 3, None, latency_ms, latency_ms is not None, 0.1)


def test_the_front_holds_what_nothing_beats():
    rows = (row("best", 3.0, 9.0), row("quick", 1.0, 1.0), row("beaten", 0.5, 5.0), row("no file", 2.0, None))
    assert Ranking(rows).pareto == ("best", "quick")


def test_what_cannot_be_ranked(module_folder):
    with pytest.raises(InputError, match="give two modules or more"):
        tlkit.rank([module_folder("keras3_hub")], data(), progress=quiet)
    for train in (data().train.subset([]), data().train.subset([0])):
        few = dataclasses.replace(data(), train=train)
        with pytest.raises(InputError, match=f"two or more: give that split a share. Received: {len(train)}"):
            tlkit.rank(["a", "b"], few, progress=quiet)
