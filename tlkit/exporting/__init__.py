"""Export of trained runs: SavedModel and TFLite files that are shown to agree with the Keras model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlkit.exporting.bundle import NAMES, checked_formats, export
    from tlkit.exporting.gates import Gates
    from tlkit.exporting.predicting import Prediction, predict

_HOMES = {
    "Gates": "gates",
    "NAMES": "bundle",
    "Prediction": "predicting",
    "checked_formats": "bundle",
    "export": "bundle",
    "predict": "predicting",
}
__all__ = ["NAMES", "Gates", "Prediction", "checked_formats", "export", "predict"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
