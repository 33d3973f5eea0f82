"""The records that everything passes on: frozen, without behaviour beyond looking at themselves."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.brief import brief, value_of
from tlkit.errors import InputError
from tlkit.files import sha256_bytes
from tlkit.numeric import is_number

if TYPE_CHECKING:
    import keras

LABEL, LABELS, VALUES = ANSWERS = ("label", "labels", "values")


@dataclass(frozen=True)
class ArraySpec:
    """Shape (without the batch; None is any size) and dtype of one input."""

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, eq=False, repr=False)
class Selected:
    """`read` of a subset: its example i is example `indices[i]` of what `read` gave before."""

    read: Callable[[int], Any]
    indices: tuple[int, ...]

    def __repr__(self) -> str:
        return brief(self)

    def __call__(self, i: int) -> Any:
        """Read example i of the subset."""
        return self.read(self.indices[i])


@dataclass(frozen=True, eq=False, repr=False)
class Passage:
    """A text that a question is asked of, as far as one example shows it.

    Attributes:
        text: The text.
        answers: The question's answers, each of them right; () where the text holds none.
        offsets: int32 (n, 2) first character, and the one behind the last, of each piece of the text that is shown.
        step: Step of the example's input at which the first of these pieces stands.
    """

    text: str
    answers: tuple[str, ...] = ()
    offsets: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    step: int = 0

    def __repr__(self) -> str:
        return brief(self)

    def words(self, first: int, last: int) -> str:
        """What the text says at steps `first` to `last` of the input, white space made single blanks.

        Example:
            >>> Passage("in Rome,\\n1960", offsets=np.array([[0, 2], [3, 7], [7, 8], [9, 13]]), step=5).words(6, 8)
            'Rome, 1960'
        """
        start, end = self.offsets[first - self.step, 0], self.offsets[last - self.step, 1]
        return " ".join(self.text[start:end].split())


@dataclass(frozen=True)
class Excerpt:
    """A text of which one example shows a window.

    Attributes:
        id: The text's id.
        text: The text.
        digest: sha256 of its content.
        share: Of its pieces, how many the window shows, in (0, 1].
    """

    id: str
    text: str
    digest: str
    share: float


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Random access to labelled data.

    Attributes:
        ids: A stable name for each example (a path relative to its folder, a row number).
        read: `read(i)` gives the input of example i: one array, or a dict of arrays, as `spec` says.
        targets: What is to be predicted, first axis the examples: int32 (n,) class numbers, float32 (n, k) labels
            0/1 or values to regress; of several heads a structured array (n,), as `methods.task_mix` makes it.
        spec: `ArraySpec`, or a dict of them, of what `read` gives.
        digests: sha256 of each example's content, before any resizing.
        groups: A name a group for each example that must stay on one side of a split; () where there are none.
        weights: float32 (n,) weight of each example in the loss, or None.
        augment: `augment(x, seed)` gives a changed copy of an input as a pure function of it and of the integer seed.
        recipe: What turned the files into inputs (image size, background), so that cached results know it.
        lengths: int32 (n,) size of each example before any cut (the word pieces of a text), or None; for batches of
            like sizes and for reports, and no part of the fingerprint.
        texts: What people read of each example where its input hides it: the text behind word pieces; () elsewhere.
        passages: Where examples are questions on a text, that text and the answers; () elsewhere. No part of the
            fingerprint.
        excerpts: Where examples are windows of texts that are longer than the module takes, the text of each; ()
            elsewhere. Windows of a text follow each other. No part of the fingerprint.
    """

    ids: tuple[str, ...]
    read: Callable[[int], Any]
    targets: np.ndarray
    spec: Any
    digests: tuple[str, ...]
    groups: tuple[str, ...] = ()
    weights: np.ndarray | None = None
    augment: Callable[[Any, int], Any] | None = None
    recipe: str = ""
    lengths: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()

    def __repr__(self) -> str:
        named = f"{len(self)} examples, ids={value_of(self.ids)}, spec={value_of(self.spec)}"
        return f"Examples({named}, targets={value_of(self.targets)})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """Hash of the content: names, digests, targets and the recipe, in order."""
        weights = b"" if self.weights is None else np.ascontiguousarray(self.weights).tobytes()
        return sha256_bytes(
            self.recipe,
            str(self.spec),
            *self.ids,
            *self.digests,
            str(self.targets.dtype),
            *_content(self.targets),
            weights,
        )

    def subset(self, indices: Sequence[int]) -> Examples:
        """The examples at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            read=Selected(self.read, tuple(chosen)),
            targets=self.targets[np.asarray(chosen, dtype=np.int64)],
            digests=tuple(self.digests[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen) if self.groups else (),
            weights=None if self.weights is None else self.weights[np.asarray(chosen, dtype=np.int64)],
            lengths=None if self.lengths is None else self.lengths[np.asarray(chosen, dtype=np.int64)],
            texts=tuple(self.texts[i] for i in chosen) if self.texts else (),
            passages=tuple(self.passages[i] for i in chosen) if self.passages else (),
            excerpts=tuple(self.excerpts[i] for i in chosen) if self.excerpts else (),
        )


