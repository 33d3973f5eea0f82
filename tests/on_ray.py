"""What workers of Ray are given in the tests: functions and records that they can import."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import fitting
import numpy as np

from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.examples import ArraySpec, Examples, Splits

SIDE, COUNT = fitting.SIZE, 42


@dataclass(frozen=True)
class Reading:
    """Reads images and writes down who read which; once, it kills its process at an index, unless that is `here`."""

    log: Path
    here: int
    kills_at: int = -1

    def __call__(self, index: int) -> np.ndarray:
        with open(self.log, "a", encoding="ascii") as file:
            file.write(f"{os.getpid()} {index}\n")
        if index == self.kills_at and os.getpid() != self.here:
            kill_once(self.log.with_suffix(".killed"))
        return fitting.image(index % len(fitting.LABELS), np.random.default_rng(index))

    def readers(self) -> dict[int, list[int]]:
        """What each other process read, sorted."""
        rows = [tuple(map(int, line.split())) for line in self.log.read_text().splitlines()]
        return {pid: sorted(index for worker, index in rows if worker == pid) for pid, _ in rows if pid != self.here}


def kill_once(marker: Path) -> None:
    """End this process by SIGKILL, unless that has been done."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def logged(log: Path, name: str, kills_at: int = -1) -> Examples:
    """Examples whose reading is written down."""
    ids = tuple(f"{name}-{index}" for index in range(COUNT))
    read = Reading(log, os.getpid(), kills_at)
    targets = np.arange(COUNT, dtype=np.int32) % len(fitting.LABELS)
    return Examples(ids, ReadColumn(read, ArraySpec((SIDE, SIDE, 3), "uint8"), ids), ArrayColumn(targets), "image")


def plain_data() -> Splits:
    """The examples of `fitting`, as arrays."""
    parts = (fitting.examples(COUNT, 1), fitting.examples(15, 2), fitting.examples(15, 3))
    arrays = [Examples(p.ids, np.stack([p.inputs[i] for i in range(len(p))]), p.targets, "image") for p in parts]
    return Splits(*arrays, fitting.LABELS)


def adapt(module: str, out: str, lr: float = 1e-2, epochs: int = 2, killed: str = "") -> object:
    """A run of a frozen phase and a tuned one.

    Args:
        module: Its folder.
        out: Folder of the run.
        lr: Of the head.
        epochs: Of the head.
        killed: A marker: once, worker 1, or the process of a trial, is killed behind the first epoch.
    """
    import tlkit
    from tlkit.core import trials
    from tlkit.training import fit as fitted

    if killed and ('"index": 1' in os.environ.get("TF_CONFIG", "") or trials.under_way()):
        run_epoch, ended = fitted._run_epoch, []

        def ending(*arguments):
            if ended:
                kill_once(Path(killed))
            ended.append(1)
            return run_epoch(*arguments)

        fitted._run_epoch = ending
    task = tlkit.tasks.classify(fitting.LABELS, hidden=(8,), dropout=0.0)
    phases = [tlkit.Phase(epochs, lr), tlkit.Phase(2, lr / 10, unfrozen=0.5)]
    return tlkit.finetune(module, task, plain_data(), phases, out=out, batch_size=8, input_range=(0.0, 1.0))
