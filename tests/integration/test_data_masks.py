"""Masks of each kind become the same numbers; bad ones a sentence, a quarantine or a note, by name."""

from __future__ import annotations

import re

import annotating
import numpy as np
import pytest
from annotating import COUNT, HEIGHT, SIDES, WIDTH
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tlkit
from tlkit.core.errors import InputError
from tlkit.data import masks
from tlkit.data.masks import VOID, filled

OPTIONS = {"split": (0.5, 0.25, 0.25), "progress": False}
LABELS = ("background", "cat", "dog")
COLOURS = {(0, 0, 0): "background", (128, 0, 0): "cat", (0, 128, 0): "dog"}


def numbers(i: int) -> np.ndarray:
    """uint8 (40, 60): a cat or a dog in a rectangle, void at its left edge."""
    left, top, right, bottom = SIDES
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1 + i % 2
    mask[top:bottom, left] = VOID
    return mask


def coloured(i: int, void=(255, 255, 255)) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[:3] = list(COLOURS)
    table[VOID] = void
    return table[numbers(i)]


def palette(i: int) -> Image.Image:
    image = Image.fromarray(numbers(i)).convert("P")
    image = Image.frombytes("P", (WIDTH, HEIGHT), numbers(i).tobytes())
    colours = np.zeros((256, 3), np.uint8)
    colours[:3], colours[VOID] = list(COLOURS), 255
    image.putpalette(colours.tobytes())
    return image


def folders(folder, make=lambda i: Image.fromarray(numbers(i)), name=lambda i: f"{i:02d}.png", **options):
    """Images and masks; image i's mask is what `make` gives, saved as `name`."""
    annotating.images(folder / "images")
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for i in range(COUNT):
        make(i).save(folder / "masks" / name(i))
    return masks.from_folder(folder / "images", folder / "masks", **{"labels": LABELS} | OPTIONS | options)


def everything(splits):
    parts = (splits.train, splits.val, splits.test)
    return {id_: np.asarray(part.targets[i]) for part in parts for i, id_ in enumerate(part.ids)}


