"""Memory of judging masks: the scores of a segmentation, and the gate of its exported file, as JSON.

    python benchmarks/masks.py --out benchmarks/results/masks.json

500 images of 512 x 512 pixels with a label of 21 at each: what the model says of all of them is 11 GB. The task is
the plug-in of tests/extension, the module one convolution, as neither decides what is kept. Growth is of RssAnon, the
memory that belongs to no file, since before the work; outputs that the gate compares lie in files.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import HERE, MACHINE

SIDE, LABELS, COUNT, BAR_MB = 512, 21, 500, 1000.0


def anonymous_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


class Watched:
    """The growth of RssAnon since it began, looked at a hundred times a second, and the seconds that passed."""

    def __enter__(self):
        self.start, self.peak, self.ended, self.began = anonymous_mb(), 0.0, False, time.perf_counter()
        threading.Thread(target=self.watch, daemon=True).start()
        return self

    def watch(self):
        while not self.ended:
            self.peak = max(self.peak, anonymous_mb())
            time.sleep(0.01)

    def __exit__(self, *_error):
        self.ended = True
        self.growth_mb, self.seconds = round(self.peak - self.start, 1), round(time.perf_counter() - self.began, 1)


def examples(count):
    import numpy as np

    import tlkit
    from tlkit.core.columns import ReadColumn

    def pixels(index):
        return np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), np.uint8)

    ids = tuple(f"{i:04d}" for i in range(count))
    return tlkit.Examples(
        ids,
        ReadColumn(pixels, tlkit.ArraySpec((SIDE, SIDE, 3), "uint8"), ids),
        ReadColumn(lambda i: pixels(i)[..., 0] % LABELS, tlkit.ArraySpec((SIDE, SIDE), "uint8"), ids),
        modality="image",
        pipeline=tlkit.Pipeline().then("image", background=[255, 255, 255]),
    )


def main(count, out):
    import keras

    import tlkit
    from tlkit.core.run import Run
    from tlkit.exporting import export

    sys.path.insert(0, str(HERE.parent / "tests" / "extension"))
    import plugin_pixel_labels

    task = plugin_pixel_labels.segment([str(i) for i in range(LABELS)])
    image = keras.Input((SIDE, SIDE, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(LABELS, 1)(keras.layers.Rescaling(1 / 255)(image)))
    few, all_of_them = examples(8), examples(count)
    tlkit.evaluate(model, task, few)  # what is loaded once is no growth
    with Watched() as judged:
        tlkit.evaluate(model, task, all_of_them)
    run = Run(model, task, tlkit.Splits(few, few.subset([]), all_of_them))
    with tempfile.TemporaryDirectory() as folder, Watched() as gated:
        (file,) = export(run, folder, ("float32",))
    record = {
        "machine": MACHINE,
        "images": count,
        "outputs_gb": round(count * SIDE * SIDE * LABELS * 4 / 1e9, 2),
        "evaluate": {"growth_mb": judged.growth_mb, "seconds": judged.seconds},
        "export": {"growth_mb": gated.growth_mb, "seconds": gated.seconds, "passed": file.passed},
        "bar_mb": BAR_MB,
        "met": max(judged.growth_mb, gated.growth_mb) < BAR_MB,
    }
    print(json.dumps(record, indent=1))
    if out:
        Path(out).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.count, given.out)
