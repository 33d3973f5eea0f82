"""What a TFLite file of a run says about itself."""

from __future__ import annotations

from typing import Any

from tlkit.exporting import metadata
from tlkit.exporting.modality import modality_of
from tlkit.exporting.saved_model import scores_labels
from tlkit.types import Examples, Run, Task


def describe(run: Run, examples: Examples, format: str) -> metadata.Metadata:
    """Metadata of one file of the run.

    Args:
        run: Whose model it is.
        examples: The kind of inputs that it takes.
        format: One of `tflite.FORMATS`.
    """
    kind, task = modality_of(examples), run.task
    about = kind.about(run.model, examples)
    outputs = {task.output: _output(task)}
    if task.heads:
        outputs = {name: _output(head, name) for name, head in task.heads.items()}
        outputs |= {f"{name}.{head.output}": _output(head, name) for name, head in task.heads.items()}
    return metadata.Metadata(
        name=f"{run.task.name} ({format})",
        description=" ".join(filter(None, (_sentence(run, format), about.says))),
        inputs=about.inputs,
        units=about.units,
        outputs=outputs,
        files={
            **about.files,
            **{name: metadata.label_lines(labels) for name, labels in labels_by_file(task).items() if labels},
        },
        card={**_card(task), "modality": kind.name, "recipe": examples.recipe, "format": format},
    )


def labels_by_file(task: Task) -> dict[str, tuple[str, ...]]:
    """Labels by the name of the file that lists them: one file, or one a head."""
    if not task.heads:
        return {metadata.LABELS: task.labels}
    return {_labels_file(name): head.labels for name, head in task.heads.items() if head.labels}


def _labels_file(head: str | None) -> str:
    return metadata.LABELS if head is None else f"labels_{head}.txt"


def _output(task: Task, head: str | None = None) -> metadata.Table:
    """Table of a task's output, which goes by the head's name where there are several."""
    name = task.output if head is None else head
    if scores_labels(task):
        return metadata.score_output(name, _labels_file(head))
    return metadata.plain_tensor(name, "The model's output.")


def _sentence(run: Run, format: str) -> str:
    module = run.record.get("module")
    handle = module.get("handle") if isinstance(module, dict) else module
    source = f", adapted from {handle}" if isinstance(handle, str) else ""
    return f"Made by tlkit: {run.task.name}{source}; {format}. Inputs are scaled inside the model."


def _card(task: Task) -> dict[str, Any]:
    heads = {name: _card(head) for name, head in task.heads.items()}
    own = {**task.card, "task": task.name, "labels": list(task.labels), "output": task.output}
    return {**own, "heads": heads} if heads else own
