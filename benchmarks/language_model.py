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
from tlkit.core.batches import pieces_of, width_of
from tlkit.modalities.prepare import prepare

BATCH = 16
RESULTS = Path(__file__).parent / "results" / "language_model.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=640)
    parser.add_argument("--test", type=int, default=150)
    parser.add_argument("--general", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--length", type=int, help="tokens of a row; without it, what 99 of 100 dialogues need")
    parser.add_argument("--steps", type=int, default=5, help="of an epoch that is timed, for both")
    parser.add_argument("--formats", nargs="*", default=["float32", "dynamic", "weight_only"])
    parser.add_argument("--timed", type=float, help="time epochs that train this share, in a process of its own")
    parser.add_argument("--only-timed", action="store_true", help="time both, and adapt nothing")
    options = parser.parse_args()
    if options.timed is not None:
        print(json.dumps(timed(options, options.timed)))
        return
    record = json.loads(RESULTS.read_text())  # what is not measured now stays as it was
    if not options.only_timed:
        record |= {"command": " ".join(sys.argv), "arguments": vars(options), **adapted(options)}
        write(record)
    if options.steps:
        record |= ratios(options)
        write(record)


def ratios(options: argparse.Namespace) -> dict[str, Any]:
    """Training a fifth on cached states beside training all, on the same batches, each in a process of its own."""
    record: dict[str, Any] = {}
    for name, share, epochs in (("timed_fifth", 0.2, 4), ("timed_whole", 1.0, 3)):
        rows = ("--train", str(options.train), "--steps", str(options.steps), "--epochs", str(epochs))
        rows += () if options.length is None else ("--length", str(options.length))
        command = [sys.executable, __file__, "--timed", str(share), *rows]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        record[name] = json.loads(done.stdout.strip().splitlines()[-1])
        print(name, record[name], flush=True)
    fifth, whole = record["timed_fifth"], record["timed_whole"]
    record["tokens_ratio"] = fifth["tokens_per_cpu_second"] / whole["tokens_per_cpu_second"]
    return {**record, "memory_ratio": fifth["peak_gb"] / whole["peak_gb"]}


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
            batch_size=BATCH,
            callbacks=[clock],
            length=options.length,
        )
        cost = {"cpu_seconds_of_epochs": clock.seconds, "peak_gb": peak_gb()}
        cost["row_tokens"] = row_tokens(run.data)
        cost["tokens_per_cpu_second"] = (
            len(data.train) * cost["row_tokens"] / float(np.median(clock.seconds[1:] or clock.seconds))
        )
        try:
            exports = tlkit.export(run, formats=options.formats).exports
        except tlkit.GateError as error:
            exports = error.exports
        return {
            "scores": dict(run.scores),
            "cached": cost,
            "samples": run.evaluation.details["samples"],
            "exports": [dataclasses.asdict(row) for row in exports],
        }


def timed(options: argparse.Namespace, unfrozen: float) -> dict[str, Any]:
    """Epochs over the same few batches, of all lengths in their shares, for whatever share of the module trains.

    An epoch before, which traces the steps and fills the cache, is not counted. Tokens are those that are computed:
    batches are cut to their longest row.
    """
    data = data_of(options)
    clock = Epochs()
    with tempfile.TemporaryDirectory() as folder:
        layer = tlkit.HubLayer("zoo:smollm2-135m", name="backbone")
        data = prepare(data, layer, length=options.length)
        train = spread(data.train, options.steps)
        data = dataclasses.replace(data, train=train, val=data.val.subset([]), test=data.test.subset([]))
        phase = tlkit.Phase(options.epochs, 1e-5, unfrozen=unfrozen)
        run = tlkit.finetune(
            layer, tlkit.tasks.generate(samples=0), data, (phase,), out=folder, batch_size=BATCH, micro_batch=BATCH,
            callbacks=[clock],
        )  # fmt: skip
    widths = [width_of(train, piece) for piece in pieces_of(train, np.arange(len(train)), BATCH)]
    tokens = BATCH * sum(width or 0 for width in widths)
    seconds = float(np.median(clock.seconds[1:]))
    cost = {"tokens": tokens, "widths": widths, "tokens_per_cpu_second": tokens / seconds, "peak_gb": peak_gb()}
    return {"cpu_seconds_of_epochs": clock.seconds, "parameters": run.phases[0].had["parameters"], **cost}


def spread(examples: Any, batches: int) -> Any:
    """As many batches of examples, evenly over their lengths: each is of one length, as batches of an epoch are."""
    order = np.argsort(examples.lengths, kind="stable")
    starts = np.linspace(0, len(order) - BATCH, batches).round().astype(int)
    return examples.subset([int(i) for start in starts for i in order[start : start + BATCH]])


def row_tokens(data: tlkit.Splits) -> int:
    """Tokens of a row, padding included."""
    step = data.train.pipeline.get("dialogue")
    assert step is not None
    return int(step["length"])


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def epochs() -> type:
    import keras

    class Epochs(keras.callbacks.Callback):
        """CPU seconds of each epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.process_time()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds.append(time.process_time() - self.start)

    return Epochs


Epochs = epochs()

if __name__ == "__main__":
    main()