FILES = {
    "grey": lambda folder: folders(folder),
    "palette": lambda folder: folders(folder, palette),
    "palette by colour": lambda folder: folders(folder, palette, labels=COLOURS, void=(255, 255, 255)),
    "RGB": lambda folder: folders(
        folder, lambda i: Image.fromarray(coloured(i)), labels=COLOURS, void=(255, 255, 255)
    ),
    "grey as RGB": lambda folder: folders(folder, lambda i: Image.fromarray(numbers(i)).convert("RGB")),
    "16 bits": lambda folder: folders(folder, lambda i: Image.fromarray(numbers(i).astype(np.uint16))),
    "other values": lambda folder: folders(
        folder, lambda i: Image.fromarray(np.array([0, 100, 200], np.uint8)[numbers(i) % VOID * (numbers(i) < VOID)]),
        labels={0: "background", 100: "cat", 200: "dog"},
    ),
    "arrays": lambda folder: masks.from_arrays(
        [annotating.pixels(i) for i in range(COUNT)], [numbers(i) for i in range(COUNT)], labels=LABELS,
        split=OPTIONS["split"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_all_kinds_of_files_give_the_same_numbers(kind, tmp_path):
    splits = FILES[kind](tmp_path)
    assert splits.labels == LABELS and not splits.quarantine and len(splits.train.digests) == 6
    masks_of = everything(splits)
    assert len(masks_of) == COUNT
    for id_, mask in masks_of.items():
        expected = numbers(int(re.findall(r"\d+", id_)[0]))
        if kind == "other values":
            expected = np.where(expected == VOID, 0, expected)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, expected)


def test_masks_follow_the_size_of_their_images(tmp_path):
    splits = folders(tmp_path)
    for resized in (tlkit.data.image.resized(splits, (20, 30)), folders(tmp_path, image_size=(20, 30))):
        batch = resized.train.targets.take(np.arange(3))
        assert batch.shape == (3, 20, 30) and set(np.unique(batch)) <= {0, 1, 2, VOID}
        assert resized.train.inputs.take(np.arange(3)).shape == (3, 20, 30, 3)
        np.testing.assert_array_equal(resized.train.targets[0], splits.train.targets[0][1::2, 1::2])
        assert resized.fingerprint != splits.fingerprint


def test_masks_are_read_when_they_are_asked_for(tmp_path):
    splits = folders(tmp_path)
    (tmp_path / "masks" / splits.train.ids[0]).unlink()
    assert splits.train.targets[1].shape == (HEIGHT, WIDTH)
    with pytest.raises(InputError, match="cannot be read"):
        splits.train.targets[0]


def test_parts_endings_and_what_has_no_partner(tmp_path):
    for part, some in (("train", range(8)), ("test", range(8, COUNT))):
        for kind in ("images", "masks"):
            (tmp_path / kind / part).mkdir(parents=True)
        for i in some:
            Image.fromarray(annotating.pixels(i)).save(tmp_path / "images" / part / f"{i:02d}.jpg")
            Image.fromarray(numbers(i)).save(tmp_path / "masks" / part / f"{i:02d}_mask.png")
    (tmp_path / "masks" / "train" / "03_mask.png").unlink()
    Image.fromarray(numbers(0)).save(tmp_path / "masks" / "train" / "other.png")
    splits = masks.from_folder(
        tmp_path / "images", tmp_path / "masks", labels=LABELS, split=(0.8, 0, 0.2), progress=False
    )
    assert (len(splits.train), len(splits.test)) == (7, 4)
    assert "Masks are those of an image's name with '_mask' behind it." in splits.notes
    assert "1 images have no mask and are no examples: 'train/03.jpg'." in splits.notes
    assert "1 masks belong to no image: 'train/other'." in splits.notes


def test_masks_beside_their_images_are_told_from_images(tmp_path):
    for i in range(COUNT):
        Image.fromarray(annotating.pixels(i)).save(tmp_path / f"{i:02d}_L.png")
        Image.fromarray(numbers(i)).save(tmp_path / f"{i:02d}_L_mask.png")
    Image.fromarray(numbers(0)).save(tmp_path / "99_mask.png")
    (tmp_path / "link").symlink_to(tmp_path)
    splits = masks.from_folder(tmp_path, tmp_path / "link", labels=LABELS, **OPTIONS)
    assert set(everything(splits)) == {f"{i:02d}_L.png" for i in range(COUNT)}
    assert "1 masks belong to no image: '99_mask'." in splits.notes


def test_coco_polygons_and_run_lengths(tmp_path):
    content = annotating.coco_dict()
    left, top, right, bottom = SIDES
    area = np.zeros((HEIGHT, WIDTH), bool)
    area[top:bottom, left:right] = True
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], area.T.ravel(), [2]]))))
    for row in content["annotations"][::2]:
        row["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": runs.tolist()}
    small = {
        "id": 99,
        "image_id": 5,
        "category_id": 3,
        "bbox": [12, 8, 4, 4],
        "segmentation": [[12, 8, 16, 8, 16, 12, 12, 12]],
    }
    crowd = {"id": 98, "image_id": 6, "category_id": 3, "iscrowd": 1, "bbox": [50, 30, 8, 8],
             "segmentation": [[50, 30, 58, 30, 58, 38, 50, 38]]}  # fmt: skip
    content["annotations"] = [small, crowd, *content["annotations"]]
    splits = masks.from_coco(annotating.coco(tmp_path / "data", content), **OPTIONS)
    assert splits.labels == ("background", "cat", "dog")
    masks_of = everything(splits)
    for i in range(COUNT):
        expected = np.where(area & (i > 0), 1 + i % 2, 0)
        if i == 5:
            expected[8:12, 12:16] = 1  # the smaller object lies on top
        if i == 6:
            expected[30:38, 50:58] = VOID
        np.testing.assert_array_equal(masks_of[annotating.name(i)], expected)


def test_compressed_run_lengths_are_those_of_cocos_own_code():
    """Codes that pycocotools 2.0.11 wrote of these two masks."""
    small = np.zeros((4, 6), bool)
    small[1:3, 2:5] = True
    np.testing.assert_array_equal(filled({"size": [4, 6], "counts": "9220003"}, (6, 4)), small)
    large = np.zeros((100, 70), bool)
    large[10:95, 3:60] = True
    large[40:50, 20:30] = False
    code = "f9e2?" + "0" * 32 + "YNK?" + "5AK?" * 9 + "5X1" + "0" * 58 + "nn0"
    np.testing.assert_array_equal(filled({"size": [100, 70], "counts": code}, (70, 100)), large)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), corners=st.integers(3, 8))
def test_a_polygon_covers_what_lies_inside(seed, corners):
    """Against the sum of angles... of a convex polygon: inside is left of every edge."""
    rng = np.random.default_rng(seed)
    turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
    points = np.stack([30 + 25 * np.cos(turns), 20 + 18 * np.sin(turns)], axis=1)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    ahead = np.roll(points, -1, axis=0)
    sides = [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in zip(points, ahead, strict=True)]
    sure = np.abs(sides).min(axis=0) > 1e-6
    inside = np.min(sides, axis=0) > 0
    np.testing.assert_array_equal(filled([points.ravel().tolist()], (WIDTH, HEIGHT))[sure], inside[sure])


def test_augmentations_of_images_move_masks_too(tmp_path):
    splits = folders(tmp_path, augment=tlkit.data.image.augmentation(rotate=10))
    augment, mask = splits.train.augment, splits.train.targets[0]
    assert len({augment.targets(mask, augment.draw(seed)).tobytes() for seed in range(20)}) > 15
    assert augment.targets(mask, augment.draw(1)).shape == mask.shape


