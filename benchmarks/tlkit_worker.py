"""The same job with tlkit, on the same decoded images and splits.

python tlkit_worker.py arrays.npz MODULE_FOLDER result.json --epochs 10 5 --seed 0
"""

import argparse
import json
import os
import time

STARTED = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

import tlkit  # noqa: E402
from tlkit.data import image  # noqa: E402

_ = (tlkit.build, tlkit.fit, tlkit.evaluate)  # these bring TensorFlow and Keras
IMPORTED = time.perf_counter() - STARTED


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("arrays")
    parser.add_argument("module")
    parser.add_argument("result")
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 5))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    arrays = np.load(args.arrays)

    seconds, started = {"import": IMPORTED}, time.perf_counter()
    train, val, test = ((arrays[f"{part}_x"], arrays[f"{part}_y"]) for part in ("train", "val", "test"))
    labels, size = [str(n) for n in arrays["labels"]], train[0].shape[1:3]
    data = image.from_arrays(*train, val=val, test=test, labels=labels, image_size=size)
    task = tlkit.tasks.classify(data.labels)
    import keras

    keras.utils.set_random_seed(args.seed)
    model = tlkit.build(args.module, task)
    seconds["data and module"] = time.perf_counter() - started
    phases = tlkit.plans.two_phase(epochs=tuple(args.epochs))
    run = tlkit.fit(model, task, data, phases, seed=args.seed)
    for name, result in zip(("frozen", "unfrozen"), run.phases, strict=True):
        seconds[name] = result.seconds
    started = time.perf_counter()
    scores = tlkit.evaluate(model, task, data.test).scores
    seconds["evaluate"] = time.perf_counter() - started
    history = {name: dict(result.history) for name, result in zip(("frozen", "unfrozen"), run.phases, strict=True)}
    with open(args.result, "w") as file:
        json.dump({"accuracy": scores["accuracy"], "seconds": seconds, "history": history}, file)


if __name__ == "__main__":
    main()
