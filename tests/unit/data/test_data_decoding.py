"""Bytes that are nearly UTF-8, and bytes of another encoding."""

import pytest

from tlkit.core.errors import InputError
from tlkit.data import decoding, table_formats

UTF8 = "text,label\n" + "\n".join(f"Käse für {i},größer" for i in range(6)) + "\n"


def test_one_byte_of_another_encoding_in_a_table_of_utf_8_is_named_by_its_line(tmp_path):
    file = tmp_path / "cheese.csv"
    file.write_bytes(UTF8.encode() + "Käse,klein\n".encode("cp1252"))

    with pytest.raises(
        InputError, match="two encodings in one file: byte 0xe4 in line 8 is not UTF-8, and 24"
    ) as error:
        table_formats.read_any(file)
    assert "cheese.csv" in str(error.value)


def test_a_text_of_utf_8_that_ends_inside_a_character_is_refused():
    with pytest.raises(InputError, match="byte 0xc3 in line 8"):
        decoding.decode(UTF8.encode() + "ö".encode()[:1])


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", UTF8 * 4),
        ("cp1251", "Привет, как дела? Это обычное письмо о погоде.\n" * 3),
        ("gb18030", "今天天气很好,我们一起去公园散步吧。联通\n" * 3),
        ("shift_jis", "今日は天気がいいので、公園に行きましょう。\n" * 3),
        ("euc_kr", "오늘은 날씨가 좋아서 공원에 갑시다.\n" * 3),
    ],
)
def test_texts_of_other_encodings_are_guessed(encoding, text):
    assert decoding.decode(text.encode(encoding)) == text
