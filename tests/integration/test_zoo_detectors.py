"""The zoo's detectors: they say what their files say, know what photographs show, and train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zoo_checks
from PIL import Image

from tlkit import zoo
from tlkit.answers.boxes import boxes as answer_of_boxes
from tlkit.zoo import ssd_mobilenet_v2_oid as ssd

tf = pytest.importorskip("tensorflow")

KNOWN = {  # photograph -> the surest label, and its score in the facts sheet, to two digits
    "centernet-coco": {"coffee": ("cup", 0.45)},
    "ssd-mobilenet-v2-oid": {"coffee": ("Coffee cup", 0.55), "chelsea": ("Cat", 0.85), "astronaut": ("Person", 0.59)},
}
SIZES = {"centernet-coco": (512, 255.0), "ssd-mobilenet-v2-oid": (300, 1.0)}


@pytest.fixture(scope="module", params=sorted(KNOWN))
def opened(request):
    """(name, the module)."""
    return request.param, tf.saved_model.load(str(zoo_checks.folder(request.param)))


def photo(name, size, top):
    package = pytest.importorskip("skimage")
    image = Image.open(Path(package.__file__).parent / "data" / f"{name}.png").convert("RGB").resize((size, size))
    return (np.asarray(image) * (top / 255)).astype(np.float32)[None]


def test_it_knows_what_photographs_show(opened):
    name, module = opened
    labels = zoo.cards()[name].labels
    decode = answer_of_boxes(labels).decode
    for image, (label, score) in KNOWN[name].items():
        raw = module(tf.constant(photo(image, *SIZES[name])))
        detections = {key: np.asarray(tensor)[0] for key, tensor in decode(raw).items()}
        assert labels[int(detections["classes"][0])] == label
        assert detections["scores"][0] == pytest.approx(score, abs=0.02)
        top, left, bottom, right = detections["boxes"][0]
        assert bottom - top > 0.4 and right - left > 0.3


def test_it_keeps_the_promises_of_the_zoo(opened):
    name, module = opened
    zoo_checks.check_interface(name, module, tf.constant(photo("coffee", *SIZES[name])))


def test_the_ssd_gives_what_its_file_gives(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    files = zoo_checks.files(ssd.PACKAGE, tmp_path)
    module = tf.saved_model.load(str(zoo_checks.folder("ssd-mobilenet-v2-oid")))
    image = photo("astronaut", 300, 1.0)
    interpreter = Interpreter(model_content=files[ssd.WEIGHTS].read_bytes()[ssd.LABELS_END :])
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], 2 * image - 1)
    interpreter.invoke()
    theirs = {d["name"]: interpreter.get_tensor(d["index"])[0] for d in interpreter.get_output_details()}
    logits, ours = theirs["raw_outputs/class_predictions"][:, 1:], module(tf.constant(image))
    rows = np.split(logits, np.cumsum([1083, 600, 150, 54, 24]))
    for stride, row in zip(ssd.STRIDES, rows, strict=True):
        height, width = ours[f"labels_{stride}"].shape[1:3]
        anchors = row.reshape(height, width, -1, len(ssd.LABELS))
        best = np.take_along_axis(anchors, anchors.max(-1).argmax(-1)[..., None, None], 2)[:, :, 0]
        np.testing.assert_allclose(ours[f"labels_{stride}"][0], best, atol=2e-3)
