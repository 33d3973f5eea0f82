"""NIfTI volumes as slices: turned alike, in one window, with masks that fit and patients that stay together."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.data import volumes

nibabel = pytest.importorskip("nibabel", reason="NIfTI needs nibabel, of the extra `medical`")

SHAPE = (20, 24, 6)  # right, front, up
LABELS = ["air", "head", "nose"]
OPTIONS = {"labels": LABELS, "split": (0.5, 0.25, 0.25), "progress": False}


def head(i: int):
    """A box with a small box in front of it, on the right."""
    areas = np.zeros(SHAPE, np.uint8)
    areas[4:16, 4:18, 1:] = 1
    areas[13:15, 18:22, 2:4] = 2
    values = areas * 400.0 + np.random.default_rng(i).uniform(0, 20, SHAPE)
    return values.astype(np.float32), areas


def folders(root, count=6, flipped=(), change=lambda values, areas: (values, areas), moved=None):
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for i in range(count):
        values, areas = change(*head(i)) if i == 1 else head(i)
        for kind, volume in (("images", values), ("masks", areas)):
            affine = np.eye(4)
            if i in flipped:  # the same body, with axes stored front first, and from left to right
                volume = np.transpose(volume[::-1], (1, 0, 2))
                affine = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
            if moved is not None and i == 1 and kind == "masks":
                affine = moved @ affine
            nibabel.save(nibabel.Nifti1Image(volume, affine), root / kind / f"patient{i}.nii.gz")
    return root / "images", root / "masks"


def everything(splits):
    parts = (splits.train, splits.val, splits.test)
    return {id_: (part.inputs[i], part.targets[i]) for part in parts for i, id_ in enumerate(part.ids)}


def test_slices_have_their_masks_and_the_front_is_up(tmp_path):
    splits = volumes.from_nifti(*folders(tmp_path), **OPTIONS)
    slices = everything(splits)
    assert len(slices) == 36 and splits.labels == tuple(LABELS) and "say `window`" in splits.notes[0]
    image, mask = slices["patient0/0002"]
    assert image.shape == (24, 20, 3) and mask.shape == (24, 20)
    ys, xs = np.nonzero(mask == 2)
    assert ys.max() < np.nonzero(mask == 1)[0].min() and xs.min() == 13  # in front is up, and right stays right
    assert image[mask == 2].min() > image[mask == 1].max() > 100 and image[mask == 0].max() < 20


def test_other_axes_of_the_file_give_the_same_slices(tmp_path):
    plain = everything(volumes.from_nifti(*folders(tmp_path / "a"), **OPTIONS))
    other = everything(volumes.from_nifti(*folders(tmp_path / "b", flipped=(0, 2)), **OPTIONS))
    for id_, (image, mask) in plain.items():
        np.testing.assert_array_equal(other[id_][0], image)
        np.testing.assert_array_equal(other[id_][1], mask)


def test_patients_stay_together(tmp_path):
    where = folders(tmp_path)
    for groups in (None, lambda id_: int(id_[7]) // 2):
        splits = volumes.from_nifti(*where, groups=groups, **OPTIONS)
        owners = [{(groups or (lambda id_: id_[:8]))(id_) for id_ in part.ids} for part in (splits.train, splits.val)]
        assert owners[0] and owners[1] and not owners[0] & owners[1]


def test_planes_windows_and_which_slices(tmp_path):
    where = folders(tmp_path)
    assert len(everything(volumes.from_nifti(*where, plane="sagittal", **OPTIONS))) == 6 * 20
    image, mask = everything(volumes.from_nifti(*where, plane="coronal", **OPTIONS))["patient0/0010"]
    assert mask.shape == (6, 20) and (mask[-1] == 0).all() and (mask[0] == 1).any()  # the head is up
    assert len(everything(volumes.from_nifti(*where, every=2, **OPTIONS))) == 18
    some = volumes.from_nifti(*where, empty=False, window=(0, 800), **OPTIONS)
    assert len(everything(some)) == 30 and not any("window" in note for note in some.notes)
    image, mask = everything(some)["patient0/0001"]
    assert abs(image[mask == 1].mean() - 255 * 410 / 800) < 3


MOVED = {
    "mirrored": np.diag([-1.0, 1, 1, 1]),
    "shifted by half a voxel": np.array([[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "other voxels": np.diag([1.0, 1, 3, 1]),
    "turned a little": np.array([[1, 0.02, 0, 0], [-0.02, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", MOVED)
def test_a_mask_that_lies_elsewhere_is_refused(kind, tmp_path):
    pattern = (
        r"The mask of the volume 'patient1' lies elsewhere than the volume, by .* mm .*: write it with the volume's"
    )
    with pytest.raises(InputError, match=pattern):
        volumes.from_nifti(*folders(tmp_path, moved=MOVED[kind]), **OPTIONS)


def test_a_mask_may_have_other_axes_or_a_rounded_affine(tmp_path):
    images, masks = folders(tmp_path)
    plain = everything(volumes.from_nifti(images, masks, **OPTIONS))
    areas = np.asarray(nibabel.load(masks / "patient1.nii.gz").dataobj)
    stored_otherwise = np.array([[-1, 0, 0, 19], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    stored_otherwise[:3, 3] += 1e-3
    nibabel.save(nibabel.Nifti1Image(areas[::-1], stored_otherwise), masks / "patient1.nii.gz")
    other = everything(volumes.from_nifti(images, masks, **OPTIONS))
    np.testing.assert_array_equal(other["patient1/0002"][1], plain["patient1/0002"][1])


KINDS = {
    "another shape": (lambda v, a: (v, a[:-1]), r"The volume 'patient1' has the shape \(20, 24, 6\), and its mask"),
    "a value without a name": (lambda v, a: (v, np.where(a == 2, 7, a)), "Slice 2 of 'patient1': its mask holds the"),
    "four axes": (lambda v, a: (np.stack([v, v], 3), a), "must have three axes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_with_volumes_is_said(kind, tmp_path):
    change, pattern = KINDS[kind]
    with pytest.raises(InputError, match=pattern):
        volumes.from_nifti(*folders(tmp_path, change=change), **OPTIONS)


def test_what_is_missing_is_said(tmp_path):
    where = folders(tmp_path)
    for wrong in ({"plane": "top"}, {"every": 0}, {"window": (5, 1)}):
        with pytest.raises(InputError, match=f"`{next(iter(wrong))}` must be"):
            volumes.from_nifti(*where, **OPTIONS, **wrong)
    (where[1] / "patient3.nii.gz").unlink()
    with pytest.raises(InputError, match="has no mask for 'patient3'"):
        volumes.from_nifti(*where, **OPTIONS)
    (where[0] / "patient0.nii.gz").write_bytes(b"no volume")
    with pytest.raises(InputError, match="cannot be read"):
        volumes.from_nifti(where[0] / "patient0.nii.gz", where[1] / "patient0.nii.gz", **OPTIONS)
