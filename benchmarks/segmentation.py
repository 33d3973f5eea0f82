"""Segmentation of synthetic composites: mean IoU on new composites of known and of held-out stamps, as JSON.

    python benchmarks/segmentation.py --seeds 3 --out benchmarks/results/segmentation.json

`datasets.composites.masks` (Debian's tuxpaint stamps on photographs, 256 pixels, background and six classes) and
`zoo:efficientnet-lite0`: the head on frozen maps, then with the module's top quarter. "known" are new composites of
the stamps and photographs that were trained on, "held_out" of stamps and photographs that were not. Images are
synthetic: the figures say how much a change gains, and not how good a camera's pictures would be.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import MACHINE, interval

BARS = {"known": 0.62, "held_out": 0.46}


def one_seed(seed, train, epochs, module):
    import tlkit
    from tlkit import datasets, plans
    from tlkit.core.progress import quiet

    start, start_cpu = time.perf_counter(), time.process_time()
    held_out = datasets.composites.masks(seed=seed, train=train)
    known = datasets.composites.masks(seed=seed, train=train, held_out=False).test
    phases = plans.two_phase(epochs=epochs, lr=(4e-3, 1e-3), unfrozen=0.25)
    with tempfile.TemporaryDirectory() as folder:
        run = tlkit.finetune(
            module, tlkit.tasks.segment(held_out.labels), held_out, phases, out=folder, seed=seed, batch_size=16,
            image_size=(256, 256), progress=quiet,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        row = {
            "seed": seed,
            "held_out": run.scores["miou"],
            "known": tlkit.evaluate(run.model, run.task, known).scores["miou"],
            "held_out_interval": [run.scores["miou_low"], run.scores["miou_high"]],
            "seconds": round(seconds, 1),
            "cpu_seconds": round(time.process_time() - start_cpu, 1),
        }
        if seed == 0:
            exported = tlkit.export(run, formats=("float32", "int8"), max_drop=0.02)
            kept = ("format", "bytes", "agreement", "scores")
            row["files"] = [{name: getattr(row, name) for name in kept} for row in exported.exports]
    print(json.dumps(row), flush=True)
    return row


def main(seeds, train, epochs, module, out):
    rows = [one_seed(seed, train, epochs, module) for seed in range(seeds)]
    means = {name: sum(row[name] for row in rows) / len(rows) for name in BARS}
    record = {
        "machine": MACHINE, "module": module, "train": train, "epochs": list(epochs), "seeds": rows,
        "miou": means, "interval": {name: interval([row[name] for row in rows]) for name in BARS},
        "bars": BARS, "met": {name: means[name] >= bar for name, bar in BARS.items()},
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    if out:
        Path(out).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=900)
    parser.add_argument("--epochs", type=int, nargs=2, default=(8, 5))
    parser.add_argument("--module", default="zoo:efficientnet-lite0")
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.seeds, given.train, given.epochs, given.module, given.out)
