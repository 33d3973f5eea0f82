"""What BERT's tokenizer makes of each character, as a pure function of the character alone.

A word is what stands between spaces once every character has been replaced: so Python's `str.translate` and a lookup
table in a graph can share one definition. Two things differ from normalising whole texts, and neither can be seen with
BERT's vocabularies: combining marks that are no accents (Mc) keep their order, and a final capital sigma is lowered as
any other sigma is, as the `tokenizers` package does too.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

KEPT, REMOVED, SPACE, APART, CHANGED = range(5)

_CJK = (  # first and last of each block of ideographs, each of which is a word of its own
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
_IN_BULK = {"Cn": KEPT, "Co": REMOVED, "Cs": REMOVED}  # nine tenths of all code points: no need to look at each
_CJK_STARTS = [first for first, _ in _CJK]
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class Replacements(dict[int, str]):
    """A table for `str.translate` that fills itself with the characters it meets."""

    def __init__(self, lower_case: bool) -> None:
        super().__init__()
        self.lower_case = lower_case

    def __missing__(self, code: int) -> str:
        self[code] = replacement(code, self.lower_case)
        return self[code]


@dataclass(frozen=True)
class Runs:
    """All of Unicode as runs of characters that are treated alike, and what the CHANGED ones become.

    Run k starts at code point `starts[k]` (ascending, the first is 0) and has the kind `kinds[k]`.
    """

    starts: tuple[int, ...]
    kinds: tuple[int, ...]
    changes: Mapping[int, str]


def replacement(code: int, lower_case: bool) -> str:
    """What stands for one code point: nothing, itself, its lower-case base letters, or either between spaces.

    Control and format characters and private use vanish, white space becomes a space, ideographs and punctuation stand
    apart. With `lower_case`, letters are lowered and lose their accents.

    Example:
        >>> replacement(ord("É"), True), replacement(ord("!"), True), replacement(0x200B, True)
        ('e', ' ! ', '')

    Source: Devlin et al. 2018, arXiv:1810.04805 (its code's BasicTokenizer); the `tokenizers` package's BertNormalizer.
    """
    character = chr(code)
    category = unicodedata.category(character)
    if character in "\t\n\r" or category[0] == "Z":
        return " "
    if category in ("Cc", "Cf", "Co", "Cs") or code == 0xFFFD:  # U+FFFD stands for what could not be decoded
        return ""
    letters = _lowered(character) if lower_case else character
    spaced = "".join(f" {letter} " if _is_punctuation(letter) else letter for letter in letters)
    return f" {spaced} " if _is_ideograph(code) else spaced


@functools.cache
def runs(lower_case: bool) -> Runs:
    """Every code point's kind, in runs: a few thousand numbers instead of a million. Made once a process."""
    starts: list[int] = []
    kinds: list[int] = []
    changes: dict[int, str] = {}
    for code in range(sys.maxunicode + 1):
        kind = _IN_BULK.get(unicodedata.category(chr(code)), CHANGED)
        if kind == CHANGED or _is_ideograph(code):
            becomes = replacement(code, lower_case)
            kind = _kind(chr(code), becomes)
            if kind == CHANGED:
                changes[code] = becomes
        if not kinds or kinds[-1] != kind:
            starts.append(code)
            kinds.append(kind)
    return Runs(tuple(starts), tuple(kinds), changes)


def _kind(character: str, becomes: str) -> int:
    if becomes == character:
        return KEPT
    fixed = {"": REMOVED, " ": SPACE, f" {character} ": APART}
    return fixed.get(becomes, CHANGED)


def _lowered(character: str) -> str:
    parts = unicodedata.normalize("NFD", character)
    return "".join(part.lower() for part in parts if unicodedata.category(part) != "Mn")


def _is_punctuation(character: str) -> bool:
    return character in _ASCII_PUNCTUATION or unicodedata.category(character)[0] == "P"


def _is_ideograph(code: int) -> bool:
    block = bisect_right(_CJK_STARTS, code) - 1
    return block >= 0 and code <= _CJK[block][1]
