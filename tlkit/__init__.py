"""tlkit: any pretrained module in, your task out, on the phone, with proof.

    data = tlkit.data.image.from_folder("photos")
    run = tlkit.finetune("zoo:efficientnet-lite0", tlkit.tasks.classify(data.labels), data, out="runs/photos")
    tlkit.export(run)

`data` reads one folder of images per class. `run` has the Keras model (`run.model`), its scores (`run.scores`) and a
report in its folder. `export` writes SavedModel and TFLite files and proves that they agree with the model. Sources of
data are in `tlkit.data`, corpora in `tlkit.datasets`, tasks in `tlkit.tasks`, transfer methods in `tlkit.methods`,
schedules in `tlkit.plans`, and modules that pip can install in `tlkit.zoo`.

Names are loaded when they are first used, so that `import tlkit` stays quick and TensorFlow comes only when it must.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

from tlkit.core import quick

__version__ = "0.1.0"

_FROM = {
    "HubLayer": ("tlkit.layer.hub_layer", "HubLayer"),
    "Task": ("tlkit.core.task", "Task"),
    "Reads": ("tlkit.core.task", "Reads"),
    "Objective": ("tlkit.core.task", "Objective"),
    "Answer": ("tlkit.core.task", "Answer"),
    "Agreement": ("tlkit.core.task", "Agreement"),
    "Scorer": ("tlkit.core.task", "Scorer"),
    "Evaluation": ("tlkit.core.task", "Evaluation"),
    "Inference": ("tlkit.core.task", "Inference"),
    "Deployment": ("tlkit.core.task", "Deployment"),
    "Signature": ("tlkit.core.task", "Signature"),
    "Modality": ("tlkit.core.modality", "Modality"),
    "FileInfo": ("tlkit.core.modality", "FileInfo"),
    "Serving": ("tlkit.core.modality", "Serving"),
    "InputInfo": ("tlkit.core.modality", "InputInfo"),
    "Section": ("tlkit.core.section", "Section"),
    "Facts": ("tlkit.core.section", "Facts"),
    "made_by": ("tlkit.tasks.recording", "made_by"),
    "Phase": ("tlkit.core.run", "Phase"),
    "Format": ("tlkit.core.format", "Format"),
    "Source": ("tlkit.core.format", "Source"),
    "Opened": ("tlkit.core.format", "Opened"),
    "Shaped": ("tlkit.core.format", "Shaped"),
    "Gates": ("tlkit.exporting.gates", "Gates"),
    "Examples": ("tlkit.core.examples", "Examples"),
    "Splits": ("tlkit.core.examples", "Splits"),
    "Range": ("tlkit.core.space", "Range"),
    "Run": ("tlkit.core.run", "Run"),
    "inspect": ("tlkit.choosing.inspection", "inspect_module"),
    "build": ("tlkit.model.build", "build"),
    "fit": ("tlkit.training.fit", "fit"),
    "extract": ("tlkit.features.extract", "extract"),
    "evaluate": ("tlkit.model.evaluate", "evaluate"),
    "explain": ("tlkit.explaining.explaining", "explain"),
    "explain_mistakes": ("tlkit.explaining.explaining", "explain_mistakes"),
    "export": ("tlkit.runs.export", "export"),
    "finetune": ("tlkit.runs.finetune", "finetune"),
    "index": ("tlkit.search.index", "index"),
    "load": ("tlkit.runs.folder", "load"),
    "predict": ("tlkit.exporting.predicting", "predict"),
    "publish": ("tlkit.runs.publish", "publish"),
    "rank": ("tlkit.choosing.rank", "rank"),
    "save": ("tlkit.runs.save", "save"),
    "table_check": ("tlkit.choosing.table_check", "table_check"),
    "transfer_check": ("tlkit.choosing.transfer_check", "transfer_check"),
    "tune": ("tlkit.choosing.tuning", "tune"),
    "ArraySpec": ("tlkit.core.examples", "ArraySpec"),
    "Augment": ("tlkit.core.examples", "Augment"),
    "Column": ("tlkit.core.examples", "Column"),
    "Pipeline": ("tlkit.core.examples", "Pipeline"),
    "answers": ("tlkit.answers", None),
    "columns": ("tlkit.core.columns", None),
    "flags": ("tlkit.core.flags", None),
    "data": ("tlkit.data", None),
    "datasets": ("tlkit.datasets", None),
    "cluster": ("tlkit.cluster", None),
    "tasks": ("tlkit.tasks", None),
    "metadata": ("tlkit.formats.tflite_metadata", None),
    "methods": ("tlkit.methods", None),
    "plans": ("tlkit.plans", None),
    "reads": ("tlkit.layer.reads", None),
    "zoo": ("tlkit.zoo", None),
    "TlkitError": ("tlkit.core.errors", "TlkitError"),
    "InputError": ("tlkit.core.errors", "InputError"),
    "UnsafeModuleError": ("tlkit.core.errors", "UnsafeModuleError"),
    "OfflineError": ("tlkit.core.errors", "OfflineError"),
    "DownloadError": ("tlkit.core.errors", "DownloadError"),
    "TrainingError": ("tlkit.core.errors", "TrainingError"),
    "GateError": ("tlkit.core.errors", "GateError"),
}

__all__ = [
    "Agreement",
    "Answer",
    "ArraySpec",
    "Augment",
    "Column",
    "Deployment",
    "DownloadError",
    "Evaluation",
    "Examples",
    "Facts",
    "FileInfo",
    "Format",
    "GateError",
    "Gates",
    "HubLayer",
    "Inference",
    "InputError",
    "InputInfo",
    "Modality",
    "Objective",
    "OfflineError",
    "Opened",
    "Phase",
    "Pipeline",
    "Range",
    "Reads",
    "Run",
    "Scorer",
    "Section",
    "Serving",
    "Shaped",
    "Signature",
    "Source",
    "Splits",
    "Task",
    "TlkitError",
    "TrainingError",
    "UnsafeModuleError",
    "__version__",
    "answers",
    "build",
    "cluster",
    "columns",
    "data",
    "datasets",
    "evaluate",
    "explain",
    "explain_mistakes",
    "export",
    "extract",
    "finetune",
    "fit",
    "flags",
    "index",
    "inspect",
    "load",
    "made_by",
    "metadata",
    "methods",
    "plans",
    "predict",
    "publish",
    "rank",
    "reads",
    "save",
    "table_check",
    "tasks",
    "transfer_check",
    "tune",
    "zoo",
]

if TYPE_CHECKING:
    from tlkit import cluster, data, datasets, methods, plans, tasks, zoo
    from tlkit.choosing.inspection import inspect_module as inspect
    from tlkit.choosing.rank import rank
    from tlkit.choosing.table_check import table_check
    from tlkit.choosing.transfer_check import transfer_check
    from tlkit.choosing.tuning import tune
    from tlkit.core import columns, flags
    from tlkit.core.errors import (
        DownloadError,
        GateError,
        InputError,
        OfflineError,
        TlkitError,
        TrainingError,
        UnsafeModuleError,
    )
    from tlkit.core.examples import ArraySpec, Augment, Column, Examples, Pipeline, Splits
    from tlkit.core.format import Format, Opened, Shaped, Source
    from tlkit.core.modality import FileInfo, InputInfo, Modality, Serving
    from tlkit.core.run import Phase, Run
    from tlkit.core.section import Facts, Section
    from tlkit.core.space import Range
    from tlkit.core.task import (
        Agreement,
        Answer,
        Deployment,
        Evaluation,
        Inference,
        Objective,
        Reads,
        Scorer,
        Signature,
        Task,
    )
    from tlkit.explaining.explaining import explain, explain_mistakes
    from tlkit.exporting.gates import Gates
    from tlkit.exporting.predicting import predict
    from tlkit.features.extract import extract
    from tlkit.formats import tflite_metadata as metadata
    from tlkit.layer import reads
    from tlkit.layer.hub_layer import HubLayer
    from tlkit.model.build import build
    from tlkit.model.evaluate import evaluate
    from tlkit.runs.export import export
    from tlkit.runs.finetune import finetune
    from tlkit.runs.folder import load
    from tlkit.runs.publish import publish
    from tlkit.runs.save import save
    from tlkit.search.index import index
    from tlkit.tasks.recording import made_by
    from tlkit.training.fit import fit


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'tlkit' has no attribute {name!r}")
    module, attribute = _FROM[name]
    started = time.perf_counter()
    loaded = importlib.import_module(module)
    quick.import_seconds += time.perf_counter() - started
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
