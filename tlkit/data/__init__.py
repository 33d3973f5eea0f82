"""Labelled data as `Splits`, one modality a file. Nothing here imports TensorFlow."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

__all__ = [
    "anomalies",
    "audio",
    "boxes",
    "collection",
    "image",
    "keypoints",
    "masks",
    "pairs",
    "ratings",
    "sequence_anomalies",
    "series",
    "speakers",
    "speech",
    "table",
    "text",
    "volumes",
]


class _Moved(ModuleType):
    """Stands where a corpus was before it moved to `tlkit.datasets`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        place = f"tlkit.datasets.{self.__name__.rpartition('.')[2]}"
        warnings.warn(f"{self.__name__} is now {place}.", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(place), name)


for _name in ("brown", "digits", "music", "reviews", "samples", "spoken", "templated"):
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = _Moved(f"{__name__}.{_name}")


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"tlkit.data has no {name!r}; it has {', '.join(__all__)}.")
    return importlib.import_module(f"tlkit.data.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
