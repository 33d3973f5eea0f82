"""Keypoints from COCO's annotations to exported files, on crosses and rings of a few pixels; scores by hand."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest

import tlkit
from tlkit import tasks
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.progress import quiet
from tlkit.formats import hub_module
from tlkit.tasks.keypoint_losses import HeatAndDistance

SIZE = 32
NAMES = ("red", "blue")
PHASES = (tlkit.Phase(epochs=25, lr=1e-2, cosine=True), tlkit.Phase(epochs=6, lr=1e-3, unfrozen=0.5))


def dots(count=72, hidden=0.2):
    """Images with a red and a blue dot, and where they are; a fifth of the points is not labelled."""
    rng = np.random.default_rng(0)
    images = rng.integers(95, 125, (count, SIZE, SIZE, 3)).astype(np.uint8)
    targets = np.ones((count, 2, 3), np.float32)
    for image, row in zip(images, targets, strict=True):
        first, second = rng.integers(3, SIZE - 4, (2, 2))
        while np.abs(first - second).max() < 5:
            second = rng.integers(3, SIZE - 4, 2)
        for (x, y), colour, point in zip((first, second), ((230, 40, 40), (40, 60, 230)), row, strict=True):
            image[y - 2 : y + 3, x - 2 : x + 3] = colour
            point[:2] = (x + 0.5) / SIZE, (y + 0.5) / SIZE
    targets[rng.random((count, 2)) < hidden, 2] = 0
    return images, targets


def examples(images, targets):
    ids = tuple(f"{i}.png" for i in range(len(images)))
    pipeline = tlkit.Pipeline().then("image", background=[255, 255, 255])
    return Examples(ids, ArrayColumn(images), ArrayColumn(targets), modality="image", pipeline=pipeline)


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_cache):
    root = tmp_path_factory.mktemp("keypoints")
    images, targets = dots()
    parts = (slice(0, 48), slice(48, 60), slice(60, 72))
    data = Splits(*(examples(images[part], targets[part]) for part in parts))
    keras.utils.set_random_seed(3)
    image = keras.Input((SIZE, SIZE, 3))
    x = image
    for width in (12, 16, 24):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    handle = hub_module.write_keras_model(model, root / "module", card={"input_range": [0.0, 1.0]})
    tuned = tlkit.finetune(
        handle, tasks.keypoints(NAMES, strides=(2, 4, 8), width=16, within=0.08), data, PHASES, out=root / "run",
        batch_size=8, progress=quiet,
    )  # fmt: skip
    return tlkit.export(tuned, progress=quiet)


def test_points_are_found_and_their_files_agree(run):
    assert run.scores["pck"] > 0.8 and run.scores["pck_low"] <= run.scores["pck"] <= run.scores["pck_high"]
    assert run.scores["oks"] > 0.5 and run.scores["distance"] < 0.08
    assert {row.format for row in run.exports if row.passed} == {"saved_model", "float32", "float16", "dynamic", "int8"}


def test_the_report_draws_them_and_predict_names_them(run, tmp_path):
    from PIL import Image

    page = (run.folder / "report.html").read_text()
    assert page.count("true points of ") == 12
    assert "Points" in re.findall(r"<h2>(.*?)</h2>", page) and page.count("points of ") > 0
    images, targets = dots()
    Image.fromarray(images[60]).save(tmp_path / "one.png")
    (prediction,) = tlkit.predict(run.folder, [tmp_path / "one.png"], drawn=tmp_path / "drawn")
    assert (np.asarray(Image.open(prediction.drawn[0])) != images[60]).any()
    assert [text.split()[0] for text, _ in prediction.scores] == list(NAMES)
    places = np.array([text.split()[2:] for text, _ in prediction.scores], float)
    assert np.linalg.norm(places - targets[60, :, :2], axis=1).max() < 0.2


def test_a_run_opens_again(run):
    again = tlkit.load(run.folder)
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores == pytest.approx(run.scores, abs=1e-5)


def test_scores_by_hand():
    targets = np.array([[[0.5, 0.5, 1], [0.2, 0.2, 0]], [[0.1, 0.1, 1], [0.9, 0.9, 1]]], np.float32)
    points = targets[..., :2] + np.array([[[0.03, 0.0], [0.5, 0.5]], [[0.0, 0.2], [0.0, 0.04]]], np.float32)
    scorer = tasks.keypoints(NAMES, within=0.05).scorer()
    scorer.update(examples(np.zeros((2, 4, 4, 3), np.uint8), targets), {"points": points, "scores": points[..., 0]})
    evaluation = scorer.result()
    assert evaluation.scores["pck"] == pytest.approx(2 / 3) and evaluation.scores["distance"] == pytest.approx(
        0.27 / 3, abs=1e-6
    )
    assert evaluation.scores["oks"] == pytest.approx(
        np.exp(-(np.array([0.03, 0.2, 0.04]) ** 2) / 0.02).mean(), abs=1e-6
    )
    assert [row["labelled"] for row in evaluation.details["keypoints"]["rows"]] == [2, 1]


def test_points_without_a_label_cost_nothing_and_heat_in_the_right_place_least():
    loss, targets = HeatAndDistance(reduction=None), np.array([[[0.3, 0.6, 1], [0.2, 0.2, 0]]], np.float32)
    heat = np.zeros((1, 10, 10, 2), np.float32)
    other = heat.copy()
    other[..., 1] = np.random.default_rng(0).normal(size=(10, 10))
    np.testing.assert_allclose(np.asarray(loss(targets, heat)), np.asarray(loss(targets, other)), rtol=1e-6)
    right = heat.copy()
    right[0, 5:7, 2:4, 0] = 4.0
    assert float(loss(targets, right)[0]) < float(loss(targets, heat)[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"names": []}, "`names` of `keypoints` must be different names"),
        ({"strides": (4, 4)}, "`strides` of `keypoints` must be different"),
        ({"width": 0}, "`width` of `keypoints` must be 1 or more"),
        ({"within": 1.5}, r"`within` of `keypoints` must lie in \(0, 1\)"),
    ],
)
def test_what_is_out_of_range_is_said(arguments, said):
    with pytest.raises(tlkit.InputError, match=said):
        tasks.keypoints(**{"names": NAMES, **arguments})


def test_data_that_cannot_be_learned_are_refused():
    images, targets = dots(6, hidden=0.0)
    fine = examples(images, targets)
    check = tasks.keypoints(NAMES).objective.check
    check(Splits(fine, fine, fine))
    with pytest.raises(tlkit.InputError, match=r"The training targets must be \(2, 3\) an image"):
        check(Splits(examples(images, targets[..., :2]), fine, fine))
    blank = targets * np.float32([1, 1, 0])
    with pytest.raises(tlkit.InputError, match="No point of the training images is labelled"):
        check(Splits(examples(images, blank), fine, fine))


def test_names_in_another_order_and_points_in_pixels_are_refused():
    images, targets = dots(6)
    part = examples(images, targets)
    data = Splits(part, part, part, labels=NAMES)
    tasks.keypoints(NAMES).objective.check(data)
    with pytest.raises(InputError, match="labels are not the data's, in the same order"):
        tasks.keypoints(NAMES[::-1]).objective.check(data)
    pixels = examples(images, targets * [SIZE, SIZE, 1])
    with pytest.raises(InputError, match="shares of the image's sides, from 0 to 1, and not pixels"):
        tasks.keypoints(NAMES).objective.check(Splits(pixels, part, part, labels=NAMES))
