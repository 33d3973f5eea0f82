"""Anomalies learned from good images alone: AUROC by set, detector and kind of fault, the choice, time, files; as JSON.

    python benchmarks/anomalies.py --seeds 3 --out benchmarks/results/anomalies.json

Three parts (`datasets.inspected`: Debian's tuxpaint stamps, moved and lit as by a jig) and three textures (brick,
grass, gravel of scikit-image; crops of the left half to train, of the right half to test), with
`zoo:efficientnet-lite0`: 40 good images to train, 10 for validation, 30 good and 40 spoilt ones to test. Images and
faults are synthetic: the figures compare detectors, and say little about a camera.
"""

import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

MODULE = "zoo:efficientnet-lite0"
PARTS, TEXTURES = ("coin", "clock", "apple"), ("brick", "grass", "gravel")
BARS = {"parts": 0.97, "textures": 0.70, "seconds": 10.0, "difference": 1e-4}
CROP = 112


def data_of(name, seed):
    from tlkit.datasets import inspected

    if name in PARTS:
        return inspected.parts(name, good=50, test=30, bad=40, seed=seed)
    rng = np.random.default_rng([seed, *name.encode()])
    own, other = picture(name), picture("coffee")
    good, test, bad = (list(crops(own, count, rng, left)) for count, left in ((50, True), (30, False), (40, False)))
    return inspected.splits_of(good, test, bad, list(crops(other, 40, rng, False)), rng, seed)


def picture(name):
    import skimage
    from PIL import Image

    return np.asarray(Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png").convert("RGB"))


def crops(image, count, rng, left):
    """Crops of one half, so that training and test share no pixel."""
    from PIL import Image

    height, width = image.shape[:2]
    low, high = (0, width // 2 - CROP) if left else (width // 2, width - CROP)
    for _ in range(count):
        y, x = rng.integers(0, height - CROP + 1), rng.integers(low, high + 1)
        own = Image.fromarray(image[y : y + CROP, x : x + CROP])
        yield np.asarray(own.resize((224, 224), Image.Resampling.BICUBIC))


def outputs_of(task, data):
    """What the head gives of training, validation and test examples behind the frozen module."""
    from dataclasses import replace

    from tlkit import HubLayer, build
    from tlkit.core.progress import quiet
    from tlkit.modalities.prepare import prepare
    from tlkit.model.partition import arrange
    from tlkit.training import closed_form
    from tlkit.training.inputs import Settings, sources

    layer = HubLayer(MODULE)
    data = prepare(data, layer)
    head = arrange(build(layer, task, data=data), closed_form.FROZEN)
    train, val = sources(head, data, Settings(), quiet)
    _, test = sources(head, replace(data, val=data.test), Settings(), quiet)
    return [closed_form._outputs(head.trained, source, Settings()) for source in (train, val, test)]


def compared(name, seed, candidates=None):
    """Every detector on one set: figures on the test and on synthetic faults, and which of them is chosen."""
    from tlkit import tasks
    from tlkit.tasks import anomaly_detection as detection

    train, val, test = outputs_of(tasks.anomalies(), data_of(name, seed))
    rows = []
    for detector, task in (candidates or detection._candidates((8, 16), 0.05)).items():
        started = time.process_time()
        solution = task.solve(train, val, lambda line: None)
        seconds = time.process_time() - started
        scorer = scored(solution, test)
        image, pixel = detection.areas(scorer)
        seen = detection._seen(solution, val)
        kinds = (
            {row["kind"]: row["image_auroc"] for row in scorer.result().details["faults"]["rows"]}
            if not candidates
            else {}
        )
        rows.append({"set": name, "seed": seed, "detector": detector, "image_auroc": image, "pixel_auroc": pixel,
                     "synthetic_image": seen[0], "synthetic_pixel": seen[1], "kinds": kinds,
                     "fit_cpu_seconds": round(seconds, 2)})  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    chosen = max(rows, key=lambda row: row["synthetic_image"] + row["synthetic_pixel"])
    return [{**row, "chosen": row is chosen} for row in rows]


def scored(solution, outputs):
    """A scorer that has seen a detector's maps of some examples."""
    import keras

    scorer, model = solution.task.scorer(), None
    for piece, raw in outputs.batches():
        if model is None:
            inputs = {name: keras.Input(own.shape[1:], name=name) for name, own in raw.items()}
            model = keras.Model(inputs, solution.outputs(inputs))
        decoded = solution.task.decode(model(raw, training=False))
        scorer.update(outputs.examples.subset(piece.tolist()), {n: np.asarray(own) for n, own in decoded.items()})
    return scorer
