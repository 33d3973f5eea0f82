"""What a student gains by a teacher's answers, and what both cost, over several seeds, as JSON.

    python benchmarks/distillation.py --labelled 1000 --seeds 5
    python benchmarks/distillation.py --labelled all --seeds 3 --resume

The file keeps what it holds of another number of labels; `--resume` goes on behind the seeds that it holds of this one.

recipes/distillation.py with its defaults: movie reviews, zoo:minilm-l6-v2 as teacher, zoo:glove-50d-30k as student; the
student trained alone and by the teacher's answers, from the same seed. Of the training reviews without labels both
students know nothing, but the teacher answers for them. Sizes and latencies (median of single texts, two
threads) are those that the export of each writes down, in one process. Each seed runs in a fresh one.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import HERE, MACHINE, fresh, interval, peak_mb, recipe

WAYS = ("teacher", "alone", "distilled")
SCORES = ("accuracy", "auc")
FORMATS = ("saved_model", "float32", "float16", "dynamic")


def work(seed: int, labelled: str) -> dict:
    """Accuracy of each training, size and latency of teacher and student."""
    import tlkit

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        reviews = tlkit.datasets.reviews.sentences("movies", seed=seed)
        count = len(reviews.train) + len(reviews.val) if labelled == "all" else int(labelled)
        run = tlkit.flags.call(recipe("distillation").main, out=out, seed=seed, labelled=count)
        teacher = tlkit.export(tlkit.load(out / "teacher"), formats=FORMATS)
        runs = {"teacher": teacher, "alone": tlkit.load(out / "alone"), "distilled": run}
        return {
            **{score: {name: runs[name].scores[score] for name in WAYS} for score in SCORES},
            "files": {"teacher": files(teacher), "student": files(run)},
            "seconds": time.perf_counter() - started,
            "peak_memory_mb": peak_mb(),
        }


def files(run: Any) -> dict[str, dict[str, float]]:
    """Megabytes, milliseconds a text, accuracy and verdict of each exported file."""
    return {
        row.format: {"mb": row.bytes / 1e6, "ms": row.latency_ms, "accuracy": row.score, "passed": row.passed}
        for row in run.exports
    }


def summary(runs: list[dict]) -> dict:
    """Means, and the student's paired gains with their intervals."""
    gains = {key: [run[key]["distilled"] - run[key]["alone"] for run in runs] for key in SCORES}
    return {
        **{key: {name: statistics.fmean(run[key][name] for run in runs) for name in WAYS} for key in SCORES},
        "gain": {
            key: {"mean": statistics.fmean(per_seed), "interval": interval(per_seed), "of_seeds": per_seed}
            for key, per_seed in gains.items()
        },
        "files": {name: {key: mean(runs, name, key) for key in FORMATS} for name in ("teacher", "student")},
        "bar": {f"the student gains {key}": (interval(per_seed) or per_seed)[0] > 0 for key, per_seed in gains.items()},
    }


def mean(runs: list[dict], name: str, format: str) -> dict[str, float]:
    """Means over the seeds; `passed` is the share that did."""
    rows = [run["files"][name][format] for run in runs]
    return {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labelled", default="1000", help="labels for training and validation together, or all")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "distillation.json")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        args.out.write_text(json.dumps(work(args.worker, args.labelled)))
        return
    held = json.loads(args.out.read_text()) if args.out.exists() else {"machine": MACHINE}
    runs = held[args.labelled]["runs"] if args.resume and args.labelled in held else []
    for seed in range(len(runs), args.seeds):
        runs.append(fresh(__file__, "--worker", str(seed), "--labelled", args.labelled))
        print(seed, runs[-1], flush=True)
        args.out.write_text(json.dumps({**held, args.labelled: {**summary(runs), "runs": runs}}, indent=1))
    print(json.dumps(summary(runs), indent=1))


if __name__ == "__main__":
    main()
