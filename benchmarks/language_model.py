"""SmolLM2 learns the dialogues of chatterbot: perplexity before and after, cost of a step with and without a cut.

    python benchmarks/language_model.py --train 640 --test 150 --epochs 3

Rows are as long as 99 of 100 dialogues need, with the system message of the module's own template. Writes
benchmarks/results/language_model.json. Seconds are of CPU (one process, all its threads), so that they mean something
on a machine that others use too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tlkit

RESULTS = Path(__file__).parent / "results" / "language_model.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=640)
    parser.add_argument("--test", type=int, default=150)
    parser.add_argument("--general", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--length", type=int, help="tokens of a row; without it, what 99 of 100 dialogues need")
    parser.add_argument("--steps", type=int, default=2, help="of the whole model, to be timed")
    parser.add_argument("--formats", nargs="*", default=["float32", "dynamic"])
    parser.add_argument("--whole", action="store_true", help="time steps of the whole model, in a process of its own")
    options = parser.parse_args()
    if options.whole:
        print(json.dumps(whole_model(options)))
        return
    record = {"command": " ".join(sys.argv), "arguments": vars(options), **adapted(options)}
    write(record)
    if options.steps:
        rows = ("--length", str(record["cached"]["row_tokens"]), "--train", str(options.train))
        command = [sys.executable, __file__, "--whole", "--steps", str(options.steps), *rows]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        record["whole"] = json.loads(done.stdout.strip().splitlines()[-1])
        cached, whole = record["cached"], record["whole"]
        record["tokens_ratio"] = cached["tokens_per_cpu_second"] / whole["tokens_per_cpu_second"]
        record["memory_ratio"] = cached["peak_gb"] / whole["peak_gb"]
        write(record)


def write(record: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def data_of(options: argparse.Namespace) -> tlkit.Splits:
    """The dialogues, as many as asked for."""
    general = tlkit.datasets.reviews.editorials(options.general)
    data = tlkit.datasets.chats.english(split=(0.75, 0.07, 0.18), general=general)
    kinds = np.asarray(data.test.columns["kind"].take(np.arange(len(data.test))))
    kept = [*np.flatnonzero(kinds == 0)[: options.test], *np.flatnonzero(kinds == 1)[: options.general]]
    train, val = (part.subset(range(min(len(part), n))) for part, n in ((data.train, options.train), (data.val, 32)))
    return dataclasses.replace(data, train=train, val=val, test=data.test.subset([int(i) for i in kept]))


def adapted(options: argparse.Namespace) -> dict[str, Any]:
    """A run on cached states, and what it exports."""
    data = data_of(options)
    phase = tlkit.Phase(options.epochs, 1e-4, unfrozen=0.2)
    clock = Epochs()
    with tempfile.TemporaryDirectory() as folder:
        task = tlkit.tasks.generate(most=24, samples=4)
        run = tlkit.finetune(
            "zoo:smollm2-135m",
            task,
            data,
            (phase,),
            out=folder,
            batch_size=16,
            callbacks=[clock],
            length=options.length,
        )
        cost = {"cpu_seconds_of_epochs": clock.seconds, "peak_gb": peak_gb()}
        cost["row_tokens"] = row_tokens(run.data)
        cost["tokens_per_cpu_second"] = (
            len(data.train) * cost["row_tokens"] / float(np.median(clock.seconds[1:] or clock.seconds))
        )
        figures = {"scores": dict(run.scores), "cached": cost, "samples": run.evaluation.details["samples"]}
        write(figures)
        try:
            exports = tlkit.export(run, formats=options.formats).exports
        except tlkit.GateError as error:
            exports = error.exports
        return {**figures, "exports": [dataclasses.asdict(row) for row in exports]}


def whole_model(options: argparse.Namespace) -> dict[str, Any]:
    """Steps that train all of the model, timed behind one that is not."""
    data = data_of(options)
    train = data.train.subset(range(16 * (options.steps + 1)))
    data = dataclasses.replace(data, train=train, val=data.val.subset([]), test=data.test.subset([]))
    clock = Steps()
    with tempfile.TemporaryDirectory() as folder:
        task = tlkit.tasks.generate(samples=0)
        phase = tlkit.Phase(1, 1e-5, unfrozen=1.0)
        run = tlkit.finetune(
            "zoo:smollm2-135m", task, data, (phase,), out=folder, batch_size=16, micro_batch=16, length=options.length,
            callbacks=[clock],
        )  # fmt: skip
    seconds, tokens = float(np.median(clock.seconds[1:])), 16 * row_tokens(run.data)
    return {"cpu_seconds_of_steps": clock.seconds, "tokens_per_cpu_second": tokens / seconds, "peak_gb": peak_gb()}


def row_tokens(data: tlkit.Splits) -> int:
    """Tokens of a row, padding included."""
    step = data.train.pipeline.get("dialogue")
    assert step is not None
    return int(step["length"])


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def callbacks() -> tuple[type, type]:
    import keras

    class Clock(keras.callbacks.Callback):
        """CPU seconds between a beginning and an end."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def began(self) -> None:
            self.start = time.process_time()

        def ended(self) -> None:
            self.seconds.append(time.process_time() - self.start)

    class EpochClock(Clock):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.ended()

    class StepClock(Clock):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.began()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ended()

    return EpochClock, StepClock


Epochs, Steps = callbacks()

if __name__ == "__main__":
    main()
