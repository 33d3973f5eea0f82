"""What answers draw on images, and the files that it goes to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tlkit import tasks
from tlkit.answers import drawing
from tlkit.core.columns import ArrayColumn, RaggedColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.section import Facts
from tlkit.exporting.drawings import drawings

GREY = np.full((120, 200, 3), 90, np.uint8)
LABELS = ("cat", "dog")
BOXES = {
    "boxes": np.array([[0.25, 0.1, 0.75, 0.5], [0.5, 0.6, 0.9, 0.9], [0.0, 0.0, 0.1, 0.1]]),
    "classes": np.array([0, 1, 0]), "scores": np.array([0.9, 0.6, 0.1]),
    "count": np.float32(3),
}  # fmt: skip


def changed(image):
    """Pixels that are no longer grey."""
    return np.abs(image.astype(int) - GREY).max(axis=-1) > 0


def test_boxes_are_framed_at_their_place_and_those_that_are_not_said_left_out():
    draw = tasks.detect(LABELS).answers[0].draw
    small = np.zeros((8, 8, 3), np.uint8)
    image = draw(BOXES, {"input": small, "original": GREY})
    cat, dog = drawing.colours(2)
    assert image.shape == GREY.shape and not changed(GREY).any()
    assert tuple(image[60, 20]) == cat and tuple(image[90, 100]) == cat and tuple(image[108, 150]) == dog
    assert not changed(image)[35:85, 25:95].any()  # inside a box
    assert not changed(image)[:11, :19].any()  # the third scores too little


def test_a_mask_covers_its_pixels_and_names_its_labels():
    draw = tasks.segment(("ground", "field", "house")).answers[0].draw
    shares = np.zeros((12, 20, 3), np.float32)
    shares[:, :10, 1] = shares[:, 10:, 0] = 1
    image = draw({"mask": shares}, {"input": GREY})
    ground, field, _ = drawing.palette(3)
    for pixel, colour in ((image[100, 50], field), (image[100, 150], ground)):
        np.testing.assert_allclose(pixel, (np.array(colour) + 90) / 2, atol=1)
    legend = {tuple(pixel) for pixel in image[:60, :80].reshape(-1, 3)}
    assert {ground, field} <= legend and drawing.palette(3)[2] not in legend


def test_points_lie_at_their_places():
    draw = tasks.keypoints(("nose", "tail")).answers[0].draw
    image = draw({"points": np.array([[0.25, 0.5], [0.75, 0.5]]), "scores": np.ones(2)}, {"input": GREY})
    assert tuple(image[60, 50]) == drawing.colours(2)[0] and tuple(image[60, 150]) == drawing.colours(2)[1]
    assert not changed(image)[100:].any()


def test_only_images_are_drawn_on():
    with pytest.raises(InputError, match=r"Only images can be drawn on.*Received: float32 of the shape \(4,\)"):
        drawing.canvas({"input": np.zeros(4, np.float32)})


def test_files_of_one_name_get_drawings_of_their_own(tmp_path):
    task = tasks.detect(LABELS)
    files = [str(tmp_path / name) for name in ("a/x.png", "b/x.jpg", "c/x_2.png", "a/x.png")]
    places = drawings(tmp_path / "out", task, files)
    assert [places.names[file] for file in files] == ["x", "x_2", "x_2_2", "x"]
    (written,) = places.write(files[1], task, BOXES, {"input": GREY})
    assert written == str(tmp_path / "out" / "x_2.png") and Image.open(written).size == (200, 120)


def test_each_of_several_answers_has_a_drawing(tmp_path):
    left, right = (dataclasses.replace(tasks.detect(LABELS).answers[0], name=name) for name in ("left", "right"))
    task = dataclasses.replace(tasks.detect(LABELS), answers=(left, right, tasks.classify(LABELS).answers[0]))
    decoded = {f"{name}.{tensor}": value for name in ("left", "right") for tensor, value in BOXES.items()}
    written = drawings(tmp_path, task, ["elsewhere/x.png"]).write("elsewhere/x.png", task, decoded, {"input": GREY})
    assert [name.rpartition("/")[2] for name in written] == ["x.left.png", "x.right.png"]


def test_what_cannot_be_drawn_is_said(tmp_path):
    with pytest.raises(InputError, match="'classify' answers cannot be drawn on images: leave `drawn` out"):
        drawings(tmp_path, tasks.classify(LABELS), [])
    with pytest.raises(InputError, match=r"is the folder of .*x\.png' itself"):
        drawings(tmp_path, tasks.detect(LABELS), [tmp_path / "x.png"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="`drawn` must be a folder"):
        drawings(tmp_path / "file", tasks.detect(LABELS), [])


# -- the contact sheet


def facts(targets):
    ids = tuple(f"{i}.png" for i in range(len(targets)))
    examples = Examples(ids, ArrayColumn(np.zeros((len(ids), 4, 4, 3), np.uint8)), targets, modality="image")
    return Facts({"details": {}}, train=examples, show_train=lambda name: f"<img alt={name}>")


SHEETS = {
    "boxes": (
        tasks.detect(LABELS),
        RaggedColumn([np.array([[1, 0.1, 0.2, 0.5, 0.8]], np.float32)] * 30, fill=-1),
        lambda image: image["boxes"] == [
            {"x": pytest.approx(10), "y": pytest.approx(20), "width": pytest.approx(40), "height": pytest.approx(60),
             "colour": drawing.hexadecimal(drawing.colours(2)[1])}
        ],
    ),
    "masks": (
        tasks.segment(LABELS),
        ArrayColumn(np.ones((30, 4, 4), np.uint8)),
        lambda image: image["mask"].startswith("data:image/png"),
    ),
    "points": (
        tasks.keypoints(LABELS),
        ArrayColumn(np.array([[[0.5, 0.25, 1], [0, 0, 0]]] * 30, np.float32)),
        lambda image: image["points"] == [{"x": 50, "y": 25, "colour": drawing.hexadecimal(drawing.colours(2)[0])}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHEETS)
def test_training_images_are_shown_with_their_targets(kind):
    task, targets, right = SHEETS[kind]
    (section,) = [candidate for candidate in task.answers[0].sections if candidate.key == "training"]
    view = section.view(facts(targets))
    assert len(view["images"]) == drawing.SHOWN and [label for label, _ in view["legend"]] == list(LABELS)
    assert view["images"][-1]["id"] == "29.png" and all(map(right, view["images"]))
    assert section.view(Facts({"details": {}})) is None
    assert section.view(facts(ArrayColumn(np.zeros((30, 7), np.float32)))) is None  # of another answer
