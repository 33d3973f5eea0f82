"""Do explanations look at the object, at the model, and add up? The checks of the literature, as JSON.

    OMP_NUM_THREADS=1 python benchmarks/explaining.py --out benchmarks/results/explaining.json

A head that says which classes an image holds, on frozen `zoo:efficientnet-lite0` at 128 pixels, trained on
`datasets.composites.boxes` (several objects in an image, whose boxes are known). Of each test image every class that is
there and that the model says is explained.

- The pointing game (Zhang et al. 2018, arXiv:1608.00507): the share of the heats whose peak lies in a box of that class
  (`hits`, with Wilson's 95 % interval), beside the mean share of the image that these boxes cover (`chance`).
- Model randomisation (Adebayo et al. 2018, arXiv:1810.03292): the rank correlation of the heats, without their signs,
  before and after the weights of the head, then of the head and the top quarter of the module are shuffled.
- Where Grad-CAM looks: the pointing game by the last map of each resolution of the module, at 128 and 224 pixels, on
  another seed's composites than the rows above (the default was chosen by these).
- Completeness (Sundararajan et al. 2017): by which share the sum of integrated gradients is off the difference of the
  outputs, in the median, by the number of steps.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE

SIZE = 128
SIZES = (128, 224)  # at which the place of Grad-CAM was chosen
METHODS = ("grad_cam", "integrated_gradients", "occlusion")
EXACT = (20, 60, 180, None)  # None: the first of these that is off by at most 5 %


def present(part, labels):
    """The examples with a 0 or 1 a class in place of their boxes, and the boxes."""
    import dataclasses

    from tlkit.core.columns import ArrayColumn

    rows = [np.asarray(part.targets[i]).reshape(-1, 5) for i in range(len(part))]
    rows = [row[row[:, 0] >= 0] for row in rows]
    targets = np.zeros((len(rows), len(labels)), np.int32)
    for target, row in zip(targets, rows, strict=True):
        target[row[:, 0].astype(int)] = 1
    return dataclasses.replace(part, targets=ArrayColumn(targets), augment=None), rows


def trained(counts, seed, out, size=SIZE):
    """The run, and the boxes of its test images."""
    import tlkit
    from tlkit.core.progress import quiet

    data = tlkit.datasets.composites.boxes(seed=seed, held_out=False)
    parts = (part.subset(range(count)) for part, count in zip((data.train, data.val, data.test), counts, strict=True))
    (train, _), (val, _), (test, boxes) = (present(part, data.labels) for part in parts)
    task = tlkit.tasks.classify(data.labels, multi_label=True)
    splits = tlkit.Splits(train, val, test, labels=data.labels)
    run = tlkit.finetune(
        "zoo:efficientnet-lite0", task, splits, (tlkit.Phase(epochs=20, lr=5e-3),), out=out, seed=seed,
        image_size=(size, size), progress=quiet,
    )  # fmt: skip
    return run, boxes


def asked(run, boxes):
    """(image, class) of each class that is there and that the model says."""
    raw = np.concatenate([
        np.asarray(run.model(run.data.test.inputs.take(np.array([i])), training=False)) for i in range(len(boxes))
    ])  # fmt: skip
    return [(i, int(k)) for i, row in enumerate(boxes) for k in np.unique(row[:, 0]).astype(int) if raw[i, k] > 0]


def heats(run, pairs, method, steps=None, depth=None):
    import tlkit

    labels = run.task.labels
    return [
        tlkit.explain(run, run.data.test.subset([i]), method=method, label=labels[k], steps=steps, depth=depth)[0]
        for i, k in pairs
    ]


def pointing(explanations, pairs, boxes):
    """How many peaks lie in a box of their class, and the share of the image that such boxes cover."""
    from tlkit.tasks.metrics import wilson

    hits, nowhere, covered = 0, 0, []
    size = len(explanations[0].heat)
    middles = (np.arange(size) + 0.5) / size
    for explanation, (i, k) in zip(explanations, pairs, strict=True):
        inside = np.zeros((size, size), bool)
        for _, left, top, right, bottom in boxes[i][boxes[i][:, 0] == k]:
            inside |= np.outer((middles >= top) & (middles < bottom), (middles >= left) & (middles < right))
        covered.append(inside.mean())
        if not explanation.peak:
            nowhere += 1
            continue
        x, y = explanation.peak
        hits += bool(inside[int(y * size), int(x * size)])
    low, high = wilson(hits, len(pairs))
    share, chance = hits / len(pairs), float(np.mean(covered))
    return {"hits": share, "interval": [low, high], "chance": chance, "heats": len(pairs), "without_peak": nowhere}


def by_resolution(counts, seed, size):
    """The pointing game of Grad-CAM at the last map of each resolution, the coarsest first."""
    from tlkit import graph as graphs
    from tlkit.layer.lookup import backbone_of

    with tempfile.TemporaryDirectory() as folder:
        run, boxes = trained(counts, seed, folder, size)
        pairs, last = asked(run, boxes), {}
        for cut in graphs.cuts(backbone_of(run.model).graph):
            if cut.shape is not None and len(cut.shape) == 4 and cut.ops_in_front and cut.shape[1] and cut.shape[1] > 1:
                last[cut.shape[1]] = cut
        rows = []
        for places, cut in sorted(last.items()):
            row = pointing(heats(run, pairs, "grad_cam", depth=cut.depth), pairs, boxes)
            rows.append({"size": size, "places": places, "depth": cut.depth, **row})
        rows.append({"size": size, "default": True, **pointing(heats(run, pairs, "grad_cam"), pairs, boxes)})
        return rows


def shuffled(variables, rng):
    """Kernels with their values in another order."""
    for variable in variables:
        value = np.asarray(variable)
        if value.ndim > 1:
            variable.assign(rng.permutation(value.ravel()).reshape(value.shape))


def correlation(first, second):
    """Mean and standard deviation of the rank correlations."""
    from tlkit.tasks.metrics import spearman

    each = [spearman(np.abs(a.heat).ravel(), np.abs(b.heat).ravel()) for a, b in zip(first, second, strict=True)]
    each = [value for value in each if np.isfinite(value)]
    return {"mean": float(np.mean(each)), "std": float(np.std(each)), "heats": len(each)}


def randomised(run, pairs, before, seed):
    """Rank correlations of the heats by what was shuffled; the weights are put back."""
    from tlkit.layer.lookup import backbone_of

    layer, rng = backbone_of(run.model), np.random.default_rng(seed)
    kept = [np.array(variable) for variable in run.model.variables]
    of_module = {id(variable) for variable in layer.variables}
    head = [variable for variable in run.model.variables if id(variable) not in of_module]
    layer.unfreeze(0.25)
    stages = {"nothing": (), "head": head, "head and top quarter": layer.trainable_variables}
    out = {}
    for stage, variables in stages.items():
        shuffled(variables, rng)
        out[stage] = {name: correlation(before[name], heats(run, pairs, name)) for name in METHODS}
    for variable, value in zip(run.model.variables, kept, strict=True):
        variable.assign(value)
    return out


def completeness(run, pairs, exact):
    out = {}
    for steps in exact:
        missing = [explanation.missing for explanation in heats(run, pairs, METHODS[1], steps)]
        out[str(steps or "default")] = {"median": float(np.median(missing)), "largest": float(np.max(missing))}
    return {"heats": len(pairs), "steps": out}


def main(counts, few, seed, out):
    started, result, by_method = time.perf_counter(), {"machine": MACHINE, "pointing": {}}, {}

    def kept(what):
        result["seconds"] = time.perf_counter() - started
        print(what, f"{result['seconds']:.0f} s", file=sys.stderr, flush=True)
        if out:
            Path(out).write_text(json.dumps(result, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        run, boxes = trained(counts, seed, folder)
        result |= {"images": len(boxes), "macro_f1": run.scores.get("macro_f1")}
        pairs = asked(run, boxes)
        kept("trained")
        for name in METHODS:
            by_method[name] = heats(run, pairs, name)
            result["pointing"][name] = pointing(by_method[name], pairs, boxes)
            kept(name)
        result["completeness"] = completeness(run, pairs[:few], EXACT)
        kept("completeness")
        result["randomisation"] = randomised(
            run, pairs[:few], {name: of_method[:few] for name, of_method in by_method.items()}, seed
        )
        kept("randomisation")
    for size in SIZES:
        result["grad_cam_by_place"] = result.get("grad_cam_by_place", []) + by_resolution(counts, seed + 1, size)
        kept(f"places at {size}")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--counts", type=int, nargs=3, default=(300, 60, 40), help="images to train, validate, test")
    parser.add_argument("--few", type=int, default=16, help="heats of the costlier checks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.counts, given.few, given.seed, given.out)
