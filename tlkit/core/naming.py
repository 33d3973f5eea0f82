"""Names by which records and functions are written down: one word for tlkit's own, an import path for a user's."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, TypeVar

from tlkit.core.errors import InputError

T = TypeVar("T")
TRUST = "TLKIT_TRUST"


def trusted(trust: bool = False) -> bool:
    """Whether code outside tlkit may be imported: by `trust`, or by TLKIT_TRUST=1, which --trust sets."""
    return trust or os.environ.get(TRUST, "0") not in ("", "0")


def import_path(function: Any) -> str | None:
    """Where `function` can be imported from ("package.module.name"), or None: a lambda, a method or local function has
    none.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    reachable = module not in (None, "__main__") and name.isidentifier() and "<" not in str(module)
    return f"{module}.{name}" if reachable else None


def is_users(name: str) -> bool:
    """Whether the record of this name is a user's own, whose name is an import path."""
    return "." in name


def imported(path: str) -> Any:
    """What lies at an import path; imports its module.

    Raises:
        InputError: If there is no such module, or nothing of that name in it.
    """
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise InputError(f"`{path}` cannot be imported: {error}.") from error


def found(name: str, kind: type[T], room: str, *, trust: bool = False) -> T:
    """The record of this name.

    Args:
        name: One word for what tlkit brings; the import path of the record for a user's own.
        kind: Class of the record.
        room: Where tlkit's own are, below `tlkit`: "exporting.formats".
        trust: Whether a module that is not imported yet may be; TLKIT_TRUST=1 means it too. Nothing is called.

    Raises:
        InputError: If there is no such record, or it lies in a module that is not imported, without `trust`.

    Example:
        >>> from tlkit.core.format import Format
        >>> found("float32", Format, "exporting.formats").file
        'model.tflite'
    """
    module, _, attribute = name.rpartition(".")
    noun = kind.__name__.lower()
    if not module:
        shelf = importlib.import_module(f"tlkit.{room}")
        if attribute not in shelf.__all__:
            brought = ", ".join(shelf.__all__)
            raise InputError(f"There is no {noun} {name!r}: tlkit brings {brought}; yours has an import path.")
        record = getattr(shelf, attribute)
    elif module in sys.modules or trusted(trust):
        record = imported(name)
    else:
        raise InputError(
            f"The {noun} `{name}` is not part of tlkit: import `{module}` first, or pass `trust=True` to `load` "
            "or `predict`, which imports it (on the command line --trust)."
        )
    if not isinstance(record, kind):
        raise InputError(f"`{name}` must be a {kind.__name__}. Received: {type(record).__name__}.")
    return record


def check_found_again(record: Any, room: str) -> None:
    """Refuse a user's record that another process could not find by its name.

    Args:
        record: With a name, such as a Modality or a Format.
        room: Where tlkit's own are, as `found` has it.

    Raises:
        InputError: If its name is not where it can be imported from.
    """
    kind = type(record)
    try:
        again = None if record.name.startswith("__main__.") else found(record.name, kind, room)
    except InputError:
        again = None
    if again is not record:
        raise InputError(
            f"The {kind.__name__.lower()} {record.name!r} cannot be found again: its `name` must be where it can be "
            'imported from, f"{__name__}.MINE" of MINE in a module (a .py file), and in no notebook or script.'
        )
