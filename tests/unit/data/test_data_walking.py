"""Which files of a folder are data, and which are notes on them."""

import pytest

from tlkit.data import text_source, walking
from tlkit.data.image_source import passed_over
from tlkit.data.sourcing import Division


@pytest.mark.parametrize("name", ["IMG_0001.JPG", "DSC0001.JPG", "DOC0001.txt", "FT911-3"])
def test_files_with_names_in_capitals_are_data(tmp_path, name):
    (tmp_path / name).write_text("a text")

    assert walking.loose(tmp_path) == 1
    assert not passed_over(tmp_path / name.partition(".")[0])


@pytest.mark.parametrize("name", ["README", "README.txt", "readme.txt", "LICENSE", "NOTICE", "SHA256SUMS", "a.md"])
def test_notes_beside_data_are_none(tmp_path, name):
    (tmp_path / name).write_text("a note")

    assert walking.loose(tmp_path) == 0


def test_texts_without_an_ending_are_read_and_a_readme_is_not(tmp_path):
    options = text_source.Options(Division((0.8, 0.1, 0.1), 0, None, False, False))
    for name in ("FT911-3", "README"):
        (tmp_path / name).write_text("The bank raised its rates.")

    assert text_source.check_file(tmp_path / "FT911-3", options).digest
    assert text_source.check_file(tmp_path / "README", options).ignored
