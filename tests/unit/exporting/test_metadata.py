import io
import json
import zipfile

from tlkit.exporting import metadata


def archive(**files: str) -> bytes:
    out = io.BytesIO(b"a model")
    with zipfile.ZipFile(out, "a") as z:
        for name, content in files.items():
            z.writestr(name.replace("__", "."), content)
    return out.getvalue()


def test_labels_stand_on_one_line_each():
    assert metadata.label_lines(["cat", "two\nlines", "a\r\nb", "ünï ✓", ""]).decode().split("\n") == [
        "cat", "two lines", "a b", "ünï ✓", "", "",
    ]  # fmt: skip


def test_a_file_without_metadata_has_an_empty_card():
    assert metadata.read_files(b"no archive") == {}
    assert metadata.read_card(b"no archive") == {}


def test_the_card_is_read_from_among_the_files():
    card = {"labels": ["two\nlines"], "modality": "image"}
    assert metadata.read_card(archive(labels__txt="two lines\n", tlkit__json=json.dumps(card))) == card
    assert metadata.read_card(archive(labels__txt="cat\n")) == {}
