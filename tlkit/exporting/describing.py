"""What a TFLite file of a run says about itself."""

from __future__ import annotations

from typing import Any

from tlkit.exporting import metadata
from tlkit.exporting.modality import modality_of
from tlkit.exporting.saved_model import scores_labels
from tlkit.types import Examples, Run


def describe(run: Run, examples: Examples, format: str) -> metadata.Metadata:
    """Metadata of one file of the run.

    Args:
        run: Whose model it is.
        examples: The kind of inputs that it takes.
        format: One of `tflite.FORMATS`.
    """
    kind, labelled = modality_of(examples), scores_labels(run.task)
    about = kind.about(run.model, examples)
    output = run.task.output
    plain = metadata.plain_tensor(output, "The model's output.")
    return metadata.Metadata(
        name=f"{run.task.name} ({format})",
        description=_sentence(run, format),
        inputs=about.inputs,
        units=about.units,
        outputs={output: metadata.score_output(output) if labelled else plain},
        files={**about.files, **({metadata.LABELS: metadata.label_lines(run.task.labels)} if run.task.labels else {})},
        card={**_card(run), "modality": kind.name, "recipe": examples.recipe, "format": format},
    )


def _sentence(run: Run, format: str) -> str:
    module = run.record.get("module")
    handle = module.get("handle") if isinstance(module, dict) else module
    source = f", adapted from {handle}" if isinstance(handle, str) else ""
    return f"Made by tlkit: {run.task.name}{source}; {format}. Inputs are scaled inside the model."


def _card(run: Run) -> dict[str, Any]:
    return {**run.task.card, "task": run.task.name, "labels": list(run.task.labels), "output": run.task.output}
