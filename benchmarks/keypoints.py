"""Keypoints: the outermost points of objects in synthetic composites, known and held out, as JSON.

    python benchmarks/keypoints.py --seeds 3 --out benchmarks/results/keypoints.json

`datasets.composites` (Debian's tuxpaint stamps on photographs, 256 pixels); of each object that no other touches the
top, bottom, left and right end of its mask is a point (the extreme points of Zhou et al. 2019, arXiv:1901.08043), and
`data.keypoints` cuts it out. `zoo:efficientnet-lite0` at 128 pixels: the head on frozen maps, then with its top
quarter. "known" are new composites of stamps and photographs that were trained on, "held_out" of others; "middle" is
what the points' mean places in training give. Images are synthetic: the figures say how near points come, and not how
good a camera's images would be.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE, interval

POINTS = ("top", "bottom", "left", "right")
SIZE = 128
FIGURES = ("pck", "oks", "distance")


def ends(mask):
    """x and y of the middle of the pixels at each end of an object, (4, 2); they lie inside its pixels."""
    y, x = np.nonzero(mask)
    rows = (y == y.min(), y == y.max(), x == x.min(), x == x.max())
    return np.array([[x[at].mean() + 0.5, y[at].mean() + 0.5] for at in rows])


def apart(box, others):
    """Whether a box (left, top, width, height) touches none of others."""
    left, top, width, height = box
    return all(
        a + w <= left or left + width <= a or b + h <= top or top + height <= b for a, b, w, h in others
    )  # fmt: skip


def annotated(root, folder):
    """COCO JSON of the composites in a folder, with points in place of classes; one file a part."""
    from PIL import Image

    for part in ("train", "val", "test"):
        record = json.loads((root / "annotations" / f"{part}.json").read_text())
        names, rows = {image["id"]: image["file_name"] for image in record["images"]}, []
        for row in record["annotations"]:
            boxes = [r["bbox"] for r in record["annotations"] if r["image_id"] == row["image_id"] and r is not row]
            file = names[row["image_id"]].replace("images/", "masks/").replace(".jpg", ".png")
            left, top, width, height = (round(side) for side in row["bbox"])
            inside = np.zeros((SIZE * 2, SIZE * 2), bool)
            inside[top : top + height, left : left + width] = True
            mask = (np.asarray(Image.open(root / file)) == row["category_id"]) & inside
            if apart(row["bbox"], boxes) and mask.any():
                points = [value for x, y in ends(mask) for value in (float(x), float(y), 2)]
                rows.append({"id": row["id"], "image_id": row["image_id"], "category_id": 1, "bbox": row["bbox"],
                             "keypoints": points})  # fmt: skip
        category = {"id": 1, "name": "object", "keypoints": list(POINTS)}
        (folder / f"{part}.json").write_text(
            json.dumps({"images": record["images"], "categories": [category], "annotations": rows})
        )
    return folder


def splits(seed, train, held_out, folder):
    from tlkit import data
    from tlkit.datasets import composites

    root = composites._made(held_out, 2 * SIZE, (train, max(6, train // 6), max(6, train // 3)), seed)
    folder.mkdir()
    return data.keypoints.from_coco(annotated(root, folder), root, image_size=SIZE, progress=False)


def figures(evaluation):
    return {name: evaluation.scores[name] for name in FIGURES}


def one_seed(seed, train, epochs, module):
    import tlkit
    from tlkit import plans, tasks
    from tlkit.core.progress import quiet
    from tlkit.tasks.keypoint_detection import evaluate_points

    start_cpu = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        held_out = splits(seed, train, True, Path(scratch) / "held_out")
        known = splits(seed, train, False, Path(scratch) / "known")
        task = tasks.keypoints(held_out.labels)
        phases = plans.two_phase(epochs=epochs, lr=(4e-3, 1e-3), unfrozen=0.25)
        run = tlkit.finetune(
            module, task, held_out, phases, out=Path(scratch) / "run", seed=seed, batch_size=16,
            image_size=(SIZE, SIZE), progress=quiet,
        )  # fmt: skip
        middle = held_out.train.target_array[..., :2].mean(axis=0)
        guess = {"points": np.repeat(middle[None], len(held_out.test), axis=0)}
        row = {
            "seed": seed,
            "objects": {"train": len(held_out.train), "held_out": len(held_out.test), "known": len(known.test)},
            "held_out": figures(run.evaluation),
            "known": figures(tlkit.evaluate(run.model, task, known.test)),
            "middle": figures(evaluate_points(held_out.labels, 0.05, held_out.test, guess)),
            "cpu_seconds": round(time.process_time() - start_cpu, 1),
        }
        if seed == 0:
            row["files"] = files(run)
    print(json.dumps(row), flush=True)
    return row


def files(run):
    """What the gates say of each file, whether it passes or not."""
    import tlkit
    from tlkit.core.progress import quiet

    try:
        rows = tlkit.export(run, formats=("float32", "int8"), max_drop=0.02, progress=quiet).exports
    except tlkit.GateError as error:
        rows = error.exports
    shown = ("format", "bytes", "largest_difference", "agreement", "score", "score_change", "passed")
    return [{name: getattr(row, name) for name in shown} for row in rows]


def main(seeds, train, epochs, module, out):
    rows = [one_seed(seed, train, epochs, module) for seed in range(seeds)]
    sets = ("known", "held_out", "middle")
    result = {
        "machine": MACHINE, "module": module, "train": train, "epochs": list(epochs), "seeds": rows,
        "means": {name: {key: sum(r[name][key] for r in rows) / len(rows) for key in FIGURES} for name in sets},
        "interval": {name: {key: interval([r[name][key] for r in rows]) for key in FIGURES} for name in sets},
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if out:
        Path(out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--epochs", type=int, nargs=2, default=(12, 8))
    parser.add_argument("--module", default="zoo:efficientnet-lite0")
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.seeds, given.train, given.epochs, given.module, given.out)
