"""Flags that recipes share, as frozen records: each field is a flag of the command line, without a prefix."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError

__all__ = ["Export", "Fit", "Table", "TextTable", "call", "cli"]


def __dir__() -> list[str]:
    return sorted(__all__)


@dataclass(frozen=True)
class Fit:
    """How to train in two phases.

    Attributes:
        epochs: Epochs with the module frozen, and with its top unfrozen.
        lr: Peak learning rates of the two phases.
        unfrozen: Share of the module's depth that trains in the second phase.
        batch_size: Examples a step.
        seed: Of the split, the weights that start from nothing, and the order of examples.
    """

    epochs: tuple[int, int] = (10, 5)
    lr: tuple[float, float] = (3e-3, 3e-4)
    unfrozen: float = 0.25
    batch_size: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Export:
    """Which files to write, and what they must keep to.

    Attributes:
        formats: What to export. For sounds not dynamic and int8: eight bits are too coarse for the logarithms of the
            spectrum inside such modules.
        max_drop: Largest drop in accuracy that dynamic and int8 files may show, as a share.
    """

    formats: tuple[str, ...] = ("saved_model", "float32", "float16")
    max_drop: float = 0.01


@dataclass(frozen=True)
class Table:
    """How to read a table of files and their labels; the fields are arguments of `from_csv`.

    Attributes:
        path: Name of the column of the files' paths.
        label: Name of the column of labels; several labels are separated by `|`.
        folder: Where the paths start; without it, the table's own folder.
        encoding: Python's name of the table's encoding; without it, UTF-8 or what is found, which is noted.
        separator: Character between the table's columns; without it, what is found.
    """

    path: str = "path"
    label: str = "label"
    folder: Path | None = None
    encoding: str | None = None
    separator: str | None = None


@dataclass(frozen=True)
class TextTable:
    """How to read a table of texts and their labels; the fields are arguments of `from_table`.

    Attributes:
        text: Name of the column of texts.
        label: Name of the column of labels; several labels are separated by `|`.
        encoding: Python's name of the encoding of table or texts; without it, UTF-8 or what is found, which is noted.
        separator: Character between the table's columns; without it, what is found.
    """

    text: str = "text"
    label: str = "label"
    encoding: str | None = None
    separator: str | None = None


_RECORDS = (Fit, Export, Table, TextTable)


def cli(main: Callable[..., Any], *, prog: str | None = None, args: Sequence[str] | None = None) -> Any:
    """Call a recipe's `main` with the flags of the command line; fields of records are flags without a prefix.

    Args:
        main: The recipe; its docstring is the help.
        prog: Name of the program in the help; None is the file's.
        args: Words of the command line; None is `sys.argv`.

    Returns:
        What `main` returns.
    """
    import tyro

    return tyro.cli(main, prog=prog, args=args, config=(tyro.conf.OmitArgPrefixes,))


def call(main: Callable[..., Any], **options: Any) -> Any:
    """Call a recipe's `main` from Python with flags by name, as in `call(main, epochs=(1, 1), formats=("float32",))`.

    Args:
        main: The recipe.
        options: Parameters of `main`, or fields of the records among its defaults.

    Returns:
        What `main` returns.

    Raises:
        InputError: If the recipe has no such flag.
    """
    parameters = inspect.signature(main).parameters
    arguments = {name: value for name, value in options.items() if name in parameters}
    used = set(arguments)
    for name, default in defaults(main).items():
        if isinstance(default, _RECORDS) and name not in arguments:
            names = {field.name for field in fields(default)} & options.keys() - arguments.keys()
            arguments[name], used = replace(default, **{key: options[key] for key in names}), used | names
    if unknown := options.keys() - used:
        flags = ", ".join(flat({**dict.fromkeys(parameters), **defaults(main)}))
        raise InputError(f"The recipe has no flag {min(unknown)!r}; its flags are: {flags}.")
    return main(**arguments)


def defaults(main: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of a recipe's parameters by name, those without one left out."""
    parameters = inspect.signature(main).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Values by flag: records are replaced by their fields."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, _RECORDS):
            values |= {field.name: getattr(value, field.name) for field in fields(value)}
        else:
            values[name] = value
    return values
