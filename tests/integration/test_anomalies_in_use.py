"""Anomalies from good images to checked files: tiles of one pattern, some with a spot."""

from __future__ import annotations

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image

import tlkit
from tlkit.core.progress import quiet
from tlkit.formats import hub_module, tflite

SIZE = 32
FORMATS = ("saved_model", "float32", "dynamic")


def tile(rng):
    """A cross that is off by a pixel, in noise."""
    picture = np.full((SIZE, SIZE, 3), 90.0)
    y, x = rng.integers(-1, 2, 2)
    picture[14 + y : 18 + y] += 60
    picture[:, 14 + x : 18 + x] += 60
    return picture + rng.normal(0, 4, picture.shape)


def pictures(folder):
    """good/, bad/spot/ and bad/dent/ with masks of the spots alone."""
    rng = np.random.default_rng(0)
    for i in range(36):
        save(folder / "good" / f"{i:02d}.png", tile(rng))
    for i in range(16):
        kind, picture = ("spot", "dent")[i % 2], tile(rng)
        y, x = rng.integers(4, 24, 2)
        mask = np.zeros((SIZE, SIZE), bool)
        mask[y : y + 5, x : x + 5] = True
        picture[mask] = (30, 160, 30) if kind == "spot" else picture[mask] - 70
        save(folder / "bad" / kind / f"{i:02d}.png", picture)
        if kind == "spot":
            save(folder / "masks" / kind / f"{i:02d}.png", np.repeat(mask[..., None] * 255.0, 3, axis=2))
    return folder


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path)


def module(folder):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3))
    x = image
    for width in (8, 12):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    return hub_module.write_keras_model(model, folder, card={"input_range": [0.0, 1.0]})


def read(folder, **options):
    return tlkit.data.anomalies.from_folder(
        folder / "good", folder / "bad", folder / "masks", split=(0.5, 0.25, 0.25), progress=False, **options
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory, module_cache):
    """(folder of the images, the module, the exported run of the chosen detector)."""
    root = tmp_path_factory.mktemp("anomalies")
    folder, handle = pictures(root / "data"), module(root / "module")
    task = tlkit.tasks.anomalies((2, 4), false_alarm_rate=0.1)
    run = tlkit.finetune(handle, task, read(folder), out=root / "run", progress=quiet)
    return folder, handle, tlkit.export(run, formats=FORMATS, progress=quiet)


def test_faults_are_seen_and_files_agree(made):
    _, _, run = made
    assert run.scores["image_auroc"] > 0.9 and run.scores["pixel_auroc"] > 0.9
    assert run.scores["image_auroc_low"] <= run.scores["image_auroc"] <= run.scores["image_auroc_high"]
    assert {row.format for row in run.exports if row.passed} == set(FORMATS)
    assert max(row.largest_difference for row in run.exports if row.format in ("saved_model", "float32")) < 1e-4


def test_the_detector_was_chosen_by_figures_that_the_record_holds(made):
    _, _, run = made
    path, arguments = run.task.made_by
    assert path in ("tlkit.tasks.padim", "tlkit.tasks.patchcore") and arguments["threshold"] > 0
    tried = arguments["tried"]
    best = max(tried, key=lambda row: row["image_auroc"] + row["pixel_auroc"])
    assert len(tried) == 4 and [row for row in tried if row["chosen"]] == [best]
    record = json.loads((run.folder / "run.json").read_text())
    assert record["details"]["tried"] == json.loads(json.dumps(tried)) and record["phases"] == []


def test_the_threshold_is_set_by_good_validation_images_alone(made):
    _, _, run = made
    good = [i for i in range(len(run.data.val)) if not run.data.val.targets[i].any()]
    evaluation = tlkit.evaluate(run.model, run.task, run.data.val.subset(good))
    highest = max(image["score"] for image in evaluation.details["anomalies"]["images"])
    assert evaluation.scores["false_alarms"] == 0  # of nine none may lie above the threshold
    assert highest == pytest.approx(1, abs=1e-5)


def test_the_module_stays_as_it_was(made):
    _, handle, run = made
    fresh = {v.path: np.asarray(v) for v in tlkit.HubLayer(handle).variables}
    weights = [np.asarray(v) for v in run.model.get_layer("backbone").variables]
    assert len(fresh) == len(weights) and all((a == b).all() for a, b in zip(fresh.values(), weights, strict=True))


