"""GGUF files written by hand, number by number, and damaged ones."""

import struct

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.zoo.gguffile import read_gguf

rng = np.random.default_rng(0)


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def file(pairs, tensors):
    """Bytes of a file: pairs of (key, kind, bytes of the value), tensors of (name, shape, kind, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    head += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
    body = b""
    for name, shape, kind, raw in tensors:
        sizes = struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, len(body))
        body += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + body


def q8_0(values):
    scale = np.float16(np.abs(values).max() / 127)
    quants = np.round(values / np.float32(scale)).astype(np.int8)
    return scale.tobytes() + quants.tobytes(), quants * np.float32(scale)


def q4_1(values):
    low, scale = np.float16(values.min()), np.float16((values.max() - values.min()) / 15)
    quants = np.clip(np.round((values - np.float32(low)) / np.float32(scale)), 0, 15).astype(np.uint8)
    packed = (quants[:16] | quants[16:] << 4).tobytes()
    return scale.tobytes() + low.tobytes() + packed, quants * np.float32(scale) + np.float32(low)


@pytest.fixture(scope="module")
def content():
    plain, half = rng.normal(size=(2, 3)).astype("<f4"), rng.normal(size=(4,)).astype("<f2")
    eight, four = rng.normal(size=32).astype("f4"), rng.normal(size=32).astype("f4")
    (raw8, given8), (raw4, given4) = q8_0(eight), q4_1(four)
    strings = struct.pack("<IQ", 8, 2) + text("a") + text("é")
    numbers = struct.pack("<IQ3i", 5, 3, 1, 2, 3)
    pairs = [
        ("name", 8, text("tiny")),
        ("count", 4, struct.pack("<I", 7)),
        ("words", 9, strings),
        ("kinds", 9, numbers),
    ]
    tensors = [("plain", (2, 3), 0, plain.tobytes()), ("half", (4,), 1, half.tobytes())]
    tensors += [("eight", (1, 32), 8, raw8), ("four", (2, 16), 3, raw4)]
    return file(pairs, tensors), {"plain": plain, "half": half, "eight": given8[None], "four": given4.reshape(2, 16)}


def written(tmp_path, raw):
    (tmp_path / "model.gguf").write_bytes(raw)
    return tmp_path / "model.gguf"


def test_what_it_says_and_its_tensors(content, tmp_path):
    raw, expected = content
    says, tensors = read_gguf(written(tmp_path, raw))
    assert (says["name"], says["count"], says["words"]) == ("tiny", 7, ["a", "é"])
    assert says["kinds"].tolist() == [1, 2, 3]
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, expected[name].astype("f4"))


@pytest.mark.parametrize("cut", [3, 20, 60, 150, -40])
def test_a_file_that_ends_too_early_is_damaged(content, tmp_path, cut):
    with pytest.raises(InputError, match="is damaged, or not a GGUF file"):
        read_gguf(written(tmp_path, content[0][:cut]))


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_a_byte_that_is_wrong_is_read_or_refused(content, tmp_path, place):
    raw = bytearray(content[0])
    raw[place] ^= 0xFF
    try:
        read_gguf(written(tmp_path, bytes(raw)))
    except InputError as error:
        assert "is damaged, or not a GGUF file" in str(error)


def test_another_kind_of_numbers_is_named(tmp_path):
    raw = file([], [("new", (32,), 12, bytes(18))])
    with pytest.raises(InputError, match="a tensor stored as type 12"):
        read_gguf(written(tmp_path, raw))
