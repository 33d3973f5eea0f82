"""evaluate: run a model over examples and let its task say how good it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core import excerpts, memory
from tlkit.core.batches import gathered, outputs_at_once, pieces_of, read_batches, sequences_at_once, steps_of
from tlkit.core.checks import check_given
from tlkit.core.columns import ArrayColumn, JoinedColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples
from tlkit.core.task import PLACE, Evaluation, Task

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Headline:
    """The score that stands for the whole evaluation.

    `low` and `high` are its 95 % interval, `interval` the interval's name ("Wilson", "bootstrap"); `unit` is "share"
    where scores read well as percentages, else "value".
    """

    name: str
    label: str
    value: float
    low: float | None
    high: float | None
    interval: str
    unit: str
    lower_is_better: bool

    @property
    def merit(self) -> float:
        """The value, or minus it where lower is better."""
        return -self.value if self.lower_is_better else self.value


@memory.kept()
def evaluate(model: keras.Model, task: Task, examples: Examples, *, batch_size: int = 32) -> Evaluation:
    """Scores of a model on some examples, with confidence intervals, confusion and worst mistakes.

    Args:
        model: Takes batches of `examples.inputs`, and returns the task's raw outputs.
        task: Decodes and measures.
        examples: With targets; at least one.
        batch_size: Examples at a time, >= 1; memory does not grow with the count of examples.

    Returns:
        Flat `scores`, `details` for the report, and the decoded `outputs`; of texts in windows, one answer a text.

    Raises:
        InputError: If there are no examples, or they do not have the shape that the model takes.
    """
    if not len(examples):
        raise InputError("There is nothing to evaluate: the examples are empty.")
    scorer, merits = task.fresh_scorer(), np.zeros(len(excerpts.whole(examples)))
    for part, decoded in _judged(model, task, examples, batch_size):
        scorer.update(part, decoded)
        merits[part.columns[PLACE].take(np.arange(len(part)))] = _merits(task, part, decoded)
    evaluation = _with_use(model, task, examples, _checked(task, scorer.result()))
    if "example_scores" in evaluation.details or len(task.answers) != 1 or task.answers[0].merit is None:
        return evaluation
    return replace(evaluation, details={**evaluation.details, "example_scores": merits.tolist()})


def _checked(task: Task, evaluation: Evaluation) -> Evaluation:
    """What a Scorer says, if it is an Evaluation whose headline is one of the scores."""
    check_given(evaluation, Evaluation, "result", f"the Scorer of the task {task.name!r}")
    entry = evaluation.details.get("headline")
    name = entry.get("name") if isinstance(entry, Mapping) else entry
    if entry is not None and name not in evaluation.scores:
        raise InputError(
            f'`details["headline"]["name"]` of the task {task.name!r} must be one of its scores, '
            f"{', '.join(evaluation.scores)}. Received: {name!r}."
        )
    return evaluation


def _with_use(model: keras.Model, task: Task, examples: Examples, evaluation: Evaluation) -> Evaluation:
    """The evaluation with what the scorer of the task's deployment says, where it has one."""
    if task.deployment is None or task.deployment.scorer is None:
        return evaluation
    from tlkit.model.deployed import used

    of_use = task.deployment.examples(examples)
    of_use = of_use.subset(range(min(len(of_use), task.deployment.scored or len(of_use))))
    if not len(of_use):
        return evaluation
    scorer, placed = task.deployment.scorer(), _placed(of_use)
    for i, outputs in enumerate(used(task, model, of_use)):
        scorer.update(placed.subset([i]), outputs)
    in_use = scorer.result()
    return replace(
        evaluation, scores={**evaluation.scores, **in_use.scores}, details={**evaluation.details, **in_use.details}
    )


def _judged(
    model: keras.Model, task: Task, examples: Examples, batch_size: int
) -> Iterator[tuple[Examples, dict[str, np.ndarray]]]:
    """Examples and what the model says of them, a batch at a time; texts in windows all at once, one answer a text."""
    if excerpts.OF in examples.columns:
        outputs = decoded_outputs(model, task, examples, batch_size=batch_size)
        yield _placed(excerpts.whole(examples)), excerpts.together(examples, outputs)
        return
    placed = _placed(examples)
    for piece, decoded in decoded_batches(model, task, examples, batch_size=batch_size):
        yield placed.subset(piece.tolist()), decoded


def _placed(examples: Examples) -> Examples:
    """The examples with a column that says which of them each is; no input is copied for a scorer."""
    rows = np.arange(len(examples))
    inputs = JoinedColumn((examples.inputs,), np.stack([np.zeros_like(rows), rows], axis=1))
    columns = {**examples.columns, PLACE: ArrayColumn(rows)}
    return replace(examples, inputs=inputs, columns=columns)


