"""Zoo modules on this machine: built once, whole or absent, checked when opened."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError, TlkitError
from tlkit.core.files import PARTIAL, atomic_folder, cache_dir, locked, sha256_bytes, sha256_file
from tlkit.core.naming import trusted
from tlkit.core.packages import fetch
from tlkit.zoo.card import Card

MANIFEST = "assets.extra/manifest.json"
BUILD_TIMEOUT_S = 900.0


def cards() -> dict[str, Card]:
    """Name -> facts about each module, without building or downloading any.

    Example:
        >>> cards()["efficientnet-lite0"].licence
        'Apache-2.0'
    """
    from tlkit.zoo import NAMES

    return {name: _module(name).CARD for name in NAMES}


def folder(name: str, *, offline: bool | None = None) -> Path:
    """Folder of a zoo module on this machine; the first call builds it, later ones verify it.

    Args:
        name: As in `cards()`, without `zoo:`; or the import path of a module file of your own, which must have been
            imported: opening somebody's run does not run somebody's code.
        offline: Never download; None asks TLKIT_OFFLINE.

    Returns:
        A folder with a hub-format SavedModel.

    Raises:
        InputError: If there is no such module, or something that building it needs is not installed.
        OfflineError: If its weights would have to be downloaded, and may not be.
        DownloadError: If they cannot be had, or are not what was pinned.
    """
    module = _module(name)
    home = cache_dir() / "zoo" / name
    target = home / _key(module)
    if is_intact(target):
        return target
    with locked(home / "lock"):
        if not is_intact(target):  # another process may have built it while this one waited
            for leftover in home.glob(f"{PARTIAL}*"):  # of builds that were killed: under the lock none is under way
                shutil.rmtree(leftover, ignore_errors=True)
            with atomic_folder(target) as partial:
                build(name, partial, offline=offline)
    return target


def build(name: str, folder: str | Path, *, offline: bool | None = None) -> Path:
    """Build a zoo module into a folder, in a process of its own.

    There, neither this process's Keras settings (policy, backend) nor its GPU are in the way, its random numbers are
    left alone, and the same file comes out each time.

    Args:
        name: As in `cards()`.
        folder: Where to write; an empty or new folder.
        offline: Never download; None asks TLKIT_OFFLINE.

    Returns:
        The folder.

    Raises:
        InputError: If there is no such module, or something that building it needs is not installed.
    """
    module = _module(name)
    card: Card = module.CARD
    _require(card)
    with tempfile.TemporaryDirectory(prefix="tlkit-zoo-") as scratch:
        files = {} if card.package is None else fetch(card.package, Path(scratch), offline=offline)
        print(f"Building zoo:{name} (once) ...", file=sys.stderr, flush=True)
        order = {
            "name": name,
            "module": module.__name__,
            "path": [] if name in cards() else sys.path,
            "files": {key: str(path) for key, path in files.items()},
            "folder": str(folder),
        }
        _run_builder(order)
    _write_manifest(Path(folder))
    return Path(folder)


def is_intact(folder: Path) -> bool:
    """Whether a folder holds what its manifest says: nothing is missing or changed, and nothing was added."""
    try:
        file = folder / MANIFEST
        manifest = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}  # a pipe would be waited for
        digests = {folder / name: digest for name, digest in manifest.items()}
        intact = all(path.is_file() and sha256_file(path) == digest for path, digest in digests.items())
        return bool(digests) and intact and {p for p in folder.rglob("*") if not p.is_dir()} == {*digests, file}
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _require(card: Card) -> None:
    """Say what is missing before anything is downloaded for nothing."""
    if card.needs is not None and importlib.util.find_spec(card.needs[0]) is None:
        needed, extra = card.needs
        raise InputError(
            f"Building zoo:{card.name} needs {needed}, which is not installed: run `pip install tlkit[{extra}]`."
        )


def _module(name: str) -> Any:
    """The file of a zoo module: tlkit's own, or one of yours that is imported, or may be."""
    from tlkit.zoo import NAMES

    if name in NAMES:
        return importlib.import_module(f"tlkit.zoo.{name.replace('-', '_')}")
    if name not in sys.modules and trusted():
        try:
            importlib.import_module(name)
        except (ImportError, ValueError) as error:
            raise InputError(f"`{name}` cannot be imported: {error}.") from error
    module = sys.modules.get(name)
    if not (isinstance(getattr(module, "CARD", None), Card) and callable(getattr(module, "build", None))):
        raise InputError(
            f"There is no zoo module of that name; there are: {', '.join(NAMES)}. One of your own, a module file with "
            f"a CARD and a `build`, must be imported first. Received: {name!r}."
        )
    return module


def _key(module: Any) -> str:
    """Name of the folder: another one wherever another module may come out."""
    card: Card = module.CARD
    files = () if card.package is None else sorted(card.package.files.values())
    file_digest = () if module.__name__.startswith("tlkit.") else (sha256_file(Path(module.__file__)),)
    return sha256_bytes(card.source, *files, str(card.recipe), *file_digest)[:12]


def _run_builder(order: dict[str, Any]) -> None:
    root = str(Path(__file__).parents[2])
    settings = {
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONHASHSEED": "0",
    }
    command = [sys.executable, "-P", "-m", "tlkit.zoo.builder", json.dumps(order)]
    process = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if process.returncode:
        raise TlkitError(f"Building zoo:{order['name']} failed; `tlkit doctor` may know why:\n{process.stderr[-2000:]}")


def _write_manifest(folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    manifest = {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