def test_a_tfds_builder_with_masks(tmp_path):
    import tensorflow_datasets as tfds

    class Areas(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "segmentation_mask": tfds.features.Image(shape=(None, None, 1))}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(range(8)), "test": self._generate_examples(range(8, COUNT))}

        def _generate_examples(self, some):
            for i in some:
                yield i, {"image": annotating.pixels(i), "segmentation_mask": numbers(i)[..., None]}

    for file_format in ("array_record", "tfrecord"):
        builder = Areas(data_dir=tmp_path / file_format, file_format=file_format)
        builder.download_and_prepare()
        splits = masks.from_tfds(builder, labels=LABELS, split=(0.8, 0, 0.2), progress=False)
        assert len(splits.train) == 8 and len(splits.test) == 4
        seen = {mask.tobytes() for mask in everything(splits).values()}
        assert seen == {numbers(0).tobytes(), numbers(1).tobytes()}


# -- what is wrong with masks


def one_bad(make, **options):
    """Mask 5 is what `make` gives."""

    def load(folder):
        return folders(folder, lambda i: make() if i == 5 else Image.fromarray(numbers(i)), **options)

    return load


def spoilt(spoil):
    """Files that `spoil` damages, given the folder, before they are read."""

    def load(folder):
        folders(folder)
        spoil(folder)
        return masks.from_folder(folder / "images", folder / "masks", labels=LABELS, **OPTIONS)

    return load


def value(number):
    mask = numbers(5).astype(np.uint16 if number > 255 else np.uint8)
    mask[0, 0] = number
    return lambda: Image.fromarray(mask)


def in_coco(**others):
    def load(folder):
        content = annotating.coco_dict()
        content["annotations"][4].update(others)
        return masks.from_coco(annotating.coco(folder, content), **OPTIONS)

    return load


def turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(annotating.pixels(5)).save(folder / "images" / "05.png", exif=exif)


def jpeg(folder):
    Image.fromarray(numbers(5)).save(folder / "masks" / "05.jpg")
    (folder / "masks" / "05.png").unlink()


def transparent():
    image = Image.fromarray(numbers(5)).convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, 0))
    return image


def no_areas(folder):
    content = annotating.coco_dict()
    for row in content["annotations"]:
        del row["segmentation"]
    return masks.from_coco(annotating.coco(folder, content), **OPTIONS)


def binary(folder):
    return folders(folder, lambda i: Image.fromarray(np.where(numbers(i) > 0, 255, 0).astype(np.uint8)))


def of_labels(labels, **options):
    return lambda folder: folders(folder, labels=labels, **options)


