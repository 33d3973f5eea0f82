"""tlkit: any pretrained module in, your task out, on the phone, with proof.

Names are loaded when they are first used, so that `import tlkit` stays quick and TensorFlow comes only when it must.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_FROM = {
    "HubLayer": ("tlkit.layer", "HubLayer"),
    "Task": ("tlkit.types", "Task"),
    "Phase": ("tlkit.types", "Phase"),
    "Examples": ("tlkit.types", "Examples"),
    "Splits": ("tlkit.types", "Splits"),
    "Run": ("tlkit.types", "Run"),
    "inspect": ("tlkit.inspection", "inspect_module"),
    "build": ("tlkit.model", "build"),
    "fit": ("tlkit.training", "fit"),
    "extract": ("tlkit.features", "extract"),
    "evaluate": ("tlkit.evaluation", "evaluate"),
    "export": ("tlkit.finetuning", "export"),
    "finetune": ("tlkit.finetuning", "finetune"),
    "index": ("tlkit.indexing", "index"),
    "load": ("tlkit.runs", "load"),
    "publish": ("tlkit.publishing", "publish"),
    "rank": ("tlkit.ranking", "rank"),
    "transfer_check": ("tlkit.transfer", "transfer_check"),
    "data": ("tlkit.data", None),
    "tasks": ("tlkit.tasks", None),
    "methods": ("tlkit.methods", None),
    "plans": ("tlkit.plans", None),
    "zoo": ("tlkit.zoo", None),
    "TlkitError": ("tlkit.errors", "TlkitError"),
    "InputError": ("tlkit.errors", "InputError"),
    "UnsafeModuleError": ("tlkit.errors", "UnsafeModuleError"),
    "OfflineError": ("tlkit.errors", "OfflineError"),
    "DownloadError": ("tlkit.errors", "DownloadError"),
    "TrainingError": ("tlkit.errors", "TrainingError"),
    "GateError": ("tlkit.errors", "GateError"),
}

__all__ = ["__version__", *_FROM]

if TYPE_CHECKING:
    from tlkit import data, methods, plans, tasks, zoo
    from tlkit.errors import (
        DownloadError,
        GateError,
        InputError,
        OfflineError,
        TlkitError,
        TrainingError,
        UnsafeModuleError,
    )
    from tlkit.evaluation import evaluate
    from tlkit.features import extract
    from tlkit.finetuning import export, finetune
    from tlkit.indexing import index
    from tlkit.inspection import inspect_module as inspect
    from tlkit.layer import HubLayer
    from tlkit.model import build
    from tlkit.publishing import publish
    from tlkit.ranking import rank
    from tlkit.runs import load
    from tlkit.training import fit
    from tlkit.transfer import transfer_check
    from tlkit.types import Examples, Phase, Run, Splits, Task


_import_seconds = 0.0  # what loading names took so far: a run's record has it on a line of its own


def __getattr__(name: str) -> Any:
    global _import_seconds
    if name not in _FROM:
        raise AttributeError(f"module 'tlkit' has no attribute {name!r}")
    module, attribute = _FROM[name]
    started = time.perf_counter()
    loaded = importlib.import_module(module)
    _import_seconds += time.perf_counter() - started
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
