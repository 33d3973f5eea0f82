"""Folders of good and bad images with masks become splits; what cannot be used is named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tlkit import data
from tlkit.core.errors import InputError

SIDE = 24


def write(path, seed, size=(SIDE, SIDE)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def mark(path, size=(SIDE, SIDE), value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[2:5, 3:9] = value
    Image.fromarray(mask).save(path)


@pytest.fixture
def folder(tmp_path):
    """MVTec's layout: two kinds of faults, one bad image without a mask."""
    for i in range(10):
        write(tmp_path / "train/good" / f"{i:03d}.png", i)
    for i in range(3):
        write(tmp_path / "test/good" / f"{i:03d}.png", 100 + i)
    for number, kind in enumerate(("crack", "hole")):
        for i in range(2):
            write(tmp_path / "test" / kind / f"{i:03d}.png", 200 + 10 * number + i)
            mark(tmp_path / "ground_truth" / kind / f"{i:03d}_mask.png")
    (tmp_path / "ground_truth/hole/001_mask.png").unlink()
    return tmp_path


def mvtec(folder, **options):
    return data.anomalies.from_folder(
        folder / "train/good", folder / "test", folder / "ground_truth", normal_test_dir=folder / "test/good",
        progress=False, **options,
    )  # fmt: skip


def kinds(examples):
    return [examples.columns["kind"][i] for i in range(len(examples))]


def test_the_layout_of_mvtec_is_read(folder):
    splits = mvtec(folder)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2 * 4, 3 + 4)
    assert set(kinds(splits.train)) == {"good"} and sorted(kinds(splits.test)) == sorted(
        ["good"] * 3 + ["crack"] * 2 + ["hole"] * 2
    )
    by_name = dict(zip(splits.test.ids, range(len(splits.test)), strict=True))
    assert splits.test.targets[by_name["crack/000.png"]].sum() == 3 * 6
    assert (splits.test.targets[by_name["hole/001.png"]] == 255).all()
    assert any("1 bad images have no mask and are judged as a whole: 'hole/001.png'" in note for note in splits.notes)
    assert not any(splits.train.targets[i].any() for i in range(len(splits.train)))


@pytest.mark.parametrize("spelt", [lambda f: f / "test/../test/good", lambda f: f / "link"])
def test_good_images_inside_the_folder_of_bad_ones_are_good_however_their_folder_is_written(folder, spelt):
    (folder / "link").symlink_to(folder / "test/good")
    splits = data.anomalies.from_folder(
        folder / "train/good", folder / "test", normal_test_dir=spelt(folder), faults=False, progress=False
    )
    assert sorted(kinds(splits.test)) == ["crack"] * 2 + ["good"] * 3 + ["hole"] * 2


def test_folders_at_urls_are_told_apart_too(folder, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("TLKIT_CACHE", str(folder / "cache"))
    url = f"memory://{folder.name}"
    for path in (folder / "test").rglob("*.png"):
        fsspec.filesystem("memory").pipe_file(f"/{folder.name}/{path.relative_to(folder)}", path.read_bytes())
    splits = data.anomalies.from_folder(
        folder / "train/good", f"{url}/test", normal_test_dir=f"{url}/test/good", faults=False, progress=False
    )
    assert kinds(splits.test).count("good") == 3 and len(splits.test) == 7
    with pytest.raises(InputError, match=r"`abnormal_dir` .* lies inside `normal_dir`"):
        data.anomalies.from_folder(f"{url}/test", f"{url}/test/crack", progress=False)


def test_validation_has_each_kind_of_synthetic_fault_on_its_good_images(folder):
    splits = mvtec(folder)
    plain = mvtec(folder, faults=False)
    assert kinds(splits.val) == ["good"] * 2 + ["synthetic patch", "synthetic scar", "synthetic stain"] * 2
    assert kinds(plain.val) == ["good"] * 2 and splits.val.ids[:2] == plain.val.ids
    for i in range(2, 8):
        source = splits.val.inputs[(i - 2) // 3]
        assert (splits.val.inputs[i] != source).any() and 0 < (splits.val.targets[i] == 1).mean() < 0.2
    assert any("say nothing about real faults" in note for note in splits.notes)
    assert mvtec(folder).fingerprint == splits.fingerprint != plain.fingerprint


def test_masks_follow_the_size_of_their_images(folder):
    splits = data.image.resized(mvtec(folder), (12, 18))
    for part in (splits.train, splits.val, splits.test):
        for i in range(len(part)):
            assert part.inputs[i].shape == (12, 18, 3) and part.targets[i].shape == (12, 18)
    assert mvtec(folder, image_size=12).val.targets.spec.shape == (12, 12)


def test_good_images_are_divided_where_no_folder_says_so(folder):
    splits = data.anomalies.from_folder(folder / "train/good", split=(0.5, 0.3, 0.2), faults=False, progress=False)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (5, 3, 2)
    again = data.anomalies.from_folder(folder / "train/good", split=(0.5, 0.3, 0.2), faults=False, progress=False)
    assert splits.train.ids == again.train.ids


def test_files_of_one_name_in_both_folders_keep_apart(folder):
    for i in range(2):
        write(folder / "bad" / f"{i:03d}.png", 50 + i)
    splits = data.anomalies.from_folder(folder / "train/good", folder / "bad", split=(0.6, 0.2, 0.2), progress=False)
    assert {"bad/000.png", "bad/001.png"} <= set(splits.test.ids) and kinds(splits.test).count("bad") == 2


def test_arrays_have_masks_and_kinds():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (14, SIDE, SIDE, 3)).astype(np.uint8)
    masks = [np.eye(SIDE), None]
    splits = data.anomalies.from_arrays(images[:10], images[10:12], masks, ["a", "b"], normal_test=images[12:])
    assert kinds(splits.test) == ["good", "good", "a", "b"] and len(splits.train) == 8
    assert splits.test.targets[2].sum() == SIDE and (splits.test.targets[3] == 255).all()


def broken(folder, change):
    change(folder)
    splits = mvtec(folder)
    return {item.name: item.reason for item in splits.quarantine}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: mark(f / "ground_truth/crack/000_mask.png", value=0), "its mask marks nothing, and it lies among"),
        (
            lambda f: mark(f / "ground_truth/crack/000_mask.png", (8, 40)),
            "its mask has 40 x 8 pixels, and the image 24",
        ),
        (lambda f: (f / "ground_truth/crack/000_mask.png").write_bytes(b"x"), "its mask"),
        (lambda f: (f / "test/crack/000.png").write_bytes(b"\x89PNG broken"), ""),
    ],
)
def test_a_bad_image_that_cannot_be_judged_is_quarantined(folder, change, reason):
    assert reason in broken(folder, change)["crack/000.png"]


