import io
import json
import zipfile

import pytest

from tlkit.formats import tflite_metadata


def archive(**files: str) -> bytes:
    out = io.BytesIO(b"a model")
    with zipfile.ZipFile(out, "a") as z:
        for name, content in files.items():
            z.writestr(name.replace("__", "."), content)
    return out.getvalue()


def test_labels_stand_on_one_line_each():
    assert tflite_metadata.label_lines(["cat", "two\nlines", "a\r\nb", "ünï ✓", ""]).decode().split("\n") == [
        "cat", "two lines", "a b", "ünï ✓", "", "",
    ]  # fmt: skip


def test_a_file_without_metadata_has_an_empty_card():
    assert tflite_metadata.read_files(b"no archive") == {}
    assert tflite_metadata.read_card(b"no archive") == {}


def test_the_card_is_read_from_among_the_files():
    card = {"labels": ["two\nlines"], "modality": "image"}
    assert tflite_metadata.read_card(archive(labels__txt="two lines\n", tlkit__json=json.dumps(card))) == card
    assert tflite_metadata.read_card(archive(labels__txt="cat\n")) == {}


def test_names_do_not_tell_what_the_process_did_before():
    first = ["serving_default_image:0", "a_1/functional_1/re_lu_1_2/Relu6;a_1/functional_1/conv2d_1/Conv", "block_2/x"]
    later = [
        "serving_default_image:0",
        "a_1/functional_8/re_lu_9_1/Relu6;a_1/functional_8/conv2d_7/Conv",
        "block_2/x",
    ]
    layers = tflite_metadata.nameless_layers()
    assert tflite_metadata.numbered_anew(first, layers) == tflite_metadata.numbered_anew(later, layers)
    dense = tflite_metadata.numbered_anew(["dense_4/x", "dense_9/x", "dense_4/y"], layers)
    assert dense == ["dense/x", "dense_1/x", "dense/y"]
    assert tflite_metadata.numbered_anew(first, layers)[::2] == first[::2]


@pytest.mark.parametrize("content", ["{", "[1]", "null", "[" * 100_000])
def test_a_damaged_card_is_none(content):
    assert tflite_metadata.read_card(archive(tlkit__json=content)) == {}
