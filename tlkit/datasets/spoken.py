"""Spoken digits and sentences: synthetic voices of espeak-ng, and the recorded voice of Debian's Asterisk prompts.

Neither travels with the package: espeak-ng (GPL-3) renders into the cache, and the prompts (CC-BY-SA-3.0) come from
the Debian package asterisk-core-sounds-en-wav, installed or fetched with apt-get into the cache.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.core.files import cache_dir, kept_folder, sha256_bytes
from tlkit.data import audio
from tlkit.data.audio_source import Options
from tlkit.data.listing import Listed, Listing
from tlkit.data.preflight import cpus
from tlkit.data.sourcing import Division
from tlkit.datasets import debian

__all__ = ["asterisk_digits", "asterisk_sentences", "asterisk_sounds", "digits", "espeak_digits", "espeak_sentences"]


def __dir__() -> list[str]:
    return sorted(__all__)


WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# not en-gb: all its variants sound alike
ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
SPEAKERS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5")  # espeak-ng's variants of a voice

# further variants, no two of which sound the same
VOICES = (
    *("adam", "Alex", "Alicia", "Andrea", "Andy", "Annie", "antonio", "aunty", "belinda", "benjamin", "boris"),
    *("caleb", "david", "Denis", "Diogo", "ed", "edward", "Gene", "gustave", "Henrique", "Hugo", "iven", "Jacky"),
    *("john", "kaukovalta", "Lee", "linda", "marcelo", "Marco", "Mario", "max", "Michael", "michel", "miguel", "Mike"),
    *("Nguyen", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "Storm", "travis"),
    *("victor", "zac", "anika", *SPEAKERS, "m6", "m7", "m8"),
)
SENTENCES = (  # the first of Harvard's (IEEE 1969, doi:10.1109/IEEESTD.1969.7405210), each about 2.5 s
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
)
PROMPTS = (  # of 2.5 to 6 s
    *("agent-alreadyon", "agent-newlocation", "auth-incorrect", "call-fwd-no-ans", "conf-onlyperson", "demo-thanks"),
    *("dir-usingkeypad", "pbx-invalid", "privacy-prompt", "queue-youarenext", "vm-intro", "vm-savemessage"),
)

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
    augment: Augmenting | None = None,
    progress: bool = False,
) -> Splits:
    """Train and validate on clips of synthetic speakers, by default 600; test on ten recordings of a real one.

    Ten recordings of one speaker: an accuracy on them moves in steps of a tenth, and says nothing of other speakers.

    Args:
        accents, speakers: As in `espeak_digits`.
        seconds: As in `data.audio.from_folder`; all digits fit into one second.
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
    voices = [f"{accent}+{speaker}" for accent, speaker in itertools.product(accents, speakers)]
    files = {f"{word}/{voice}.wav": (voice, word) for word, voice in itertools.product(WORDS, voices)}
    return _rendered("espeak-digits", speakers, files, (*accents, "|", *speakers))


def espeak_sentences(speakers: Sequence[str] = VOICES, sentences: Sequence[str] = SENTENCES) -> Path:
    """Folder with one folder a speaker of its sentences in American English, "Alicia/0.wav", rendered once.

    Args:
        speakers: Variants of espeak-ng.
        sentences: What each of them says.

    Raises:
        InputError: If espeak-ng is missing, or knows no such voice.
    """
    spoken = itertools.product(speakers, enumerate(sentences))
    files = {f"{speaker}/{number}.wav": (f"en-us+{speaker}", text) for speaker, (number, text) in spoken}
    return _rendered("espeak-sentences", speakers, files, (*speakers, "|", *sentences))


def asterisk_sentences() -> Path:
    """Folder "allison" with twelve 8 kHz recordings of one woman, each another sentence.

    Raises:
        InputError: If the Debian package is neither installed nor can be fetched.
    """
    sounds = asterisk_sounds()

    def fill(folder: Path) -> None:
        (folder / "allison").mkdir()
        for name in PROMPTS:
            shutil.copyfile(sounds / f"{name}.wav", folder / "allison" / f"{name}.wav")

    return kept_folder(cache_dir() / "samples" / "asterisk-sentences", fill)


def asterisk_digits() -> Path:
    """Folder of class folders with one 8 kHz recording each of the same woman, "seven/allison.wav".

    Raises:
        InputError: If the Debian package is neither installed nor can be fetched.
    """
    sounds = asterisk_sounds()

    def fill(folder: Path) -> None:
        for number, word in enumerate(WORDS):
            (folder / word).mkdir()
            shutil.copyfile(sounds / "digits" / f"{number}.wav", folder / word / "allison.wav")

    return kept_folder(cache_dir() / "samples" / "asterisk-digits", fill)


def asterisk_sounds() -> Path:
    """Folder of 568 prompts in one real voice, 8 kHz WAV, with `digits`, `letters` and `phonetic` below it.

    Raises:
        InputError: If the Debian package is neither installed nor can be fetched.
    """
    return debian.folder(_PACKAGE, _SOUNDS, "The recorded digits")


def _rendered(name: str, speakers: Sequence[str], files: Mapping[str, tuple[str, str]], key: Sequence[str]) -> Path:
    """Folder in the cache with each file spoken: path -> (voice, text)."""
    if shutil.which("espeak-ng") is None:
        raise InputError("Spoken words need the program espeak-ng, which is missing: `apt-get install espeak-ng`.")
    variants = {
        line.rpartition("!v/")[2].split()[0] for line in _espeak("--voices=variant").splitlines() if "!v/" in line
    }
    unknown = [speaker for speaker in speakers if speaker not in variants]
    if unknown:  # espeak-ng itself would go on with another voice
        raise InputError(f"espeak-ng knows no variant {unknown[0]!r}: `espeak-ng --voices=variant` lists them.")
    version = _espeak("--version").partition("Data at")[0]

    def fill(folder: Path) -> None:
        with ThreadPoolExecutor(cpus()) as pool:
            list(pool.map(functools.partial(_render, folder), files, files.values()))

    return kept_folder(cache_dir() / "samples" / f"{name}-{sha256_bytes(version, *key)[:12]}", fill)


def _render(folder: Path, name: str, spoken: tuple[str, str]) -> None:
    voice, text = spoken
    (folder / name).parent.mkdir(exist_ok=True)
    _espeak("-v", voice, "-w", str(folder / name), text)


def _espeak(*arguments: str) -> str:
    process = subprocess.run(["espeak-ng", *arguments], capture_output=True, text=True, check=False)
    if process.returncode:
        reason = (process.stderr.strip() or "it does not say why").splitlines()[-1]
        raise InputError(f"`espeak-ng {' '.join(arguments)}` failed: {reason}")
    return process.stdout


def _listed(folder: Path, source: str, part: int) -> list[Listed]:
    paths = sorted(folder.rglob("*.wav"))
    return [Listed(f"{source}/{path.relative_to(folder).as_posix()}", path, path.parent.name, part) for path in paths]


def _speaker(name: str) -> str:
    return Path(name).stem.partition("+")[2] or Path(name).stem
