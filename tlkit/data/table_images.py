"""Images whose paths stand in the cells of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkit.core.columns import ReadColumn
from tlkit.core.examples import Column, Pipeline, Quarantined
from tlkit.core.files import sha256_bytes
from tlkit.data import pixels
from tlkit.data.image_source import ImageReader, check_file
from tlkit.data.pixels import Depth
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


class Opened(NamedTuple):
    """The images of a column.

    Attributes:
        sound: Positions of the rows whose image can be read, or that have none.
        column: The images of those.
        quarantine: The others, each with its reason.
        notes: What is odd about their range.
    """

    sound: tuple[int, ...]
    column: ReadColumn
    quarantine: tuple[Quarantined, ...]
    notes: tuple[str, ...]

    @property
    def pipeline(self) -> Pipeline:
        """What turned files into pixels."""
        reader: ImageReader = self.column.read  # type: ignore[assignment]
        return reader.pipeline


def opened(ids: Sequence[str], cells: Sequence[str], folder: Path, like: Mapping[str, Any] | None = None) -> Opened:
    """The images of a column, each looked at once; one value is white in all of them, as in folders of images.

    Args:
        ids: A name for each row.
        cells: Paths of images, "" where there is none.
        folder: Where paths that are not absolute begin.
        like: Step of the pipeline of other rows, whose white it is; None finds it in these.
    """
    paths = tuple(folder / Path(cell).expanduser() if cell else None for cell in cells)
    depths: dict[int, Depth] = {}

    def check(i: int) -> Checked:
        path = paths[i]
        if path is None:
            return Checked(digest=sha256_bytes("grey"))
        checked = check_file(path, WHITE, pixels.MAX_PIXELS, None if like is None else like.get("white"))
        depths.update({} if checked.depth is None else {i: checked.depth})
        reason = "it is no image" if checked.ignored else checked.reason
        return Checked(digest=checked.digest, reason=f"{cells[i]!r:.300}: {reason}" if reason else "")

    findings = preflight(ids, check, noun="images of rows", progress=False)
    white, note = pixels.whitest(depths.values()) if like is None else (like.get("white"), "")
    windows = white is not None and (like is None or bool(like.get("windows")))
    source = CellSource(tuple(paths[i] for i in findings.sound))
    reader = ImageReader(source, WHITE, white=white, windows=windows)
    column = ReadColumn(reader, reader.spec, findings.digests)
    return Opened(findings.sound, column, findings.quarantine, (note,) if note else ())


def resized(column: Column, size: tuple[int, int]) -> Column:
    """The images that `opened` gave, read at (height, width)."""
    assert isinstance(column, ReadColumn) and isinstance(column.read, ImageReader)
    reader = dataclasses.replace(column.read, image_size=size)
    return dataclasses.replace(column, read=reader, spec=reader.spec)
