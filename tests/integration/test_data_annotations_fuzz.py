"""Whatever stands in files of annotations, loaders give Splits or one sentence: InputError, and nothing else."""

from __future__ import annotations

import copy
import json
import random

import annotating
import pytest

from tlkit.core.errors import InputError
from tlkit.data import boxes, keypoints, masks

ODD = (
    None, True, -1, 0, 1e308, float("nan"), float("inf"), "", "x", "../../etc", [], {}, [None], [[1, 2]], {"a": 1},
    10**30, "\ud800", [1, 2, 3, 4], ["a"] * 4, [[1, 1, 9, 1, 9, 9]], {"size": [40, 60], "counts": "zz"},
    {"size": None, "counts": None},
)  # fmt: skip


def places(value, path=()):
    """Paths of everything inside a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def damaged(content, rng):
    """A copy with one to three values exchanged or taken out."""
    changed = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        *above, last = rng.choice(list(places(changed)))
        inner = changed
        for key in above:
            inner = inner[key]
        if rng.random() < 0.25:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(rng.choice(ODD))
    return changed


def with_points():
    content = annotating.coco_dict()
    content["categories"][0]["keypoints"] = ["a", "left", "right"]
    for row in content["annotations"]:
        row |= {"keypoints": [20, 10, 2, 25, 15, 1, 0, 0, 0], "category_id": 3}
    return content


LOADERS = {
    "boxes": (boxes, annotating.coco_dict),
    "masks": (masks, annotating.coco_dict),
    "points": (keypoints, with_points),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_any_coco_json_gives_splits_or_a_sentence(kind, tmp_path):
    loader, make = LOADERS[kind]
    file, loaded = annotating.coco(tmp_path / "data", make()), 0
    for seed in range(150):
        file.write_text(json.dumps(damaged(make(), random.Random(seed))))
        try:
            splits = loader.from_coco(file, split=(0.5, 0.25, 0.25), progress=False)
        except InputError as error:
            assert 10 < len(str(error)) < 1500 and str(error).endswith((".", "?")), (seed, str(error))
        else:
            loaded += 1
            assert splits.train.targets.take(list(range(min(2, len(splits.train))))) is not None
    assert 20 < loaded < 150


def scrambled(text, rng):
    """Words and lines exchanged, cut or doubled."""
    words = text.split(" ")
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(words))
        words[i] = rng.choice(
            ["", "nan", "inf", "1e999", "1e9", "-3", words[i] * 2, "<a>", "</object>", "\x00", "\n", "[", "0.5 0.5"]
        )
    return " ".join(words)[: rng.choice([None, None, rng.randint(0, len(text))])]


@pytest.mark.parametrize("kind", ["voc", "yolo", "yaml", "csv"])
def test_any_text_gives_splits_or_a_sentence(kind, tmp_path):
    make, name, loader = {
        "voc": (annotating.voc, "Annotations/05.xml", boxes.from_voc),
        "yolo": (annotating.yolo, "train/labels/05.txt", boxes.from_yolo),
        "yaml": (annotating.yolo, "data.yaml", boxes.from_yolo),
        "csv": (
            annotating.table,
            "boxes.csv",
            lambda folder, **options: boxes.from_csv(folder / "boxes.csv", **options),
        ),
    }[kind]
    make(tmp_path)
    file = tmp_path / name
    text = file.read_text()
    for seed in range(100):
        file.write_text(scrambled(text, random.Random(seed)))
        try:
            assert loader(tmp_path, progress=False).labels
        except InputError as error:
            assert 10 < len(str(error)) < 1500, (seed, str(error))
