"""What a phase costs: tlkit against tf_keras + hub.KerasLayer, and against the same net rebuilt in Keras 3.

    python benchmarks/phases.py --out benchmarks/results/phases.json --picture docs/phases.png

All on the same decoded images (emoji10, noto) and module, on one machine, in one run, each in a fresh process with an
empty cache. Epochs are compared without the first of each phase, which traces. benchmarks/image_two_phase.py has the
comparison over twelve seeds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from image_two_phase import HERE, alternative_python, arrays_of

from tlkit import zoo
from tlkit.core.files import write_atomic

COUNTS = (500, 2_000, 5_000, 20_000)


def worker(python, name, *words, flags=()):
    """Result of a worker in a fresh process with an empty cache."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        command = [python, str(HERE / name), *map(str, words), str(result), *flags]
        subprocess.run(command, check=True, env={**os.environ, "TLKIT_CACHE": scratch})
        return json.loads(result.read_text())


def settled(seconds):
    """Median without the first epoch, which traces."""
    return statistics.median(seconds[1:] or seconds)


def reached(accuracies, done, goal):
    """Seconds until the test accuracy is at least `goal`; None if it never is."""
    return next((at for accuracy, at in zip(accuracies, done, strict=True) if accuracy >= goal - 1e-9), None)


def compared(arrays, module):
    """Epochs of each kind, and the time to the alternative's best test accuracy."""
    theirs = worker(alternative_python(), "keras_layer_worker.py", arrays, module, flags=["--watch"])
    native = worker(sys.executable, "native_worker.py", arrays, module, flags=["--epochs", "3"])
    ours = worker(sys.executable, "tlkit_worker.py", arrays, module, flags=["--watch"])
    full = worker(sys.executable, "tlkit_worker.py", arrays, module, flags=["--unfrozen", "1", "--epochs", "1", "3"])
    theirs_frozen, theirs_tuned = theirs["epoch_seconds"][:10], theirs["epoch_seconds"][10:]
    goal = max(theirs["epoch_accuracy"])
    when = theirs["epoch_accuracy"].index(goal) + 1
    theirs_time = theirs["seconds"]["data and module"] + sum(theirs["epoch_seconds"][:when])
    preparing = ours["seconds"]["data and module"]
    ours_time = reached(ours["epoch_accuracy"], [preparing + at for at in ours["epoch_done"]], goal)
    return {
        "frozen_epoch": {"keras_layer": settled(theirs_frozen), "tlkit": settled(ours["epoch_seconds"][0])},
        "tuning_epoch": {
            "keras_layer, whole": settled(theirs_tuned),
            "keras 3 native, whole": settled(native["epoch_seconds"]),
            "tlkit, whole": settled(full["epoch_seconds"][1]),
            "tlkit, top quarter": settled(ours["epoch_seconds"][1]),
        },
        "extraction_seconds": ours["features_seconds"],
        "to_their_best": {"accuracy": goal, "keras_layer": theirs_time, "tlkit": ours_time},
    }


def bars(record):
    """What was asked for, and whether it was reached."""
    frozen, tuning, best = record["frozen_epoch"], record["tuning_epoch"], record["to_their_best"]
    ratios = {
        "frozen epoch, at least 100 times cheaper": (frozen["keras_layer"] / frozen["tlkit"], 100),
        "top quarter, at least 5 times cheaper than their tuning": (
            tuning["keras_layer, whole"] / tuning["tlkit, top quarter"], 5),
        "whole, no slower than native Keras 3": (tuning["keras 3 native, whole"] / tuning["tlkit, whole"], 1),
        "to their best test accuracy, at least 10 times less time": (
            best["keras_layer"] / best["tlkit"] if best["tlkit"] else 0.0, 10),
        "LiteRT, at least 1.4 times TensorFlow": (record["front"]["ratio"], 1.4),
    }  # fmt: skip
    result = {name: {"ratio": ratio, "bar": bar, "met": ratio >= bar} for name, (ratio, bar) in ratios.items()}
    memory = {row["images"]: row["peak_anonymous_mb"] for row in record["scale"]}
    if {2_000, 20_000} <= set(memory):
        growth = memory[20_000] / memory[2_000]
        result["memory of 20,000 against 2,000 images, at most 1.1"] = {
            "ratio": growth,
            "bar": 1.1,
            "met": growth <= 1.1,
        }
    return result


def picture(record, path):
    """Seconds of an epoch by kind, and cost as work grows."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    rows = {f"frozen: {k}": v for k, v in record["frozen_epoch"].items()} | record["tuning_epoch"]
    left.barh(list(rows), list(rows.values()), color=["#2b5fd9" if "tlkit" in name else "#9aa3b2" for name in rows])
    left.set(xscale="log", xlabel="seconds an epoch", title="One epoch, 213 images")
    left.invert_yaxis()
    counts = [row["images"] for row in record["scale"]]
    for stage in ("preflight", "features", "epoch"):
        middle.plot(counts, [row["seconds"][stage] for row in record["scale"]], marker="o", label=stage)
    middle.set(xscale="log", yscale="log", xlabel="images", ylabel="seconds", title="Time as work grows")
    middle.legend()
    right.plot(counts, [row["peak_anonymous_mb"] for row in record["scale"]], marker="o")
    right.set(xscale="log", ylim=(0, None), xlabel="images", ylabel="MB", title="Peak anonymous memory of fit")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE / "results" / "phases.json")
    parser.add_argument("--picture", type=Path, default=HERE.parent / "docs" / "phases.png")
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS)
    args = parser.parse_args()
    module = zoo.folder("efficientnet-lite0")
    with tempfile.TemporaryDirectory() as scratch:
        arrays = Path(scratch) / "arrays.npz"
        arrays_of(0, [0.7, 0.15, 0.15], arrays)
        record = compared(arrays, module)
        record["front"] = worker(sys.executable, "front_worker.py", arrays, module)
    record["scale"] = [worker(sys.executable, "scale_worker.py", count, module) for count in args.counts]
    record["bars"] = bars(record)
    write_atomic(args.out, json.dumps(record, indent=1))
    picture(record, args.picture)
    print(json.dumps(record["bars"], indent=1))


if __name__ == "__main__":
    main()
