"""DICOM files as a viewer shows them: windows, bits, rescaling and colours, by the standard's own formulas."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tlkit.data import image, pixels

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom, of the extra `medical`")

WHITE = (255, 255, 255)
RAMP = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64)  # 0 to 3071


def written(values: np.ndarray, **tags) -> bytes:
    """A file of these pixels, with more tags."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["tlkit"])
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", data.file_meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel = 3 if values.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    bits = values.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for key, value in tags.items():
        setattr(data, key, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


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


def test_sizes_are_known_without_pixels(tmp_path):
    (tmp_path / "a.dcm").write_bytes(written(RAMP))
    assert pixels.sides(tmp_path / "a.dcm") == ((64, 48), (64, 48))
