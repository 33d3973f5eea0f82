"""Telephone prompts with their texts: what one woman says in Debian's recordings for Asterisk (CC-BY-SA-3.0)."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence

from tlkit.core.examples import Augmenting, Splits
from tlkit.data.audio_decode import Limits
from tlkit.data.sourcing import Division
from tlkit.data.speech import SAMPLE_RATE, Options, Recordings, from_recordings
from tlkit.data.spelling import spoken, words
from tlkit.data.splitting import SHARES
from tlkit.datasets import debian
from tlkit.datasets import spoken as recorded

__all__ = ["asterisk"]


def __dir__() -> list[str]:
    return sorted(__all__)


WINDOW_S = 10.0
_PACKAGE = "asterisk-core-sounds-en"
_TEXTS = "usr/share/doc/asterisk-core-sounds-en"
_NO_SPEECH = re.compile(r"[\[(]")  # "[ascending tones]", "(10 seconds of silence)"


def asterisk(
    *,
    window_s: float = WINDOW_S,
    least_words: int = 3,
    sample_rate: int = SAMPLE_RATE,
    vocabulary: str | Sequence[str] | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    augment: Augmenting | None = None,
    progress: bool = False,
) -> Splits:
    """English telephone prompts of 8 kHz, 3 words or more, with their texts; no text is in two parts.

    One voice in a quiet room: a rate of errors says how well prompts are adapted to, and nothing of other speakers.

    Args:
        window_s: As in `data.speech.from_csv`; longer prompts are left out.
        least_words: Prompts of fewer words are left out.
        sample_rate, vocabulary, split, seed, augment, progress: As in `data.speech.from_csv`.

    Raises:
        InputError: If the Debian packages asterisk-core-sounds-en-wav and asterisk-core-sounds-en are neither installed
            nor can be fetched.
    """
    folder, texts = recorded.asterisk_sounds(), transcripts()
    transcribed = {
        name: text
        for name, text in texts.items()
        if len(words(text)) >= least_words and (folder / f"{name}.wav").is_file()
    }
    division = Division(split, seed, [spoken(text) for text in transcribed.values()], progress=progress)
    options = Options(division, window_s, sample_rate, vocabulary, augment, Limits())
    names = [f"{name}.wav" for name in transcribed]
    return from_recordings(Recordings(names, [folder / name for name in names], list(transcribed.values())), options)


def transcripts() -> dict[str, str]:
    """What is said in each prompt by its name, "digits/7"; tones and silence are left out.

    Raises:
        InputError: If the Debian package asterisk-core-sounds-en is neither installed nor can be fetched.
    """
    folder = debian.folder(_PACKAGE, _TEXTS, "The texts of the prompts")
    with gzip.open(folder / "core-sounds-en.txt.gz", "rt", encoding="utf-8") as file:
        pairs = [line.strip().split(":", 1) for line in file if ":" in line and not line.startswith(";")]
    return {name: text.strip() for name, text in pairs if not _NO_SPEECH.search(text)}
