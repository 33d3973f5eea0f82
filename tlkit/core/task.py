"""What is learned on top of a module, and what was measured of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.brief import value_of
from tlkit.core.errors import InputError

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer
from tlkit.core.examples import Column, Examples, Splits

LABEL, LABELS, VALUES = ANSWERS = ("label", "labels", "values")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What a task measured on some examples.

    Attributes:
        scores: Flat, plain floats: `accuracy`, `accuracy_low`, `accuracy_high`, `macro_f1`, ...
        details: Plain JSON data for the report, one key a section ("confusion", "per_class", "calibration", ...).
        outputs: float32 decoded outputs, first axis the examples; of several heads a dict of them.
    """

    scores: Mapping[str, float]
    details: Mapping[str, Any]
    outputs: Any

    def __repr__(self) -> str:
        outputs = value_of(self.outputs)
        return f"Evaluation(scores={value_of(self.scores)}, details={sorted(self.details)}, outputs={outputs})"


@dataclass(frozen=True)
class Reads:
    """What a head takes of a module; the shelf `tlkit.reads` makes these.

    Attributes:
        name: For messages and records: "maps(4, 8)".
        read: (layer, its symbolic inputs) -> what the head takes: Keras tensors; it calls the layer, and raises
            InputError where the module does not give that.
        members: An example is several inputs of these names, which pass the module one by one; () where it is one.
    """

    name: str
    read: Callable[[HubLayer, Any], Any]
    members: tuple[str, ...] = ()


def _pass(_splits: Splits) -> None:
    """Data that every task could learn from."""


@dataclass(frozen=True)
class Objective:
    """What training makes small.

    Attributes:
        loss: A fresh Keras loss on (targets, raw outputs).
        metrics: Fresh Keras metrics on (targets, raw outputs); may be empty.
        weights: Targets of the training examples -> float32 (n,) weights, (n, heads) of several heads, or None; None
            where all weigh the same.
        monitor: Name of the validation figure by which the best weights are chosen, and its direction; None takes the
            last weights.
        check: (splits) -> None; raises InputError where the data cannot be learned.
    """

    loss: Callable[[], keras.losses.Loss]
    metrics: Callable[[], list[keras.metrics.Metric]] = list
    weights: Callable[[Column], np.ndarray | None] | None = None
    monitor: tuple[str, str] | None = ("val_loss", "min")
    check: Callable[[Splits], None] = _pass


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """What is learned on top of a module, as functions.

    Attributes:
        name: Short name, also the default folder of a run: "classify".
        labels: Names of the outputs; () where outputs have none.
        head: Features, as `takes` says -> raw outputs (logits), through fresh Keras layers.
        objective: What is made small, and by what the best weights are chosen.
        decode: Raw outputs -> what people read (probabilities); Keras ops only, so that it exports.
        evaluate: (examples, decoded outputs) -> Evaluation, in NumPy; it reads no inputs of the examples.
        output: Name of the exported output: "probabilities".
        answer: What a row of the decoded outputs is: "label" (shares of one whole, the largest being the answer),
            "labels" (yes or no to each label, by its own score above 0.5) or "values".
        takes: Features that the head takes: "vector" (batch, d), "sequence" (batch, steps, d), or "pair" (batch, 2, d),
            the vectors of two examples; or a `Reads`.
        made_by: Import path and plain arguments that make this task again: ("tlkit.tasks.classify", {...}).
        begin: (splits, say) -> this task with what the training targets decide, such as their mean; `say` is told
            what that is. `fit` calls it; None where nothing is left to decide.
        calibrate: (validation targets, decoded outputs) -> this task with what they decide, such as a threshold; None
            where nothing is left to decide after training.
        card: Further plain data for the card of exported files.
        served: What remains of task, model and data once it is trained, where a method adds outputs for training
            alone; None where all remain.
        heads: Of a task that is several, each by the name of the raw output that it reads and of the targets' field;
            {} elsewhere.
    """

    name: str
    labels: tuple[str, ...]
    head: Callable[[Any], Any]
    objective: Objective
    decode: Callable[[Any], Any]
    evaluate: Callable[[Examples, Any], Evaluation]
    made_by: tuple[str, Mapping[str, Any]]
    output: str = "outputs"
    answer: str = VALUES
    takes: str | Reads = "vector"
    begin: Callable[[Splits, Callable[[str], None]], Task] | None = None
    calibrate: Callable[[np.ndarray, Any], Task] | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    served: Served | None = None
    heads: Mapping[str, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS or (self.output == "probabilities" and self.answer == VALUES):
            raise InputError(
                '`answer` of a Task must be "label" where its outputs are shares of one whole (softmax), "labels" '
                'where each is a score on its own (sigmoid), and "values" elsewhere. '
                f"Received: answer={self.answer!r} of the output {self.output!r}."
            )

    def __repr__(self) -> str:
        arguments = "".join(
            f", {name}={value_of(value)}" for name, value in self.made_by[1].items() if name != "labels"
        )
        names = f", labels={value_of(self.labels)}" if self.labels else ""
        return f"Task({self.name!r}{names}, made_by={self.made_by[0]!r}{arguments})"


@dataclass(frozen=True, eq=False)
class Served:
    """What remains when training is over.

    Attributes:
        task: The task by which the model is judged and exported, or one that another method made, of which in turn
            only what it serves remains.
        outputs: Raw outputs of the trained model -> those that `task` reads.
        data: The splits that were trained on -> splits whose targets `task` reads.
        scores: (model as `task` has it, splits as they were trained on, splits as `task` has them) -> further scores,
            which need no labels of the target; None where there are none.
    """

    task: Task
    outputs: Callable[[Any], Any]
    data: Callable[[Splits], Splits]
    scores: Callable[[keras.Model, Splits, Splits], Mapping[str, float]] | None = None
