"""The same job with tlkit, on the same decoded images and splits.

python tlkit_worker.py arrays.npz MODULE_FOLDER result.json --epochs 10 5 --seed 0
"""

import argparse
import dataclasses
import json
import os
import time

STARTED = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

import tlkit  # noqa: E402
from tlkit.core.progress import quiet  # noqa: E402
from tlkit.data import image  # noqa: E402

_ = (tlkit.build, tlkit.fit, tlkit.evaluate)  # these bring TensorFlow and Keras
IMPORTED = time.perf_counter() - STARTED


class Watched:
    """Test accuracy after each epoch, off the clock, and how long the fit had taken by then."""

    def __init__(self, model, task, test):
        self.of, self.spent, self.accuracy, self.done = (model, task, test), 0.0, [], []

    def line(self, text):
        if " epoch " not in text:
            return
        now = time.perf_counter()
        self.done.append(now - self.spent)
        self.accuracy.append(tlkit.evaluate(*self.of).scores["accuracy"])
        self.spent += time.perf_counter() - now


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("arrays")
    parser.add_argument("module")
    parser.add_argument("result")
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 5))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unfrozen", type=float, default=0.25)
    parser.add_argument("--watch", action="store_true", help="also measure the test accuracy after each epoch")
    args = parser.parse_args()
    arrays = np.load(args.arrays)

    seconds, started = {"import": IMPORTED}, time.perf_counter()
    parts = {p: (arrays[f"{p}_x"], arrays[f"{p}_y"]) for p in ("train", "val", "test") if f"{p}_x" in arrays}
    given, labels = parts.pop("train"), [str(n) for n in arrays["labels"]]
    data = image.from_arrays(*given, **parts, labels=labels, image_size=given[0].shape[1:3], split=(1.0, 0.0, 0.0))
    task = tlkit.tasks.classify(data.labels)
    import keras

    keras.utils.set_random_seed(args.seed)
    model = tlkit.build(args.module, task)
    seconds["data and module"] = time.perf_counter() - started
    phases = tlkit.plans.two_phase(epochs=tuple(args.epochs), unfrozen=args.unfrozen)
    watched = Watched(model, task, data.test) if args.watch else None
    progress = quiet if watched is None else dataclasses.replace(quiet, line=watched.line)
    fitting = time.perf_counter()
    run = tlkit.fit(model, task, data, phases, seed=args.seed, progress=progress)
    for name, result in zip(("frozen", "unfrozen"), run.phases, strict=True):
        seconds[name] = result.seconds
    started = time.perf_counter()
    scores = tlkit.evaluate(model, task, data.test).scores
    seconds["evaluate"] = time.perf_counter() - started
    history = {name: dict(result.history) for name, result in zip(("frozen", "unfrozen"), run.phases, strict=True)}
    with open(args.result, "w") as file:
        record = {
            "accuracy": scores["accuracy"],
            "seconds": seconds,
            "history": history,
            "epoch_seconds": [list(result.had["epoch_seconds"]) for result in run.phases],
            "features_seconds": [result.features_seconds for result in run.phases],
            "fronts": [result.had["front"] for result in run.phases],
        }
        if watched is not None:
            record["epoch_accuracy"] = watched.accuracy
            record["epoch_done"] = [done - fitting for done in watched.done]
        json.dump(record, file)


if __name__ == "__main__":
    main()
