"""Phases of training, and what a run of them gives."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.core.brief import value_of
from tlkit.core.errors import InputError
from tlkit.core.numeric import is_number

if TYPE_CHECKING:
    import keras
from tlkit.core.examples import Splits
from tlkit.core.task import Evaluation, Task

# What lies in a run's folder beside its exports.
RECORD, TASK, EXAMPLES, MODEL, REPORT = "run.json", "task.json", "examples.npz", "model.keras", "report.html"
CHECKPOINTS = "checkpoints"
FILES = (RECORD, TASK, EXAMPLES, MODEL, REPORT, CHECKPOINTS)


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
        start_share: Share in [0, 1) of those first weights in what is judged and kept: each epoch's weights of the
            module are the mean of both, while training goes on from its own (Wortsman et al. 2022, arXiv:2109.01903).
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
    start_share: float = 0.0

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
            "start_share": (lambda x: 0 <= x < 1, "lie in [0, 1)"),
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
    "test", without test examples "val", and of training data alone "train". `signatures` is what the file itself says
    of each of its signatures, the default one first: "inputs" and "outputs" by name, each a "shape", in which None is
    any size, and a "dtype". `scores` are those of answers that are judged over all examples together: map, map50 and
    map75 of boxes, miou and dice of masks; with the change of each, "map_change", from the Keras model's.
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
    signatures: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


_CAUTIONS = {
    "val": "Files were checked on validation examples, as there are no test examples: the weights were chosen by them, "
    "so the scores flatter the model.",
    "train": "Files were checked on training examples, as there are no others: that they agree with the model is "
    "shown, and how well it does on new examples is not.",
}


def caution(checked_on: str) -> str | None:
    """What a reader must know of files that were checked on this split; None of the test split."""
    return _CAUTIONS.get(checked_on)


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
        worker: Which of the workers that trained together made it; only the chief, 0, saves and exports.
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
    worker: int = 0

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

    def with_scores(self, scores: Mapping[str, float]) -> Run:
        """The run with further scores, such as those of runs that it is compared with.

        They stand in its report and its run.json once it is saved or exported.

        Args:
            scores: By name; a score of this name that is there already is replaced.
        """
        merged = {**self.scores, **scores}
        if self.evaluation is None:
            return replace(self, record={**self.record, "scores": merged})
        return replace(self, evaluation=replace(self.evaluation, scores=merged))

    def with_note(self, note: str) -> Run:
        """The run with one more note on its data, which stands in its report and its run.json once it is saved.

        Args:
            note: A sentence.
        """
        record = dict(self.record)
        if "data" in record:  # a run that was saved has its notes there
            record["data"] = {**record["data"], "notes": [*record["data"].get("notes", ()), note]}
        return replace(self, record=record, data=replace(self.data, notes=(*self.data.notes, note)))


def run_html(run: Run) -> str:
    """A run for a notebook; whatever comes from data or modules is escaped."""
    plain = [name for name in run.scores if not name.endswith(("_low", "_high"))]
    scores = [_score_text(run.scores, name) for name in plain]
    rows = "".join(
        f"<tr><td>{html.escape(str(row['file']))}</td><td>{row['bytes'] / 1e6:.2f} MB</td><td>"
        f"{'passed' if row['passed'] else html.escape(str(row['failure'] or 'failed'))}</td></tr>"
        for row in (list(map(vars, run.exports)) or run.record.get("exports", ()))  # one that was opened has a record
    )
    place = f"<p>{html.escape(str(run.folder))}</p>" if run.folder else ""
    headline = html.escape(f"{run.task.name}: {scores[0]}" if scores else run.task.name)
    further_scores = html.escape(", ".join(scores[1:8]))
    return f"<p><b>{headline}</b></p><p>{further_scores}</p>{place}<table>{rows}</table>"


def _score_text(scores: Mapping[str, Any], name: str) -> str:
    value, low, high = scores[name], scores.get(f"{name}_low"), scores.get(f"{name}_high")
    interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return f"{name} {'-' if value is None else format(value, '.3f')}{interval}"
