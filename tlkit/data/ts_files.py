"""The .ts files of the UCR and UEA archives: a header of @ lines, then a series a line, channels between colons.

Source: the format as aeon's documentation describes it; equal and unequal lengths, without times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit.core.errors import InputError
from tlkit.data.decoding import read_noted
from tlkit.data.sourcing import file_trouble
from tlkit.data.timeline import number


@dataclass(frozen=True, eq=False)
class TsFile:
    """What a file holds.

    Attributes:
        name: Of the file, without its ending.
        kind: "classes" or "values".
        recordings: float64 (steps, channels) each.
        targets: Of each, a class's name or a number.
        lines: Of each, its line from 1.
    """

    name: str
    kind: str
    recordings: list[np.ndarray]
    targets: list[str | float]
    lines: list[int]


def read(path: Path) -> TsFile:
    """A .ts file.

    Raises:
        InputError: If it is none, or a line is not what the header says.
    """
    if trouble := file_trouble(path):
        raise InputError(f"{str(path)!r} cannot be read: {trouble}.")
    text = read_noted(path)[0]
    header, rows = _divided(path, text)
    if header.get("timestamps", "false").split()[0].lower() == "true":
        raise InputError(f"{str(path)!r} holds times beside values (@timeStamps true): write the values alone.")
    names = header.get("classlabel", "false").split()
    kind = "classes" if names[0].lower() == "true" else "values"
    if kind == "values" and header.get("targetlabel", "false").split()[0].lower() != "true":
        raise InputError(
            f"{str(path)!r} has no targets: its header needs @classLabel true and names, or @targetlabel true."
        )
    file = TsFile(path.stem, kind, [], [], [])
    for line, row in rows:
        *channels, target = row.split(":")
        where = f"line {line} of {path.name!r}"
        file.recordings.append(_channels(where, channels))
        file.targets.append(_target(where, target.strip(), kind, names[1:]))
        file.lines.append(line)
    if not file.lines:
        raise InputError(f"{str(path)!r} has no series behind @data.")
    if header.get("equallength", "false").lower() == "true":
        _check_equal(path, file)
    return file


def _check_equal(path: Path, file: TsFile) -> None:
    steps = len(file.recordings[0])
    for line, recording in zip(file.lines, file.recordings, strict=True):
        if len(recording) != steps:
            raise InputError(
                f"Line {line} of {path.name!r} has {len(recording)} values and line {file.lines[0]} has {steps}, and "
                "the header says @equalLength true: correct one of them."
            )


def _divided(path: Path, text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """The header by name, and the lines behind @data with their numbers."""
    header: dict[str, str] = {}
    lines = text.splitlines()
    for number_, line in enumerate(lines, start=1):
        stripped = line.strip()
        if stripped.lower().startswith("@data"):
            rows = [(i, row.strip()) for i, row in enumerate(lines[number_:], start=number_ + 1)]
            return header, [(i, row) for i, row in rows if row and not row.startswith(("#", "%"))]
        if stripped.startswith("@"):
            name, _, value = stripped[1:].partition(" ")
            header[name.lower()] = value.strip() or "false"
    raise InputError(f"{str(path)!r} is no .ts file: it has no line @data.")


def _channels(where: str, channels: list[str]) -> np.ndarray:
    if not channels:
        raise InputError(
            f"{where[:1].upper()}{where[1:]} has no colon, as where a file was cut: values, a colon, then the target."
        )
    values = [[number(cell, where) for cell in channel.split(",")] for channel in channels]
    if len({len(channel) for channel in values}) > 1:
        sizes = sorted({len(channel) for channel in values})
        raise InputError(f"{where[:1].upper()}{where[1:]} has channels of {sizes[0]} and of {sizes[-1]} values.")
    return np.array(values, np.float64).T


def _target(where: str, target: str, kind: str, names: list[str]) -> str | float:
    if kind == "values":
        value = number(target, where)
        if math.isnan(value):
            raise InputError(f"{where[:1].upper()}{where[1:]} has no target: write a number, or take it out.")
        return value
    if not target:
        raise InputError(f"{where[:1].upper()}{where[1:]} has no class behind its last colon: the file may be cut off.")
    if names and target not in names:
        raise InputError(f"{where[:1].upper()}{where[1:]} has the class {target!r}, which the header does not name.")
    return target
