"""What is learned on top of a module, what its outputs say, and what was measured of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from tlkit.core import checks
from tlkit.core.brief import value_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.modality import Table
from tlkit.core.section import Section

if TYPE_CHECKING:
    import keras

    from tlkit.core.run import Phase
    from tlkit.exporting.gates import Comparison, Gates
    from tlkit.layer.hub_layer import HubLayer

PLACE = "place"  # the column that tells a Scorer which of all examples each is
Decoded = Mapping[str, np.ndarray]  # tensors by name, first axis the examples
Lines = list[tuple[str, float]]  # what is said of one thing: a text and its score or value
Function = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]  # of a file: tensors by name, both ways


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What a task measured on some examples.

    Attributes:
        scores: Flat, plain floats: `accuracy`, `accuracy_low`, `accuracy_high`, `macro_f1`, ...
        details: Plain JSON data for the report, one key a section ("confusion", "per_class", "calibration", ...).
        outputs: float32 decoded outputs, first axis the examples; None where the scorer keeps none.
        parts: Of a task that is several, the evaluation of each by its name.
    """

    scores: Mapping[str, float]
    details: Mapping[str, Any]
    outputs: Any = None
    parts: Mapping[str, Evaluation] = field(default_factory=dict)

    def __repr__(self) -> str:
        outputs = value_of(self.outputs)
        return f"Evaluation(scores={value_of(self.scores)}, details={sorted(self.details)}, outputs={outputs})"


