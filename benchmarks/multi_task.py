"""Two heads on one module against a model for each, on the same pictures and plan, as JSON.

    python benchmarks/multi_task.py --seeds 5 --out benchmarks/results/multi_task.json

emoji10 in both fonts, with two questions to each picture: which of ten kinds, and which font drew it. Of each seed's
split (80 % to train, 20 % to test, nothing to validate, so that the last weights are taken in all three): a model for
each question, and one with both heads, by `plans.recommend`. Differences are paired over the seeds; the sizes are those
of the float32 TFLite files of seed 0. Each seed runs in a fresh process. With `--val .15`, so many pictures choose the
epoch by their loss, of both heads together where there are two.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from measuring import HERE, MACHINE, fresh, interval

MODULE = "zoo:efficientnet-lite0"
HEADS = ("kind", "style")
MARGIN = 0.01  # "not worse": the mean difference is no more than a point below 0


def work(seed: int, weighting: str, val: float) -> dict:
    """Test accuracy of each question, seconds and (seed 0) bytes, alone and together."""
    import tlkit
    from tlkit import methods, tasks

    pictures = tlkit.datasets.samples.emoji10("both", seed=seed, split=(0.8 - val, val, 0.2))
    data = {"kind": pictures, "style": methods.relabelled(pictures, lambda name: name.partition("/")[0])}
    plain = {name: tasks.classify(data[name].labels) for name in HEADS}
    trainings = {name: (plain[name], data[name]) for name in HEADS}
    trainings["both"] = (methods.multitask(weighting=weighting, **plain), methods.task_mix(**data))
    figures = {}
    for name, (task, splits) in trainings.items():
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            run = tlkit.finetune(MODULE, task, splits, out=folder, seed=seed)
            seconds = time.perf_counter() - started
            scores = {key: value for key, value in run.scores.items() if key.endswith("accuracy")}
            figures[name] = {**scores, "seconds": seconds}
            if seed == 0:
                files = tlkit.export(run, formats=("float32",)).exports
                figures[name] |= {"bytes": files[0].bytes, "latency_ms": files[0].latency_ms}
    return figures


def summary(runs: list[dict]) -> dict:
    """Means, paired differences with their intervals, and the size of one file against two."""
    rows = {}
    for name in HEADS:
        alone = [run[name]["accuracy"] for run in runs]
        together = [run["both"][f"{name}_accuracy"] for run in runs]
        differences = [b - a for a, b in zip(alone, together, strict=True)]
        rows[name] = {
            "alone": statistics.fmean(alone),
            "together": statistics.fmean(together),
            "difference": statistics.fmean(differences),
            "difference_interval": interval(differences),
        }
    first = runs[0]
    size = first["both"]["bytes"] / sum(first[name]["bytes"] for name in HEADS)
    seconds = [run["both"]["seconds"] / sum(run[name]["seconds"] for name in HEADS) for run in runs]
    fine = {name: row["difference"] >= -MARGIN for name, row in rows.items()}
    return {"heads": rows, "size_ratio": size, "time_ratio": statistics.fmean(seconds), "not_worse": fine}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--weighting", default="equal")
    parser.add_argument("--val", type=float, default=0.0, help="share of pictures that choose the epoch")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "multi_task.json")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        args.out.write_text(json.dumps(work(args.worker, args.weighting, args.val)))
        return
    runs, options = [], {"weighting": args.weighting, "val": args.val}
    for seed in range(args.seeds):
        runs.append(fresh(__file__, "--worker", str(seed), "--weighting", args.weighting, "--val", str(args.val)))
        print(seed, runs[-1], flush=True)
        args.out.write_text(json.dumps({"machine": MACHINE, **options, **summary(runs), "runs": runs}, indent=1))
    print(json.dumps(summary(runs), indent=1))


if __name__ == "__main__":
    main()
