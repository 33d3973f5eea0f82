"""Byte-level BPE, as GPT-2, Whisper and most language models have it: text -> numbers of byte pairs, and back.

Source: Sennrich et al. 2016, arXiv:1508.07909 (merging the pairs that occur most); Radford et al. 2019 (of bytes, so
that no text is unknown). Text is split by the `tokenizers` package, from the file that the module brings.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec
from tlkit.core.files import sha256_bytes

EXTRA = "generation"
MODELS = ("BPE", "WordLevel")  # the latter of closed vocabularies, such as phonemes
ENDS = (  # tokens that are known to end what a module says
    *("<|endoftext|>", "</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "<eos>", "<|end|>"),
)


@dataclass(frozen=True, eq=False)
class BytePairs:
    """The tokens of a module, how text is split into them, and how a chat is written.

    Safe to call from many threads. Text that spells a special token, such as "<|im_end|>", is taken as the text it is;
    `encode(..., special=True)` reads it as the token.

    Attributes:
        file: The tokenizer.json, as JSON text.
        begin: Number of the token that a text begins with, or None.
        end: Number of the token that ends what the module says.
        pad: Number of the token that fills a row up; it ends or begins texts, and no module has a mask for it.
        chat_template: Jinja template of a chat, with `messages` and `add_generation_prompt`; "" where there is none.
        end_note: Which token was taken as the end where the settings name none; "" where they do.
    """

    file: str = field(repr=False)
    begin: int | None
    end: int
    pad: int
    chat_template: str = field(default="", repr=False)
    end_note: str = field(default="", repr=False)

    unit = "tokens"
    step = "byte_pairs"  # of a pipeline
    modality = "text"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], settings: str | os.PathLike[str] | None = None) -> BytePairs:
        """The tokenizer of a tokenizer.json.

        Args:
            path: Of the tokenizer.json.
            settings: Of the tokenizer_config.json beside it: `bos_token`, `eos_token`, `pad_token`, `chat_template`.

        Raises:
            InputError: If a file cannot be read, is no byte-level BPE, the tokens that it names are not there, or none
                is known to end a text.
        """
        try:
            file = Path(path).read_text(encoding="utf-8")
            model = json.loads(file)["model"]
            words = {} if settings is None else json.loads(Path(settings).read_text(encoding="utf-8"))
            if model.get("type") not in MODELS:
                raise ValueError(f"its model is {model.get('type')}, and not {' or '.join(MODELS)}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{str(path)!r} is no tokenizer.json of a byte-level BPE ({error}).") from error
        numbers = _numbers(file)
        begin, end, pad = (_number_of(words.get(f"{word}_token"), numbers, path) for word in ("bos", "eos", "pad"))
        template, note = str(words.get("chat_template") or ""), ""
        if end is None:
            token = _end_of(file, template, path)
            end, note = numbers[token], f"{token} ends a text: tokenizer_config.json names no other (`eos_token`)."
        return cls(file, begin, end, end if pad is None else pad, template, note)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides the numbers."""
        return sha256_bytes(self.file, str(self.begin), str(self.end), str(self.pad))

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything that decides the numbers: arguments of the pipeline's step."""
        return {"version": 1, "vocabulary": self.fingerprint[:16]}

    @functools.cached_property
    def special(self) -> dict[str, int]:
        """Number of each special token, as it is written."""
        return {token["content"]: int(token["id"]) for token in json.loads(self.file).get("added_tokens", ())}

    @functools.cached_property
    def unknown(self) -> int | None:
        """Number of the token that stands for what the vocabulary lacks; None where there is none."""
        return _numbers(self.file).get(json.loads(self.file)["model"].get("unk_token") or "")

    def token(self, number: int) -> str | None:
        """A token as the vocabulary spells it; None where it has no such number."""
        return next((token for token, other in _numbers(self.file).items() if other == number), None)

    @functools.cached_property
    def size(self) -> int:
        """Count of tokens, special ones included."""
        return max(_numbers(self.file).values()) + 1

    def spec(self, length: int) -> ArraySpec:
        """What `inputs` gives."""
        return ArraySpec((length,), "int32")

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Numbers of a text's tokens, uncut.

        Args:
            text: Any.
            special: Whether text that spells a special token is that token: for what a template wrote, not a user.
        """
        return list((_opened(self.file) if special else _plain(self.file)).encode(text, add_special_tokens=False).ids)

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of tokens; special ones are left out, and bytes that are no text become U+FFFD."""
        return str(_opened(self.file).decode([int(number) for number in numbers], skip_special_tokens=True))

    def count(self, text: str) -> int:
        """How many numbers `inputs` would need to keep all of a text."""
        return len(self.encode(text)) + (self.begin is not None)

    def inputs(self, text: str, length: int) -> np.ndarray:
        """What the module takes, int32 (length,): the token that begins a text, its tokens, and padding.

        Raises:
            InputError: If `length` has no room for a token.
        """
        self.check_length(length)
        row = np.full(length, self.pad, dtype=np.int32)
        numbers = ([] if self.begin is None else [self.begin]) + self.encode(text)
        row[: len(numbers)] = numbers[:length]
        return row

    @staticmethod
    def check_length(length: int) -> None:
        """Refuse a length without room for a token."""
        if length < 2:
            raise InputError(f"`length` must be at least 2. Received: length={length!r}.")


def _number_of(token: Any, numbers: dict[str, int], path: Any) -> int | None:
    text = token.get("content") if isinstance(token, dict) else token
    if text is not None and text not in numbers:
        raise InputError(f"{str(path)!r} has no token {text!r}, which its settings name.")
    return None if text is None else numbers[text]


def _end_of(file: str, template: str, path: Any) -> str:
    """The token that is known to end what a module says; one that its chat template writes comes first."""
    added = {token["content"] for token in json.loads(file).get("added_tokens", ())}
    known = sorted((token for token in ENDS if token in added), key=lambda token: token not in template)
    if not known:
        raise InputError(
            f"{str(path)!r} has no token that is known to end a text: name it as `eos_token` in a "
            "tokenizer_config.json beside it."
        )
    return known[0]


@functools.lru_cache(maxsize=4)
def _numbers(file: str) -> dict[str, int]:
    content = json.loads(file)
    added = {token["content"]: int(token["id"]) for token in content.get("added_tokens", ())}
    return {**content["model"]["vocab"], **added}


@functools.lru_cache(maxsize=4)
def _opened(file: str) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise InputError(
            f"Texts for this module are split by the `tokenizers` package, which is not installed: run `pip install "
            f"tlkit[{EXTRA}]`."
        ) from error
    return tokenizers.Tokenizer.from_str(file)


@functools.lru_cache(maxsize=4)
def _plain(file: str) -> Any:
    """The tokenizer without its special tokens, so that no text spells them."""
    content = json.loads(file)
    return _opened(json.dumps({**content, "added_tokens": []}))