@dataclass(frozen=True)
class Reads:
    """What a head takes of a module; the shelf `tlkit.reads` makes these.

    Attributes:
        name: For messages and records, and by it two are the same: "maps(4, 8)".
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

    def __post_init__(self) -> None:
        name = "an Objective"
        checks.check_fields(name, self, {
            "loss": (checks.makes_fresh(self.loss, "get_config"), "a function that makes a fresh loss, or its class"),
            "metrics": (callable(self.metrics), "a function that makes a list of fresh metrics"),
            **checks.functions(self, "weights", optional=True), **checks.functions(self, "check"),
            "monitor": (self.monitor is None or _is_monitor(self.monitor), 'as ("val_loss", "min"), or None'),
        })  # fmt: skip


def _is_monitor(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and value[1] in ("min", "max")


class Agreement(NamedTuple):
    """How near a file's outputs are to the model's, for b examples.

    Attributes:
        difference: float (b,), the largest of each example, in the unit of `Gates.float32_difference`: shares as they
            are, values in deviations.
        equal: bool (b, ...), whether people would read the same.
        margin: float of the shape of `equal`: how sure the model was.
    """

    difference: np.ndarray
    equal: np.ndarray
    margin: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model's raw outputs mean: how they are decoded, compared, judged and said.

    Its functions are given the answer's own tensors by their own names.

    Attributes:
        name: Where a task has several answers: the raw output, and the target, that this one reads.
        decode: Raw outputs -> tensors by name, batch first; Keras operations alone, as it is exported.
        agree: (the model's, a file's) decoded outputs of b examples -> Agreement.
        say: (decoded outputs of one example without the batch axis, its columns with its input as "input") -> texts
            with a score or value each, for `predict`.
        draw: (as `say`, whose example has the image as its file has it as "original" where its input is another) ->
            uint8 (height, width, 3), the image with what is said of it, for `predict`; None cannot be drawn.
        tensors: Names of what `decode` gives; () is one tensor of the answer's name.
        labels: Written to labels.txt; () where there are none.
        merit: (targets, decoded) of b examples -> float (b,), higher is better; None where nothing says.
        tally: () -> a fresh Tally, by which files are judged in place of `merit`; None where the mean of `merit` is
            what is told of a model.
        counted: (targets, decoded) of b examples -> the part of `decoded` that is compared and judged, as some steps
            are padding; None is all.
        ranked: Whether `say` gives the best first, so that a user may ask for a few.
        together: (decoded, columns) of several examples that are one thing, such as windows of a text -> what is said
            of the thing; None says what their mean means.
        again: (input, decoded) of one example -> the next input of an answer that is made step by step, None when it
            is done.
        signatures: Further ones of the SavedModel: (decoded tensors, tensors as clients send them) -> tensors by name,
            or None where these have none.
        in_float32: Whether `decode` is computed in float32 behind whatever a TFLite format quantised, as it mixes
            numbers of different sizes: each raw output leaves the quantised part by itself. Of a task's only answer.
        describe: (name of the file with the labels) -> TFLite metadata by tensor; None is plain tensors.
        quantised: (how a file agrees with the model, what it must keep to) -> why a file with weights of 8 bits falls
            short, or None; without it the share of equal outputs and `merit` are judged. For answers of many steps,
            which are another answer after one step that differs.
        sections: Of the report.
    """

    name: str
    decode: Callable[[Any], Mapping[str, Any]]
    agree: Callable[[Decoded, Decoded], Agreement]
    say: Callable[[Decoded, Mapping[str, Any]], Lines]
    draw: Callable[[Decoded, Mapping[str, Any]], np.ndarray] | None = None
    tensors: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    merit: Callable[[Any, Decoded], np.ndarray] | None = None
    tally: Callable[[], Tally] | None = None
    counted: Callable[[Any, Decoded], Decoded] | None = None
    ranked: bool = False
    together: Callable[[Sequence[Decoded], Sequence[Mapping[str, Any]]], Lines] | None = None
    again: Callable[[Any, Decoded], Any | None] | None = None
    signatures: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any] | None]] = field(
        default_factory=dict
    )
    in_float32: bool = False
    describe: Callable[[str], Mapping[str, Table]] | None = None
    quantised: Callable[[Comparison, Gates], str | None] | None = None
    sections: tuple[Section, ...] = ()

    def __post_init__(self) -> None:
        optional = ("draw", "merit", "tally", "counted", "together", "again", "describe", "quantised")
        sections = isinstance(self.sections, tuple) and all(isinstance(part, Section) for part in self.sections)
        checks.check_fields(f"the answer {self.name!r}", self, {
            "name": (isinstance(self.name, str) and self.name != "", "a word"),
            **checks.functions(self, "decode", "agree", "say"), **checks.functions(self, *optional, optional=True),
            "tensors": (checks.are_names(self.tensors), checks.NAMES),
            "labels": (checks.are_names(self.labels), checks.NAMES),
            "sections": (sections, "a tuple of tlkit.Section"),
        })  # fmt: skip

    def agreement(self, expected: Decoded, actual: Decoded) -> Agreement:
        """What `agree` says of b examples, checked."""
        agreement, count = self.agree(expected, actual), _count(expected)
        checks.check_given(agreement, Agreement, "agree", f"the answer {self.name!r}")
        shapes = [np.shape(part) for part in agreement]
        if shapes[0] != (count,) or shapes[1][:1] != (count,) or shapes[2] != shapes[1]:
            raise InputError(
                f"`agree` of the answer {self.name!r} must give a difference of shape ({count},) for {count} examples, "
                f"and `equal` and `margin` of one shape ({count}, ...). Received: shapes {shapes}."
            )
        return agreement

    def merits(self, targets: Any, decoded: Decoded) -> np.ndarray:
        """What `merit` says of b examples, checked; the answer has one."""
        assert self.merit is not None
        merits, count = np.asarray(self.merit(targets, decoded)), _count(decoded)
        if merits.shape != (count,):
            raise InputError(
                f"`merit` of the answer {self.name!r} must give one number per example, shape ({count},). "
                f"Received: shape {merits.shape}."
            )
        return merits


def _count(decoded: Decoded) -> int:
    """Examples that decoded outputs are of."""
    return len(next(iter(decoded.values())))


