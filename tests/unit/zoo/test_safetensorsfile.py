"""Safetensors files, read by header and byte ranges; and files that are not quite that."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlkit.core.errors import InputError
from tlkit.zoo.safetensorsfile import read_tensors

ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
NUMBERS = np.arange(6, dtype="<f4").tobytes()


def packed(header, numbers=NUMBERS):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def test_tensors_come_back(tmp_path):
    counts = {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}
    content = packed({"__metadata__": {"format": "pt"}, "w": ENTRY, "n": counts}, NUMBERS + (5).to_bytes(8, "little"))
    (tmp_path / "m.safetensors").write_bytes(content)
    tensors = read_tensors(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(tensors["w"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert set(tensors) == {"w", "n"} and tensors["n"] == 5


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "BF16"},
        {"shape": [2, 2]},
        {"shape": [-2, -3]},
        {"shape": [2.0, 3]},
        {"data_offsets": [4, 28]},
        {"data_offsets": [-24, 0]},
        {"data_offsets": [0]},
        {"shape": None},
    ],
)
def test_a_tensor_that_is_not_as_described_is_refused(tmp_path, change):
    (tmp_path / "m.safetensors").write_bytes(packed({"w": ENTRY | change}))
    with pytest.raises(InputError, match="damaged, or not a safetensors file"):
        read_tensors(tmp_path / "m.safetensors")


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\xff" * 16, packed([1]), packed({"w": 1})])
def test_another_file_is_an_input_error(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a safetensors file"):
        read_tensors(tmp_path / "m.safetensors")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_always_an_input_error_or_other_numbers(tmp_path, data):
    whole = bytearray(packed({"w": ENTRY}))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "m.safetensors").write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        tensors = read_tensors(tmp_path / "m.safetensors")
    except InputError:
        return
    assert all(isinstance(t, np.ndarray) for t in tensors.values())
