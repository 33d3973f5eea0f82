"""Sounds of music and their tags: the samples of Sonic Pi, whose names say what they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tlkit.core.examples import Augmenting, Splits
from tlkit.data import audio, labelling
from tlkit.data.audio_source import Options, from_files
from tlkit.data.sourcing import Division
from tlkit.datasets import debian

__all__ = ["samples", "tags"]


def __dir__() -> list[str]:
    return sorted(__all__)


TAGS_OF = {  # beginning of a name -> tags; other beginnings have four sounds or fewer, or none of their own
    "ambi": ("ambient",),
    "bass": ("bass",),
    "bd": ("drum", "kick"),
    "drum": ("drum",),
    "elec": ("electronic",),
    "glitch": ("electronic", "glitch"),
    "loop": ("loop",),
    "mehackit": ("electronic",),
    "perc": ("percussion",),
    "sn": ("drum", "snare"),
    "tabla": ("percussion", "tabla"),
}
FURTHER = {"snare": ("snare",), "kick": ("kick",), "tabla": ("percussion", "tabla"), "perc": ("percussion",)}
_PACKAGE = "sonic-pi-samples"
_SOUNDS = "usr/share/sonic-pi/samples"


def samples(
    *,
    seconds: float = 3.0,
    sample_rate: int = audio.SAMPLE_RATE,
    split: Sequence[float] = (0.6, 0.15, 0.25),
    seed: int = 0,
    augment: Augmenting | None = None,
    progress: bool = False,
) -> Splits:
    """About 150 sounds with one tag or more each: the first window of each of Sonic Pi's samples.

    Sounds that differ by a number alone ("tabla_ghe1", "tabla_ghe2") are in one split. The samples are CC0 but for a
    few, as the Debian package sonic-pi-samples says.

    Args:
        seconds, sample_rate, split, seed, augment, progress: As in `data.audio.from_folder`.

    Raises:
        InputError: If the Debian package is neither installed nor can be fetched.
    """
    root = debian.folder(_PACKAGE, _SOUNDS, "The samples of Sonic Pi")
    paths = sorted(path for path in root.glob("*.flac") if tags(path.stem))
    labelled = labelling.from_sets([tags(path.stem) for path in paths])
    division = Division(split, seed, _family, progress=progress)
    options = Options(division, seconds, None, "first", sample_rate, augment)
    return from_files([path.name for path in paths], paths, labelled, fixed=[], options=options)


def tags(name: str) -> tuple[str, ...]:
    """What a sample's name says it is; () where its beginning is none of `TAGS_OF`.

    Example:
        >>> tags("loop_tabla"), tags("drum_snare_hard"), tags("vinyl_hiss")
        (('loop', 'percussion', 'tabla'), ('drum', 'snare'), ())
    """
    beginning, *words = (re.sub(r"\d+$", "", word) for word in name.split("_"))
    kind = TAGS_OF.get(beginning, ())
    return tuple(dict.fromkeys([*kind, *(tag for word in words for tag in FURTHER.get(word, ()))])) if kind else ()


def _family(name: str) -> str:
    return re.sub(r"\d+\.flac$", "", name)
