"""Small annotated images in each format: sound ones, which tests then damage in one place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COUNT, WIDTH, HEIGHT = 12, 60, 40
SIDES = (10, 5, 40, 25)  # left, top, right, bottom of every box, in pixels
SHARES = (10 / 60, 5 / 40, 40 / 60, 25 / 40)


def pixels(i: int) -> np.ndarray:
    """uint8 (40, 60, 3)."""
    return np.random.default_rng(i).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def name(i: int) -> str:
    return f"{i:02d}.png"


def images(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(COUNT):
        Image.fromarray(pixels(i)).save(folder / name(i))
    return folder


def coco_dict() -> dict[str, Any]:
    """The first has no object, the others a cat or a dog."""
    left, top, right, bottom = SIDES
    return {
        "images": [{"id": i, "file_name": name(i), "width": WIDTH, "height": HEIGHT} for i in range(COUNT)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {
                "id": i, "image_id": i, "category_id": (3, 7)[i % 2], "iscrowd": 0,
                "bbox": [left, top, right - left, bottom - top],
                "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            }
            for i in range(1, COUNT)
        ],
    }  # fmt: skip


def coco(folder: Path, content: Any = None) -> Path:
    """annotations.json beside the images."""
    images(folder)
    file = folder / "annotations.json"
    file.write_text(content if isinstance(content, str) else json.dumps(coco_dict() if content is None else content))
    return file


VOC = """<annotation><filename>{name}</filename><size><width>60</width><height>40</height><depth>3</depth></size>
<object><name>{label}</name><difficult>0</difficult>
<bndbox><xmin>10</xmin><ymin>5</ymin><xmax>40</xmax><ymax>25</ymax></bndbox></object></annotation>"""


def voc(folder: Path) -> Path:
    """Annotations/NAME.xml and JPEGImages/NAME.png."""
    images(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    for i in range(COUNT):
        text = VOC.format(name=name(i), label=("cat", "dog")[i % 2])
        (folder / "Annotations" / f"{i:02d}.xml").write_text(text)
    return folder


def yolo(folder: Path) -> Path:
    """data.yaml with train and val folders."""
    for part, numbers in (("train", range(8)), ("val", range(8, COUNT))):
        for kind in ("images", "labels"):
            (folder / part / kind).mkdir(parents=True)
        for i in numbers:
            Image.fromarray(pixels(i)).save(folder / part / "images" / name(i))
            left, top, right, bottom = SHARES
            line = f"{i % 2} {(left + right) / 2:.6f} {(top + bottom) / 2:.6f} {right - left:.6f} {bottom - top:.6f}\n"
            (folder / part / "labels" / f"{i:02d}.txt").write_text(line)
    (folder / "data.yaml").write_text("train: ../train/images\nval: ../val/images\nnc: 2\nnames: ['cat', 'dog']\n")
    return folder


def table(folder: Path) -> Path:
    """boxes.csv, a row for each box, and one without for the first image."""
    images(folder)
    left, top, right, bottom = SIDES
    rows = [f"{name(i)},{('cat', 'dog')[i % 2]},{left},{top},{right},{bottom}" for i in range(1, COUNT)]
    (folder / "boxes.csv").write_text("\n".join(["path,label,xmin,ymin,xmax,ymax", f"{name(0)},,,,,", *rows, ""]))
    return folder / "boxes.csv"
