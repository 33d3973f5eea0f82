"""DICOM files as a viewer shows them: windows, bits, rescaling and colours, by the standard's own formulas."""

from __future__ import annotations

import hashlib

import annotating
import numpy as np
import pytest
from PIL import Image
from scans import written

from tlkit.core.errors import InputError
from tlkit.data import anomalies, boxes, image, masks, pixels
from tlkit.modalities.image import _decoded

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom, of the extra `medical`")

WHITE = (255, 255, 255)
RAMP = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64)  # 0 to 3071


def grey(data: bytes, white=None) -> np.ndarray:
    decoded = np.asarray(pixels.decode(data, WHITE, white))
    assert decoded.shape[-1] == 3 and (decoded == decoded[..., :1]).all()
    return decoded[..., 0].astype(int)


def shares(values):
    return np.rint(np.clip(values, 0, 1) * 255).astype(int)


KINDS = {
    "linear window": ({"WindowCenter": 1000, "WindowWidth": 401}, (RAMP - 999.5) / 400 + 0.5),
    "exact window": (
        {"WindowCenter": 1000, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, (RAMP - 1000.0) / 400 + 0.5,
    ),
    "sigmoid": (
        {"WindowCenter": 1000, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"},
        1 / (1 + np.exp((1000.0 - RAMP) / 100)),
    ),
    "two windows": ({"WindowCenter": [500, 9], "WindowWidth": [201, 3]}, (RAMP - 499.5) / 200 + 0.5),
    "Hounsfield units": (
        {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 401},
        (RAMP * 2.0 - 1024 - 39.5) / 400 + 0.5,
    ),
    "12 bits": ({"BitsStored": 12, "HighBit": 11}, RAMP / 4095),
    "inverted": ({"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}, 1 - RAMP / 4095),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_shown_by_the_formula(kind):
    tags, expected = KINDS[kind]
    np.testing.assert_allclose(grey(written(RAMP, **tags)), shares(expected), atol=1)


def test_signed_values_colours_and_what_the_user_says():
    np.testing.assert_allclose(
        grey(written(RAMP.astype(np.int16) - 1000)), shares((RAMP - 1000 + 32768) / 65535), atol=1
    )
    rgb = np.random.default_rng(0).integers(0, 256, (8, 10, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(pixels.decode(written(rgb), WHITE)), rgb)
    tags = {"WindowCenter": 1000, "WindowWidth": 401}
    np.testing.assert_allclose(grey(written(RAMP, **tags), 3071), shares(RAMP / 3071), atol=1)


def test_a_folder_of_them_beside_other_images(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(6):
            (tmp_path / label / f"{i}.dcm").write_bytes(
                written(np.roll(RAMP, i), WindowCenter=1000, WindowWidth=900 + i)
            )
        Image.fromarray(np.random.default_rng(ord(label)).integers(0, 256, (48, 64, 3)).astype(np.uint8)).save(
            tmp_path / label / "plain.png"
        )
    (tmp_path / "a" / "many").write_bytes(written(RAMP, NumberOfFrames=3))
    (tmp_path / "a" / "cut.dcm").write_bytes(written(RAMP)[:1200])
    splits = image.from_folder(tmp_path, image_size=(48, 64), split=(0.6, 0.2, 0.2), progress=False)
    reasons = {left_out.name: left_out.reason for left_out in splits.quarantine}
    assert set(reasons) == {"a/many", "a/cut.dcm"} and reasons["a/many"] == (
        "it holds 3 frames: write each as a file of its own"
    )
    assert len(splits.train) + len(splits.val) + len(splits.test) == 14
    assert splits.train.inputs.take(np.arange(2)).shape == (2, 48, 64, 3)


def test_what_scans_become_is_that_of_the_version():
    """Features are kept under `pixels.VERSION`: whoever changes what a file becomes raises it and renews the digest."""
    whole = hashlib.sha256()
    for tags, _ in KINDS.values():
        whole.update(np.asarray(pixels.decode(written(RAMP, **tags), WHITE)).tobytes())
    for indices, tags, _ in TABLES.values():
        whole.update(np.asarray(pixels.decode(written(indices, **tags), WHITE)).tobytes())
    assert (pixels.VERSION, whole.hexdigest()[:16]) == (2, "dcb1f17d6d572c4f")


def test_the_white_that_others_show_is_not_that_of_scans_with_a_window(tmp_path):
    """12 bits in the PNGs, which are read as such, and values up to 3,071 in the scan behind a window."""
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(6):
            deep = Image.fromarray((RAMP + i + ord(label)).astype(np.uint16))
            deep.save(tmp_path / label / f"{i}.png")
        (tmp_path / label / "scan").write_bytes(written(RAMP + ord(label), WindowCenter=1000, WindowWidth=401))
    splits = image.from_folder(tmp_path, split=(0.6, 0.2, 0.2), progress=False)
    assert any("are read as 12 bits, with 4,095 as white" in note for note in splits.notes)
    seen = {id_: part.inputs[i] for part in (splits.train, splits.val, splits.test) for i, id_ in enumerate(part.ids)}
    np.testing.assert_array_equal(seen["a/0.png"][..., 0], shares((RAMP + 97) / 4095))
    np.testing.assert_allclose(seen["a/scan"][..., 0], shares((RAMP + 97 - 999.5) / 400 + 0.5), atol=1)
    asked = _decoded(tmp_path / "a" / "scan", splits.train.pipeline.get("image"))[0]
    np.testing.assert_array_equal(np.asarray(asked), seen["a/scan"])  # `predict` reads it alike
    said = image.from_folder(tmp_path, split=(0.6, 0.2, 0.2), progress=False, pixel_max=4095)
    seen = {id_: part.inputs[i] for part in (said.train, said.val, said.test) for i, id_ in enumerate(part.ids)}
    np.testing.assert_array_equal(seen["a/scan"][..., 0], shares((RAMP + 97) / 4095))


def test_sizes_are_known_without_pixels(tmp_path):
    (tmp_path / "a.dcm").write_bytes(written(RAMP))
    assert pixels.sides(tmp_path / "a.dcm") == ((64, 48), (64, 48))


# -- colour tables


def table(bits: int, entries: int = 256, first: int = 0, segmented: bool = False) -> dict:
    """Tags of a table whose entry i is red i, green 255 - i and blue 0, of 8 bits or stretched to 16."""
    step = 257 if bits == 16 else 1
    red = np.arange(entries) * step
    colours = {"Red": red, "Green": 255 * step - red, "Blue": 0 * red}
    tags = {f"{colour}PaletteColorLookupTableDescriptor": [entries, first, bits] for colour in colours}
    for colour, values in colours.items():
        entry_values = [0, entries, *values] if segmented else values  # a discrete segment of all of them
        name = f"{'Segmented' if segmented else ''}{colour}PaletteColorLookupTableData"
        tags[name] = np.asarray(entry_values).astype(np.uint16 if bits == 16 else np.uint8).tobytes()
    return tags | {"PhotometricInterpretation": "PALETTE COLOR"}


INDICES = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)


def tinted(entries: np.ndarray) -> np.ndarray:
    return np.stack([entries, 255 - entries, 0 * entries], axis=-1)


TABLES = {
    "8 bits": (INDICES, table(8), INDICES),
    "16 bits": (INDICES, table(16), INDICES),
    "segments": (INDICES, table(16, segmented=True), INDICES),
    "indices that begin at 1000": (INDICES.astype(np.uint16) + 1000, table(8, first=1000), INDICES),
    "indices beyond the table": (INDICES.astype(np.uint16) * 2, table(8, 100), np.minimum(INDICES * 2.0, 99)),
}


@pytest.mark.parametrize("kind", TABLES)
def test_indices_are_shown_in_the_colours_of_their_table(kind):
    indices, tags, entries = TABLES[kind]
    decoded = np.asarray(pixels.decode(written(indices, **tags), WHITE))
    np.testing.assert_array_equal(decoded, tinted(entries.astype(np.uint8)))


def test_indices_without_a_table_that_can_be_read_are_refused():
    for tags in ({"PhotometricInterpretation": "PALETTE COLOR"}, table(8, 300)):
        with pytest.raises(InputError, match="its table of colours cannot be read"):
            pixels.decode(written(INDICES, **tags), WHITE)


# -- beside masks, boxes and faults


def areas(i: int) -> np.ndarray:
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[8:30, 10 + i : 40] = 1
    return mask


def scan(i: int) -> bytes:
    return written(np.roll(RAMP, i), WindowCenter=1000, WindowWidth=900 + i)


@pytest.mark.parametrize("ending", [".dcm", ".DICOM", "", ".840.3"])  # the last two as hospitals write them
def test_images_are_paired_with_masks_of_either_kind(tmp_path, ending):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for i in range(8):
        if i % 4 == 3:
            Image.fromarray((RAMP >> 4).astype(np.uint8)).save(tmp_path / "images" / f"{i}.png")
        else:
            (tmp_path / "images" / f"{i}{ending}").write_bytes(scan(i))
        if i % 2:
            (tmp_path / "masks" / f"{i}{'' if i % 4 == 3 else ending}").write_bytes(written(areas(i)))
        elif "840" in ending:
            Image.fromarray(areas(i)).save(tmp_path / "masks" / f"{i}{ending}.png")
        else:
            Image.fromarray(areas(i)).save(tmp_path / "masks" / f"{i}.png")
    splits = masks.from_folder(
        tmp_path / "images", tmp_path / "masks", labels=["air", "lung"], split=(0.5, 0.25, 0.25), progress=False
    )
    seen = {id_: part.targets[i] for part in (splits.train, splits.val, splits.test) for i, id_ in enumerate(part.ids)}
    assert not splits.quarantine and set(seen) == {f"{i}{'.png' if i % 4 == 3 else ending}" for i in range(8)}
    for id_, mask in seen.items():
        np.testing.assert_array_equal(mask, areas(int(id_[0])))


def test_a_table_of_colours_in_a_mask_is_its_numbers_or_its_colours(tmp_path):
    data = written(areas(0), **table(16))
    np.testing.assert_array_equal(masks.mask_values(data, coloured=False), areas(0))
    np.testing.assert_array_equal(masks.mask_values(data, coloured=True), tinted(areas(0)))


def test_good_and_bad_scans_with_masks(tmp_path):
    for i in range(8):
        for kind in ("good", "bad/spot", "masks/spot")[: 1 if i > 2 else 3]:
            (tmp_path / kind).mkdir(parents=True, exist_ok=True)
            content = written(areas(i)) if kind == "masks/spot" else scan(i + 20 * len(kind))
            (tmp_path / kind / f"{i}.dcm").write_bytes(content)
    splits = anomalies.from_folder(
        tmp_path / "good", tmp_path / "bad", tmp_path / "masks", faults=False, split=(0.5, 0.25, 0.25), progress=False
    )
    assert not splits.quarantine and len(splits.train) == 4
    marked = {id_: splits.test.targets[i].sum() for i, id_ in enumerate(splits.test.ids) if id_.startswith("spot")}
    assert marked == {f"spot/{i}.dcm": areas(i).sum() for i in range(3)}


@pytest.mark.parametrize("ending", [".dcm", ""])
def test_scans_in_the_folders_of_yolo_and_voc(tmp_path, ending):
    def as_scans(folder):
        for file in sorted(folder.rglob("*.png")):
            file.with_suffix(ending).write_bytes(written(annotating.pixels(int(file.stem))))
            file.unlink()

    as_scans(annotating.yolo(tmp_path / "yolo"))
    splits = boxes.from_yolo(tmp_path / "yolo", split=(0.8, 0.2, 0), progress=False)
    assert len(splits.train) == 8 and not splits.quarantine
    folder = annotating.voc(tmp_path / "voc")
    for file in (folder / "Annotations").iterdir():
        file.write_text(file.read_text().replace(f"<filename>{file.stem}.png</filename>", ""))
    as_scans(folder)
    (folder / "Annotations" / "05.xml").unlink()
    splits = boxes.from_voc(folder, split=(0.5, 0.25, 0.25), progress=False)
    assert (
        not splits.quarantine
        and f"1 images have no XML file and are no examples: 'JPEGImages/05{ending}'" in "".join(splits.notes)
    )
