"""What an exported file of a run says about itself."""

from __future__ import annotations

from collections.abc import Mapping

from tlkit.core.examples import Examples
from tlkit.core.modality import Table
from tlkit.core.run import Run
from tlkit.core.task import Answer, Task
from tlkit.exporting.saved_model import input_shapes
from tlkit.formats import tflite_metadata
from tlkit.modalities.prepare import described


def describe(run: Run, examples: Examples, format: str = "") -> tflite_metadata.Metadata:
    """Metadata of one file of the run.

    Args:
        run: Whose model it is.
        examples: The kind of inputs that it takes.
        format: Name of its format; "" where there is no file.
    """
    task = run.task.deployed
    about, made_by = described(run.model, examples), task.made_by
    outputs: dict[str, Table] = {}
    for answer in task.answers:
        outputs |= _outputs(task, answer)
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
            "task": task.name,
            "labels": list(task.labels),
            "made_by": [made_by[0], dict(made_by[1])],
            "modality": examples.modality,
            "pipeline": examples.pipeline.plain(),
            "shapes": {name: list(shape) for name, shape in _shapes(run, examples).items()},
            "format": format,
            **({} if run.task.deployment is None else {"deployed": True}),
        },
        layers=tflite_metadata.nameless_layers(),
    )


def _shapes(run: Run, examples: Examples) -> dict[str, tuple[int | None, ...]]:
    """Shape of each input without the batch."""
    spec = examples.inputs.spec
    if run.task.deployment is None:
        return input_shapes(spec, run.model)
    return {name: field.shape for name, field in (spec if isinstance(spec, Mapping) else {"inputs": spec}).items()}


def labels_by_file(task: Task) -> dict[str, tuple[str, ...]]:
    """Labels by the name of the file that lists them: one file, or one an answer."""
    if len(task.answers) == 1:
        return {tflite_metadata.LABELS: task.labels}
    return {_labels_file(task, answer): answer.labels for answer in task.answers if answer.labels}


def _labels_file(task: Task, answer: Answer) -> str:
    return tflite_metadata.LABELS if len(task.answers) == 1 else f"labels_{answer.name}.txt"


def _outputs(task: Task, answer: Answer) -> dict[str, Table]:
    """Table of each of an answer's tensors; of several answers also by the name in the answer's own signature."""
    names = task.outputs[answer.name]
    tables: dict[str, Table] = {name: tflite_metadata.plain_tensor(name, "The model's output.") for name in names}
    if answer.describe is not None:
        tables |= answer.describe(_labels_file(task, answer))
    if len(task.answers) == 1:
        return tables
    renamed = {full: {**tables[name], 0: full} for name, full in names.items()}
    return renamed | {f"{answer.name}.{name}": {**tables[name], 0: full} for name, full in names.items()}


def _sentence(run: Run, format: str) -> str:
    module = run.record.get("module")
    handle = module.get("handle") if isinstance(module, dict) else module
    source = f", adapted from {handle}" if isinstance(handle, str) else ""
    return f"Made by tlkit: {run.task.name}{source}; {format}. Inputs are scaled inside the model."
