"""Boxes of each format become the same rows; bad ones a sentence, a quarantine or a note, by name."""

from __future__ import annotations

import dataclasses
import json
import re

import annotating
import numpy as np
import pytest
from annotating import COUNT, HEIGHT, SHARES, SIDES, WIDTH
from PIL import Image

import tlkit
from tlkit.core.columns import RaggedColumn
from tlkit.core.errors import InputError
from tlkit.data import annotated, boxes

SPLIT = (0.5, 0.25, 0.25)
OPTIONS = {"split": SPLIT, "progress": False}


def everything(splits):
    """id -> rows, of all parts."""
    parts = (splits.train, splits.val, splits.test)
    return {id_: part.targets[i] for part in parts for i, id_ in enumerate(part.ids)}


def arrays(**changes):
    arguments = {
        "images": [annotating.pixels(i) for i in range(COUNT)],
        "boxes": [[SIDES]] * COUNT,
        "classes": [[i % 2] for i in range(COUNT)],
        "order": "xyxy", "unit": "pixels", "labels": ["cat", "dog"], "split": SPLIT,
    } | changes  # fmt: skip
    return boxes.from_arrays(**arguments)


FORMATS = {
    "coco": lambda folder: boxes.from_coco(annotating.coco(folder), **OPTIONS),
    "voc": lambda folder: boxes.from_voc(annotating.voc(folder), **OPTIONS),
    "yolo": lambda folder: boxes.from_yolo(annotating.yolo(folder), **OPTIONS),
    "csv": lambda folder: boxes.from_csv(annotating.table(folder), **OPTIONS),
    "arrays": lambda folder: arrays(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_rows(name, tmp_path):
    splits = FORMATS[name](tmp_path / "data")
    assert splits.labels == ("cat", "dog") and not splits.quarantine
    rows_of = everything(splits)
    assert len(rows_of) == COUNT and isinstance(splits.train.targets, RaggedColumn)
    for id_, rows in rows_of.items():
        number = int(re.findall(r"\d+", id_)[-1])
        if name in ("coco", "csv") and number == 0:
            assert rows.shape == (0, 5)
        else:
            np.testing.assert_allclose(rows, [[number % 2, *SHARES]], atol=1e-6)
    assert splits.train.targets.take(np.arange(2)).shape == (2, 1, 5)
    assert all(part.targets.most == 1 for part in (splits.train, splits.val, splits.test))


def test_a_folder_says_by_itself_what_it_is(tmp_path):
    for kind, make in (("COCO", annotating.coco), ("Pascal VOC", annotating.voc), ("YOLO", annotating.yolo)):
        make(tmp_path / kind)
        splits = boxes.from_folder(tmp_path / kind, split=(0.7, 0.15, 0.15), progress=False)
        assert (
            splits.notes[0].startswith(f"The folder is taken as {kind}: boxes are ")
            and len(everything(splits)) == COUNT
        )
    (tmp_path / "COCO" / "data.yaml").write_text("names: [a]")
    with pytest.raises(InputError, match=r"of one kind; it holds 'data.yaml' \(YOLO\) and 'annotations.json' \(COCO\)"):
        boxes.from_folder(tmp_path / "COCO")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"it holds none of them\. Name the loader"):
        boxes.from_folder(tmp_path / "empty")


def test_yolos_parts_are_kept(tmp_path):
    splits = boxes.from_yolo(annotating.yolo(tmp_path / "data"), split=(0.8, 0.1, 0), progress=False)
    assert sorted(splits.val.ids) == [f"val/images/{i:02d}.png" for i in range(8, 12)] and len(splits.train) == 8


def test_folders_as_roboflow_writes_them(tmp_path):
    for part, numbers in (("train", range(6)), ("valid", range(6, 9)), ("test", range(9, 12))):
        content = annotating.coco_dict()
        content["images"] = [row for row in content["images"] if row["id"] in numbers]
        content["annotations"] = [row for row in content["annotations"] if row["image_id"] in numbers]
        content["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
        (tmp_path / part).mkdir()
        for i in numbers:
            Image.fromarray(annotating.pixels(i)).save(tmp_path / part / annotating.name(i))
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(content))
    splits = boxes.from_coco(tmp_path, progress=False)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [6, 3, 3]
    assert splits.labels == ("cat", "dog") and "No annotation is of the categories 'animals'" in splits.notes[0]


def test_categories_of_several_files_are_one_list_in_the_order_of_their_ids(tmp_path):
    of_part = {"train": (7,), "valid": (3, 7), "test": (7,)}  # ids of the categories that the part's boxes have
    for part, ids in of_part.items():
        content = annotating.coco_dict()
        content["categories"] = [{"id": i, "name": name} for i, name in ((9, "cow"), (7, "dog"), (3, "cat"))]
        content["annotations"] = [row for row in content["annotations"] if row["category_id"] in ids]
        content["images"] = [{**row, "file_name": f"{part}-{row['file_name']}"} for row in content["images"]]
        annotating.coco(tmp_path / part, content)
        for image in (tmp_path / part).glob("*.png"):
            image.rename(image.with_name(f"{part}-{image.name}"))
    read = annotated.coco(tmp_path, None)
    assert read.labels == ("cat", "dog")
    assert read.notes == ("No annotation is of the categories 'cow': they are no labels.",)


def test_names_as_label_studio_and_cvat_write_them(tmp_path):
    content = annotating.coco_dict()
    content["images"][2]["file_name"] = "../../label-studio/data/media/upload/1/02.png"
    content["images"][3]["file_name"] = "images\\03.png"
    content["images"][4]["file_name"] = "default/04.png"
    file = annotating.coco(tmp_path / "data", content)
    assert len(everything(boxes.from_coco(file, **OPTIONS))) == COUNT


def test_official_voc_counts_pixels_from_one(tmp_path):
    folder = annotating.voc(tmp_path / "data")
    file = folder / "Annotations" / "05.xml"
    xml = file.read_text().replace("<object>", "<source><database>The VOC2007 Database</database></source><object>")
    file.write_text(xml)
    rows_of = everything(boxes.from_voc(folder, **OPTIONS))
    np.testing.assert_allclose(
        rows_of["Annotations/05"], [[1, 9 / WIDTH, 4 / HEIGHT, 40 / WIDTH, 25 / HEIGHT]], atol=1e-6
    )


@pytest.mark.parametrize("order", boxes.ORDERS)
@pytest.mark.parametrize("unit", ["pixels", "shares"])
def test_each_order_and_unit(order, unit):
    left, top, right, bottom = SIDES if unit == "pixels" else SHARES
    numbers = {
        "xyxy": (left, top, right, bottom), "yxyx": (top, left, bottom, right),
        "xywh": (left, top, right - left, bottom - top),
        "cxcywh": ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
    }[order]  # fmt: skip
    rows_of = everything(arrays(boxes=[[numbers]] * COUNT, order=order, unit=unit))
    for i in range(COUNT):
        np.testing.assert_allclose(rows_of[str(i)], [[i % 2, *SHARES]], atol=1e-6)


def test_splits_hold_every_class_and_keep_groups():
    many = 60
    images = [annotating.pixels(i) for i in range(many)]
    classes = [[0, 1] if i % 20 == 0 else [0] for i in range(many)]  # of class 1 three images
    rows = [[SIDES] * len(image_classes) for image_classes in classes]
    splits = boxes.from_arrays(
        images, rows, classes, order="xyxy", unit="pixels", labels=["often", "rare"], split=(0.6, 0.2, 0.2)
    )
    for part in (splits.train, splits.val, splits.test):
        assert {int(n) for i in range(len(part)) for n in part.targets[i][:, 0]} == {0, 1}
    groups = [f"camera {i // 6}" for i in range(many)]
    splits = boxes.from_arrays(images, rows, classes, order="xyxy", unit="pixels", labels=["often", "rare"],
                               groups=groups, split=(0.6, 0.2, 0.2))  # fmt: skip
    owners = [set(part.groups) for part in (splits.train, splits.val, splits.test)]
    assert not owners[0] & owners[1] and not owners[1] & owners[2] and not owners[0] & owners[2]


def test_augmentations_of_images_move_boxes_too(tmp_path):
    splits = arrays(augment=tlkit.data.image.augmentation(crop=0.5))
    augment = splits.train.augment
    rows = splits.train.targets[0]
    moved = [augment.targets(rows, augment.draw(seed)) for seed in range(30)]
    assert len({copy.tobytes() for copy in moved}) > 20 and splits.val.augment is None
    with pytest.raises(InputError, match="The box around a turned box is too large"):
        arrays(augment=tlkit.data.image.augmentation(rotate=5))
    assert any("must not move what is in the image" in note for note in arrays(augment=lambda x, seed: x).notes)


def test_a_tfds_builder_with_objects(tmp_path):
    import tensorflow_datasets as tfds

    class Pets(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            inner = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                     "is_difficult": np.bool_}  # fmt: skip
            features = {"image": tfds.features.Image(), "objects": tfds.features.Sequence(inner)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(range(8)), "test": self._generate_examples(range(8, COUNT))}

        def _generate_examples(self, numbers):
            left, top, right, bottom = SHARES
            for i in numbers:
                box = tfds.features.BBox(ymin=top, xmin=left, ymax=bottom, xmax=right)
                annotation = {"bbox": box, "label": i % 2, "is_difficult": i == 1}
                yield i, {"image": annotating.pixels(i), "objects": [annotation] if i else []}

    for file_format in ("array_record", "tfrecord"):
        builder = Pets(data_dir=tmp_path / file_format, file_format=file_format)
        builder.download_and_prepare()
        splits = boxes.from_tfds(builder, split=(0.8, 0, 0.2), progress=False)
        assert len(splits.train) == 8 and len(splits.test) == 4 and splits.labels == ("cat", "dog")
        rows = np.concatenate(list(everything(splits).values()))
        assert len(rows) == COUNT - 2 and splits.train.columns["ignored"].rows
        np.testing.assert_allclose(rows[:, 1:], [SHARES] * len(rows), atol=1e-6)


# -- what is wrong with boxes


def in_coco(change):
    """COCO JSON that `change` damages in its dict."""

    def make(folder):
        content = annotating.coco_dict()
        content = change(content) or content
        return boxes.from_coco(annotating.coco(folder, content), **OPTIONS)

    return make


def of_box(*numbers, **others):
    """COCO whose annotation of image 5 has this box."""

    def change(content):
        content["annotations"][4] |= {"bbox": list(numbers)} if numbers else {}
        content["annotations"][4] |= others

    return in_coco(change)


def of_all(**others):
    def change(content):
        for row in content["annotations"]:
            row.update(others)

    return in_coco(change)


def of_image(**others):
    return in_coco(lambda content: content["images"][5].update(others))


def in_voc(old, new):
    def make(folder):
        file = annotating.voc(folder) / "Annotations" / "05.xml"
        file.write_text(file.read_text().replace(old, new))
        return boxes.from_voc(folder, **OPTIONS)

    return make


def in_yolo(line, file="train/labels/05.txt"):
    def make(folder):
        annotating.yolo(folder)
        if line is None:
            (folder / file).unlink()
        else:
            (folder / file).write_text(line)
        return boxes.from_yolo(folder, split=(0.8, 0.2, 0), progress=False)

    return make


def in_table(old, new):
    def make(folder):
        file = annotating.table(folder)
        file.write_text(file.read_text().replace(old, new))
        return boxes.from_csv(file, **OPTIONS)

    return make


def turned(folder):
    """Image 5 is turned by its EXIF data, and was annotated before."""
    file = annotating.coco(folder)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(annotating.pixels(5)).save(folder / "05.png", exif=exif)
    return boxes.from_coco(file, **OPTIONS)


def cut_off(folder):
    file = annotating.coco(folder)
    content = (folder / "05.png").read_bytes()
    (folder / "05.png").write_bytes(content[: len(content) // 2])
    return boxes.from_coco(file, **OPTIONS)


def without_file(folder):
    file = annotating.coco(folder)
    (folder / "05.png").unlink()
    return boxes.from_coco(file, **OPTIONS)


def unlisted(folder):
    annotating.voc(folder)
    (folder / "Annotations" / "05.xml").unlink()
    return boxes.from_voc(folder, **OPTIONS)


ROW = "05.png,dog,10,5,40,25"
QUARANTINED, NOTED, REFUSED = "quarantined", "noted", "refused"
KINDS = {
    "outside": (of_box(70, 5, 20, 20), QUARANTINED, r"its box 1 \('dog'\) lies outside the image: \[70, 5, 20, 20\]"),
    "above": (of_box(10, -30, 20, 20), QUARANTINED, "lies outside the image"),
    "over the edge": (of_box(50, 5, 20, 20), NOTED, r"reach over the edge of their image, and are clipped: 1 \('05"),
    "no width": (of_box(10, 5, 0, 20), NOTED, r"have no width or no height, and are left out: 1 \('05.png' first\)"),
    "negative width": (of_box(40, 5, -30, 20), QUARANTINED, "is turned round: its right side lies left of its left"),
    "NaN": (of_box(float("nan"), 5, 30, 20), QUARANTINED, "holds what is no number"),
    "infinity": (of_box(float("inf"), 5, 30, 20), QUARANTINED, "holds what is no number"),
    "text": (of_box("a", 5, 30, 20), QUARANTINED, "holds what is no number"),
    "three numbers": (of_box(10, 5, 30), QUARANTINED, "has 3 numbers instead of left, top, width and height"),
    "no box": (of_box(bbox=[]), QUARANTINED, r"its box 1 \('dog'\) has no box"),
    "shares for pixels": (of_box(0.1, 0.1, 0.5, 0.5), QUARANTINED, "counts shares of the sides where pixels are expec"),
    "all shares": (of_all(bbox=[0.1, 0.1, 0.5, 0.5]), REFUSED, "All boxes lie in 0 to 1, and this format counts pix"),
    "unknown category": (of_box(category_id=99), QUARANTINED, "is of category 99, which has no name"),
    "crowd": (of_box(iscrowd=1), NOTED, "are crowds or difficult, and count neither as found nor as missed: 1"),
    "twice": (in_coco(lambda s: s["annotations"].append(s["annotations"][4])), NOTED, "are given twice, and taken"),
    "unknown image": (of_box(image_id=99), NOTED, "1 annotations name an image that is not in the list"),
    "scores": (of_box(score=0.9), NOTED, "1 annotations have a score, as the answers of a detector do"),
    "image listed twice": (of_image(file_name="04.png"), REFUSED, "The image '04.png' is listed twice"),
    "one id for two images": (of_image(id=4), REFUSED, "gives two images one id"),
    "one id for two classes": (in_coco(lambda s: s["categories"][1].update(id=3)), REFUSED, "gives two categories one"),
    "another size": (of_image(width=600), QUARANTINED, "annotations are of an image of 600 x 40 pixels, and it has 60"),
    "turned by EXIF": (turned, QUARANTINED, r"drawn before it is turned as its EXIF data say \(60 x 40, shown as 40 x"),
    "no file": (without_file, QUARANTINED, "there is no such file below"),
    "damaged file": (cut_off, QUARANTINED, "truncated|damaged"),
    "results": (in_coco(lambda s: s["annotations"]), REFUSED, "holds a list: the results of a detector"),
    "no categories": (in_coco(lambda s: s.pop("categories") and None), REFUSED, "is no COCO JSON: it needs the lists"),
    "no JSON": (in_coco(lambda s: "{"), REFUSED, "is no JSON"),
    "no boxes at all": (in_coco(lambda s: s.update(annotations=[])), REFUSED, "There is no box in the annotations of"),
    "VOC swapped": (in_voc("<xmin>10", "<xmin>50"), QUARANTINED, "its right side lies left of its left one"),
    "VOC infinity": (in_voc("<xmax>40", "<xmax>inf"), QUARANTINED, "holds what is no number"),
    "VOC difficult": (in_voc("<difficult>0", "<difficult>1"), NOTED, "are crowds or difficult"),
    "VOC broken": (in_voc("</annotation>", ""), QUARANTINED, "its XML cannot be read"),
    "VOC bomb": (in_voc("<annotation>", "<!DOCTYPE a><annotation>"), QUARANTINED, "its XML declares a document type"),
    "VOC without a name": (in_voc("<name>dog</name>", ""), QUARANTINED, "its box 1 has no name"),
    "VOC without a box": (in_voc("bndbox", "box"), QUARANTINED, "has no <bndbox>"),
    "VOC without XML": (unlisted, NOTED, "1 images have no XML file and are no examples: 'JPEGImages/05.png'"),
    "YOLO in pixels": (in_yolo("1 25 15 30 20"), QUARANTINED, "counts pixels where shares of the sides, 0 to 1, are"),
    "YOLO class": (in_yolo("2 .5 .5 .2 .2"), QUARANTINED, "its box 1 is of class '2', and there are 2 names"),
    "YOLO scores": (in_yolo("1 .5 .5 .2 .2 .9"), QUARANTINED, "has 6 numbers, as a detector's answers"),
    "YOLO short": (in_yolo("1 .5 .5 .2"), QUARANTINED, "has 4 numbers instead of a class, the centre"),
    "YOLO no text": (in_yolo(None), NOTED, "1 images have no text of labels, and count as images without objects"),
    "YOLO count": (in_yolo("train: train/images\nval: val/images\nnc: 3\nnames: [a, b]", "data.yaml"), REFUSED,
                   "says nc: 3, and names 2 classes"),
    "YOLO folder": (in_yolo("train: other\nnames: [a, b]", "data.yaml"), REFUSED, "no such folder or list"),
    "CSV text": (in_table(ROW, "05.png,dog,ten,5,40,25"), QUARANTINED, "holds what is no number"),
    "CSV half": (in_table(ROW, "05.png,,10,5,40,25"), REFUSED, "Row 7 of the table has a label or a box, and not both"),
    "CSV columns": (in_table("xmin,ymin,xmax,ymax", "x,y,width,height"), REFUSED, "No four columns of the table say"),
    "order unsaid": (lambda folder: arrays(order="ltrb"), REFUSED, "`order` must be one of xyxy, yxyx"),
    "unit unsaid": (lambda folder: arrays(unit="px"), REFUSED, "`unit` must be one of pixels, shares"),
    "pixels for shares": (lambda folder: arrays(unit="shares"), REFUSED, "Boxes reach to 40, and this format counts"),
    "five numbers": (lambda folder: arrays(boxes=[[(*SIDES, 1)]] * COUNT), REFUSED,
                     r"The boxes of image 0 must be \(k, 4\) numbers\. Received: \(1, 5\)"),
    "ragged boxes": (lambda folder: arrays(boxes=[[SIDES]] * 3 + [[SIDES, SIDES[:3]]] * 9), REFUSED,
                     r"The boxes of image 3 must be \(k, 4\) numbers\. Received: \[\(10, 5, 40, 25\), \(10, 5, 40\)\]"),
    "boxes of words": (lambda folder: arrays(boxes=[[["a"] * 4]] * COUNT), REFUSED,
                       r"The boxes of image 0 must be \(k, 4\) numbers\. Received: \[\['a', 'a'"),
    "infinite box": (lambda folder: arrays(boxes=[[SIDES]] * 11 + [[(1, 2, 3, np.inf)]]), QUARANTINED, "no number"),
    "no class": (lambda folder: arrays(classes=[[None]] * COUNT), REFUSED,
                 r"The classes of image 0 must be \(k,\) numbers or names\. Received: None"),
    "no class, no labels": (lambda folder: arrays(classes=[[np.nan]] * COUNT, labels=None), REFUSED,
                            r"The classes of image 0 must be \(k,\) numbers or names\. Received: nan"),
    "ragged classes": (lambda folder: arrays(classes=[[0], *[[[0], [1, 2]]] * 11]), REFUSED,
                       r"The classes of image 1 must be \(k,\) numbers or names\. Received: \[\[0\], \[1"),
    "class number": (lambda folder: arrays(classes=[[9]] + [[i % 2] for i in range(11)]), QUARANTINED,
                     r"its box 1 \('number 9'\) is of a class that is not among the labels"),
    "lengths": (lambda folder: arrays(classes=[[0]] * 5), REFUSED, "12 images, 12 arrays of boxes and 5 of classes"),
    "no box of a class": (lambda folder: arrays(labels=["cat", "dog", "cow"]), REFUSED, "The class 'cow' has no box"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_with_boxes_is_said(kind, tmp_path):
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


@pytest.mark.parametrize(
    "load", [of_image(width=float("inf")), in_voc("<width>60", "<width>1e999"), in_voc("<height>40", "<height>nan")]
)
def test_a_size_that_is_no_number_is_one_that_is_not_said(load, tmp_path):
    splits = load(tmp_path / "data")
    assert len(everything(splits)) == COUNT and not splits.quarantine


def test_strict_stops_before_anything_is_left_out(tmp_path):
    content = annotating.coco_dict()
    content["annotations"][4]["bbox"] = [70, 5, 20, 20]
    with pytest.raises(InputError, match=r"1 of 12 images cannot be used: '05.png' \(its box 1"):
        boxes.from_coco(annotating.coco(tmp_path / "data", content), strict=True, **OPTIONS)


def test_the_fingerprint_knows_every_box(tmp_path):
    content = annotating.coco_dict()
    before = boxes.from_coco(annotating.coco(tmp_path / "a", content), **OPTIONS)
    content["annotations"][4]["bbox"][2] += 1
    after = boxes.from_coco(annotating.coco(tmp_path / "b", content), **OPTIONS)
    assert before.fingerprint != after.fingerprint
    again = dataclasses.replace(before, seconds=0.0)
    assert again.fingerprint == before.fingerprint
