"""CPU seconds of a training step, with the part that trains as it is and in its cheaper form (decision 0017), as JSON.

    python benchmarks/steps.py --out benchmarks/results/steps.json

The top quarter of zoo:efficientnet-lite0 on random features at the cut, batch 32; both forms take turns in one process.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from measuring import MACHINE

import tlkit
from tlkit.core.files import write_atomic
from tlkit.core.run import Phase
from tlkit.graph import cutting, easing
from tlkit.model import partition
from tlkit.training import step as steps

LABELS = [str(i) for i in range(10)]
PHASE = Phase(1, 3e-4, unfrozen=0.25)


def step(change) -> tuple:
    """A function that makes one step, its model built anew."""
    cutting.ease = change
    layer = tlkit.HubLayer("zoo:efficientnet-lite0", name="backbone")
    whole, task = tlkit.build(layer, tlkit.tasks.classify(LABELS)), tlkit.tasks.classify(LABELS)
    trained = partition.arrange(whole, PHASE).trained
    rng = np.random.default_rng(0)
    pixels, targets = np.zeros((32, 224, 224, 3), np.uint8), np.arange(32) % 10
    data = tlkit.data.image.from_arrays(pixels + targets[:, None, None, None].astype(np.uint8), targets, labels=LABELS)
    made = steps.compiled(whole, trained, task, PHASE, data.train, 32)
    x = tf.constant(rng.random((32, *trained.input.shape[1:])), tf.float32)
    return lambda: made.train_step(x, tf.constant(targets, tf.int32), None)


def main() -> None:
    """Time both forms in turns and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    forms = {"as it is": step(None), "eased": step(easing.ease)}
    spent: dict[str, list[float]] = {name: [] for name in forms}
    for count in range(args.steps + 2):
        for name, run in forms.items():
            started = time.process_time()
            run()
            if count >= 2:  # the first are traced
                spent[name].append(time.process_time() - started)
    figures = {n: {"median": statistics.median(v), "least": min(v)} for n, v in spent.items()}
    ratios = {key: figures["eased"][key] / figures["as it is"][key] for key in ("median", "least")}
    report = {"machine": MACHINE, "steps": args.steps, "cpu_seconds": figures, "eased to as it is": ratios}
    print(json.dumps(report, indent=1))
    if args.out:
        write_atomic(args.out, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
