"""Detection from COCO's annotations to MediaPipe's ObjectDetector, on bars of a few pixels."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import painted
import pytest
import readme_checks
from PIL import Image

import tlkit
from tlkit.answers.boxes import SAID
from tlkit.answers.overlaps import iou
from tlkit.core.progress import quiet
from tlkit.formats import tflite

SIZE, LABELS = painted.BARS_SIZE, painted.BARS
# Trained until boxes are sharp: of blurred ones it rests on the processor whether eight bits say the same.
PHASES = (
    tlkit.Phase(epochs=30, lr=1e-2, warmup=0.1, cosine=True),
    tlkit.Phase(epochs=16, lr=3e-3, unfrozen=0.5, cosine=True),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, module_cache):
    """(folder of the images, the exported run)."""
    root = tmp_path_factory.mktemp("detection")
    folder = painted.bars(root / "data")
    data = tlkit.data.boxes.from_coco(folder / "annotations.json", folder / "images", progress=False)
    run = tlkit.finetune(
        painted.bars_module(root / "module"), tlkit.tasks.detect(data.labels, strides=(4, 8, 16), width=24), data,
        PHASES, out=root / "run", batch_size=8, progress=quiet,
    )  # fmt: skip
    return folder, tlkit.export(run, progress=quiet)


def test_boxes_are_learned_and_their_files_agree(made):
    _, run = made
    assert run.scores["map50"] > 0.6 and run.scores["map50_low"] <= run.scores["map50"] <= run.scores["map50_high"]
    assert run.phases[0].proof["frozen_variables"] > 0
    assert {row.format for row in run.exports if row.passed} == {"saved_model", "float32", "float16", "dynamic", "int8"}


def test_the_report_draws_boxes_and_tells_errors_apart(made):
    _, run = made
    page = (run.folder / "report.html").read_text()
    assert {"Objects of each label", "Boxes"} <= set(re.findall(r"<h2>(.*?)</h2>", page))
    assert "are in the wrong place" in page and "vector-effect" in page
    assert "Training images" in page and page.count('aria-label="true boxes of ') == 12


def test_the_saved_model_gives_boxes_in_pixels_of_the_image_that_is_sent(made):
    import tensorflow as tf

    folder, run = made
    loaded = tf.saved_model.load(str(run.folder / "saved_model"))
    image = tf.constant(np.asarray(Image.open(folder / "images" / "00.png").resize((4 * SIZE, 3 * SIZE)))[None])
    shares, pixels = loaded.signatures["serving_default"](image), loaded.signatures["detect"](image)
    sides = [3 * SIZE, 4 * SIZE, 3 * SIZE, 4 * SIZE]
    np.testing.assert_allclose(pixels["boxes"], shares["boxes"] * np.array(sides, np.float32), rtol=1e-5)
    names = [LABELS[int(number)].encode() for number in shares["classes"][0]]
    assert pixels["classes"].numpy()[0].tolist() == names and pixels["count"] == shares["count"]


def test_a_run_opens_again(made):
    _, run = made
    again = tlkit.load(run.folder)
    evaluation = tlkit.evaluate(again.model, again.task, again.data.test)
    assert evaluation.scores == pytest.approx(run.scores, abs=1e-5)


def test_predict_lists_the_boxes(made):
    folder, run = made
    files = sorted((folder / "images").iterdir())[:12]
    predictions = tlkit.predict(run.folder, files)
    assert any(prediction.scores for prediction in predictions)
    for prediction in predictions:
        assert all(
            re.fullmatch(r"(tall|wide) at( [01]\.\d{3}){4}", text) and score >= SAID
            for text, score in prediction.scores
        )


def test_predict_draws_the_boxes_on_the_image_of_the_file_without_tensorflow(made, tmp_path):
    folder, run = made
    file = next(f for f in sorted((folder / "images").iterdir()) if tlkit.predict(run.folder, [f])[0].scores)
    large = tmp_path / "large.png"
    Image.open(file).resize((4 * SIZE, 3 * SIZE)).save(large)
    code = (
        "import sys; from tlkit.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    words = ["predict", str(run.folder), str(large), "--drawn", str(tmp_path / "drawn")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"drawn: {tmp_path / 'drawn' / 'large.png'}" in done.stdout, done.stderr
    before, after = (np.asarray(Image.open(file)).astype(int) for file in (large, tmp_path / "drawn" / "large.png"))
    assert after.shape == before.shape and 0.005 < (np.abs(after - before).max(axis=-1) > 30).mean() < 0.5


def _corners(box):
    return np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])


@pytest.mark.parametrize("file", ["model.tflite", "model_float16.tflite", "model_dynamic.tflite", "model_int8.tflite"])
def test_mediapipe_finds_the_same_boxes(made, file):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    vision = pytest.importorskip("mediapipe.tasks.python.vision", reason="MediaPipe needs libEGL and libGLESv2")
    from mediapipe.tasks.python import BaseOptions

    folder, run = made
    options = vision.ObjectDetectorOptions(
        base_options=BaseOptions(model_asset_path=str(run.folder / file)), score_threshold=SAID
    )
    opened, overlaps = tflite.open_tflite(run.folder / file, threads=1), []
    with vision.ObjectDetector.create_from_options(options) as client:
        for number in range(20):
            image = np.asarray(Image.open(folder / "images" / f"{number:02d}.png"))
            theirs = client.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).detections
            ours = {name: array[0] for name, array in opened.call({"image": image[None]}).items()}
            rows = np.flatnonzero(ours["scores"] >= SAID)
            assert len(theirs) == len(rows)
            for row, detection in zip(rows, sorted(theirs, key=lambda d: -d.categories[0].score), strict=True):
                box = detection.bounding_box
                sides = np.array([box.origin_x, box.origin_y, box.width, box.height])
                top, left, bottom, right = SIZE * ours["boxes"][row]
                rounded = np.floor([left, top, right - left, bottom - top])  # they are whole pixels there
                assert np.abs(sides - rounded).max() <= 1
                overlaps.append(iou(_corners(sides), _corners(rounded)))
                assert detection.categories[0].category_name == LABELS[int(ours["classes"][row])]
    assert len(overlaps) > 10 and np.mean(overlaps) > 0.97  # some lie on the edge of a pixel


def test_eight_bits_cost_little_as_decoding_stays_float32(made):
    _, run = made
    rows = {row.format: row for row in run.exports}
    assert rows["int8"].agreement > 0.9 and abs(rows["int8"].score_change) < 0.05
    for row in rows.values():
        assert {"map", "map50", "map75", "map_change", "map50_change"} <= row.scores.keys()
        assert row.scores["map50"] - row.scores["map50_change"] == pytest.approx(run.scores["map50"], abs=1e-6)
    content = (run.folder / "model_int8.tflite").read_bytes()
    assert len(content) < 0.7 * (run.folder / "model.tflite").stat().st_size


def test_the_readme_runs(made):
    _, run = made
    assert readme_checks.check(run.folder, run)["metrics"][0].startswith("map")
    assert "| output | `boxes` | float32 | (1, 25, 4) | Sides of each box. |" in (run.folder / "README.md").read_text()


def test_two_stages_learn_and_their_files_agree(made, tmp_path):
    folder, run = made
    task = tlkit.tasks.detect(LABELS, strides=(4, 8, 16), width=24, head="two_stage")
    phases = (PHASES[0], tlkit.Phase(epochs=4, lr=2e-3, unfrozen=0.5))
    two = tlkit.finetune(
        painted.bars_module(tmp_path / "module"), task, run.data, phases, out=tmp_path / "run", batch_size=8,
        progress=quiet,
    )  # fmt: skip
    assert two.scores["map50"] > 0.5
    files = tlkit.export(two, formats=("saved_model", "float32"), progress=quiet).exports
    assert [file.passed for file in files] == [True, True]
    (prediction,) = tlkit.predict(two.folder, [folder / "images" / "00.png"])
    assert len(prediction.scores) <= 25
