"""Keypoints of COCO: cut out with their object, moved with the image, refused by name where they cannot be right."""

from __future__ import annotations

import re

import annotating
import numpy as np
import pytest
from annotating import COUNT, HEIGHT, WIDTH
from PIL import Image

import tlkit
from tlkit.core.errors import InputError
from tlkit.data import keypoints

OPTIONS = {"split": (0.5, 0.25, 0.25), "progress": False}
NAMES = ["nose", "left_ear", "right_ear"]
POINTS = [20.5, 10.5, 2, 25.5, 15.5, 1, 0, 0, 0]  # the right ear is not labelled
ANNOTATED = 10  # images, a second object in number 6


def said_of(change=lambda content: None):
    content = annotating.coco_dict()
    content["categories"] = [{"id": 3, "name": "cat", "keypoints": NAMES, "skeleton": [[1, 2]]}]
    content["annotations"] = [
        {"id": i, "image_id": i, "category_id": 3, "bbox": [16, 8, 16, 12], "keypoints": list(POINTS)}
        for i in range(ANNOTATED)
    ]
    second = {"id": 50, "image_id": 6, "category_id": 3, "bbox": [40, 20, 12, 12]}
    content["annotations"].append(second | {"keypoints": [45, 25, 2, 50, 30, 2, 42, 22, 2]})
    change(content)
    return content


def loaded(folder, change=lambda content: None, **options):
    return keypoints.from_coco(annotating.coco(folder, said_of(change)), **OPTIONS | options)


def everything(splits):
    parts = (splits.train, splits.val, splits.test)
    return {id_: (part, i) for part in parts for i, id_ in enumerate(part.ids)}


def test_each_object_is_an_example_with_its_points(tmp_path):
    splits = loaded(tmp_path / "data")
    examples = everything(splits)
    assert (
        splits.labels == tuple(NAMES) and len(examples) == ANNOTATED + 1 and {"06.png#1", "06.png#2"} <= set(examples)
    )
    part, i = examples["03.png"]
    left, top, right, bottom = 12, 5, 36, 23  # a quarter more on each side
    np.testing.assert_array_equal(part.inputs[i], annotating.pixels(3)[top:bottom, left:right])
    expected = [[8.5 / 24, 5.5 / 18, 2], [13.5 / 24, 10.5 / 18, 1], [0, 0, 0]]
    np.testing.assert_allclose(part.targets[i], expected, atol=1e-6)
    assert part.targets.take(np.arange(1)).shape == (1, 3, 3)
    assert examples["06.png#1"][0] is examples["06.png#2"][0]  # one image lies in one part


def test_a_point_beyond_the_box_is_cut_out_too(tmp_path):
    splits = loaded(
        tmp_path / "data", lambda content: content["annotations"][3]["keypoints"].__setitem__(0, 59.0), margin=0
    )
    part, i = everything(splits)["03.png"]
    assert part.inputs[i].shape == (12, 59 - 16, 3) and part.targets[i][0, 0] == 1


def test_pictures_of_12_bits_are_read_as_such_and_asked_with_the_same_white(tmp_path):
    file = annotating.coco(tmp_path, said_of())
    assert keypoints.from_coco(file, **OPTIONS).train.pipeline.get("image")["white"] is None
    for picture in tmp_path.glob("*.png"):
        Image.fromarray(np.asarray(Image.open(picture).convert("L")).astype(np.uint16) * 16).save(picture)
    splits = keypoints.from_coco(file, **OPTIONS)
    assert any("are read as 12 bits, with 4,095 as white" in note for note in splits.notes)
    assert splits.train.inputs[0].max() > 200  # of 16 bits it would be 15
    settings = splits.train.pipeline.get("image")
    assert (settings["white"], settings["windows"]) == (4095.0, True)  # by which `predict` reads


def test_sizes_and_augmentation(tmp_path):
    splits = loaded(tmp_path / "data", image_size=32, augment=tlkit.data.image.augmentation(crop=0.1))
    assert splits.train.inputs.take(np.arange(2)).shape == (2, 32, 32, 3)
    augment, points = splits.train.augment, splits.train.targets[0]
    assert augment.mirror == (0, 2, 1)
    drawn = next(draw for draw in map(augment.draw, range(20)) if draw["mirrored"])
    moved = augment.targets(points, drawn)
    assert moved[1, 2] == points[2, 2] and moved[2, 2] == points[1, 2]  # left and right change places


def test_pairs_by_name_and_by_hand():
    assert keypoints.mirrored(["L", "R", "top"]) == (1, 0, 2)
    assert keypoints.mirrored(["p", "q", "top"], [("p", "q")]) == (1, 0, 2)
    assert keypoints.mirrored(["leftHand", "rightHand"]) == (1, 0)
    with pytest.raises(InputError, match="`mirror` names 'T', which is no point"):
        keypoints.mirrored(["L", "R"], [("L", "T")])
    with pytest.raises(InputError, match="`mirror` names 'L' in two pairs"):
        keypoints.mirrored(["L", "R", "M"], [("L", "R"), ("L", "M")])


@pytest.mark.parametrize(
    "names",
    [
        "l_eye r_eye",
        "eye_l eye_r",
        "L-Eye R-Eye",
        "LEye REye",
        "eyeL eyeR",
        "eye.L eye.R",
        "l r",
        "L1 R1",
        "LEFT RIGHT",
    ],
)
def test_sides_are_known_by_letters_too(names):
    assert keypoints.mirrored([*names.split(), "nose"]) == (1, 0, 2)


