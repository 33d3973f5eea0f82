"""SmolLM2 learns the dialogues of chatterbot: perplexity before and after, cost of a step with and without a cut.

    python benchmarks/language_model.py --train 640 --test 150 --epochs 3

    python benchmarks/language_model.py --mix 0.2 --train 320 --test 100 --rates 1e-4 5e-4

The second form measures what general text among the training examples does for what is forgotten, and nothing else:
runs with and without it, of the same dialogues, judged by the same general texts.

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
from tlkit.tasks.metrics import paired_interval

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
    parser.add_argument("--mix", type=float, help="share of general texts in training whose effect is measured")
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-4], help="learning rates for --mix")
    options = parser.parse_args()
    if options.timed is not None:
        print(json.dumps(timed(options, options.timed)))
        return
    record = json.loads(RESULTS.read_text())  # what is not measured now stays as it was
    if options.mix is not None:
        for rate in options.rates:
            record.setdefault("mixing", {})[f"{rate:g}"] = mixed(options, rate)
            write(record)
        return
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


def data_of(options: argparse.Namespace, mix: float = 0.0) -> tlkit.Splits:
    """The dialogues, as many as asked for, and beside those of training so many general texts that they are `mix`."""
    general = tlkit.datasets.reviews.editorials(options.general if not mix else 5000)
    data = tlkit.datasets.chats.english(split=(0.75, 0.07, 0.18), general=general, mix=mix)
    train = few(data.train, options.train, round(mix / (1 - mix) * options.train))
    test = few(data.test, options.test, options.general)
    return dataclasses.replace(data, train=train, val=few(data.val, 32, 0), test=test)


def few(examples: Any, answers: int, general: int) -> Any:
    """The first answers, and the first general texts."""
    kinds = np.asarray(examples.columns["kind"].take(np.arange(len(examples))))
    chosen = [*np.flatnonzero(kinds == 0)[:answers], *np.flatnonzero(kinds == 1)[:general]]
    return examples.subset([int(i) for i in chosen])


def mixed(options: argparse.Namespace, rate: float) -> dict[str, Any]:
    """Scores without and with general texts in training, and how much likelier that makes those of the test."""
    arms: dict[str, Any] = {}
    likelihoods, length = [], options.length
    for share in (0.0, options.mix):
        data, start = data_of(options, share), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            run = tlkit.finetune(
                "zoo:smollm2-135m", tlkit.tasks.generate(samples=0), data,
                (tlkit.Phase(options.epochs, rate, unfrozen=0.2),), out=folder, batch_size=BATCH, length=length,
            )  # fmt: skip
        assert run.evaluation is not None
        length = row_tokens(run.data)  # general texts are longer: both arms must cut them alike
        arms[f"{share:g}"] = {
            "scores": dict(run.scores), "trained_on": len(data.train), "cpu_seconds": time.process_time() - start
        }  # fmt: skip
        likelihoods.append(np.array(run.evaluation.details["example_scores"])[-options.general :])
        print(rate, share, arms[f"{share:g}"], flush=True)
    gain = paired_interval(*likelihoods, confidence=0.975)  # of each bound
    return {
        "command": " ".join(sys.argv), "arms": arms,
        "log_likelihood_gain_of_general_texts": {"mean": gain.difference, "low": gain.low, "high": gain.high},
    }  # fmt: skip


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