class Tally(Protocol):
    """Judges many examples together by scores that are no mean over them, such as average precision.

    Examples come some at a time, so that their outputs need not lie in memory together.
    """

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some examples, as a `Scorer` does."""

    def scores(self, draws: np.ndarray) -> Mapping[str, np.ndarray]:
        """Scores of each draw of the examples by name, higher is better; files are judged by the first.

        Args:
            draws: float (draws, n) how often each example counts, in the order in which they came.

        Returns:
            Arrays (draws,); none where nothing can be measured.
        """


class Scorer(Protocol):
    """Judges decoded outputs a batch at a time, so that they need not lie in memory together."""

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some examples: their targets and columns, and what the model says of them.

        Args:
            examples: Their inputs need not be read. The column "place" is their position among all that are judged.
            decoded: float32 arrays by name, first axis the examples.
        """

    def result(self) -> Evaluation:
        """What all of them say."""


@dataclass(frozen=True, eq=False)
class Signature:
    """A function of a trained model that an exported file holds.

    Attributes:
        call: Tensors by name -> tensors by name, in TensorFlow, by the model's own variables.
        inputs: `tf.TensorSpec` of each input by its name, the batch axis included.
    """

    call: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    inputs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class FileCheck:
    """What more of an exported file is compared with the trained model.

    Attributes:
        run: As `Deployment.run`, called only when files are checked; {} of a file without such functions, as of the
            trained model's then.
        answer: What it gives; `agree` is asked.
    """

    run: Callable[[Mapping[str, Function], Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
    answer: Answer


@dataclass(frozen=True, eq=False)
class Deployment:
    """How a trained model is used, where that is another graph than the one that is trained.

    A decoder is trained on all tokens of an answer at once, and used token by token, with what it computed before at
    hand. Exports then hold `functions`, and `run` is the loop over them, the same one for all files.

    Attributes:
        examples: Examples as they are trained on -> as they are used: inputs are what is known before the answer, and
            what `run` needs to judge a file, such as the right answer.
        functions: (trained model, examples of use, kind) -> functions by name. Kind "trained" goes through the trained
            model itself, however slowly: with its answers files are compared. "file" is for phones: one example,
            known sizes. "server" is for the SavedModel: "serving_default" takes what clients send, and the names that
            `run` knows are among them.
        run: (functions of a file by name, inputs of one example by name with the batch axis) -> decoded outputs by
            name, alike. It runs in other processes, in NumPy: a function of a module, or a `functools.partial` of one.
        answer: What `run` gives: `decode` is not called.
        further: What more files are compared by, such as functions that `run` does not call.
        scorer: A fresh Scorer of what `run` gives, which `evaluate` adds to the task's own scores; None adds none.
        checked: Examples that a file is checked with, as each of them is a loop.
        scored: Examples that `scorer` is given at most; None is all.
        calls: (examples, signatures of a TFLite file by name, content of the files in it by name) -> Markdown of how
            clients go through the loop, a Jinja template, and names for it besides those of `Format.calls`; None where
            it knows no loop over these signatures.
        limits: What it must not be used for, sentences for the README of an export.
    """

    examples: Callable[[Examples], Examples]
    functions: Callable[[keras.Model, Examples, str], Mapping[str, Signature]]
    run: Callable[[Mapping[str, Function], Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    answer: Answer
    further: tuple[FileCheck, ...] = ()
    scorer: Callable[[], Scorer] | None = None
    checked: int = 20
    scored: int | None = None
    calls: Callable[[Examples, Mapping[str, Any], Mapping[str, bytes]], tuple[str, Mapping[str, Any]] | None] | None = (
        None
    )
    limits: tuple[str, ...] = ()

    @property
    def compared(self) -> Callable[[Mapping[str, Function], Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        """`run` with what the checks of `further` give, the first of them as "0.name"; for another process too."""
        return functools.partial(_compared, self.run, tuple(check.run for check in self.further))


def _compared(run: Any, further: Sequence[Any], functions: Any, inputs: Any) -> dict[str, np.ndarray]:
    outputs = dict(run(functions, inputs))
    for number, check in enumerate(further):
        outputs |= {f"{number}.{name}": value for name, value in check(functions, inputs).items()}
    return outputs


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """What a head gives of some examples behind the frozen module.

    Attributes:
        examples: Their targets and columns.
        batches: () -> positions int64 (b,) and raw outputs as arrays, a batch at a time: each example once, in order.
    """

    examples: Examples
    batches: Callable[[], Iterator[tuple[np.ndarray, Any]]]


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """What is learned on top of a module, as functions.

    Attributes:
        name: Short name, also the default folder of a run: "classify".
        made_by: Import path and plain arguments that make this task again: ("tlkit.tasks.classify", {...}).
        reads: What the head takes of the module.
        head: What `reads` gives -> raw outputs (logits): a tensor, or a dict of them; through fresh Keras layers.
        objective: What is made small, and by what the best weights are chosen.
        answers: What the raw outputs mean. A single answer reads them all, each of several the one of its name.
        scorer: A fresh Scorer.
        begin: (splits, say) -> this task with what the training targets decide, such as their mean; `say` is told
            what that is. `fit` calls it; None where nothing is left to decide.
        solve: (what the head gives of the training and of the validation examples, say) -> what remains, its layers
            computed from these in closed form. Nothing is trained then, so `fit` takes no phases. None where phases
            train the head.
        finish: (evaluation of the validation examples) -> this task with what they decide, such as a threshold; None
            where nothing is left to decide after training.
        inference: What remains when training is over.
        deployment: How the trained model is used, where that is not the graph that is trained; None where it is.
        before: Whether `finetune` evaluates the untrained model too: scores get a twin "name_before", and the details
            hold that evaluation's as "before".
        plan: (splits, say, model) -> the phases that `finetune` takes where it is given none; `say` is told why. None
            is `plans.recommend`.
    """

    name: str
    made_by: tuple[str, Mapping[str, Any]]
    reads: Reads
    head: Callable[[Any], Any]
    objective: Objective
    answers: tuple[Answer, ...]
    scorer: Callable[[], Scorer]
    begin: Callable[[Splits, Callable[[str], None]], Task] | None = None
    solve: Callable[[HeadOutputs, HeadOutputs, Callable[[str], None]], Inference] | None = None
    finish: Callable[[Evaluation], Task] | None = None
    inference: tuple[Inference, ...] = ()
    deployment: Deployment | None = None
    before: bool = False
    plan: Callable[[Splits, Callable[[str], None], keras.Model], tuple[Phase, ...]] | None = None

    def __post_init__(self) -> None:
        recorded = isinstance(self.made_by, tuple | list) and [type(part) for part in self.made_by[:1]] == [str]
        answers = isinstance(self.answers, tuple) and all(isinstance(answer, Answer) for answer in self.answers)
        remaining = isinstance(self.inference, tuple) and all(isinstance(part, Inference) for part in self.inference)
        checks.check_fields(f"the task {self.name!r}", self, {
            "name": (isinstance(self.name, str) and self.name != "", "a word"),
            "made_by": (recorded and len(self.made_by) == 2, "what tlkit.made_by(function, ...) gives"),
            "reads": (isinstance(self.reads, Reads), "one of tlkit.reads, such as tlkit.reads.pooled()"),
            "objective": (isinstance(self.objective, Objective), "a tlkit.Objective"),
            "answers": (answers, "a tuple of tlkit.Answer, such as (answer,)"),
            "scorer": (checks.makes_fresh(self.scorer, "update"), "a function that makes a fresh Scorer, or its class"),
            "inference": (remaining, "a tuple of tlkit.Inference"),
            **checks.functions(self, "head"),
            **checks.functions(self, "begin", "solve", "finish", "plan", optional=True),
        })  # fmt: skip
        names = [answer.name for answer in self.answers]
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"The task {self.name!r} needs an answer or more, each with a name of its own. Received: {names}."
            )

    def __repr__(self) -> str:
        arguments = "".join(
            f", {name}={value_of(value)}" for name, value in self.made_by[1].items() if name != "labels"
        )
        names = f", labels={value_of(self.labels)}" if self.labels else ""
        return f"Task({self.name!r}{names}, made_by={self.made_by[0]!r}{arguments})"

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of its single answer; () where it has none, or several answers."""
        return self.answers[0].labels if len(self.answers) == 1 else ()

    @property
    def remains(self) -> Inference | None:
        """What takes the task's place when training is over; None where it stays."""
        return next((part for part in self.inference if not part.name), None)

    @property
    def deployed(self) -> Task:
        """The task of what is exported: this one, or with the answer of its deployment in place of its own."""
        return self if self.deployment is None else replace(self, answers=(self.deployment.answer,))

    @property
    def outputs(self) -> dict[str, dict[str, str]]:
        """By answer, and by the own name of each of its tensors, the name that this has among all outputs.

        The own name where there is one answer; of several "answer.tensor", or the answer's where it has one tensor.
        """
        names: dict[str, dict[str, str]] = {}
        for answer in self.answers:
            tensors = answer.tensors or (answer.name,)
            alone = answer.name if len(tensors) == 1 else ""
            several = len(self.answers) > 1
            names[answer.name] = {name: (alone or f"{answer.name}.{name}") if several else name for name in tensors}
        return names

    def decode(self, raw: Any) -> dict[str, Any]:
        """Raw outputs -> what people read, by name; works on Keras' symbolic tensors too.

        Raises:
            InputError: If an answer gives other tensors than it says.
        """
        decoded: dict[str, Any] = {}
        for answer in self.answers:
            tensors = answer.decode(raw if len(self.answers) == 1 else raw[answer.name])
            names = self.outputs[answer.name]
            if not isinstance(tensors, Mapping) or not all(hasattr(tensor, "shape") for tensor in tensors.values()):
                raise InputError(
                    f"`decode` of the answer {answer.name!r} must give tensors by name, such as "
                    f"{{{next(iter(names))!r}: tensor}}. Received: {type(tensors).__name__}{_kinds(tensors)}."
                )
            if set(tensors) != set(names):
                raise InputError(
                    f"`decode` of the answer {answer.name!r} gives {sorted(tensors)}, and its `tensors` are "
                    f"{sorted(names)}: both must be the same."
                )
            decoded |= {names[name]: tensors[name] for name in names}
        return decoded

    def begun(self, data: Splits, say: Callable[[str], None]) -> Task:
        """This task with what the training targets decide."""
        return self if self.begin is None else self._as_task(self.begin(data, say), "begin")

    def finished(self, evaluation: Evaluation) -> Task:
        """This task with what the validation examples decide."""
        return self if self.finish is None else self._as_task(self.finish(evaluation), "finish")

    def _as_task(self, value: Any, function: str) -> Task:
        checks.check_given(value, Task, function, f"the task {self.name!r}")
        return value  # type: ignore[no-any-return]

    def fresh_scorer(self) -> Scorer:
        """A Scorer that has seen nothing yet."""
        scorer = self.scorer()
        if not all(callable(getattr(scorer, name, None)) for name in ("update", "result")):
            raise InputError(
                f"`scorer` of the task {self.name!r} must make a Scorer, which has `update` and `result`. "
                f"Received: {type(scorer).__name__}."
            )
        return scorer

    def own(self, answer: Answer, decoded: Mapping[str, Any]) -> dict[str, Any]:
        """One answer's tensors by their own names, out of what `decode` gives."""
        return {name: decoded[full] for name, full in self.outputs[answer.name].items()}


def _kinds(tensors: Any) -> str:
    """What lies in a dict, for a message."""
    kinds = {str(name): type(value).__name__ for name, value in tensors.items()} if isinstance(tensors, Mapping) else ""
    return f" {kinds}" if kinds else ""


@dataclass(frozen=True, eq=False)
class Inference:
    """What remains of a task, its model and its data when training is over.

    Attributes:
        task: The task by which the model is judged and exported, or one that another method made, of which in turn
            only what remains counts.
        outputs: Raw outputs of the trained model -> those that `task` reads.
        data: The splits that were trained on -> splits whose targets `task` reads.
        scores: (model as `task` has it, splits as they were trained on, splits as `task` has them) -> further scores,
            which need no labels of the target; None where there are none.
        name: "" takes the run's place; else it is a run of its own, in a folder of that name below the run's.
    """

    task: Task
    outputs: Callable[[Any], Any]
    data: Callable[[Splits], Splits]
    scores: Callable[[keras.Model, Splits, Splits], Mapping[str, float]] | None = None
    name: str = ""
