"""CTranslate2 files written by hand, and damaged ones."""

import struct

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.zoo.ct2file import read_ct2

TENSORS = {
    "half": np.arange(6, dtype="<f2").reshape(2, 3),
    "whole": np.arange(4, dtype="<i4"),
    "byte": np.array(-3, "i1"),
}


def text(value):
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def file(version=6, tensors=TENSORS):
    codes = {"<f4": 0, "|i1": 1, "<i2": 2, "<i4": 3, "<f2": 4}
    raw = struct.pack("<I", version) + text("Kind") + struct.pack("<II", 3, len(tensors))
    for name, tensor in tensors.items():
        raw += text(name) + struct.pack("<B", tensor.ndim) + struct.pack(f"<{tensor.ndim}I", *tensor.shape)
        raw += struct.pack("<BI", codes[tensor.dtype.str], tensor.nbytes) + tensor.tobytes()
    return raw + struct.pack("<I", 1) + text("tied") + text("half")


def written(tmp_path, raw):
    (tmp_path / "model.bin").write_bytes(raw)
    return tmp_path / "model.bin"


def test_tensors_come_back(tmp_path):
    tensors = read_ct2(written(tmp_path, file()))
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(tensors[name], tensor)


def test_another_version_is_named(tmp_path):
    with pytest.raises(InputError, match="version 5"):
        read_ct2(written(tmp_path, file(version=5)))


@pytest.mark.parametrize("cut", [0, 3, 12, 30, 50])
def test_a_file_that_ends_too_early_is_damaged(tmp_path, cut):
    with pytest.raises(InputError, match="is damaged, or not a CTranslate2 file"):
        read_ct2(written(tmp_path, file()[:cut]))


@pytest.mark.parametrize("place", range(0, 100, 5))
def test_a_byte_that_is_wrong_is_read_or_refused(tmp_path, place):
    raw = bytearray(file())
    raw[place] ^= 0xFF
    try:
        read_ct2(written(tmp_path, bytes(raw)))
    except InputError as error:
        assert "is damaged, or not a CTranslate2 file" in str(error)
