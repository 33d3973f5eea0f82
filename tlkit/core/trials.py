"""A trial of a search: what is under way, where its figures go, and what its search keeps for the next one."""

from __future__ import annotations

import contextlib
import contextvars
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import sha256_bytes
from tlkit.core.identity import Itself

MOST_KEPT = 16  # things of a kind: models, or traced steps


class PrunedError(Exception):
    """The search gives a trial up; what it has learned of it is kept."""


@dataclass(eq=False)
class Keep:
    """What trials of one search share, by what it is made of; the things that were not used for longest go first.

    Attributes:
        things: Of each kind.
        trained: Modules whose weights are not those that they were opened with.
    """

    things: dict[str, OrderedDict[Hashable, Any]] = field(default_factory=dict)
    trained: set[Hashable] = field(default_factory=set)

    def get(self, kind: str, key: Hashable, make: Callable[[], Any]) -> Any:
        """The thing that was made for an equal key, or a new one."""
        shelf = self.things.setdefault(kind, OrderedDict())
        if key not in shelf:
            shelf[key] = make()
        shelf.move_to_end(key)
        while len(shelf) > MOST_KEPT:
            shelf.popitem(last=False)
        return shelf[key]


@dataclass(eq=False)
class Trial:
    """What one trial has shown so far.

    Attributes:
        keep: What the trials of its search share.
        epoch_ended: (epochs so far, merit) -> nothing, or `PrunedError`; a higher merit is better.
        monitor: Name and direction of the validation figure, as the task has it.
        best: The best figure of the last fit.
        epochs: Epochs of all fits.
        data: Fingerprint of the last fit's training and validation examples.
    """

    keep: Keep
    epoch_ended: Callable[[int, float], None]
    monitor: tuple[str, str] | None = None
    best: float | None = None
    epochs: int = 0
    data: str = ""

    def judge_by(self, monitor: tuple[str, str] | None, data: Splits) -> None:
        """Note by which figure the trial is judged, and of which examples.

        Raises:
            InputError: If nothing tells which trial is better.
        """
        if monitor is None or not len(data.val):
            why = "there are no validation examples" if not len(data.val) else "the task monitors no validation figure"
            raise InputError(f"Nothing tells which trial is better: {why}, and the test examples must not.")
        self.monitor = monitor
        self.data = self.keep.get("contents", Itself(data), lambda: content_of(data))

    @property
    def merit(self) -> float | None:
        """The best figure with the sign that makes a higher one better."""
        return None if self.best is None else self.merit_of(self.best)

    def merit_of(self, figure: float) -> float:
        """The figure with the sign that makes a higher one better."""
        return -figure if self.monitor is not None and self.monitor[1] == "min" else figure

    def ended_epoch(self, figure: float, best: float) -> None:
        """Tell the search of an epoch.

        Args:
            figure: The monitored figure of the epoch.
            best: The best of the fit, this epoch included.

        Raises:
            PrunedError: If the search gives the trial up.
        """
        self.best, self.epochs = best, self.epochs + 1
        self.epoch_ended(self.epochs, self.merit_of(figure))


def content_of(data: Splits) -> str:
    """Hash of the training and validation examples as they were before preprocessing."""
    parts = [sha256_bytes(*part.ids, *part.digests, *part.targets.digests) for part in (data.train, data.val)]
    return sha256_bytes(*parts, str(data.labels), str(data.heads))


_TRIAL: contextvars.ContextVar[Trial | None] = contextvars.ContextVar("trial", default=None)


def under_way() -> Trial | None:
    """The trial that calls this, or None outside of searches."""
    return _TRIAL.get()


@contextlib.contextmanager
def trying(trial: Trial) -> Iterator[Trial]:
    """Inside, runs are trials: they are neither tested, nor exported, nor saved."""
    token = _TRIAL.set(trial)
    try:
        yield trial
    finally:
        _TRIAL.reset(token)