def _merits(task: Task, part: Examples, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    """Score of each example, where the task's only answer has one; else 0."""
    answer = task.answers[0]
    if answer.merit is None or len(task.answers) > 1:
        return np.zeros(len(part))
    targets, output = part.targets.take(np.arange(len(part))), task.own(answer, decoded)
    return answer.merits(targets, output if answer.counted is None else answer.counted(targets, output))


@memory.kept()
def decoded_outputs(model: keras.Model, task: Task, examples: Examples, *, batch_size: int = 32) -> dict[str, Any]:
    """Decoded outputs of all examples by name, float32, first axis the examples."""
    batches = list(decoded_batches(model, task, examples, batch_size=batch_size))
    pieces = [piece for piece, _ in batches]
    return {name: gathered(pieces, (decoded[name] for _, decoded in batches)) for name in batches[0][1]}


def decoded_batches(
    model: keras.Model, task: Task, examples: Examples, *, batch_size: int = 32
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Positions of some examples and their decoded outputs, a batch at a time; read in threads.

    Outputs are float32. Those that are one a step of sequences have as many steps as the longest of all examples.
    """
    examples = _uncut(model, examples)
    pieces = _pieces(model, examples, batch_size)
    stepwise = step_outputs(model, task) if "length" in examples.columns else frozenset()
    steps = steps_of(examples.inputs.spec) if stepwise else 0
    for piece, decoded in zip(pieces, _batches(model, task.decode, examples, pieces), strict=True):
        yield piece, {name: _filled(values, steps) if name in stepwise else values for name, values in decoded.items()}


def step_outputs(model: keras.Model, task: Task) -> frozenset[str]:
    """Names of the decoded outputs that are one a step: the model leaves open how many."""
    from tlkit.model.build import decoded_specs

    shapes = {name: spec.shape for name, spec in decoded_specs(model, task).items()}
    return frozenset(name for name, shape in shapes.items() if len(shape) > 1 and shape[1] is None)


def _filled(rows: np.ndarray, steps: int) -> np.ndarray:
    """The rows with zeros behind their last step."""
    return np.pad(rows, [(0, 0), (0, steps - rows.shape[1]), *[(0, 0)] * (rows.ndim - 2)])


@memory.kept()
def raw_outputs(model: keras.Model, examples: Examples, *, batch_size: int = 32) -> np.ndarray:
    """Raw outputs of all examples, float32, first axis the examples, of a model with one output of a row an example."""
    examples = _uncut(model, examples)
    pieces = _pieces(model, examples, batch_size)
    return gathered(pieces, _batches(model, lambda raw: raw, examples, pieces))


def _pieces(model: keras.Model, examples: Examples, batch_size: int) -> list[np.ndarray]:
    if batch_size < 1:
        raise InputError(f"`batch_size` must be 1 or more. Received: batch_size={batch_size!r}.")
    _check_shape(model, examples)
    most = outputs_at_once(_output_shapes(model), batch_size)
    if "length" in examples.columns:
        most = sequences_at_once(steps_of(examples.inputs.spec), most)
    return pieces_of(examples, np.arange(len(examples)), _even(len(examples), most))


def _output_shapes(model: keras.Model) -> list[Any]:
    return [output.shape for output in getattr(model, "outputs", None) or ()]


def headline(evaluation: Evaluation) -> Headline | None:
    """The score that the task calls its headline, with its interval; None where the task names none."""
    entry = evaluation.details.get("headline")
    if entry is None:
        return None
    name, scores = entry["name"], evaluation.scores
    low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
    kind = entry["interval"], entry["unit"], entry["lower_is_better"]
    return Headline(name, entry["label"], scores[name], low, high, *kind)


def _batches(
    model: keras.Model, decode: Callable[[Any], Any], examples: Examples, pieces: Sequence[np.ndarray]
) -> Iterator[Any]:
    import keras

    def as_array(decoded: Any) -> np.ndarray:
        return np.asarray(keras.ops.convert_to_numpy(decoded), dtype=np.float32)

    size = max(map(len, pieces))  # the shortest batch comes first where it holds the first of the longest texts
    for inputs, piece in zip(read_batches(examples, pieces), pieces, strict=True):
        # a batch of another size would be traced anew, which takes longer than an example or two again
        padded = _padded(inputs, size - len(piece))
        decoded = keras.tree.map_structure(as_array, decode(model.predict_on_batch(padded)))
        yield keras.tree.map_structure(lambda rows: rows[: len(piece)], decoded)  # noqa: B023 (used at once)


def _even(count: int, most: int) -> int:
    """Size of the batches when as few as `most` allows share `count` evenly, so that little is padded."""
    return -(-count // -(-count // most))


def _padded(inputs: Any, missing: int) -> Any:
    if isinstance(inputs, dict):
        return {key: _padded(value, missing) for key, value in inputs.items()}
    return np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)]) if missing else inputs


def _uncut(model: keras.Model, examples: Examples) -> Examples:
    from tlkit.model.partition import uncut

    return uncut(model.inputs, examples) if getattr(model, "inputs", None) else examples


def _check_shape(model: keras.Model, examples: Examples) -> None:
    spec, model_shape = examples.inputs.spec, getattr(model, "input_shape", None)
    if not isinstance(spec, ArraySpec) or not isinstance(model_shape, tuple):
        return
    fits = len(model_shape) == len(spec.shape) + 1 and all(
        a is None or b is None or a == b for a, b in zip(model_shape[1:], spec.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"The model takes inputs of shape {model_shape[1:]}: read the examples at that size. "
            f"Received: shape={spec.shape}."
        )
