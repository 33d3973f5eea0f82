"""Records on a screen: a few lines, whatever they hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

SHOWN, TEXT, LINE = 3, 60, 400  # entries of a sequence, characters of a text, and of one value


def brief(record: Any) -> str:
    """`Name(field=value, ...)` of a dataclass: arrays by their shape, long values cut, empty ones left out.

    Example:
        >>> Row = dataclasses.make_dataclass("Row", ["name", "vector", "notes"], repr=False)
        >>> brief(Row("a" * 80, np.zeros((3, 2)), ()))
        "Row(name='aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...', vector=float64 (3, 2))"
    """
    return f"{type(record).__name__}({', '.join(_fields(record))})"


def _fields(record: Any) -> Iterator[str]:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.repr and not (value is None or (isinstance(value, Mapping | Sequence | Set) and not value)):
            yield f"{field.name}={value_of(value)}"


def value_of(value: Any) -> str:
    """One value in at most LINE characters, on one line."""
    text = " ".join(_value(value).split())
    return text if len(text) <= LINE else f"{text[:LINE]}..."


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype if value.dtype.names is None else 'structured'} {value.shape}"
    if isinstance(value, str):
        return repr(value if len(value) <= TEXT else f"{value[:TEXT]}...")
    if isinstance(value, Mapping):
        parts = [f"{key}: {value_of(value[key])}" for key in list(value)[: 4 * SHOWN]]
        return f"{{{', '.join(parts)}{_more(len(value) - len(parts))}}}"
    if isinstance(value, tuple | list):
        parts = [value_of(item) for item in value[:SHOWN]]
        return f"({', '.join(parts)}{_more(len(value) - len(parts))})"
    if callable(value) and not dataclasses.is_dataclass(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return repr(value)


def _more(count: int) -> str:
    return f", ... {count} more" if count > 0 else ""