def test_letters_without_their_other_side_are_no_sides():
    for names in (["tail", "ear"], ["P", "Q", "R", "S"], ["lock", "rock"], ["l_eye", "R_eye"]):
        assert keypoints.mirrored(names) == tuple(range(len(names)))


@pytest.mark.parametrize(
    ("names", "mirror", "note"),
    [
        (
            NAMES,
            None,
            "In mirrored copies these points stay what they are: 'nose'. If one lies on a side, name the pairs",
        ),
        (
            ["links", "rechts", "mitte"],
            None,
            "stay what they are: 'links', 'rechts', 'mitte'. If one lies on a side, na",
        ),
        (["l_ear", "r_ear", "tail"], [("l_ear", "r_ear")], ""),
    ],
)
def test_points_that_keep_their_name_in_mirrored_copies_are_noted(tmp_path, names, mirror, note):
    def named(content):
        content["categories"][0]["keypoints"] = names

    augment = tlkit.data.image.augmentation()
    splits = loaded(tmp_path / "data", named, augment=augment, mirror=mirror)
    assert [text for text in splits.notes if note and note in text] == [
        text for text in splits.notes if "mirrored" in text
    ]
    assert any("mirrored" in text for text in splits.notes) == bool(note)
    plain = loaded(tmp_path / "plain", named, augment=tlkit.data.keypoints.augmentation(flip=False))
    assert not any("mirrored" in text for text in plain.notes)


def of_points(*numbers, **others):
    def change(content):
        content["annotations"][3] |= {"keypoints": list(numbers)} if numbers else {}
        content["annotations"][3] |= others

    return lambda folder: loaded(folder, change)


def of_categories(**changes):
    return lambda folder: loaded(folder, lambda content: content["categories"][0].update(changes))


def lonely(folder):
    change = {"keypoints": ["nose", "left_ear", "tail"]}
    return loaded(folder, lambda s: s["categories"][0].update(change), augment=tlkit.data.image.augmentation())


def cut_off(folder):
    file = annotating.coco(folder, said_of())
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:200])
    return keypoints.from_coco(file, **OPTIONS)


def turned(folder):
    file = annotating.coco(folder, said_of())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(annotating.pixels(3)).save(folder / "03.png", exif=exif)
    return keypoints.from_coco(file, **OPTIONS)


QUARANTINED, NOTED, REFUSED = "quarantined", "noted", "refused"
KINDS = {
    "too few numbers": (of_points(1, 2, 2), QUARANTINED, "has 3 numbers for 3 points: x, y and visibility of each"),
    "outside": (of_points(99, 10, 2, *POINTS[3:]), QUARANTINED, "has its 'nose' outside the image, at x 99, y 10"),
    "NaN": (of_points(float("nan"), 10, 2, *POINTS[3:]), QUARANTINED, "has points that are no numbers"),
    "infinity": (of_points(float("inf"), 10, 2, *POINTS[3:]), QUARANTINED, "has points that are no numbers"),
    "visibility": (of_points(20, 10, 5, *POINTS[3:]), QUARANTINED, "has the visibility 5: 0, 1 and 2 are known"),
    "shares": (of_points(0.2, 0.3, 2, 0.4, 0.5, 2, 0, 0, 0), QUARANTINED, "has points in 0 to 1, and COCO counts"),
    "none labelled": (of_points(*[0] * 9), NOTED, "1 objects have no labelled point and are no examples"),
    "crowd": (of_points(iscrowd=1), NOTED, "1 objects are crowds and are no examples"),
    "no points named": (lambda f: loaded(f, lambda s: s["categories"][0].pop("keypoints")), REFUSED, "No category in "),
    "one name twice": (of_categories(keypoints=["nose", "nose", "ear"]), REFUSED, "'nose' twice"),
    "no other side": (lonely, REFUSED, "the point 'left_ear' has no 'right_ear': pass `mirror`"),
    "no object": (lambda f: loaded(f, lambda s: s.update(annotations=[])), REFUSED, "No object has a labelled point"),
    "damaged": (cut_off, QUARANTINED, "truncated|damaged"),
    "turned": (turned, QUARANTINED, "drawn before it is turned as its EXIF data say"),
    "margin": (lambda f: loaded(f, margin=-1), REFUSED, r"`margin` must lie in \[0, 10\]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_with_points_is_said(kind, tmp_path):
    make, outcome, pattern = KINDS[kind]
    if outcome == REFUSED:
        with pytest.raises(InputError, match=pattern):
            make(tmp_path / "data")
        return
    splits = make(tmp_path / "data")
    messages = [left_out.reason for left_out in splits.quarantine] if outcome == QUARANTINED else list(splits.notes)
    assert [text for text in messages if re.search(pattern, text)], messages
    assert len(everything(splits)) == ANNOTATED


def test_the_whole_image_is_the_most_that_is_cut_out(tmp_path):
    splits = loaded(tmp_path / "data", margin=10)
    part, i = everything(splits)["03.png"]
    assert part.inputs[i].shape == (HEIGHT, WIDTH, 3) and COUNT > ANNOTATED
    np.testing.assert_allclose(part.targets[i][0, :2], [20.5 / WIDTH, 10.5 / HEIGHT], atol=1e-6)
