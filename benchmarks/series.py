"""Classification of five sets of the UCR/UEA archive by zoo:rocket, on the archive's own test parts, as JSON.

    python benchmarks/series.py --seeds 5 --out benchmarks/results/series.json

A seed decides the first weights and the order of series. Nothing is chosen: there is no validation part, and the last
weights are taken. "with_validation" is what `tlkit run series_classification --data FOLDER` makes of the same files: it
keeps some series of training for the validation, others by each seed, and takes the best weights there. The file is
written anew after each set.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import series_data
from measuring import MACHINE, interval

BARS = {"ItalyPowerDemand": 0.95, "GunPoint": 0.98, "ArrowHead": 0.83, "BasicMotions": 1.0, "JapaneseVowels": 0.98}


def one_seed(name, seed, epochs):
    import tlkit
    from tlkit.core.progress import quiet

    folder = series_data.ucr_folder(name)
    data = tlkit.data.series.from_ts(folder / f"{name}_TRAIN.ts", folder / f"{name}_TEST.ts", split=(1, 0, 0))
    task = tlkit.tasks.classify(data.labels, normalize=True, dropout=0.0, l2=1e-3)
    phases = (tlkit.Phase(epochs=epochs, lr=1e-3, cosine=True),)
    cpu, started = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        run = tlkit.finetune("zoo:rocket", task, data, phases, out=out, seed=seed, progress=quiet)
        row = {
            "seed": seed, "accuracy": run.scores["accuracy"],
            "interval": [run.scores["accuracy_low"], run.scores["accuracy_high"]],
            "seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
        }  # fmt: skip
        if seed == 0:
            exported = tlkit.export(run, formats=("float32", "float16"))
            kept = ("format", "bytes", "agreement", "largest_difference", "score_change", "latency_ms")
            row["files"] = [{name: getattr(row, name) for name in kept} for row in exported.exports]
    print(name, json.dumps(row), flush=True)
    return row


def with_validation(name, seed, epochs):
    """Accuracy by the recipe's own division, and how many series are left to train on."""
    import tlkit
    from tlkit.core.progress import quiet

    data = tlkit.data.series.from_folder(series_data.ucr_folder(name), seed=seed)
    task = tlkit.tasks.classify(data.labels, normalize=True, dropout=0.0, l2=1e-3)
    phases = (tlkit.Phase(epochs=epochs, lr=1e-3, cosine=True),)
    with tempfile.TemporaryDirectory() as out:
        run = tlkit.finetune("zoo:rocket", task, data, phases, out=out, seed=seed, progress=quiet)
    print(name, "with validation", seed, run.scores["accuracy"], flush=True)
    return len(data.train), run.scores["accuracy"]


def main(names, seeds, epochs, out):
    sets = {}
    for name in names:
        rows = [one_seed(name, seed, epochs) for seed in range(seeds)]
        counts, validated = zip(*(with_validation(name, seed, epochs) for seed in range(seeds)), strict=True)
        accuracies = [row["accuracy"] for row in rows]
        mean = sum(accuracies) / len(accuracies)
        sets[name] = {
            "accuracy": mean, "interval": interval(accuracies), "bar": BARS[name], "met": mean >= BARS[name] - 1e-9,
            "seeds": rows,
            "with_validation": {
                "train": counts[0], "accuracy": sum(validated) / seeds, "interval": interval(validated),
                "accuracies": validated,
            },
        }  # fmt: skip
        record = {"machine": MACHINE, "epochs": epochs, "sets": sets}
        if out:
            Path(out).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({name: figures["accuracy"] for name, figures in sets.items()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=list(series_data.UCR))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.sets, given.seeds, given.epochs, given.out)