def test_a_mask_that_could_be_anothers_is_refused(folder):
    mark(folder / "ground_truth/crack/000_mask.tif")
    with pytest.raises(InputError, match=r"'crack/000_mask\.png' and 'crack/000_mask\.tif' are both of the image"):
        mvtec(folder)
    (folder / "ground_truth/crack/000_mask.tif").rename(folder / "ground_truth/crack/000_mask.txt")
    assert not mvtec(folder).quarantine


def test_a_jpeg_is_no_mask(folder):
    (folder / "ground_truth/crack/000_mask.png").unlink()
    write(folder / "ground_truth/crack/000_mask.jpg", 1)
    assert "JPEG file, whose values are not exact" in broken(folder, lambda f: None)["crack/000.png"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f: data.anomalies.from_folder(f / "none"),
            "There is no folder .*: give one that holds the good images",
        ),
        (lambda f: data.anomalies.from_folder(f / "empty"), "holds no images: their names end in .jpg"),
        (
            lambda f: data.anomalies.from_folder(f / "train/good", mask_dir=f / "ground_truth"),
            "give their folder too, `abnormal_dir`",
        ),
        (lambda f: mvtec(f, split=(0.6, 0.2, 0.2)), "With `normal_test_dir` the test share of `split` must be 0"),
        (
            lambda f: data.anomalies.from_arrays(
                np.zeros((9, 8, 8, 3), np.uint8), np.ones((2, 8, 8, 3), np.uint8), kinds=["a"]
            ),
            "There are 2 bad images and 1 `kinds`",
        ),
        (
            lambda f: data.anomalies.from_folder(f / "test", f / "test/crack"),
            r"`abnormal_dir` \('.*test/crack'\) lies inside `normal_dir` \('.*test'\), whose files all count as good "
            r"ones: give these a folder of their own, such as '.*test/good'\.",
        ),
        (
            lambda f: data.anomalies.from_folder(f / "train/good", f / "train/../train/good"),
            r"`abnormal_dir` \('.*'\) is also `normal_dir`",
        ),
        (
            lambda f: data.anomalies.from_folder(f / "train", normal_test_dir=f / "train/good"),
            r"`normal_test_dir` \('.*'\) lies inside `normal_dir`",
        ),
        (
            lambda f: data.anomalies.from_folder(f / "train/good", f / "test/crack", normal_test_dir=f / "test"),
            r"`abnormal_dir` \('.*'\) lies inside `normal_test_dir` \('.*'\), whose files all count as good ones for",
        ),
        (
            lambda f: data.anomalies.from_folder(f / "train/good", f / "test", f / "test/crack"),
            r"`mask_dir` \('.*'\) lies inside `abnormal_dir` \('.*'\), whose files all count as bad ones",
        ),
    ],
)
def test_what_cannot_be_read_is_told(folder, call, message):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        call(folder)
