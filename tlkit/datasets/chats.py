"""Dialogues of everyday kind, to try a language model on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.packages import Package, fetch
from tlkit.data import text
from tlkit.data.splitting import SHARES

__all__ = ["english"]


def __dir__() -> list[str]:
    return sorted(__all__)


_FOLDER = "chatterbot_corpus/data/english"
_TOPICS = {
    "ai": "620a65787a56641db4a03e1419a7578e813967218cf6721e3ea4ef90844916aa",
    "botprofile": "1a694c5288f3f8f87d027d2f98dae71d02efa88e28853a6e5d27e6dbce907294",
    "computers": "a222c5a432efe4289e6c5edf1c3d99fd26c48df99db0ff893d1d5ab569f5b750",
    "conversations": "1cf105b5802f377b2dc145f741f7df85629c9ca27e450538165286a75b5e3416",
    "emotion": "510a018938c1880dd0f67e1ae458e26878c91a570daef5a84fb83713c89f0989",
    "food": "68eab2497721d03044d520b70c27d8a0d8ba8e505b3265fb3a1ff3e1a64c7124",
    "gossip": "d6f1b1613ed70821fc1c427bdd00395f58b77ff57d76fbe4ab8cb2038cf15c9b",
    "greetings": "0dd7eb8dcee8e2a38cd1a137bcfbd7f3eb732cddfa1bd396fac5a24b063a4d55",
    "health": "eb88edc5302d688ca096374c7e3f5b9d7cd821f053a17d80204c4acdc20ea4f5",
    "history": "0ff4beeb6ef9b641dc12e1039a149c6a03eb8f2e183702fad2b0997fcc1d63e3",
    "humor": "d2aa03a63f0e8e054589f642788afbc41b8c76f5d734c50901a9a63b359ea06b",
    "literature": "9361ff1478273d811259ca307a1e6be23a5e08e776a5bc5d9524fb13deb886f1",
    "money": "2911d9766625ff5c2feb3d784f2951b2ebd5e9658547efce7568d0282c49274b",
    "movies": "075ca9d91a527206c635c88bf0353323826a25a6f2057be1bc71888af389f842",
    "politics": "c436d5efedea6f715a8a811423a8edf396097771eb11e43b1f0a43a6aee7c2f0",
    "psychology": "5047c211d35f715af4fbc3398f111135e99d34afcd0905a661c40bdeb1413a58",
    "science": "3c259799bba36c67a1601fc264ec01ab051e9e63950734ce1ef644e022081fe7",
    "sports": "8d1bcc632cad4058e3b8490daa15dcd7c2a51790a7b9140b252600b794590403",
    "tech_support": "8a87cdf32579c8efdd9c5f3ef166ae9fb76dcf271b958f5e2265b9246b430655",
    "trivia": "3a9de77e6d82803d1ea3eba48cf6543c884908f4c4f50501fed69f88112994dc",
}
PACKAGE = Package(
    name="chatterbot-corpus",
    version="1.3.3",
    sha256="86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    files={f"{_FOLDER}/{name}.yml": digest for name, digest in _TOPICS.items()},
    download_mb=0.4,
)
TOPICS = tuple(_TOPICS)


def english(
    topics: Sequence[str] = (),
    *,
    system: str | None = None,
    general: Sequence[str] = (),
    mix: float = 0.0,
    split: Sequence[float] = SHARES,
    seed: int = 0,
) -> Splits:
    """Questions and answers in English that volunteers wrote for a chat bot, a file for each topic.

    Answers are often jokes, and facts in them are not checked. They are fetched from the package registry once (0.4 MB,
    BSD-3-Clause licence) and kept in the cache folder.

    Args:
        topics: Some of `TOPICS`, such as "food"; () is all.
        system: As in `data.text.from_dialogues`, like all that follow.
        general: Texts by which forgetting is measured.
        mix: Share of them in training.
        split: Shares of training, validation and test; no question and no answer lies in two parts.
        seed: Another seed gives another division.

    Raises:
        InputError: If there is no such topic.
        DownloadError: If the package cannot be had, or is not the pinned one; OfflineError where downloads are off.

    Source: G. Cox, the ChatterBot corpus.
    """
    if unknown := set(topics) - set(TOPICS):
        raise InputError(f"`topics` must be some of {', '.join(TOPICS)}. Received: {min(unknown)!r}.")
    folder = kept_folder(cache_dir() / "samples" / PACKAGE.name, _fill)
    chosen = [folder / f"{name}.yml" for name in (topics or TOPICS)]
    return text.from_dialogues(chosen, system=system, general=general, mix=mix, split=split, seed=seed, progress=False)


def _fill(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tlkit-chats-") as scratch:
        for name, path in fetch(PACKAGE, Path(scratch)).items():
            (folder / Path(name).name).write_bytes(path.read_bytes())
