"""Labelled data as `Splits`, one modality a file. Nothing here imports TensorFlow."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "audio",
    "brown",
    "collection",
    "digits",
    "image",
    "music",
    "pairs",
    "reviews",
    "samples",
    "speakers",
    "spoken",
    "templated",
    "text",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"tlkit.data has no {name!r}; it has {', '.join(__all__)}.")
    return importlib.import_module(f"tlkit.data.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
