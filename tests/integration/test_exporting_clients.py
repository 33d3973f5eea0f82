"""Exported files in clients that are not ours: MediaPipe Tasks, and C against TensorFlow's library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from changing import decoded
from exporting_runs import FILES, classifier, exported, stripes

from tlkit.formats import tflite

pytestmark = pytest.mark.long

TFLITE = {name: file for name, file in FILES.items() if file.endswith(".tflite")}
SHOWN = ["flat", "rising", "two lines", "fällend ✓"]  # labels as clients read them, one a line
SOURCE = Path(__file__).parents[1] / "clients" / "saved_model_client.c"


@pytest.mark.parametrize("name", TFLITE)
def test_mediapipe_gives_the_same_labels(name):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    vision = pytest.importorskip("mediapipe.tasks.python.vision", reason="MediaPipe needs libEGL and libGLESv2")
    from mediapipe.tasks.python import BaseOptions

    folder, _ = exported()
    file = folder / TFLITE[name]
    images, _ = stripes(12, seed=21)
    opened = tflite.open_tflite(file, threads=1)
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(file)), max_results=4)
    with vision.ImageClassifier.create_from_options(options) as client:
        for image in images:
            picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
            categories = client.classify(picture).classifications[0].categories
            ours = opened.call({"image": image[None]})["probabilities"][0]
            assert {c.category_name: c.index for c in categories} == {shown: i for i, shown in enumerate(SHOWN)}
            np.testing.assert_allclose([c.score for c in sorted(categories, key=lambda c: c.index)], ours, atol=1e-3)
            assert ours[categories[0].index] == ours.max()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = Path(tf.sysconfig.get_lib())
    program = tmp_path_factory.mktemp("client") / "client"
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{library}"]
    places = [f"-I{tf.sysconfig.get_include()}", f"-L{library}"]
    linker = ["-fuse-ld=gold"] if shutil.which("ld.gold") else []  # a gigabyte of symbols takes others 5 times as long
    subprocess.run([compiler, "-O1", *linker, "-o", program, SOURCE, *places, *libraries], check=True)
    return program


def ask_c(client: Path, signature: str, output: str, images: np.ndarray) -> list[list[str]]:
    folder, _ = exported()
    words = [str(folder / "saved_model"), signature, "image", output, *map(str, images.shape[:3])]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([client, *words], input=images.tobytes(), capture_output=True, check=True, env=quiet)
    return [line.split("\t") for line in done.stdout.decode().replace("two\nlines", "two lines").splitlines()]


def test_a_c_program_gives_the_same_probabilities(client: Path):
    images, _ = stripes(5, seed=22)
    probabilities = np.array(ask_c(client, "serving_default", "probabilities", images), np.float32)
    run = classifier()
    expected = decoded(run.task, run.model(images.astype("float32"), training=False))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_a_c_program_gets_label_strings_for_images_of_another_size(client: Path):
    images, _ = stripes(2, seed=23, size=61)
    classes = ask_c(client, "classify", "classes", images)
    run = classifier()
    small = tf.clip_by_value(tf.round(tf.image.resize(images, (32, 32), antialias=True)), 0, 255)
    expected = decoded(run.task, run.model(small, training=False)).argmax(axis=1)
    assert [row[0] for row in classes] == [SHOWN[i] for i in expected]
