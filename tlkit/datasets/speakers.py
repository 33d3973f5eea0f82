"""Sentences of synthetic voices, to tell speakers apart by; a real one is heard in the test alone."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.core.examples import Augmenting, Splits
from tlkit.data import audio
from tlkit.data.audio_source import Options
from tlkit.data.listing import Listed, Listing
from tlkit.data.sourcing import Division
from tlkit.data.speakers import EVERYTHING, SECONDS, open_set
from tlkit.data.splitting import SHARES
from tlkit.datasets import spoken

__all__ = ["voices"]


def __dir__() -> list[str]:
    return sorted(__all__)


def voices(
    *,
    speakers: Sequence[str] = spoken.VOICES,
    seconds: float = SECONDS,
    sample_rate: int = audio.SAMPLE_RATE,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    augment: Augmenting | None = None,
    progress: bool = False,
) -> Splits:
    """Sentences of synthetic speakers, divided by speaker, and of one real one, who is heard in the test alone.

    The synthetic ones are variants of one synthesizer, and the real one is recorded at 8 kHz, the others at 22 kHz: a
    rate of errors on them says that all works, and little of how people are told apart.

    Args:
        speakers: espeak-ng's variants, by default 63.
        seconds, sample_rate, seed, augment, progress: As in `from_folder`.
        split: Shares of the synthetic speakers.

    Raises:
        InputError: If espeak-ng is missing, or the recordings cannot be had.
    """
    folders = {"espeak": spoken.espeak_sentences(speakers), "asterisk": spoken.asterisk_sentences()}
    files = [
        Listed(f"{source}/{path.relative_to(folder).as_posix()}", path, path.parent.name)
        for source, folder in folders.items()
        for path in sorted(folder.rglob("*.wav"))
    ]
    labels = tuple(sorted({file.label for file in files}))
    division = Division(EVERYTHING, seed, None, progress=progress)
    options = Options(division, seconds, None, "first", sample_rate, augment, trim_db=spoken.TRIM_DB)
    return open_set(audio.from_listing(Listing(tuple(files), labels), options), split, seed, test=("allison",))
