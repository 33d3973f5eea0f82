"""Images whose paths stand in the cells of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit.core.columns import ReadColumn
from tlkit.core.examples import Column, Quarantined
from tlkit.core.files import sha256_bytes
from tlkit.data import pixels
from tlkit.data.image_source import ImageReader, check_file
from tlkit.data.preflight import Checked, preflight
from tlkit.data.sourcing import FileSource

WHITE = (255, 255, 255)  # behind what is transparent


def grey(height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3), which stands where a cell is empty."""
    return np.full((height, width, 3), 128, np.uint8)


@dataclass(frozen=True)
class CellSource:
    """Bytes of images by row; grey where a cell names none."""

    paths: tuple[Path | None, ...]

    def __call__(self, i: int) -> bytes | np.ndarray:
        """Content of the image of row i."""
        path = self.paths[i]
        return grey(8, 8) if path is None else FileSource((path,))(0)


def opened(
    ids: Sequence[str], cells: Sequence[str], folder: Path
) -> tuple[tuple[int, ...], ReadColumn, tuple[Quarantined, ...]]:
    """The images of a column, each looked at once.

    Args:
        ids: A name for each row.
        cells: Paths of images, "" where there is none.
        folder: Where paths that are not absolute begin.

    Returns:
        Positions of the rows whose image can be read, or that have none; the images of those; and the others, each with
        its reason.
    """
    paths = tuple(folder / Path(cell).expanduser() if cell else None for cell in cells)

    def check(i: int) -> Checked:
        path = paths[i]
        if path is None:
            return Checked(digest=sha256_bytes("grey"))
        checked = check_file(path, WHITE, pixels.MAX_PIXELS)
        reason = "it is no image" if checked.ignored else checked.reason
        return Checked(digest=checked.digest, reason=f"{cells[i]!r:.300}: {reason}" if reason else "")

    findings = preflight(ids, check, noun="images of rows", progress=False)
    reader = ImageReader(CellSource(tuple(paths[i] for i in findings.sound)), WHITE)
    return findings.sound, ReadColumn(reader, reader.spec, findings.digests), findings.quarantine


def resized(column: Column, size: tuple[int, int]) -> Column:
    """The images that `opened` gave, read at (height, width)."""
    assert isinstance(column, ReadColumn) and isinstance(column.read, ImageReader)
    reader = dataclasses.replace(column.read, image_size=size)
    return dataclasses.replace(column, read=reader, spec=reader.spec)
