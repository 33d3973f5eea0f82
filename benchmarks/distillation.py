"""What a student gains by a teacher's answers, and what both cost, over several seeds, as JSON.

    python benchmarks/distillation.py --seeds 3 --out benchmarks/results/distillation.json

recipes/distillation.py with its defaults: movie reviews, zoo:minilm-l6-v2 as teacher, zoo:glove-50d as student; the
student trained alone and by the teacher's answers, from the same seed. Size is that of the exported SavedModel, which
takes strings; latency the median of 200 calls with one text each, both in one process. Each seed runs in a fresh one.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from measuring import HERE, MACHINE, fresh, interval, peak_mb, recipe

WAYS = ("teacher", "alone", "distilled")
CALLS = 200


def work(seed: int) -> dict:
    """Accuracy of each training, size and latency of teacher and student."""
    import tlkit

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        run = recipe("distillation").main(out=out, seed=seed)
        teacher = tlkit.export(tlkit.load(out / "teacher"), formats=("saved_model",))
        texts = [str(run.data.test.read(i)) for i in range(CALLS)]
        models = {"teacher": teacher.folder / "saved_model", "student": run.folder / "saved_model"}
        return {
            "accuracy": {name: run.scores[name] for name in WAYS},
            "size_mb": {name: size_mb(folder) for name, folder in models.items()},
            "latency_ms": {name: latency_ms(folder, texts) for name, folder in models.items()},
            "seconds": time.perf_counter() - started,
            "peak_memory_mb": peak_mb(),
        }


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def latency_ms(folder: Path, texts: list[str]) -> float:
    """Median milliseconds of a call with one text."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    name = next(iter(serve.structured_input_signature[1]))
    seconds = []
    for text in (*texts[:10], *texts):
        started = time.perf_counter()
        serve(**{name: tf.constant([text])})
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[10:])


def summary(runs: list[dict]) -> dict:
    """Means, and the student's paired gain with its interval."""
    gains = [run["accuracy"]["distilled"] - run["accuracy"]["alone"] for run in runs]
    return {
        "accuracy": {name: statistics.fmean(run["accuracy"][name] for run in runs) for name in WAYS},
        "gain": {"mean": statistics.fmean(gains), "interval": interval(gains), "of_seeds": gains},
        **{
            key: {name: statistics.fmean(run[key][name] for run in runs) for name in ("teacher", "student")}
            for key in ("size_mb", "latency_ms")
        },
        "bar": {"the student gains": statistics.fmean(gains) > 0},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "distillation.json")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        args.out.write_text(json.dumps(work(args.worker)))
        return
    runs = []
    for seed in range(args.seeds):
        runs.append(fresh(__file__, "--worker", str(seed)))
        print(seed, runs[-1], flush=True)
        args.out.write_text(json.dumps({"machine": MACHINE, **summary(runs), "runs": runs}, indent=1))
    print(json.dumps(summary(runs), indent=1))


if __name__ == "__main__":
    main()
