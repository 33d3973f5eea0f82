"""Slices of a brain and tiles of a picture: parts never share neighbours, and masks lie on their images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tlkit.core.errors import InputError
from tlkit.datasets import medical


@pytest.mark.parametrize("seed", range(6))
def test_parts_of_slices_lie_apart(seed):
    parts = medical.block_parts(137, seed)
    places = {part: np.flatnonzero([assigned == part for assigned in parts]) for part in ("train", "val", "test")}
    assert all(len(slices) >= 10 for slices in places.values()) and len(places["train"]) > len(places["test"])
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        assert np.abs(places[first][:, None] - places[second]).min() > 3


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """What the packages hold, in small."""
    nibabel = pytest.importorskip("nibabel")
    volume = np.zeros((20, 24, 90), np.uint8)
    volume[4:16, 4:20, 5:85] = 100
    grey = np.where(volume > 0, 255, 0).astype(np.uint8)
    grey[:, 12:] = 0
    white = np.where(volume > 0, 255, 0).astype(np.uint8) - grey
    files = {}
    for tissue, values in (("t1", volume + white // 4), ("gm", grey), ("wm", white)):
        files[medical._VOLUMES[tissue]] = tmp_path / f"{tissue}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), files[medical._VOLUMES[tissue]])
    cells = np.zeros((512, 512), np.uint16)
    cells[::2] = np.arange(256)[:, None] + 1
    for name, values in ((medical._PICTURE, cells * 2), (medical._CELLS, cells)):
        files[name] = tmp_path / name.rpartition("/")[2]
        Image.fromarray(values).save(files[name])
    monkeypatch.setattr(medical, "fetch", lambda package, folder: {name: files[name] for name in package.files})
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


def test_slices_of_a_brain(fetched):
    splits = medical.brain(image_size=32)
    assert splits.labels == medical.TISSUES and not splits.quarantine
    assert len(splits.train) > len(splits.test) > len(splits.val) > 0
    image, mask = splits.test.inputs[0], splits.test.targets[0]
    # the brain's front is up: white matter is the brighter half, in front
    assert set(np.unique(mask)) == {0, 1, 2} and np.nonzero(mask == 2)[0].mean() < np.nonzero(mask == 1)[0].mean()
    assert image[mask == 2].mean() > image[mask == 1].mean() > image[mask == 0].mean()
    assert set(medical.brain(image_size=32, seed=1).test.ids) != set(splits.test.ids)


def test_tiles_of_a_picture(fetched):
    splits = medical.nuclei(image_size=128)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 4, 4)
    column = {
        part: {name.rpartition("-")[2] for name in getattr(splits, part).ids} for part in ("train", "val", "test")
    }
    assert not column["train"] & column["test"] and not column["val"] & column["test"]
    image, mask = splits.train.inputs[0], splits.train.targets[0]
    assert ((image[..., 0] > 0) == (mask > 0)).mean() > 0.99


def test_a_seed_that_is_none():
    with pytest.raises(InputError, match="`seed` must be a whole number"):
        medical.brain(seed="three")


@pytest.mark.slow  # the packages themselves
def test_the_packages_are_the_pinned_ones():
    brain, nuclei = medical.brain(image_size=64), medical.nuclei(image_size=64)
    assert len(brain.train) + len(brain.val) + len(brain.test) > 110 and len(nuclei.train) == 8
