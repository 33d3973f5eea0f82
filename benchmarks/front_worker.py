"""One frozen front in TensorFlow and in LiteRT, in turn, in one process.

python front_worker.py arrays.npz MODULE_FOLDER result.json
"""

import json
import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tlkit import HubLayer
from tlkit.core import memory
from tlkit.core.examples import ArraySpec
from tlkit.features import engines
from tlkit.model.partition import front_of

ROUNDS, BATCH = 7, 32


@memory.kept()
def main():
    images = np.load(sys.argv[1])["train_x"][:192]
    layer = HubLayer(sys.argv[2], input_range=(0, 1))
    opener = engines.opener(front_of(layer, None, ArraySpec(images.shape[1:], "uint8")), len(images))
    started = time.perf_counter()
    runs = {"litert": opener(engines.LITERT, images[:4]).run}
    conversion = time.perf_counter() - started
    runs["tensorflow"] = opener(engines.TENSORFLOW).run
    features = {name: np.asarray(run(images[:BATCH])[0]) for name, run in runs.items()}
    rates = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            for i in range(0, len(images), BATCH):
                np.asarray(run(images[i : i + BATCH])[0])
            rates[name].append(len(images) / (time.perf_counter() - started))
    record = {
        "images_per_s": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": statistics.median(a / b for a, b in zip(rates["litert"], rates["tensorflow"], strict=True)),
        "conversion_seconds": conversion,
        "largest_difference": float(np.abs(features["litert"] - features["tensorflow"]).max()),
    }
    with open(sys.argv[3], "w") as file:
        json.dump(record, file)


if __name__ == "__main__":
    main()
