"""Exact resume: one whole, checksummed file of all that a fit would go on with, in two generations."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.files import PARTIAL, atomic_file, sha256_bytes

MAGIC = b"tlkit checkpoint 1\n"
GENERATIONS = 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Arrays and plain data of one moment.

    Attributes:
        number: Counts the checkpoints of a run; the highest sound one is the newest.
        signature: Hash of the command, data and module that it belongs to.
        arrays: Values by name.
        plain: JSON data: phase, epoch, histories, best figure.
    """

    number: int
    signature: str
    arrays: Mapping[str, np.ndarray]
    plain: Mapping[str, Any]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint over the older of the two generations; a kill leaves the newer one as it was."""
    head = {"number": checkpoint.number, "signature": checkpoint.signature, "plain": checkpoint.plain}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"array.{name}": value for name, value in checkpoint.arrays.items()}
    np.savez(buffer, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
    body = buffer.getbuffer()
    if _path(folder, checkpoint.number).is_dir():
        _remove(_path(folder, checkpoint.number))
    with atomic_file(_path(folder, checkpoint.number)) as partial, open(partial, "wb") as file:
        file.write(MAGIC + sha256_bytes(bytes(body)).encode() + b"\n")
        file.write(body)


def newest(folder: Path, signature: str, say: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
    """The newest sound checkpoint in `folder`; None where there is none.

    Args:
        folder: Where `write` put them.
        signature: What they must belong to.
        say: Is told when a damaged generation was passed over.

    Raises:
        InputError: If they belong to another command, other data or another module.
    """
    sound = []
    for path in folder.glob(f"{PARTIAL}*"):  # what a kill left half-written
        _remove(path)
    for path in sorted(folder.glob("state-*.ckpt")):
        checkpoint = _read(path)
        if checkpoint is None:
            say(f"{path} is damaged; the generation before it is used.")
        else:
            sound.append(checkpoint)
    if not sound:
        return None
    latest = max(sound, key=lambda c: c.number)
    if latest.signature != signature:
        raise InputError(
            f"{folder.parent} holds a run with other settings, data or another module; choose another `out`, "
            "or start over with fresh=True (--fresh on the command line)."
        )
    return latest


def clear(folder: Path) -> None:
    """Delete the checkpoints in a folder, unfinished ones too."""
    for path in [*folder.glob("state-*.ckpt"), *folder.glob(f"{PARTIAL}*")]:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove what bears one of our names, of whatever kind it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _path(folder: Path, number: int) -> Path:
    return folder / f"state-{number % GENERATIONS}.ckpt"


def _read(path: Path) -> Checkpoint | None:
    try:
        content = path.read_bytes() if path.is_file() else b""  # a pipe would be waited for
    except OSError:
        return None
    digest, body = content[len(MAGIC) : len(MAGIC) + 64], content[len(MAGIC) + 65 :]
    if not content.startswith(MAGIC) or sha256_bytes(body).encode() != digest:
        return None
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(arrays.pop("head").tobytes().decode())
        plain = {name.removeprefix("array."): value for name, value in arrays.items()}
        return Checkpoint(int(head["number"]), head["signature"], plain, dict(head["plain"]))
    except (ValueError, TypeError, LookupError, AttributeError, EOFError, RecursionError, zipfile.BadZipFile):
        return None  # whole, but nothing that `write` wrote
