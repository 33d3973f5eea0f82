"""Segmentation from files of masks to MediaPipe's ImageSegmenter, on fields and houses of a few pixels."""

from __future__ import annotations

import json
import re

import numpy as np
import painted
import pytest
from PIL import Image

import tlkit
from tlkit.core.progress import quiet
from tlkit.formats import tflite

SIZE, LABELS = painted.FIELDS_SIZE, painted.FIELDS
PHASES = (tlkit.Phase(epochs=12, lr=1e-2), tlkit.Phase(epochs=4, lr=1e-3, unfrozen=0.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory, module_cache):
    """(folder of the images, the exported run)."""
    root = tmp_path_factory.mktemp("segmentation")
    folder = painted.fields(root / "data")
    data = tlkit.data.masks.from_folder(folder / "images", folder / "masks", labels=LABELS, progress=False)
    task = tlkit.tasks.segment(data.labels, strides=(2, 4, 8), width=16, class_weights="balanced")
    run = tlkit.finetune(
        painted.fields_module(root / "module"), task, data, PHASES, out=root / "run", batch_size=8,
        image_size=(SIZE, SIZE), progress=quiet,
    )  # fmt: skip
    return folder, tlkit.export(run, progress=quiet)


def test_masks_are_learned_and_their_files_agree(made):
    _, run = made
    assert run.scores["miou"] > 0.8 and run.scores["dice"] > run.scores["miou"]
    assert run.phases[0].proof["frozen_variables"] > 0
    assert {row.format for row in run.exports if row.passed} == {"saved_model", "float32", "float16", "dynamic", "int8"}
    record = json.loads((run.folder / "run.json").read_text())
    assert record["scores"]["miou_low"] <= record["scores"]["miou"] <= record["scores"]["miou_high"]


def test_the_report_has_overlap_and_the_worst_masks(made):
    _, run = made
    page = (run.folder / "report.html").read_text()
    assert {"Overlap of each label", "Masks", "What is taken for what"} & set(re.findall(r"<h2>(.*?)</h2>", page))
    assert page.count('alt="right mask of') == page.count('alt="predicted mask of') > 0
    assert "data:image/jpeg;base64," in page and all(label in page for label in LABELS)


def test_a_run_opens_again_with_the_weights_of_its_labels(made):
    _, run = made
    again = tlkit.load(run.folder)
    assert again.task.made_by == run.task.made_by and set(run.task.made_by[1]["class_weights"]) == set(LABELS)
    evaluation = tlkit.evaluate(again.model, again.task, again.data.test)
    assert evaluation.scores == pytest.approx(run.scores, abs=1e-6)


def test_predict_says_how_much_each_label_covers(made):
    folder, run = made
    (prediction,) = tlkit.predict(run.folder, [folder / "images" / "01.png"])
    assert sum(share for _, share in prediction.scores) == pytest.approx(1) and prediction.scores[0][0] == "ground"
    mask = np.asarray(Image.open(folder / "masks" / "01.png"))
    assert dict(prediction.scores)["field"] == pytest.approx((mask == 1).mean(), abs=0.12)


def test_predict_draws_the_mask_and_the_report_training_masks(made, tmp_path):
    folder, run = made
    (prediction,) = tlkit.predict(run.folder, [folder / "images" / "01.png"], drawn=tmp_path)
    image = Image.open(tmp_path / "01.png")
    assert prediction.drawn == (str(tmp_path / "01.png"),) and image.size == (SIZE, SIZE)
    assert (run.folder / "report.html").read_text().count('alt="true mask of ') == 12


@pytest.mark.parametrize("file", ["model.tflite", "model_float16.tflite", "model_dynamic.tflite", "model_int8.tflite"])
def test_mediapipe_segments_as_the_file_does(made, file):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    vision = pytest.importorskip("mediapipe.tasks.python.vision", reason="MediaPipe needs libEGL and libGLESv2")
    from mediapipe.tasks.python import BaseOptions

    folder, run = made
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(run.folder / file)), output_category_mask=True
    )
    opened, same = tflite.open_tflite(run.folder / file, threads=1), []
    with vision.ImageSegmenter.create_from_options(options) as client:
        assert tuple(client.labels) == LABELS
        for number in range(6):
            image = np.asarray(Image.open(folder / "images" / f"{number:02d}.png"))
            picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
            theirs = client.segment(picture).category_mask.numpy_view().reshape(SIZE, SIZE)
            same.append(theirs == opened.call({"image": image[None]})["mask"][0].argmax(-1))
    assert np.mean(same) >= 0.999


def test_masks_of_a_size_that_the_finest_map_does_not_divide_are_refused(made, tmp_path):
    folder, _ = made
    data = tlkit.data.masks.from_folder(
        folder / "images", folder / "masks", labels=LABELS, image_size=33, progress=False
    )
    task = tlkit.tasks.segment(data.labels, strides=(2, 4, 8), width=4)
    with pytest.raises(tlkit.InputError, match="Masks are 33x33 and the head gives 34x34: read the images at a height"):
        tlkit.finetune(
            painted.fields_module(tmp_path / "module"), task, data, PHASES[:1], out=tmp_path / "run",
            image_size=(33, 33), progress=quiet,
        )  # fmt: skip


def test_strides_that_the_module_does_not_have_are_named(made, tmp_path):
    folder, _ = made
    data = tlkit.data.masks.from_folder(folder / "images", folder / "masks", labels=LABELS, progress=False)
    with pytest.raises(tlkit.InputError, match=r"gives no feature maps at stride 16: it has them at \[2, 4, 8\]"):
        tlkit.finetune(
            painted.fields_module(tmp_path / "module"), tlkit.tasks.segment(data.labels), data, PHASES,
            out=tmp_path / "run",
            image_size=(SIZE, SIZE), progress=quiet,
        )  # fmt: skip