@dataclass(frozen=True)
class Quarantined:
    """A file that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Splits:
    """Training, validation and test examples, the names of the labels, and what the preflight found.

    `duplicates` holds groups of ids with the same content that lie in more than one split; `notes` are sentences
    on whatever else is odd about the data, for the report; `seconds` is what finding and checking it all took. Data for
    several heads have no `labels` of their own but in `heads` those of each.
    """

    train: Examples
    val: Examples
    test: Examples
    labels: tuple[str, ...] = ()
    quarantine: tuple[Quarantined, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part}={len(getattr(self, part))}" for part in ("train", "val", "test"))
        names = f", labels={value_of(self.labels)}" if self.labels else ""
        heads = f", heads={value_of(self.heads)}" if self.heads else ""
        rest = {name: len(getattr(self, name)) for name in ("quarantine", "duplicates", "notes")}
        odd = "".join(f", {count} {name}" for name, count in rest.items() if count)
        return f"Splits({sizes} examples{names}{heads}{odd}, spec={value_of(self.train.spec)})"

    @property
    def fingerprint(self) -> str:
        """Hash of the content of all three."""
        names = [*self.labels, *(name for head in self.heads for name in (head, *self.heads[head]))]
        return sha256_bytes(*(e.fingerprint for e in (self.train, self.val, self.test)), *names)

    @property
    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Label -> examples (or words, where each has a label) in training, validation and test that carry it.

        {} where the targets are values to regress, and where labels have no names.
        """
        parts = (self.train, self.val, self.test)
        if not self.labels or not all(_is_labelled(part.targets, len(self.labels)) for part in parts):
            return {}
        columns = [_label_counts(part.targets, len(self.labels)) for part in parts]
        return {label: (int(a), int(b), int(c)) for label, a, b, c in zip(self.labels, *columns, strict=True)}


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own optimizer.

    Attributes:
        epochs: Passes over the training examples, >= 0.
        lr: Peak learning rate, > 0.
        unfrozen: Share of the module's depth that trains, in [0, 1], from the head down; the head always trains.
        lr_decay: Factor on the rate per block towards the input, in (0, 1].
        warmup: Share of the phase's steps over which the rate rises linearly to `lr`, in [0, 1).
        cosine: Whether the rate then falls to 0 along a cosine.
        patience: Epochs without improvement of the validation score after which the phase ends; None trains all, and so
            does any number where no figure is monitored, as in domain adaptation.
        weight_decay: Decoupled weight decay of AdamW, >= 0; 0 is Adam.
        clip_norm: Largest global norm of the gradient, or None.
        batch_stats: "frozen" keeps BatchNorm (and the module's own dropout) in inference mode; "adapt" runs the
            whole module in training mode.
        l2_sp: Factor of half the squared distance of the module's weights from those the fit began with, >= 0.
    """

    epochs: int
    lr: float
    unfrozen: float = 0.0
    lr_decay: float = 1.0
    warmup: float = 0.0
    cosine: bool = False
    patience: int | None = None
    weight_decay: float = 0.0
    clip_norm: float | None = None
    batch_stats: str = "frozen"
    l2_sp: float = 0.0

    def __post_init__(self) -> None:
        checks: dict[str, tuple[Callable[[Any], bool], str]] = {
            "epochs": (lambda x: isinstance(x, Integral) and int(x) >= 0, "be a whole number, 0 or more"),
            "lr": (lambda x: 0 < x < math.inf, "be positive and finite"),
            "unfrozen": (lambda x: 0 <= x <= 1, "lie in [0, 1]"),
            "lr_decay": (lambda x: 0 < x <= 1, "lie in (0, 1]"),
            "warmup": (lambda x: 0 <= x < 1, "lie in [0, 1)"),
            "patience": (lambda x: x > 0, "be positive or None"),
            "weight_decay": (lambda x: 0 <= x < math.inf, "be 0 or more, and finite"),
            "clip_norm": (lambda x: x > 0, "be positive or None"),
            "l2_sp": (lambda x: 0 <= x < math.inf, "be 0 or more, and finite"),
        }
        for name, (fine, rule) in checks.items():
            value = getattr(self, name)
            absent = value is None and rule.endswith("None")
            if not absent and not (is_number(value) and fine(value)):
                raise InputError(f"`{name}` of a Phase must {rule}. Received: {name}={value!r:.60}.")
        if self.batch_stats not in ("frozen", "adapt"):
            raise InputError(
                f'`batch_stats` of a Phase must be "frozen" or "adapt". Received: batch_stats={self.batch_stats!r:.60}.'
            )


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


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """What is learned on top of a module, as functions.

    Attributes:
        name: Short name, also the default folder of a run: "classify".
        labels: Names of the outputs; () where outputs have none.
        head: Features, as `takes` says -> raw outputs (logits), through fresh Keras layers.
        loss: A fresh Keras loss on (targets, raw outputs).
        metrics: Fresh Keras metrics on (targets, raw outputs); may be empty.
        decode: Raw outputs -> what people read (probabilities); Keras ops only, so that it exports.
        evaluate: (examples, decoded outputs) -> Evaluation, in NumPy; it reads no inputs of the examples.
        check: (splits) -> None; raises InputError where the data cannot be learned by this task.
        sample_weights: Targets of the training examples -> float32 (n,) weights, (n, heads) of several heads; None
            where all weigh the same.
        monitor: Name of the validation figure by which the best weights are chosen, and its direction; None takes the
            last weights.
        output: Name of the exported output: "probabilities".
        answer: What a row of the decoded outputs is: "label" (shares of one whole, the largest being the answer),
            "labels" (yes or no to each label, by its own score above 0.5) or "values".
        takes: Features that the head takes: "vector" (batch, d), "sequence" (batch, steps, d), or "pair" (batch, 2, d),
            the vectors of two examples.
        recipe: Import path and plain arguments that make this task again: ("tlkit.tasks.classify", {...}).
        prepare: (splits, say) -> this task with what the training targets decide, such as their mean; `say` is told
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
    loss: Callable[[], keras.losses.Loss]
    metrics: Callable[[], list[keras.metrics.Metric]]
    decode: Callable[[Any], Any]
    evaluate: Callable[[Examples, Any], Evaluation]
    check: Callable[[Splits], None]
    recipe: tuple[str, Mapping[str, Any]]
    sample_weights: Callable[[np.ndarray], np.ndarray | None] | None = None
    monitor: tuple[str, str] | None = ("val_loss", "min")
    output: str = "outputs"
    answer: str = VALUES
    takes: str = "vector"
    prepare: Callable[[Splits, Callable[[str], None]], Task] | None = None
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
        arguments = "".join(f", {name}={value_of(value)}" for name, value in self.recipe[1].items() if name != "labels")
        names = f", labels={value_of(self.labels)}" if self.labels else ""
        return f"Task({self.name!r}{names}, recipe={self.recipe[0]!r}{arguments})"


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


@dataclass(frozen=True, repr=False)
class PhaseResult:
    """What one phase did.

    Attributes:
        phase: What was asked.
        history: One list a figure ("loss", "val_loss", "lr", ...), one value an epoch.
        seconds: Wall-clock seconds, features included; `features_seconds` of them for the features.
        proof: What moved and what did not: counts, and sha256 of the frozen weights before and after.
        had: What the phase could do: unfrozen share, parameters trained, where the module was cut.
        best_epoch: Epoch (from 1) of the phase's best validation figure; 0 where none was run.
        improved: Whether this phase bettered all phases before it.
    """

    phase: Phase
    history: Mapping[str, list[float]]
    seconds: float
    features_seconds: float
    proof: Mapping[str, Any]
    had: Mapping[str, Any]
    best_epoch: int
    improved: bool

    def __repr__(self) -> str:
        last = {name: values[-1] for name, values in self.history.items() if values}
        epochs = len(self.history.get("loss", ()))
        return (
            f"PhaseResult({self.phase!r}, epochs run={epochs}, best_epoch={self.best_epoch}, "
            f"improved={self.improved}, last={value_of(last)}, seconds={self.seconds:.1f})"
        )


@dataclass(frozen=True)
class Exported:
    """One exported file and how it agrees with the Keras model on some examples; of several heads the worst.

    `failure` is the sentence that says why the file was kept aside, or None. `checked_on` is the split of the examples:
    "test", without test examples "val", and of training data alone "train".
    """

    format: str
    file: str
    bytes: int
    latency_ms: float
    largest_difference: float
    agreement: float
    score: float
    score_change: float
    passed: bool
    failure: str | None = None
    checked_on: str = "test"


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained model and the record that reproduces it.

    Attributes:
        model: The Keras model, best weights restored.
        task: The task it was trained for.
        data: The splits; of a run opened from its folder, the few examples kept for exports.
        phases: One result a phase.
        evaluation: Scores on the test split, or None before it was evaluated and where there are no test examples.
        seconds: Wall-clock seconds by stage: import, data, phases, evaluate, export, report.
        record: Plain data: command, versions, seed, module handle and sha256, fingerprint of the data.
        exports: What was exported so far.
        folder: Where it is kept, or None.
    """

    model: keras.Model
    task: Task
    data: Splits
    phases: tuple[PhaseResult, ...] = ()
    evaluation: Evaluation | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    exports: tuple[Exported, ...] = ()
    folder: Path | None = None

    def __repr__(self) -> str:
        phases = f"{len(self.phases)} phases" if self.phases else "no phases"
        files = f", exports={value_of([row.file for row in self.exports])}" if self.exports else ""
        place = f", folder={str(self.folder)!r}" if self.folder else ""
        return f"Run({self.task.name!r}, {phases}, scores={value_of(self.scores)}{files}{place})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the scores, the first of them as headline, and the files."""
        return run_html(self)

    @property
    def scores(self) -> Mapping[str, float]:
        """Flat scores on the test split; of a run opened from its folder, those that it wrote down."""
        return self.record.get("scores", {}) if self.evaluation is None else self.evaluation.scores


def _is_labelled(targets: np.ndarray, labels: int) -> bool:
    """Whether targets are numbers of labels, or a column of 0 and 1 for each label."""
    if targets.dtype.kind in "iu" or not len(targets):
        return True
    return targets.dtype.kind == "f" and targets.shape[1:] == (labels,) and bool(np.isin(targets, (0, 1)).all())


def _label_counts(targets: np.ndarray, labels: int) -> np.ndarray:
    """How often each label occurs; -1 is none."""
    if not len(targets):
        return np.zeros(labels, np.int64)
    if targets.dtype.kind == "f":
        return np.asarray((targets == 1).sum(axis=0))
    return np.bincount(targets[(targets >= 0) & (targets < labels)].reshape(-1), minlength=labels)


def _content(targets: np.ndarray) -> list[bytes | str]:
    """What decides targets, of ragged ones element by element: the memory of objects holds their addresses."""
    if not targets.dtype.hasobject:
        return [np.ascontiguousarray(targets).tobytes()]
    if targets.dtype.names:
        return [part for name in targets.dtype.names for part in _content(targets[name])]
    content: list[bytes | str] = []
    for i, element in enumerate(targets.reshape(-1)):
        row = np.asarray(element)
        if row.dtype.hasobject:
            raise InputError(
                f"Target {i} is neither numbers nor text, so that nobody can tell when it changes: {element!r:.60}."
            )
        content += [str((row.shape, row.dtype.str)), np.ascontiguousarray(row).tobytes()]
    return content


def run_html(run: Run) -> str:
    """A run for a notebook; whatever comes from data or modules is escaped."""
    plain = [name for name in run.scores if not name.endswith(("_low", "_high"))]
    scores = [_score_text(run.scores, name) for name in plain]
    rows = "".join(
        f"<tr><td>{html.escape(row.file)}</td><td>{row.bytes / 1e6:.2f} MB</td><td>"
        f"{'passed' if row.passed else html.escape(row.failure or 'failed')}</td></tr>"
        for row in run.exports
    )
    place = f"<p>{html.escape(str(run.folder))}</p>" if run.folder else ""
    headline = html.escape(f"{run.task.name}: {scores[0]}" if scores else run.task.name)
    others = html.escape(", ".join(scores[1:8]))
    return f"<p><b>{headline}</b></p><p>{others}</p>{place}<table>{rows}</table>"


def _score_text(scores: Mapping[str, Any], name: str) -> str:
    value, low, high = scores[name], scores.get(f"{name}_low"), scores.get(f"{name}_high")
    interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return f"{name} {'-' if value is None else format(value, '.3f')}{interval}"
