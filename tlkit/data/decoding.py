"""Bytes -> text, or the reason why they are none. An encoding that had to be guessed is told, never kept silent."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError

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
_LATIN = 0.3  # share of bytes beyond ASCII up to which a text is likely written in Latin letters
_WESTERN = ("mac_roman", "cp850")  # what the detector takes for their neighbours, mac_latin2 and cp775
_RARE = ("mac_cyrillic", "mac_greek", "mac_turkish", "mac_latin2", "mac_iceland")  # of words without their sentences
_INSIDE_WORDS = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœß’‘“”–—…•·")
_TELLING = 30  # bytes beyond ASCII from which the detector may contradict cp1252 in such a text
_LOOKED_AT = 1 << 18  # bytes that the detector sees
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_NEARLY = 4  # characters of UTF-8 per other byte from which a text is one of UTF-8 that has been damaged


def check_encoding(encoding: str | None) -> None:
    """Refuse an encoding that Python does not know."""
    try:
        codecs.lookup("utf-8" if encoding is None else encoding)
    except LookupError as error:
        raise InputError(
            f'Python knows no encoding {encoding!r}: name one such as "utf-8", "cp1252" or "shift_jis".'
        ) from error


def read(path: Path, encoding: str | None = None, noun: str = "file") -> str:
    """The text of a file that is read whole, of an encoding that is known.

    Args:
        path: The file.
        encoding: As in `decode`.
        noun: What the file is, for the message.

    Raises:
        InputError: If it cannot be read, holds no text, or its encoding would have to be guessed; names it.
    """
    text, guess = _read(path, encoding, noun)
    if guess:
        raise InputError(
            f"The {noun} {str(path)!r} cannot be read: not UTF-8, but perhaps {guess}: name its encoding, "
            f"encoding={guess!r} if that is it."
        )
    return text


def read_noted(path: Path, encoding: str | None = None, noun: str = "file") -> tuple[str, tuple[str, ...]]:
    """The same with a note where the encoding was guessed."""
    text, guess = _read(path, encoding, noun)
    note = f"The {noun} {path.name!r} is not UTF-8 and was read as {guess}; pass `encoding` if that is wrong."
    return text, (note,) if guess else ()


def _read(path: Path, encoding: str | None, noun: str) -> tuple[str, str]:
    try:
        return decoded(path.read_bytes(), encoding)
    except (OSError, ValueError, MemoryError) as error:  # InputError is a ValueError
        reason = getattr(error, "strerror", None) or error  # an OSError's own text names the file again
        raise InputError(f"The {noun} {str(path)!r:.300} cannot be read: {reason}.") from error


def decode(data: bytes, encoding: str | None = None) -> str:
    r"""Text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, or as it was guessed; line ends become "\n".

    Args:
        data: The bytes, with or without a mark.
        encoding: Python's name of another encoding, for those who know it.

    Raises:
        InputError: With the reason alone, for a quarantine or a sentence.

    Example:
        >>> decode("\ufeffcafé\r\n".encode("utf-16-le"))
        'café\n'
    """
    return decoded(data, encoding)[0]


def decoded(data: bytes, encoding: str | None = None, like: str = "") -> tuple[str, str]:
    """The text as `decode` gives it, and the encoding that was guessed, or "".

    Args:
        data: The bytes.
        encoding: As in `decode`.
        like: What `common_encoding` gave of texts of the same origin, for one that is too short to tell its own.
    """
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    codec, guess = encoding or marked or "utf-8", ""
    if encoding is None and marked is None and b"\0" in data:
        codec = guess = _unmarked_utf16(data)
        if not guess:
            raise InputError("binary, not text: it holds zero bytes")
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        guess = ""
        if codec == "utf-8" and encoding is None:
            _check_damaged(data, error)
            guess = like if like and not tells(data) and _is_text(data, like) else _guessed(data)
        if not guess:
            raise InputError(_undecodable(codec, encoding, data, error)) from error
        text = data.decode(guess)
    controls = len(text) - len(text.translate(_CONTROLS))
    if controls > _MOST_CONTROLS * len(text):
        raise InputError(f"binary, not text: {controls} of its {len(text)} characters are control characters")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), guess


def tells(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 are enough to tell by themselves in which encoding they are."""
    return b"\0" in data or len(_BEYOND_ASCII.findall(data[:_LOOKED_AT])) >= _TELLING


