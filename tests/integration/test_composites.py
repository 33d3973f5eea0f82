"""Composites: boxes fit masks, the same seed draws the same, and what is held out is in no other part."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tlkit.core.errors import DownloadError, InputError, OfflineError
from tlkit.datasets import composites

COUNTS = {"train": 12, "val": 6, "test": 6, "image_size": 96}


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Small stamps (a shape and colours for each class) and photographs, where the Debian packages would be."""
    rng = np.random.default_rng(0)

    def folder(package, inside, what):
        root = tmp_path / package
        if root.exists():
            return root
        if package == composites._STAMPS[0]:
            for number, where in enumerate(composites.CLASSES.values()):
                (root / where / "cartoon").mkdir(parents=True)
                for i in range(10):
                    image = Image.new("RGBA", (40, 30))
                    draw = ImageDraw.Draw(image)
                    colour = tuple(rng.integers(60, 255, 3).tolist())
                    (draw.ellipse if number % 2 else draw.rectangle)((4, 3, 35, 26), fill=(*colour, 255))
                    image.save(root / where / f"kind{chr(97 + i)}-{'ab'[i % 2]}.png")
                Image.new("RGBA", (40, 30), (1, 2, 3, 255)).save(root / where / "cartoon" / "drawing.png")
        for (name, _, _), files in composites._PHOTOGRAPHS.items():
            for file in files if name == package else ():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (120, 160, 3)).astype(np.uint8)).save(root / file)
        return root

    monkeypatch.setattr(composites.debian, "folder", folder)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    composites.material.cache_clear()
    yield
    composites.material.cache_clear()


def around(area):
    ys, xs = np.nonzero(area)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_boxes_and_masks_are_of_the_same_images_and_fit(packages):
    boxes, masks = composites.boxes(**COUNTS), composites.masks(**COUNTS)
    assert boxes.labels == tuple(composites.CLASSES) and masks.labels == ("background", *composites.CLASSES)
    assert [len(part) for part in (boxes.train, boxes.val, boxes.test)] == [12, 6, 6]
    for part, other in ((boxes.train, masks.train), (boxes.test, masks.test)):
        for i in range(len(part)):
            np.testing.assert_array_equal(part.inputs[i], other.inputs[i])
            mask, rows = other.targets[i], part.targets[i]
            assert set(np.unique(mask)) == {0, *(rows[:, 0].astype(int) + 1)}
            for number in np.unique(rows[:, 0]):
                corners = rows[rows[:, 0] == number, 1:] * 96
                whole = [*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0)]
                np.testing.assert_allclose(around(mask == number + 1), whole, atol=1e-3)


def test_the_same_seed_draws_the_same_and_another_does_not(packages, tmp_path, monkeypatch):
    first = composites.boxes(**COUNTS)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "another"))
    assert composites.boxes(**COUNTS).fingerprint == first.fingerprint
    assert composites.boxes(**COUNTS, seed=1).fingerprint != first.fingerprint
    common = composites.boxes(**COUNTS, held_out=False)
    assert common.train.fingerprint == first.train.fingerprint and common.test.fingerprint != first.test.fingerprint


@pytest.mark.parametrize("seed", range(3))
def test_what_is_held_out_is_in_no_training_image(packages, seed):
    common, unknown = (composites.material(seed, held_out=flag) for flag in (False, True))
    for ours, others in zip((*common.stamps, common.photographs), (*unknown.stamps, unknown.photographs), strict=True):
        assert ours and others and not {s.tobytes() for s in ours} & {s.tobytes() for s in others}
    assert [len(a) + len(b) for a, b in zip(common.stamps, unknown.stamps, strict=True)] == [10] * 6  # no drawings
    assert len(common.photographs) + len(unknown.photographs) == 16


def test_names_that_share_a_word_are_one_family(tmp_path):
    names = ["apple_red", "red-currant", "apple2", "kiwi", "helmeted_hen", "hen", "747"]
    families = composites.families([tmp_path / f"{name}.png" for name in names])
    family = {path.stem: name for path, name in families.items()}
    assert family["apple_red"] == family["red-currant"] == family["apple2"]
    assert family["hen"] == family["helmeted_hen"] and len(set(family.values())) == 4


def test_no_object_is_hidden(packages):
    material = composites.material(0, held_out=False)
    counts, sizes = [], []
    for i in range(60):
        image, mask, rows = composites.composite(material, 96, random.Random(i))
        assert image.shape == (96, 96, 3) and image.dtype == mask.dtype == np.uint8
        counts.append(len(rows))
        sizes += [max(row["bbox"][2:]) / 96 for row in rows]
        assert all(row["area"] > 0.3 * row["bbox"][2] * row["bbox"][3] for row in rows)
    assert min(counts) == 0 and max(counts) == 5 and min(sizes) > 0.1 and max(sizes) < 0.65


@pytest.mark.parametrize("wrong", [{"train": 0}, {"val": "x"}, {"test": 2.5}, {"image_size": 8}, {"seed": None}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}` must be a whole number in"):
        composites.boxes(**wrong)


@pytest.mark.slow
def test_of_the_real_packages(tmp_path):
    try:
        splits = composites.boxes(train=40, val=10, test=20)
    except (OfflineError, DownloadError, InputError) as error:
        pytest.skip(str(error))
    assert splits.labels == tuple(composites.CLASSES) and not splits.quarantine
    common, unknown = (composites.material(0, held_out=flag) for flag in (False, True))
    assert [len(s) for s in common.stamps] == [25, 8, 17, 19, 45, 12] and len(common.photographs) == 12
    assert all(len(stamps) >= 3 for stamps in unknown.stamps) and len(unknown.photographs) == 4
