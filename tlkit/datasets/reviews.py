"""Sentences with the feeling that people read in them, from four places: movie reviews, products, news, tweets."""

from __future__ import annotations

import csv
import io
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.packages import SOURCE, Package, fetch
from tlkit.data import text
from tlkit.data.splitting import SHARES

__all__ = ["editorials", "sentences"]


def __dir__() -> list[str]:
    return sorted(__all__)


DOMAINS = {"movies": "movieReviewSnippets", "products": "amazonReviewSnippets", "news": "nytEditorialSnippets",
           "tweets": "tweets"}  # fmt: skip
LABELS = ("negative", "positive")
_ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
PACKAGE = Package(
    name="vaderSentiment",
    version="3.3.2",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    files={_ARCHIVE: "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"},
    download_mb=2.5,
    archive=SOURCE,
)


def sentences(domain: str = "movies", *, split: Sequence[float] = SHARES, seed: int = 0) -> Splits:
    """Sentences that twenty people rated from -4 to 4, told apart as negative and positive by the mean of their rating.

    10,605 movie review sentences, 3,708 on products, 5,190 of newspaper editorials, 4,200 tweets; those rated exactly
    0 are left out. Sentences of one product review, or of one editorial, stay on one side of a split; the groups say
    which they are. They are fetched from the package registry once (2.5 MB, MIT licence) and kept in the cache folder.

    Args:
        domain: "movies", "products", "news" or "tweets".
        split: Shares of training, validation and test.
        seed: Another seed gives another division.

    Raises:
        InputError: If there is no such domain.
        DownloadError: If the package cannot be had, or is not the pinned one; OfflineError where downloads are off.

    Source: Hutto and Gilbert 2014, "VADER", ICWSM 8.
    """
    if domain not in DOMAINS:
        raise InputError(f"`domain` must be one of {', '.join(DOMAINS)}. Received: domain={domain!r}.")
    file = _folder() / f"{DOMAINS[domain]}_GroundTruth.txt"
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8")), delimiter="\t", quoting=csv.QUOTE_NONE))
    rated = [(sentence, float(rating), name.partition("_")[0]) for name, rating, sentence in rows if float(rating) != 0]
    sentences, ratings, owners = zip(*rated, strict=True)
    return text.from_arrays(
        sentences, [int(rating > 0) for rating in ratings], labels=LABELS, split=split, seed=seed,
        groups=owners if len(set(owners)) < len(owners) else None,
    )  # fmt: skip


def editorials(count: int = 64) -> tuple[str, ...]:
    """Sentences of newspaper editorials, without ratings: general text on which a language model's forgetting shows.

    Args:
        count: How many, >= 1.

    Raises:
        InputError: If `count` is less than 1.
        DownloadError: As in `sentences`.

    Source: Hutto and Gilbert 2014, "VADER", ICWSM 8.
    """
    if count < 1:
        raise InputError(f"`count` must be 1 or more. Received: count={count!r}.")
    file = _folder() / f"{DOMAINS['news']}_GroundTruth.txt"
    rows = csv.reader(io.StringIO(file.read_text(encoding="utf-8")), delimiter="\t", quoting=csv.QUOTE_NONE)
    return tuple(dict.fromkeys(row[2].strip() for row in rows if len(row[2].split()) >= 8))[:count]


def _folder() -> Path:
    """Folder of the four files, unpacked into the cache once."""

    def fill(partial: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="tlkit-reviews-") as scratch:
            archive = fetch(PACKAGE, Path(scratch))[_ARCHIVE]
            with tarfile.open(archive) as tar:
                for name in DOMAINS.values():
                    member = tar.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
                    assert member is not None  # the archive's hash is pinned
                    (partial / f"{name}_GroundTruth.txt").write_bytes(member.read())

    return kept_folder(cache_dir() / "samples" / f"reviews-{PACKAGE.sha256[:12]}", fill)
