"""The .ts files of the UCR and UEA archives: a header of @ lines, then a series a line, channels between colons.

Source: the format as aeon's documentation describes it; equal and unequal lengths, without times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
        notes: On how it was read.
    """

    name: str
    kind: str
    recordings: list[np.ndarray]
    targets: list[str | float]
    lines: list[int]
    notes: Sequence[str] = ()


def read(path: Path) -> TsFile:
    """A .ts file.

    Raises:
        InputError: If it is none, or a line is not what the header says.
    """
    if trouble := file_trouble(path):
        raise InputError(f"{str(path)!r} cannot be read: {trouble}.")
    text, notes = read_noted(path)
    header, rows = _divided(path, text)
    if _flag(path, header, "timestamps"):
        raise InputError(f"{str(path)!r} holds times beside values (@timeStamps true): write the values alone.")
    classes, values = (_flag(path, header, name) for name in ("classlabel", "targetlabel"))
    if classes and values:
        raise InputError(
            f"{str(path)!r} has @classLabel true and @targetlabel true: say which of them its targets are."
        )
    if not classes and not values:
        raise InputError(
            f"{str(path)!r} has no targets: its header needs @classLabel true and names, or @targetlabel true."
        )
    kind, names = "classes" if classes else "values", header.get("classlabel", "").split()
    file = TsFile(path.stem, kind, [], [], [], notes)
    for line, row in rows:
        *channels, target = row.split(":")
        where = f"line {line} of {path.name!r}"
        file.recordings.append(_channels(where, channels))
        file.targets.append(_target(where, target.strip(), kind, names[1:]))
        file.lines.append(line)
    if not file.lines:
        raise InputError(f"{str(path)!r} has no series behind @data.")
    _check_lengths(path, file, header)
    _check_channels(path, file, header)
    if _flag(path, header, "missing") is False:
        _check_each(path, file, lambda r: bool(np.isfinite(r).all()), lambda r: "lacks a value", "@missing false")
    return file


def _check_lengths(path: Path, file: TsFile, header: Mapping[str, str]) -> None:
    """Refuse series of other lengths than the header says; where they may differ, its length is none of theirs."""
    equal, length, first = _flag(path, header, "equallength"), _count(path, header, "serieslength"), file.lines[0]
    if equal:
        steps = len(file.recordings[0])
        _check_each(
            path, file, lambda r: len(r) == steps, lambda r: f"has {len(r)} values and line {first} has {steps}",
            "@equalLength true",
        )  # fmt: skip
    if length and equal is not False:
        _check_each(
            path, file, lambda r: len(r) == length, lambda r: f"has {len(r)} values", f"@seriesLength {length}"
        )  # fmt: skip


def _check_channels(path: Path, file: TsFile, header: Mapping[str, str]) -> None:
    univariate = _flag(path, header, "univariate")
    dimensions = _count(path, header, "dimensions") or _count(path, header, "dimension")

    def channels(recording: np.ndarray) -> str:
        return f"has {recording.shape[1]} channel{'s' * (recording.shape[1] > 1)}"

    if univariate is not None:
        _check_each(
            path, file, lambda r: (r.shape[1] == 1) is univariate, channels, f"@univariate {str(univariate).lower()}"
        )
    if dimensions:
        _check_each(path, file, lambda r: r.shape[1] == dimensions, channels, f"@dimensions {dimensions}")


def _check_each(
    path: Path, file: TsFile, is_so: Callable[[np.ndarray], bool], told: Callable[[np.ndarray], str], header_line: str
) -> None:
    """Refuse the first series that is not what a line of the header says."""
    for line, recording in zip(file.lines, file.recordings, strict=True):
        if not is_so(recording):
            raise InputError(
                f"Line {line} of {path.name!r} {told(recording)}, and the header says {header_line}: correct one of "
                "them."
            )


def _flag(path: Path, header: Mapping[str, str], name: str) -> bool | None:
    """What a line of the header says; None where there is no such line."""
    word = header.get(name, "").split()[:1]
    if word and word[0].lower() not in ("true", "false"):
        raise InputError(f"The header of {path.name!r} says @{name} {word[0]}: write true or false.")
    return word[0].lower() == "true" if word else None


def _count(path: Path, header: Mapping[str, str], name: str) -> int:
    """A number of the header; 0 where it says none, as files of unequal lengths write -1 or 0."""
    word = header.get(name, "0")
    try:
        return max(0, int(word))
    except ValueError:
        raise InputError(f"The header of {path.name!r} says @{name} {word}: write a whole number.") from None


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
            name, *value = stripped[1:].split(None, 1) or [""]
            before = header.setdefault(name.lower(), value[0].strip() if value else "false")
            if before != (value[0].strip() if value else "false"):
                raise InputError(f"The header of {path.name!r} says @{name} twice: keep one of the lines.")
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