def test_the_report_shows_kinds_the_choice_and_the_worst_maps(made):
    _, _, run = made
    page = (run.folder / "report.html").read_text()
    heads = set(re.findall(r"<h2>(.*?)</h2>", page))
    assert {"Kinds of faults", "Choice of the detector", "Anomaly maps"} <= heads
    assert page.count('alt="anomaly map of') == 12 and "synthetic faults" in page and "spot" in page


def test_a_run_opens_again_and_scores_the_same(made):
    _, _, run = made
    again = tlkit.load(run.folder)
    assert again.task.made_by == run.task.made_by
    evaluation = tlkit.evaluate(again.model, again.task, again.data.test)
    assert evaluation.scores == pytest.approx(run.scores, abs=1e-4)


def test_predict_says_what_is_anomalous_and_where(made):
    folder, _, run = made
    (good, bad) = tlkit.predict(run.folder, [folder / "good/00.png", folder / "bad/spot/00.png"])
    assert good.scores[0][0].startswith("normal") and good.scores[0][1] <= 1
    text, score = bad.scores[0]
    assert text.startswith("anomalous, most at") and score > 1
    mask = np.asarray(Image.open(folder / "masks/spot/00.png"))[..., 0] > 0
    y, x = (rows.mean() / SIZE for rows in np.nonzero(mask))
    assert [float(part) for part in text.split()[-2:]] == pytest.approx([x, y], abs=0.15)


def test_predict_draws_the_map_over_the_image(made, tmp_path):
    folder, _, run = made
    (prediction,) = tlkit.predict(run.folder, [folder / "bad/spot/00.png"], drawn=tmp_path)
    drawn, image = (
        np.asarray(Image.open(path)).astype(int) for path in (prediction.drawn[0], folder / "bad/spot/00.png")
    )
    mask = np.asarray(Image.open(folder / "masks/spot/00.png"))[..., 0] > 0
    change = np.abs(drawn - image).sum(axis=-1)
    assert drawn.shape == image.shape and change[mask].mean() > 2 * change[:2].mean()


def test_a_file_gives_the_map_and_its_highest_value(made):
    folder, _, run = made
    image = np.asarray(Image.open(folder / "bad/spot/00.png"))[None]
    outputs = tflite.open_tflite(run.folder / "model.tflite", threads=1).call({"image": image})
    assert outputs["anomaly_map"].shape == (1, SIZE, SIZE)
    assert outputs["pred_score"][0] == pytest.approx(outputs["anomaly_map"].max())


@pytest.fixture(scope="module")
def data(made):
    return read(made[0], image_size=SIZE)


def fitted(made, data, tmp_path, task, **options):
    return tlkit.finetune(made[1], task, data, out=tmp_path / "run", progress=quiet, **options)


def test_the_same_command_gives_the_same_scores(made, data, tmp_path):
    task = tlkit.tasks.patchcore((4,), 0.2, 2, false_alarm_rate=0.1)
    first = fitted(made, data, tmp_path, task)
    again = fitted(made, data, tmp_path, task, fresh=True)
    assert first.scores == again.scores and first.scores["image_auroc"] > 0.9
    assert first.task.made_by[1]["threshold"] == again.task.made_by[1]["threshold"]


def test_phases_are_refused(made, data, tmp_path):
    with pytest.raises(tlkit.InputError, match="`padim` is solved in closed form on the frozen module, and no phase"):
        fitted(made, data, tmp_path, tlkit.tasks.padim((4,)), phases=tlkit.plans.feature_extraction())
    model = tlkit.build(made[1], tlkit.tasks.padim((4,)), data=data)
    run = tlkit.fit(model, tlkit.tasks.padim((4,)), data, ())
    assert run.phases == () and run.task.name == "anomalies"


def test_a_detector_cannot_be_one_of_several_heads(made, data):
    heads = tlkit.methods.multitask(a=tlkit.tasks.padim((4,)), b=tlkit.tasks.padim((4,)))
    with pytest.raises(tlkit.InputError, match="`padim` is solved in closed form and has no loss to train by"):
        heads.objective.loss()


def test_without_validation_there_is_no_threshold(made, data, tmp_path):
    alone = dataclasses.replace(data, val=data.val.subset([]))
    run = fitted(made, alone, tmp_path, tlkit.tasks.padim((2,)))
    assert run.task.made_by[1]["threshold"] is None and "threshold" not in run.scores
    assert run.scores["image_auroc"] > 0.8
