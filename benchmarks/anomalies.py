"""Anomalies learned from good images alone: AUROC by set, detector and kind of fault, the choice, time, files; as JSON.

    python benchmarks/anomalies.py --seeds 3 --out benchmarks/results/anomalies.json

Three parts (`datasets.inspected`: Debian's tuxpaint stamps, moved and lit as by a jig) and three textures (brick,
grass, gravel of scikit-image; crops of the left half to train, of the right half to test), with
`zoo:efficientnet-lite0`: 40 good images to train, 10 for validation, 30 good and 40 spoilt ones to test. Images and
faults are synthetic: the figures compare detectors, and say little about a camera.
"""

import argparse
import functools
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE, interval

MODULE = "zoo:efficientnet-lite0"
PARTS, TEXTURES = ("coin", "clock", "apple"), ("brick", "grass", "gravel")
BARS = {"parts": 0.97, "textures": 0.70, "seconds": 10.0, "difference": 1e-4}
CROP = 112


def data_of(name, seed):
    from tlkit.datasets import inspected

    if name in PARTS:
        return inspected.parts(name, good=50, test=30, bad=40, seed=seed)
    rng = np.random.default_rng([seed, *name.encode()])
    texture, other = picture(name), picture("coffee")
    good, test, bad = (list(crops(texture, count, rng, left)) for count, left in ((50, True), (30, False), (40, False)))
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
        crop = Image.fromarray(image[y : y + CROP, x : x + CROP])
        yield np.asarray(crop.resize((224, 224), Image.Resampling.BICUBIC))


@functools.cache
def behind_the_module():
    """The module with the heads of all detectors, for images of 224 x 224 pixels."""
    from tlkit import HubLayer, build, tasks
    from tlkit.modalities.prepare import prepare
    from tlkit.model.partition import arrange
    from tlkit.training import closed_form

    layer = HubLayer(MODULE)
    data = prepare(data_of("coin", 0), layer)
    return layer, arrange(build(layer, tasks.anomalies(), data=data), closed_form.FROZEN)


def outputs_of(data):
    """What the head gives of training, validation and test examples behind the frozen module."""
    from tlkit.core.progress import quiet
    from tlkit.modalities.prepare import prepare
    from tlkit.training import closed_form
    from tlkit.training.inputs import Settings, sources

    layer, arrangement = behind_the_module()
    data = prepare(data, layer)
    train, val = sources(arrangement, data, Settings(), quiet)
    _, test = sources(arrangement, replace(data, val=data.test), Settings(), quiet)
    return [closed_form._outputs(arrangement.trained, source, Settings()) for source in (train, val, test)]


def compared(name, seed):
    """Every detector on one set: figures on the test and on synthetic faults, and which of them is chosen."""
    from tlkit.tasks import anomaly_detection as detection

    train, val, test = outputs_of(data_of(name, seed))
    rows = []
    for detector, task in detection._candidates((8, 16), 0.05).items():
        started = time.process_time()
        solution = task.solve(train, val, lambda line: None)
        seconds = time.process_time() - started
        scorer = scored(solution, test)
        image, pixel = detection.areas(scorer)
        seen = detection._seen(solution, val)
        kinds = scorer._by_kind(np.array(scorer.bad), np.array(scorer.scores))["rows"]
        rows.append(
            {"set": name, "seed": seed, "detector": detector, "image_auroc": round(image, 4),
             "pixel_auroc": round(pixel, 4), "synthetic": [round(score, 4) for score in seen],
             "kinds": {row["kind"]: round(row["image_auroc"], 4) for row in kinds},
             "fit_cpu_seconds": round(seconds, 2)}
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    chosen = max(rows, key=lambda row: sum(row["synthetic"]))
    return [{**row, "chosen": row is chosen} for row in rows]


def scored(solution, outputs):
    """A scorer that has seen a detector's maps of some examples."""
    import keras

    scorer, model = solution.task.scorer(), None
    for piece, raw in outputs.batches():
        if model is None:
            inputs = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in raw.items()}
            model = keras.Model(inputs, solution.outputs(inputs))
        decoded = solution.task.decode(model(raw, training=False))
        scorer.update(outputs.examples.subset(piece.tolist()), {n: np.asarray(tensor) for n, tensor in decoded.items()})
    return scorer


