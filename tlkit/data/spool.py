"""What can only be iterated -> random access: written once to the cache, read back by position."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.files import PARTIAL, cache_dir, kept_folder, sha256_bytes

Blob = bytes | np.ndarray


@dataclass(frozen=True)
class Spool:
    """Blobs in one file: `spool(i)` gives bytes as they were put in, or the uint8 array of its own shape.

    It reads, and does not map: mapped pages count in a process's memory.
    """

    path: Path
    starts: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]  # () marks bytes
    digests: tuple[str, ...]

    def __call__(self, i: int) -> Blob:
        """Blob i."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.starts[i])
                data = file.read(self.starts[i + 1] - self.starts[i])
        except FileNotFoundError as error:
            raise InputError(
                f"The spooled {str(self.path)!r} is gone from the cache: read the source again."
            ) from error
        return np.frombuffer(data, dtype=np.uint8).reshape(self.shapes[i]) if self.shapes[i] else data

    def __len__(self) -> int:
        return len(self.shapes)


def blob_digest(blob: Blob) -> str:
    """sha256 of a file's bytes, or of an array's shape and values."""
    if isinstance(blob, bytes):
        return hashlib.sha256(blob).hexdigest()
    return sha256_bytes(str(blob.shape), np.ascontiguousarray(blob).tobytes())


@dataclass(frozen=True, eq=False)
class Selected:
    """Blobs of a source in another order: number i is `positions[i]` of it."""

    source: Callable[[int], Any]
    positions: Sequence[int]

    def __call__(self, i: int) -> Any:
        """Read blob i."""
        return self.source(self.positions[i])


def spool(blobs: Iterable[Blob]) -> tuple[Spool, tuple[int, ...]]:
    """Write blobs to the cache under the hash of their contents; the same contents in any order are kept once.

    Args:
        blobs: Bytes, or uint8 arrays of any shapes; run through once.

    Returns:
        The spool, and for each of `blobs` where in the spool it lies.
    """
    home = cache_dir() / "spool"
    home.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=home))
    try:
        written = _write(partial / "blobs.bin", blobs)
        target = home / sha256_bytes(*sorted(written.digests))

        def fill(folder: Path) -> None:
            (partial / "blobs.bin").rename(folder / "blobs.bin")
            (folder / "index.json").write_text(json.dumps([written.starts, written.shapes, written.digests]))

        kept_folder(target, fill)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    spooled = _read(target)
    return spooled, _positions(written.digests, spooled.digests)


def _write(path: Path, blobs: Iterable[Blob]) -> Spool:
    sizes: list[int] = []
    shapes: list[tuple[int, ...]] = []
    digests: list[str] = []
    with open(path, "wb") as file:
        for blob in blobs:
            sizes.append(file.write(blob if isinstance(blob, bytes) else np.ascontiguousarray(blob).tobytes()))
            shapes.append(() if isinstance(blob, bytes) else tuple(blob.shape))
            digests.append(blob_digest(blob))
    return Spool(path, tuple(accumulate(sizes, initial=0)), tuple(shapes), tuple(digests))


def _read(folder: Path) -> Spool:
    starts, shapes, digests = json.loads((folder / "index.json").read_text())
    return Spool(folder / "blobs.bin", tuple(starts), tuple(tuple(shape) for shape in shapes), tuple(digests))


def _positions(digests: tuple[str, ...], spooled: tuple[str, ...]) -> tuple[int, ...]:
    """Equal contents are interchangeable, so any of their places will do."""
    places = {digest: i for i, digest in enumerate(spooled)}
    return tuple(places[digest] for digest in digests)
