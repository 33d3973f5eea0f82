"""What answers draw on a user's images, as PNG files in a folder."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.checks import naming_mistakes
from tlkit.core.errors import InputError
from tlkit.core.files import atomic_file
from tlkit.core.task import Task


@dataclass(frozen=True)
class Drawings:
    """Where the drawings of some files go.

    Attributes:
        folder: That gets them.
        names: Name of the drawing without its ending, by the file.
    """

    folder: Path
    names: Mapping[str, str]

    def write(self, file: str, task: Task, decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]) -> list[str]:
        """Draw what each answer says of one example, and write it; returns the paths.

        Args:
            file: That the example was read from.
            task: Whose answers draw.
            decoded: What the exported file says, without the batch axis.
            example: Its columns, with its input as "input".
        """
        paths = []
        for answer in task.answers:
            if answer.draw is not None:
                end = f".{answer.name}.png" if len(task.answers) > 1 else ".png"
                target = self.folder / f"{self.names[file]}{end}"
                with naming_mistakes(answer.name, "draw"):
                    pixels = answer.draw(task.own(answer, decoded), example)
                _write(target, pixels)
                paths.append(str(target))
        return paths


def drawings(folder: str | os.PathLike[str], task: Task, files: Sequence[str | os.PathLike[str]]) -> Drawings:
    """Drawings of these files; nothing is written yet.

    Raises:
        InputError: If no answer of the task can be drawn, or a file lies in the folder itself, where its drawing might
            replace it.
    """
    target = Path(folder)
    if all(answer.draw is None for answer in task.answers):
        raise InputError(f"What the task {task.name!r} answers cannot be drawn on images: leave `drawn` out.")
    if target.exists() and not target.is_dir():
        raise InputError(f"`drawn` must be a folder. Received: {str(target)!r}, which is a file.")
    inside = next((file for file in files if Path(file).resolve().parent == target.resolve()), None)
    if inside is not None:
        raise InputError(f"{str(target)!r} is the folder of {str(inside)!r} itself: name another one as `drawn`.")
    return Drawings(target, _names([str(file) for file in files]))


def _names(files: Sequence[str]) -> dict[str, str]:
    """Name of each file without folder and ending, with a number behind it where an earlier file has the same."""
    names: dict[str, str] = {}
    for file in dict.fromkeys(files):
        stem, used_names = Path(file).stem, set(names.values())
        numbered = (stem if number == 1 else f"{stem}_{number}" for number in itertools.count(1))
        names[file] = next(name for name in numbered if name not in used_names)
    return names


def _write(target: Path, image: np.ndarray) -> None:
    from PIL import Image

    with atomic_file(target) as partial:
        Image.fromarray(image).save(partial, "PNG")