def files(detector):
    """40 good images to a scored and exported model: CPU seconds beside imports and conversion, and the files."""
    import tlkit
    from tlkit.core.errors import GateError
    from tlkit.core.progress import quiet

    task = {"anomalies": tlkit.tasks.anomalies, "padim": tlkit.tasks.padim, "patchcore": tlkit.tasks.patchcore}[
        detector
    ]()
    data = data_of("coin", 0)
    layer = tlkit.HubLayer(MODULE)
    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = tlkit.finetune(layer, task, data, out=folder, progress=quiet)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        try:
            rows = tlkit.export(run, progress=quiet).exports
        except GateError:
            rows = tlkit.load(folder).record["exports"]
        names = ("format", "bytes", "largest_difference", "agreement", "score_change", "latency_ms", "passed")
        rows = [row if isinstance(row, dict) else vars(row) for row in rows]
        return {"detector": detector, "wall_seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1),
                "image_auroc": run.scores["image_auroc"], "false_alarms": run.scores["false_alarms"],
                "rounded": rounded(run, data),
                "files": [{name: row[name] for name in names} for row in rows]}  # fmt: skip


def rounded(run, data):
    """How far the map moves where only the module's weights, or only the detector's, are rounded to half precision."""
    from tlkit import HubLayer

    images = np.stack([data.test.inputs[i] for i in range(0, len(data.test), 4)])

    def maps():
        return np.asarray(run.task.decode(run.model(images, training=False))["anomaly_map"])

    before, moved = maps(), {}
    module = [layer for layer in run.model.layers if isinstance(layer, HubLayer)]
    for name, layers in (("module", module), ("detector", [x for x in run.model.layers if x not in module])):
        exact = [layer.get_weights() for layer in layers]
        for layer, weights in zip(layers, exact, strict=True):
            layer.set_weights([w.astype(np.float16).astype(w.dtype) for w in weights])
        moved[name] = float(np.abs(maps() - before).max())
        for layer, weights in zip(layers, exact, strict=True):
            layer.set_weights(weights)
    return moved


def summary(rows):
    """Means and intervals over seeds, by detector and set, and of what was chosen."""
    by_detector = {}
    for detector in dict.fromkeys(row["detector"] for row in rows):
        by_detector[detector] = _by_set([row for row in rows if row["detector"] == detector])
    by_detector["chosen"] = _by_set([row for row in rows if row["chosen"]])
    return by_detector


def _by_set(rows):
    sets = {name: [row for row in rows if row["set"] == name] for name in (*PARTS, *TEXTURES)}
    groups = {"parts": [row for row in rows if row["set"] in PARTS],
              "textures": [row for row in rows if row["set"] in TEXTURES]}  # fmt: skip
    return {
        name: {
            "image_auroc": round(float(np.mean([row["image_auroc"] for row in group])), 4),
            "interval": interval(_by_seed(group)),
            "pixel_auroc": round(float(np.mean([row["pixel_auroc"] for row in group])), 4),
            "kinds": {
                kind: round(float(np.mean([row["kinds"][kind] for row in group])), 3) for kind in group[0]["kinds"]
            },
        }
        for name, group in {**sets, **groups}.items()
        if group
    }


def _by_seed(rows):
    seeds = sorted({row["seed"] for row in rows})
    return [float(np.mean([row["image_auroc"] for row in rows if row["seed"] == seed])) for seed in seeds]


def main(seeds, sets, with_files, out):
    rows, exported = [], [files(detector) for detector in with_files]
    for seed in range(seeds):
        for name in sets:
            rows += compared(name, seed)
            record = {
                "machine": MACHINE, "module": MODULE, "seeds": seed + 1, "bars": BARS, "files": exported,
                "summary": summary(rows), "rows": rows,
            }  # fmt: skip
            if out:
                Path(out).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({"summary": summary(rows), "files": exported}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=(*PARTS, *TEXTURES))
    parser.add_argument("--files", nargs="*", default=("anomalies", "padim", "patchcore"))
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.seeds, given.sets, given.files, given.out)
