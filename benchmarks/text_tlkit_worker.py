"""Texts to an evaluated model with tlkit.

python text_tlkit_worker.py data.json MODULE_FOLDER result.json --epochs 10 3 --length 128 --seed 0
"""

import argparse
import json
import os
import time

STARTED = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import peak_mb  # noqa: E402

import tlkit  # noqa: E402
from tlkit.data import text  # noqa: E402
from tlkit.modalities.prepare import prepare  # noqa: E402

_ = (tlkit.build, tlkit.fit, tlkit.evaluate)  # these bring TensorFlow and Keras
IMPORTED = time.perf_counter() - STARTED


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("module")
    parser.add_argument("result")
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 3))
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with open(args.data) as file:
        parts = json.load(file)

    seconds, started, imported_cpu = {"import": IMPORTED}, time.perf_counter(), time.process_time()
    given = {name: (part["texts"], part["labels"]) for name, part in parts.items()}
    train, labels = given.pop("train"), ["informative", "imaginative"]
    data = text.from_arrays(*train, **given, labels=labels)
    import keras

    keras.utils.set_random_seed(args.seed)
    layer = tlkit.HubLayer(args.module, name="backbone")
    task = tlkit.tasks.classify(data.labels)
    model = tlkit.build(layer, task)
    data = prepare(data, layer, length=args.length)
    seconds["data and module"] = time.perf_counter() - started
    phases = tlkit.plans.two_phase(epochs=tuple(args.epochs), lr=(3e-3, 1e-4), unfrozen=1 / 3)
    run = tlkit.fit(model, task, data, phases, seed=args.seed)
    for name, result in zip(("frozen", "unfrozen"), run.phases, strict=True):
        seconds[name] = result.seconds
    started = time.perf_counter()
    scores = tlkit.evaluate(model, task, data.test).scores
    seconds["evaluate"] = time.perf_counter() - started
    record = {
        "accuracy": scores["accuracy"],
        "seconds": seconds,
        "cpu_seconds": time.process_time() - imported_cpu,
        "peak_memory_mb": peak_mb(),
        "steps": [result.had["steps"] for result in run.phases],
        "features_seconds": [result.features_seconds for result in run.phases],
    }
    with open(args.result, "w") as file:
        json.dump(record, file)


if __name__ == "__main__":
    main()
