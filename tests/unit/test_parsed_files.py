"""Files that are predicted are read as those of training were, and what was done to them is in the note."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tlkit.core.modality import NOTE, FileInfo
from tlkit.data import table
from tlkit.data.image_source import Options
from tlkit.data.text_source import TextReader
from tlkit.formats.tflite_metadata import VOCABULARY
from tlkit.modalities.image import IMAGE
from tlkit.modalities.table import TABLE
from tlkit.modalities.text import TEXT
from tlkit.modalities.words import WORDS
from tlkit.tokenizing.wordpiece import INPUTS

ROOM = 8
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "кот", "пес")


def pieces(encoding):
    """What a file says whose texts were read in an encoding."""
    pipeline = TextReader(lambda i: b"", encoding).pipeline
    files = {VOCABULARY: "".join(f"{piece}\n" for piece in PIECES).encode()}
    return FileInfo(pipeline, dict.fromkeys(INPUTS, (ROOM,)), files)


def test_a_text_is_read_in_the_encoding_of_the_training_texts(tmp_path):
    (tmp_path / "a.txt").write_bytes("кот пес".encode("koi8-r"))

    asked = TEXT.parse(tmp_path / "a.txt", pieces("koi8-r"))

    assert asked.inputs[0][INPUTS[0]].tolist()[:4] == [2, 4, 5, 3]
    assert asked.columns[NOTE][0] == ""


def test_words_are_read_in_the_encoding_of_the_training_texts(tmp_path):
    (tmp_path / "a.txt").write_bytes("кот пес".encode("koi8-r"))
    vocabulary = {VOCABULARY: "<PAD> 0\n<START> 1\n<UNKNOWN> 2\nкот 4\nпес 5\n".encode()}
    info = FileInfo(pieces("koi8-r").pipeline, {"ids": (ROOM,)}, vocabulary)

    assert [number for number in WORDS.parse(tmp_path / "a.txt", info).inputs[0].tolist() if number > 3] == [4, 5]


def test_an_encoding_that_is_guessed_is_noted(tmp_path):
    (tmp_path / "a.txt").write_bytes("un café crème".encode("cp1252"))

    assert TEXT.parse(tmp_path / "a.txt", pieces(None)).columns[NOTE][0].startswith("not UTF-8, and read as cp1252")


@pytest.mark.parametrize("size", [(4, 4), (8, 8)])
def test_an_image_of_12_bits_is_noted_where_white_was_65535_in_training(tmp_path, size):
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "a.png")
    info = FileInfo(
        Options(4, (0.8, 0.1, 0.1), 0, None, (0, 0, 0), None).reader(lambda i: b"").pipeline, {"x": (*size, 3)}
    )

    assert "no pixel is above 4,000, and 65,535 is white" in IMAGE.parse(tmp_path / "a.png", info).columns[NOTE][0]


@pytest.fixture
def rows(tmp_path):
    """A table for training, and what a file says that was trained on it."""
    lines = [f"{i},{'ab'[i % 2]},{('no', 'yes')[i % 2]}" for i in range(40)]
    (tmp_path / "train.csv").write_text("age,job,label\n" + "\n".join(lines))
    data = table.from_table(tmp_path / "train.csv", label="label")
    return FileInfo(data.train.pipeline, {})


def test_how_a_table_was_read_is_noted_with_its_predictions(tmp_path, rows):
    (tmp_path / "a.csv").write_bytes("age;job\n3;größer\n4;café\n".encode("cp1252"))

    notes = [asked.columns[NOTE][0] for asked in TABLE.parse(tmp_path / "a.csv", rows)]

    assert len(notes) == 2
    assert all("'a.csv' is not UTF-8 and was read as cp1252" in note for note in notes)
    assert all("are separated by semicolons" in note for note in notes)
