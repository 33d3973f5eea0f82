"""What an exported file of a run says about itself."""

from __future__ import annotations

from typing import Any

from tlkit.core.examples import Examples
from tlkit.core.run import Run
from tlkit.core.task import Task
from tlkit.exporting.saved_model import input_shapes, scores_labels
from tlkit.formats import tflite_metadata
from tlkit.modalities.prepare import described


def describe(run: Run, examples: Examples, format: str = "") -> tflite_metadata.Metadata:
    """Metadata of one file of the run.

    Args:
        run: Whose model it is.
        examples: The kind of inputs that it takes.
        format: Name of its format; "" where there is no file.
    """
    task = run.task
    about = described(run.model, examples)
    outputs = {task.output: _output(task)}
    if task.heads:
        outputs = {name: _output(head, name) for name, head in task.heads.items()}
        outputs |= {f"{name}.{head.output}": _output(head, name) for name, head in task.heads.items()}
    return tflite_metadata.Metadata(
        name=f"{run.task.name} ({format})",
        description=" ".join(filter(None, (_sentence(run, format), about.says))),
        inputs=about.inputs,
        units=about.units,
        outputs=outputs,
        files={
            **about.files,
            **{name: tflite_metadata.label_lines(labels) for name, labels in labels_by_file(task).items() if labels},
        },
        card={
            **task_card(task),
            "modality": examples.modality,
            "pipeline": examples.pipeline.plain(),
            "shapes": {name: list(shape) for name, shape in input_shapes(examples.inputs.spec, run.model).items()},
            "format": format,
        },
        layers=tflite_metadata.nameless_layers(),
    )


def labels_by_file(task: Task) -> dict[str, tuple[str, ...]]:
    """Labels by the name of the file that lists them: one file, or one a head."""
    if not task.heads:
        return {tflite_metadata.LABELS: task.labels}
    return {_labels_file(name): head.labels for name, head in task.heads.items() if head.labels}


def _labels_file(head: str | None) -> str:
    return tflite_metadata.LABELS if head is None else f"labels_{head}.txt"


def _output(task: Task, head: str | None = None) -> tflite_metadata.Table:
    """Table of a task's output, which goes by the head's name where there are several."""
    name = task.output if head is None else head
    if scores_labels(task):
        return tflite_metadata.score_output(name, _labels_file(head))
    return tflite_metadata.plain_tensor(name, "The model's output.")


def _sentence(run: Run, format: str) -> str:
    module = run.record.get("module")
    handle = module.get("handle") if isinstance(module, dict) else module
    source = f", adapted from {handle}" if isinstance(handle, str) else ""
    return f"Made by tlkit: {run.task.name}{source}; {format}. Inputs are scaled inside the model."


def task_card(task: Task) -> dict[str, Any]:
    """What a card says of the task: how its outputs are named and read."""
    heads = {name: task_card(head) for name, head in task.heads.items()}
    own = {**task.card, "task": task.name, "labels": list(task.labels), "output": task.output}
    return {**own, "heads": heads} if heads else own
