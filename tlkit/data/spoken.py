"""Spoken digits zero to nine: synthetic voices of espeak-ng, and the recorded voice of Debian's Asterisk prompts.

Neither travels with the package: espeak-ng (GPL-3) renders into the cache, and the prompts (CC-BY-SA-3.0) come from
the Debian package asterisk-core-sounds-en-wav, installed or fetched with apt-get into the cache.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tlkit.data import audio
from tlkit.data.audio_source import Augment, Options
from tlkit.data.listing import Listed, Listing
from tlkit.data.preflight import cpus
from tlkit.data.sourcing import Division
from tlkit.errors import InputError, OfflineError
from tlkit.files import atomic_folder, cache_dir, locked, sha256_bytes
from tlkit.types import Splits

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# not en-gb: all its variants sound alike
ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
SPEAKERS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5")  # espeak-ng's variants of a voice

TRIM_DB = 40.0  # voices pause before and behind a word, each in its own way
_PACKAGE = "asterisk-core-sounds-en-wav"
_SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"


def digits(
    *,
    accents: Sequence[str] = ACCENTS,
    speakers: Sequence[str] = SPEAKERS,
    seconds: float = 1.0,
    sample_rate: int = audio.SAMPLE_RATE,
    split: Sequence[float] = (0.8, 0.2, 0.0),
    seed: int = 0,
    augment: Augment | None = None,
    progress: bool = False,
) -> Splits:
    """Train and validate on clips of synthetic speakers, by default 600; test on ten recordings of a real one.

    Ten recordings of one speaker: an accuracy on them moves in steps of a tenth, and says nothing of other speakers.

    Args:
        accents: As in `espeak_digits`.
        speakers: As in `espeak_digits`.
        seconds: As in `data.audio.from_folder`, like all below; all digits fit into one second.
        sample_rate: Hz of what is read; the recordings have 8,000.
        split: Shares of training and validation; no speaker is in both.
        seed: Another seed gives another division.
        augment: For the training sounds.
        progress: Say on stderr what the preflight found.

    Raises:
        InputError: As `espeak_digits` and `asterisk_digits`.
    """
    division = Division(split, seed, _speaker, progress=progress)
    options = Options(division, seconds, None, "first", sample_rate, augment, trim_db=TRIM_DB)
    files = (*_listed(espeak_digits(accents, speakers), "espeak", 0), *_listed(asterisk_digits(), "asterisk", 2))
    return audio.from_listing(Listing(tuple(files), WORDS), options)


def espeak_digits(accents: Sequence[str] = ACCENTS, speakers: Sequence[str] = SPEAKERS) -> Path:
    """Folder of class folders with one clip a voice, "seven/en-us+f2.wav", rendered into the cache once.

    The speaker is what follows the plus; all accents of one sound alike.

    Args:
        accents: espeak-ng's English voices (`espeak-ng --voices=en`).
        speakers: Its variants (`espeak-ng --voices=variant`).

    Raises:
        InputError: If espeak-ng is missing, or knows no such voice.
    """
    if shutil.which("espeak-ng") is None:
        raise InputError("Spoken digits need the program espeak-ng, which is missing: `apt-get install espeak-ng`.")
    known = {line.rpartition("!v/")[2].split()[0] for line in _espeak("--voices=variant").splitlines() if "!v/" in line}
    unknown = [speaker for speaker in speakers if speaker not in known]
    if unknown:  # espeak-ng itself would go on with another voice
        raise InputError(f"espeak-ng knows no variant {unknown[0]!r}: `espeak-ng --voices=variant` lists them.")
    key = sha256_bytes(_espeak("--version").partition("Data at")[0], *accents, "|", *speakers)[:12]
    target = cache_dir() / "samples" / f"espeak-digits-{key}"
    with locked(target.with_name(".espeak-digits.lock")):
        if not target.exists():
            with atomic_folder(target) as folder, ThreadPoolExecutor(cpus()) as pool:
                voices = [f"{accent}+{speaker}" for accent, speaker in itertools.product(accents, speakers)]
                list(pool.map(_render, *zip(*itertools.product([folder], WORDS, voices), strict=True)))
    return target


def asterisk_digits() -> Path:
    """Folder of class folders with one 8 kHz recording each of the same woman, "seven/allison.wav".

    Raises:
        InputError: If the Debian package is neither installed nor can be fetched.
    """
    target = cache_dir() / "samples" / "asterisk-digits"
    sounds = asterisk_sounds()
    with locked(target.with_name(".asterisk-digits.lock")):
        if not target.exists():
            with atomic_folder(target) as folder:
                for number, word in enumerate(WORDS):
                    (folder / word).mkdir()
                    shutil.copyfile(sounds / "digits" / f"{number}.wav", folder / word / "allison.wav")
    return target


def asterisk_sounds() -> Path:
    """Folder of 568 prompts in one real voice, 8 kHz WAV, with `digits`, `letters` and `phonetic` below it.

    Raises:
        InputError: If the Debian package is neither installed nor can be fetched.
    """
    installed = Path("/") / _SOUNDS
    if installed.is_dir():
        return installed
    target = cache_dir() / "samples" / _PACKAGE
    with locked(target.with_name(f".{_PACKAGE}.lock")):
        if not target.exists():
            with atomic_folder(target) as folder:
                _fetch(folder)
    return target / _SOUNDS


def _fetch(folder: Path) -> None:
    missing = f"The recorded digits are missing: `apt-get install {_PACKAGE}`"
    if os.environ.get("TLKIT_OFFLINE", "").lower() not in ("", "0", "false", "no"):
        raise OfflineError(f"{missing}, since nothing may be downloaded here (TLKIT_OFFLINE).")
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise InputError(f"{missing}, or, where there is no apt-get, copy its files to {'/' + _SOUNDS!r}.")
    fetched = subprocess.run(["apt-get", "download", _PACKAGE], cwd=folder, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.deb"))
    if fetched.returncode or not archives:
        raise InputError(f"{missing}, since apt-get could not download it: {_last_line(fetched.stderr)}")
    subprocess.run(["dpkg", "-x", str(archives[0]), str(folder)], capture_output=True, check=True)
    archives[0].unlink()


def _render(folder: Path, word: str, voice: str) -> None:
    path = folder / word / f"{voice}.wav"
    path.parent.mkdir(exist_ok=True)
    _espeak("-v", voice, "-w", str(path), word)


def _espeak(*arguments: str) -> str:
    done = subprocess.run(["espeak-ng", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"`espeak-ng {' '.join(arguments)}` failed: {_last_line(done.stderr)}")
    return done.stdout


def _listed(folder: Path, source: str, part: int) -> list[Listed]:
    paths = sorted(folder.rglob("*.wav"))
    return [Listed(f"{source}/{path.relative_to(folder).as_posix()}", path, path.parent.name, part) for path in paths]


def _speaker(name: str) -> str:
    return Path(name).stem.partition("+")[2] or Path(name).stem


def _last_line(text: str) -> str:
    return (text.strip() or "it does not say why").splitlines()[-1]
