"""Whisper on telephone prompts, before and after its decoder's top was adapted: word error rates over seeds, as JSON.

    python benchmarks/speech.py --seeds 0 1 2 --out benchmarks/results/speech.json

Each seed divides the prompts anew, by their texts, and is a process of its own, so that every "before" is scored by the
weights of the package. Seconds are of CPU time on one thread. `--long` adapts the module in the 30-s window too, and
`--export` judges files, both of the first seed. `--only-epochs` times epochs with cached states and without, which
compute the encoder's states anew, of the first seed and scoring nothing, and keeps the rest of what `--out` holds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import MACHINE

EPOCHS, LR, UNFROZEN, BATCH, SPLIT = 4, 5e-5, 0.25, 8, (0.57, 0.1, 0.33)
SCORES = ("wer", "wer_low", "wer_high", "cer", "wer_before", "wer_low_before", "wer_high_before", "cer_before", "exact")


def adapted(seed, out, *, cache="auto", epochs=EPOCHS, seconds=10.0, scored=True):
    """The run of one seed, and CPU seconds of each epoch."""
    import dataclasses

    import keras

    import tlkit

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.at, self.epochs = time.process_time(), []

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(time.process_time() - self.at)
            self.at = time.process_time()

    clock, data = Clock(), tlkit.datasets.prompts.asterisk(seed=seed, split=SPLIT, window_s=seconds)
    if not scored:
        data = dataclasses.replace(data, test=data.test.subset([]))
    phase = tlkit.Phase(epochs, LR, unfrozen=UNFROZEN, warmup=0.1, cosine=True)
    run = tlkit.finetune(
        "zoo:whisper-tiny-en", tlkit.tasks.transcribe(64), data, (phase,), out=out, batch_size=BATCH, seed=seed,
        cache=cache, callbacks=[clock], fresh=True, progress=tlkit.core.progress.quiet,
    )  # fmt: skip
    return run, clock.epochs


def epochs_of(seed):
    """CPU seconds of epochs with cached states and without; the first of each traces the steps, or fills the cache."""
    seconds = {}
    for name, cache, epochs in (("cached", "auto", 4), ("uncached", "off", 3)):
        with tempfile.TemporaryDirectory() as folder:
            run, each = adapted(seed, folder, cache=cache, epochs=epochs, scored=False)
        seconds[name] = [round(s, 2) for s in each]
        print(name, seconds[name], file=sys.stderr, flush=True)
    ratio = statistics.median(seconds["uncached"][1:]) / statistics.median(seconds["cached"][1:])
    return {"seed": seed, "train": len(run.data.train), **seconds, "ratio": round(ratio, 2)}


def one(seed, long, export):
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        run, epochs = adapted(seed, folder)
        data = run.data
        row = {
            "seed": seed, "train": len(data.train), "test": len(data.test),
            "words": run.evaluation.details["transcripts"]["words"],
            **{name: round(run.scores[name], 4) for name in SCORES},
            "parameters": run.phases[0].had["parameters"], "epoch_cpu_s": [round(s, 2) for s in epochs],
            "cpu_s": round(time.process_time() - started, 1),
        }  # fmt: skip
        if export:
            row["files"] = exported(run)
    if long:
        with tempfile.TemporaryDirectory() as folder:
            scores = adapted(seed, folder, seconds=30.0)[0].scores
        row["window_30_s"] = {name: round(scores[name], 4) for name in SCORES}
    return row


def exported(run):
    import tlkit

    formats = ("saved_model", "float32", "float16", "dynamic", "weight_only")
    try:
        run = tlkit.export(run, formats=formats, progress=tlkit.core.progress.quiet)
    except tlkit.core.errors.GateError as error:
        files = error.exports
    else:
        files = run.exports
    return [
        {"format": f.format, "passed": f.passed, "size_mb": round(f.bytes / 1e6, 1), "failure": f.failure,
         "equal": f.agreement, "wer_change": round(-f.score_change, 4), "latency_ms": round(f.latency_ms, 1)}
        for f in files
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=int)
    for flag in ("--long", "--export", "--only-epochs"):
        parser.add_argument(flag, action="store_true")
    given = parser.parse_args()
    if given.one is not None:
        print("ROW " + json.dumps(one(given.one, given.long, given.export)), flush=True)
        return
    if given.only_epochs:
        epochs = {"machine": MACHINE, **epochs_of(given.seeds[0])}
        print(json.dumps(epochs), flush=True)
        if given.out is not None:
            record = json.loads(given.out.read_text()) if given.out.exists() else {}
            given.out.write_text(json.dumps({**record, "epochs": epochs}, indent=1) + "\n")
        return
    rows = []
    for number, seed in enumerate(given.seeds):
        extra = [f"--{n}" for n in ("long", "export") if number == 0 and getattr(given, n)]
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(seed), *extra], stdout=subprocess.PIPE, text=True, check=True
        )
        rows.append(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ROW "))[4:]))
        print(json.dumps(rows[-1]), flush=True)
        if given.out is not None:
            ratios = [row["wer"] / row["wer_before"] for row in rows]
            settings = {
                "epochs": EPOCHS,
                "lr": LR,
                "unfrozen": UNFROZEN,
                "batch": BATCH,
                "window_s": 10,
                "split": SPLIT,
            }
            record = {"machine": MACHINE, "settings": settings, "rows": rows, "worst_ratio": round(max(ratios), 3)}
            given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
