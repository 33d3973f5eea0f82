"""Detection on synthetic composites: average precision on known and on held-out stamps, as JSON.

    python benchmarks/detection.py --seeds 3 --out benchmarks/results/detection.json

`datasets.composites.boxes` (Debian's tuxpaint stamps on photographs, 256 pixels, six classes) and
`zoo:efficientnet-lite0`: the head on frozen maps, judged, then with the module's top quarter, judged again. "known" are
new composites of the stamps and photographs that were trained on, "held_out" of stamps and photographs that were not.
Images are synthetic: the figures say how much a change gains, and not how good a camera's pictures would be.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import MACHINE, interval

BARS = {"known": 0.75, "held_out": 0.48}
GAIN = 0.05  # of thawing the top quarter, on both


def scores(run, sets):
    import tlkit

    return {name: tlkit.evaluate(run.model, run.task, part).scores["map50"] for name, part in sets.items()}


def files(run):
    """What the gates found of each file, whether it passes or not."""
    import tlkit
    from tlkit.core.progress import quiet

    try:
        rows = tlkit.export(run, formats=("float32", "float16", "int8"), max_drop=0.05, progress=quiet).exports
    except tlkit.GateError as error:
        rows = error.exports
    shown = ("format", "bytes", "latency_ms", "largest_difference", "agreement", "scores", "passed")
    return [{name: getattr(row, name) for name in shown} for row in rows]


def one_seed(seed, train, epochs, module, head):
    import tlkit
    from tlkit import datasets, plans
    from tlkit.core.progress import quiet

    start, start_cpu = time.perf_counter(), time.process_time()
    held_out = datasets.composites.boxes(seed=seed, train=train)
    known = datasets.composites.boxes(seed=seed, train=train, held_out=False).test
    sets = {"known": known, "held_out": held_out.test}
    frozen, thawed = plans.two_phase(epochs=epochs, lr=(4e-3, 1e-3), unfrozen=0.25)
    task, row = tlkit.tasks.detect(held_out.labels, head=head), {"seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        for name, phases in (("frozen", (frozen,)), ("thawed", (frozen, thawed))):  # the first is found again
            run = tlkit.finetune(
                module, task, held_out, phases, out=Path(folder) / name, seed=seed, batch_size=16,
                image_size=(256, 256), progress=quiet,
            )  # fmt: skip
            row[name] = scores(run, sets)
        row |= {key: run.scores[key] for key in ("map", "map50", "map75", "map50_low", "map50_high")}
        row |= {
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(time.process_time() - start_cpu, 1),
        }
        if seed == 0:
            row["files"] = files(run)
    print(json.dumps(row), flush=True)
    return row


def main(seeds, train, epochs, module, head, out):
    rows = []
    for seed in range(seeds):  # written after each, as a seed takes a quarter of an hour
        rows.append(one_seed(seed, train, epochs, module, head))
        result = summary(rows) | {
            "machine": MACHINE,
            "module": module,
            "head": head,
            "train": train,
            "epochs": list(epochs),
        }
        if out:
            Path(out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def summary(rows):
    means = {name: sum(row["thawed"][name] for row in rows) / len(rows) for name in BARS}
    gains = {name: sum(row["thawed"][name] - row["frozen"][name] for row in rows) / len(rows) for name in BARS}
    return {
        "seeds": rows,
        "map50": means,
        "interval": {name: interval([row["thawed"][name] for row in rows]) for name in BARS},
        "gain": gains,
        "bars": {**BARS, "gain": GAIN},
        "met": {**{n: means[n] >= bar for n, bar in BARS.items()}, "gain": min(gains.values()) >= GAIN},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=900)
    parser.add_argument("--epochs", type=int, nargs=2, default=(12, 8))
    parser.add_argument("--module", default="zoo:efficientnet-lite0")
    parser.add_argument("--head", choices=("one_stage", "two_stage"), default="one_stage")
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.seeds, given.train, given.epochs, given.module, given.head, given.out)
