"""Connectionist temporal classification: texts of a closed vocabulary out of any audio module's frames."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.transcripts import UNITS, transcripts, written
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.task import Objective, Task
from tlkit.data.speech import TEXT
from tlkit.layer import reads
from tlkit.tasks import recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_training, named_splits
from tlkit.tasks.transcription_scores import judged

if TYPE_CHECKING:
    import keras

CONTEXT = 5  # frames that a hidden layer sees


def ctc(vocabulary: Sequence[str], hidden: Sequence[int] = (), dropout: float = 0.1) -> Task:
    """Write down what is said, in characters or words of a closed vocabulary, without knowing where each is said.

    Each frame says a unit, or a blank; repeats and blanks are left out, so a text needs as many frames as units, and
    one more between two equal ones. Words are heard whole, so those that training lacks are never written; characters
    can spell any word, and need finer frames and more recordings. Targets are int32 (n, most) numbers of units from 1,
    filled up with 0: `tlkit.data.speech` makes them with `vocabulary=`.

    Args:
        vocabulary: The units in the order of their numbers: `data.labels`.
        hidden: Widths of convolutions over 5 frames before the last layer.
        dropout: Share of features dropped before each layer, in [0, 1).

    Returns:
        A task for modules that give one vector a frame; what it gives is as `answers.transcripts` says.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> ctc(["no", "yes"]).answers[0].tensors
        ('units', 'scores')

    Source: Graves et al. 2006, doi:10.1145/1143844.1143891.
    """
    units, widths = tuple(str(unit) for unit in vocabulary), tuple(int(width) for width in hidden)
    checks = {
        "vocabulary": (units and len(set(units)) == len(units) and "" not in units, "be different units", units[:9]),
        "hidden": (not widths or min(widths) >= 1, "be 1 or more each", widths),
        "dropout": (0 <= dropout < 1, "lie in [0, 1)", dropout),
    }
    check_rules(checks, of="ctc")
    arguments = {"vocabulary": units, "hidden": widths, "dropout": dropout}
    return Task(
        name="ctc",
        made_by=recording.record("tlkit.tasks.ctc", arguments),
        reads=reads.steps(),
        head=functools.partial(_head, outputs=1 + len(units), hidden=widths, dropout=dropout),
        objective=Objective(loss=_loss, check=functools.partial(_check, units)),
        answers=(transcripts(units),),
        scorer=gathered(judged(functools.partial(written, units), UNITS)),
    )


def _head(features: Any, outputs: int, hidden: tuple[int, ...], dropout: float) -> Any:
    from keras import layers

    x = features
    for number, width in enumerate(hidden, start=1):
        x = layers.Dropout(dropout, name=f"head_dropout_{number}")(x) if dropout else x
        x = layers.Conv1D(width, CONTEXT, padding="same", activation="relu", name=f"head_conv_{number}")(x)
    x = layers.Dropout(dropout, name="head_dropout")(x) if dropout else x
    return layers.Dense(outputs, dtype="float32", name="head_outputs")(x)


def _loss() -> keras.losses.Loss:
    from tlkit.tasks.transcription_losses import FrameLoss

    return FrameLoss()


def _check(units: tuple[str, ...], splits: Splits) -> None:
    check_training(splits, "give more recordings, or a larger share of them to it")
    if splits.labels and splits.labels != units:
        raise InputError("The task's vocabulary is not the data's: make the task from `data.labels`.")
    for name, examples in named_splits(splits):
        if not len(examples):
            continue
        targets = examples.targets.take(np.arange(len(examples)))
        if targets.ndim != 2 or targets.dtype.kind not in "iu" or TEXT not in examples.columns:
            raise InputError(
                f"The {name} examples need the column {TEXT!r} and int32 (n, most) targets, one number a unit: "
                f'`tlkit.data.speech` makes them with vocabulary="words". Received: {examples.targets.spec}.'
            )
        if not 0 <= int(targets.min()) <= int(targets.max()) <= len(units):
            raise InputError(
                f"The {name} targets must lie in [0, {len(units)}]: read the data with `vocabulary=`. "
                f"Received: {int(targets.max())}."
            )