def common_encoding(short: Sequence[bytes], others: Sequence[tuple[bytes, str]]) -> str:
    """One encoding for texts of one origin that are too short to tell theirs one by one; "" where there are none.

    Args:
        short: Those texts: all of them together may be long enough.
        others: The others and their encodings, of which the most frequent decides where they are not.
    """
    if not short:
        return ""
    together = b" ".join(dict.fromkeys(short))
    votes = Counter(guess for data, guess in others if _is_latin(data) == _is_latin(together) and b"\0" not in data)
    return votes.most_common(1)[0][0] if votes and not tells(together) else _guessed(together, rare=_RARE)


def _unmarked_utf16(data: bytes) -> str:
    """UTF-16's name where zero bytes stand at every other place, as in Latin letters; else ""."""
    zeros = (data[::2].count(0), data[1::2].count(0))
    if len(data) % 2 or max(zeros) < 0.3 * len(data) / 2 or min(zeros) > 0.05 * max(zeros):
        return ""
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _check_damaged(data: bytes, error: UnicodeDecodeError) -> None:
    """Refuse UTF-8 with a few bytes that are none: in any other encoding all the rest would be read wrong."""
    rest, count = _UTF8.subn(b"", data)
    if count and count >= _NEARLY * len(_BEYOND_ASCII.findall(rest)):
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"two encodings in one file: byte 0x{data[error.start]:02x} in line {line:,} is not UTF-8, and {count:,} "
            "other characters are; write that line in UTF-8, too"
        ) from error


def _guessed(data: bytes, rare: Sequence[str] = ()) -> str:
    """The encoding of bytes that are not UTF-8, or "" where they are no text; `rare` ones give way to their equals.

    Of Latin letters with a few accents the detector prefers cp1250 to cp1252 by chance: there it must have seen some,
    and find the text more like a language.
    """
    from charset_normalizer import from_bytes

    matches = from_bytes(data[:_LOOKED_AT])
    best = matches.best()
    if best and best.encoding in rare:
        best = next((match for match in matches if match.chaos == best.chaos and match.encoding not in rare), best)
    beyond = len(_BEYOND_ASCII.findall(data[:_LOOKED_AT]))
    names = [best.encoding] if best else []
    is_latin = _is_latin(data)
    if is_latin and _is_text(data, "cp1252"):
        western = max(
            (match.coherence for match in matches if "cp1252" in (match.encoding, *_like(match))), default=0.0
        )
        names = names if best and beyond >= _TELLING and best.coherence > western else ["cp1252", *names]
    if is_latin and not (names[:1] == ["cp1252"] and _is_western(data, "cp1252")):
        names = [*(name for name in _WESTERN if _is_western(data, name)), *names]
    return next((name for name in names if _is_text(data, name)), "")


def _is_latin(data: bytes) -> bool:
    """Whether a text is likely written in Latin letters: few of its bytes are beyond ASCII."""
    seen = data[:_LOOKED_AT]
    return len(_BEYOND_ASCII.findall(seen)) <= _LATIN * len(seen)


def _is_western(data: bytes, encoding: str) -> bool:
    """Whether what stands between small letters, a third of all at least, is of Western Europe, or may stand there."""
    text = data[:_LOOKED_AT].decode(encoding, "replace")
    marks = [i for i, mark in enumerate(text[1:-1], start=1) if mark > "\x7f"]
    inner = [text[i] for i in marks if text[i - 1].islower() and text[i + 1].islower()]
    return 3 * len(inner) >= max(1, len(marks)) and _INSIDE_WORDS.issuperset(inner)


def _like(match: Any) -> list[str]:
    return list(match.could_be_from_charset)


def _is_text(data: bytes, encoding: str) -> bool:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    strange = sum("\x7f" <= character < "\xa0" for character in text)
    return strange <= _MOST_CONTROLS * len(text)


def _undecodable(codec: str, encoding: str | None, data: bytes, error: UnicodeDecodeError) -> str:
    where = f"byte 0x{data[error.start]:02x} at position {error.start}"
    if encoding is None and codec == "utf-8":
        return f'not UTF-8: {where}; name its encoding, such as encoding="cp1252", if you know it'
    return f"not {codec.removesuffix('-sig')}, as {'`encoding`' if encoding else 'its mark'} says: {where}"