QUARANTINED, NOTED, REFUSED = "quarantined", "noted", "refused"
KINDS = {
    "unknown value": (one_bad(value(7)), QUARANTINED, "its mask holds the value 7 in 1 pixels, which is neither a la"),
    "value of 16 bits": (one_bad(value(999)), QUARANTINED, "its mask holds the value 999"),
    "unknown colour": (
        lambda folder: folders(folder, lambda i: Image.fromarray(coloured(i, (9, 9, 9) if i == 5 else (255, 255, 255))),
                               labels=COLOURS, void=(255, 255, 255)),
        QUARANTINED, r"its mask holds the colour \(9, 9, 9\)",
    ),
    "another size": (one_bad(lambda: Image.fromarray(numbers(5)[:30])), QUARANTINED, "its mask has 60 x 30 pixels, a"),
    "half the size": (one_bad(lambda: Image.fromarray(numbers(5)[::2, ::2])), NOTED, "Some masks are smaller or larg"),
    "coloured": (one_bad(lambda: Image.fromarray(coloured(5))), QUARANTINED, "is coloured, and `labels` has numbers"),
    "grey for colours": (
        lambda folder: folders(folder, lambda i: Image.fromarray(numbers(i) if i == 5 else coloured(i)), labels=COLOURS,
                               void=(255, 255, 255)),
        QUARANTINED, "its mask has one number a pixel, and `labels` has colours",
    ),
    "JPEG": (spoilt(jpeg), QUARANTINED, "its mask is a JPEG file, whose values are not exact: write PNG"),
    "transparent": (one_bad(transparent), QUARANTINED, "its mask is transparent in places"),
    "all void": (one_bad(lambda: Image.fromarray(np.full((HEIGHT, WIDTH), VOID, np.uint8))), QUARANTINED, "all of it"),
    "empty file": (spoilt(lambda f: (f / "masks" / "05.png").write_bytes(b"")), QUARANTINED, "its mask '05.png': emp"),
    "cut off": (
        spoilt(lambda f: (f / "masks" / "05.png").write_bytes((f / "masks" / "05.png").read_bytes()[:70])),
        QUARANTINED, "its mask '05.png': (truncated|damaged)",
    ),
    "no image in it": (spoilt(lambda f: (f / "masks" / "05.png").write_bytes(b"x" * 99)), QUARANTINED, "its mask '05"),
    "turned by EXIF": (spoilt(turned), QUARANTINED, "its mask was drawn before it is turned as its EXIF data say"),
    "no mask": (spoilt(lambda f: (f / "masks" / "05.png").unlink()), NOTED, "1 images have no mask and are no exampl"),
    "two masks": (
        spoilt(lambda f: Image.fromarray(numbers(4)).save(f / "masks" / "05.tif")), REFUSED,
        "The masks '05.png' and '05.tif' are both of the image '05.png': remove one of them",
    ),
    "two images": (
        spoilt(lambda f: Image.fromarray(numbers(4)).save(f / "images" / "05.bmp")), REFUSED,
        "The images '05.bmp' and '05.png' share the mask '05.png'",
    ),
    "no image": (spoilt(lambda f: (f / "images" / "05.png").unlink()), NOTED, "1 masks belong to no image: '05'"),
    "damaged image": (spoilt(lambda f: (f / "images" / "05.png").write_bytes(b"")), QUARANTINED, "empty: it has 0 by"),
    "0 and 255 alone": (binary, REFUSED, r"All known pixels for training are of one class, 'background'.*labels=\{0:"),
    "no names": (of_labels([]), REFUSED, "must name"),
    "one name": (of_labels(["cat"]), REFUSED, "`labels` must name 2 to 254 classes"),
    "numbers and colours": (of_labels({0: "a", (1, 2, 3): "b"}), REFUSED, "numbers, or colours .*, and not both"),
    "no colour": (of_labels({(0, 0): "a", (1, 2, 300): "b"}), REFUSED, "`labels` must have whole numbers, or colours"),
    "class never seen": (of_labels([*LABELS, "cow"]), REFUSED, "The class 'cow' has no pixel for training"),
    "no pairs": (lambda f: folders(f, name=lambda i: f"mask of {i}.png"), REFUSED, "No image in .* has a mask of its"),
    "COCO without areas": (no_areas, REFUSED, "has no 'segmentation': of boxes alone make data.boxes.from_coco"),
    "COCO empty area": (in_coco(segmentation=[]), QUARANTINED, r"its object 1 \('dog'\) has no area"),
    "COCO short polygon": (in_coco(segmentation=[[1, 2, 3, 4]]), QUARANTINED, "has a polygon that is not three points"),
    "COCO odd polygon": (in_coco(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), QUARANTINED, "has a polygon that is not thre"),
    "COCO polygon outside": (in_coco(segmentation=[[90, 90, 99, 90, 99, 99]]), QUARANTINED, "covers no pixel"),
    "COCO runs of another size": (
        in_coco(segmentation={"size": [50, 60], "counts": [3000]}), QUARANTINED, "has run lengths of an image of",
    ),
    "COCO runs too short": (
        in_coco(segmentation={"size": [40, 60], "counts": [10, 20]}), QUARANTINED, "has run lengths for 30 pixels, an",
    ),
    "COCO runs that are none": (
        in_coco(segmentation={"size": [40, 60], "counts": [-1, "a"]}), QUARANTINED, "has run lengths that cannot be r",
    ),
    "arrays of other lengths": (
        lambda f: masks.from_arrays([annotating.pixels(0)] * 3, [numbers(0)] * 2, labels=LABELS), REFUSED,
        "There are 3 images and 2 masks",
    ),
    "array of fractions": (
        lambda f: masks.from_arrays([annotating.pixels(i) for i in range(COUNT)],
                                    [numbers(i) + (0.5 if i == 5 else 0) for i in range(COUNT)], labels=LABELS),
        QUARANTINED, "its mask holds numbers that are not whole",
    ),
    "array of another size": (
        lambda f: masks.from_arrays([annotating.pixels(i) for i in range(COUNT)],
                                    [numbers(i)[: 30 if i == 5 else HEIGHT] for i in range(COUNT)], labels=LABELS),
        QUARANTINED, r"its mask is \(30, 60\) \(height, width\), and the image \(40, 60\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_with_masks_is_said(kind, tmp_path):
    make, outcome, pattern = KINDS[kind]
    if outcome == REFUSED:
        with pytest.raises(InputError, match=pattern):
            make(tmp_path / "data")
        return
    splits = make(tmp_path / "data")
    messages = [left_out.reason for left_out in splits.quarantine] if outcome == QUARANTINED else list(splits.notes)
    assert [text for text in messages if re.search(pattern, text)], messages
    if outcome == QUARANTINED:
        assert len(splits.quarantine) == 1 and len(everything(splits)) == COUNT - 1
