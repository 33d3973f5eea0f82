"""Feature extraction and a head on COUNT generated pictures: time by stage and peak anonymous memory.

python scale_worker.py COUNT MODULE_FOLDER result.json
"""

import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

import tlkit
from tlkit.core.batches import chunks, read_batches
from tlkit.data import image

CLASSES, PIPELINE = 5, 1000


def anonymous_mb():
    """Anonymous memory of this process in MB; mapped files do not count."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


class Peak(threading.Thread):
    """The largest anonymous memory seen, twenty times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.mb = 0.0

    def run(self):
        while True:
            self.mb = max(self.mb, anonymous_mb())
            time.sleep(0.05)


def picture(folder, number):
    rng = np.random.default_rng(number)
    small = rng.integers(0, 255, (14, 14, 3), dtype=np.uint8)
    small[..., number % 3] //= 1 + number % CLASSES
    target = folder / f"class{number % CLASSES}" / f"{number:06d}.jpg"
    Image.fromarray(small).resize((224, 224), Image.BICUBIC).save(target, quality=85)


def main():
    count, module, result = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for label in range(CLASSES):
            (folder / f"class{label}").mkdir()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda n: picture(folder, n), range(count)))
        splits = image.resized(image.from_folder(folder, progress=False), (224, 224))
        started, some = time.perf_counter(), chunks(np.arange(min(PIPELINE, len(splits.train))), 32)
        for _ in read_batches(splits.train, some):
            pass
        pipeline = sum(map(len, some)) / (time.perf_counter() - started)
        task = tlkit.tasks.classify(splits.labels)
        model = tlkit.build(module, task)
        peak = Peak()
        peak.start()
        run = tlkit.fit(model, task, splits, tlkit.plans.feature_extraction(2))
    phase = run.phases[0]
    record = {
        "images": count,
        "seconds": {
            "preflight": splits.seconds,
            "features": phase.features_seconds,
            "epoch": phase.had["epoch_seconds"][-1],
        },
        "pipeline_images_per_s": pipeline,
        "front": phase.had["front"],
        "peak_anonymous_mb": peak.mb,
    }
    with open(result, "w") as file:
        json.dump(record, file)


if __name__ == "__main__":
    main()
