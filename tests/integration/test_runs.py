"""A run's folder: what was saved is what is opened, and it exports without the data it was trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fitting import LABELS, SIZE, data, image
from PIL import Image

import tlkit
from tlkit.errors import InputError
from tlkit.exporting import predict
from tlkit.progress import quiet
from tlkit.types import Phase

pytestmark = pytest.mark.usefixtures("module_cache")
BLACK = "image v1 size=32x32 resize=stretch,bilinear,antialias background=0,0,0"


@pytest.fixture(scope="module")
def run(module_folder, tmp_path_factory):
    splits = data()
    parts = {name: dataclasses.replace(getattr(splits, name), recipe=BLACK) for name in ("train", "val", "test")}
    return tlkit.finetune(
        tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0)),
        tlkit.tasks.classify(LABELS),
        dataclasses.replace(splits, **parts),
        (Phase(epochs=2, lr=3e-3), Phase(epochs=1, lr=1e-4, unfrozen=1.0)),
        out=tmp_path_factory.mktemp("run"),
        image_size=(SIZE, SIZE),
        progress=quiet,
    )


def test_an_opened_run_is_the_one_that_was_saved(run):
    again = tlkit.load(run.folder)
    x = np.stack([run.data.test.read(i) for i in range(len(run.data.test))])
    assert np.array_equal(run.model.predict(x, verbose=0), again.model.predict(x, verbose=0))
    assert again.task.labels == LABELS and again.scores == again.record["scores"] == dict(run.scores)
    assert again.data.test.recipe == run.data.test.recipe
    assert (
        not run.model.compiled and not again.model.compiled
    )  # Keras alone opens it: no optimizer, loss or metric of ours
    assert [again.data.test.ids[0], again.data.train.ids[0]] == [run.data.test.ids[0], run.data.train.ids[0]]


def test_an_export_of_an_opened_run_reads_files_as_they_were_trained_on(run, tmp_path):
    tlkit.export(run.folder, formats=("float32",), progress=quiet)
    seen = np.dstack([image(1, np.random.default_rng(0)), np.full((SIZE, SIZE), 255, np.uint8)])
    seen[:, SIZE // 2 :, 3] = 0  # half of it is transparent, so black
    Image.fromarray(seen, "RGBA").save(tmp_path / "half.png")
    black = seen[..., :3] * (seen[..., 3:] > 0)
    expected = np.asarray(run.task.decode(run.model.predict(black[None], verbose=0)))[0]
    (found,) = predict(run.folder, [tmp_path / "half.png"], top=3)
    assert dict(found.scores) == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-4)


def test_there_must_be_something_to_judge_a_run_by(run):
    nothing = dataclasses.replace(data(), test=data().test.subset([]))
    with pytest.raises(InputError, match="The test split is empty, and a run is judged by it"):
        tlkit.finetune("zoo:none", run.task, nothing)
