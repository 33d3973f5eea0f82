"""Bytes -> text, or the reason why they are none. An encoding is never guessed: a wrong guess trains on nonsense."""

from __future__ import annotations

import codecs
from pathlib import Path

from tlkit.errors import InputError

ENCODINGS = "utf-8, utf-16 or utf-32 by mark"  # what `encoding=None` reads

_MARKS = (  # the longer mark first: UTF-16's is the beginning of UTF-32's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = dict.fromkeys((*range(9), 11, *range(14, 32), 127))  # not tab, line feed, form feed, return
_MOST_CONTROLS = 0.02  # share of control characters above which something is no text


def check_encoding(encoding: str | None) -> None:
    """Refuse an encoding that Python does not know."""
    try:
        codecs.lookup("utf-8" if encoding is None else encoding)
    except LookupError as error:
        raise InputError(
            f'Python knows no encoding {encoding!r}: name one such as "utf-8", "cp1252" or "shift_jis".'
        ) from error


def read(path: Path, encoding: str | None = None, noun: str = "file") -> str:
    """The text of a file that is read whole.

    Args:
        path: The file.
        encoding: As in `decode`.
        noun: What the file is, for the message.

    Raises:
        InputError: If it cannot be read, or holds no text; names it.
    """
    try:
        return decode(path.read_bytes(), encoding)
    except (OSError, InputError) as error:
        reason = getattr(error, "strerror", None) or error  # an OSError's own text names the file again
        raise InputError(f"The {noun} {str(path)!r} cannot be read: {reason}.") from error


def decode(data: bytes, encoding: str | None = None) -> str:
    r"""Text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; line ends become "\n".

    Args:
        data: The bytes, with or without a mark.
        encoding: Python's name of another encoding, for those who know it.

    Raises:
        InputError: With the reason alone, for a quarantine or a sentence.

    Example:
        >>> decode("\ufeffcafé\r\n".encode("utf-16-le"))
        'café\n'
    """
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    own = encoding or marked or "utf-8"
    if encoding is None and marked is None and b"\0" in data:
        raise InputError("binary, not text: it holds zero bytes (name UTF-16 without a mark with `encoding`)")
    try:
        text = data.decode(own)
    except UnicodeDecodeError as error:
        raise InputError(_undecodable(own, encoding, data, error)) from error
    controls = len(text) - len(text.translate(_CONTROLS))
    if controls > _MOST_CONTROLS * len(text):
        raise InputError(f"binary, not text: {controls} of its {len(text)} characters are control characters")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _undecodable(own: str, encoding: str | None, data: bytes, error: UnicodeDecodeError) -> str:
    where = f"byte 0x{data[error.start]:02x} at position {error.start}"
    if encoding is None and own == "utf-8":
        return f'not UTF-8: {where}; name its encoding, such as encoding="cp1252", if you know it'
    return f"not {own.removesuffix('-sig')}, as {'`encoding`' if encoding else 'its mark'} says: {where}"
