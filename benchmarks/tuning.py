"""tlkit.tune against KerasTuner on the same net in Keras: CPU seconds a trial, on the same split of emoji10.

    pip install keras-tuner
    python benchmarks/tuning.py --seeds 5 --alternative 1 1 --out benchmarks/results/tuning.json

Of 100 trials 90 train the head alone for 10 epochs, over its rate; 10 go on for 5 epochs with the top quarter of the
module, over both rates. Each side is a fresh process. KerasTuner takes over a minute of CPU a trial, so --alternative
says how many it makes of the two kinds; trials an hour are then those of 90 and 10 by the mean of each kind. Pruning is
tlkit's: trials that it gave up count as trials, and stand in the record. CPU seconds, as the machine has other work;
neither side's count the import of TensorFlow.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from image_two_phase import arrays_of
from measuring import HERE, MACHINE, interval

EPOCHS = (10, 5)


def searched(arrays: Path, folder: Path, seed: int, trials: tuple[int, int]) -> dict:
    """Both searches of tlkit in this process."""
    import numpy as np

    import tlkit
    from tlkit.core.progress import quiet, shown

    loaded = np.load(arrays)
    parts = {part: (loaded[f"{part}_x"], loaded[f"{part}_y"]) for part in ("train", "val", "test")}
    train, labels = parts.pop("train"), [str(name) for name in loaded["labels"]]
    data = tlkit.data.image.from_arrays(*train, **parts, labels=labels, image_size=(224, 224), split=(1.0, 0.0, 0.0))
    task, module, spent = tlkit.tasks.classify(data.labels), "zoo:efficientnet-lite0", []

    def run(lr: float, lr2: float = 0.0, out: Path = folder / "frozen"):
        started = time.process_time()
        phases = tlkit.plans.two_phase(epochs=(EPOCHS[0], EPOCHS[1] if lr2 else 0), lr=(lr, lr2 or 1e-4))
        try:
            return tlkit.finetune(module, task, data, phases, out=out, seed=seed, progress=quiet)
        finally:
            spent.append(time.process_time() - started)

    rate, figures, tune = tlkit.Range(1e-4, 1e-1, log=True), {}, tlkit.tune  # imports TensorFlow before the clock runs
    spaces = {"frozen": {"lr": rate}, "unfrozen": {"lr": rate, "lr2": tlkit.Range(1e-5, 1e-3, log=True)}}
    for (kind, space), count in zip(spaces.items(), trials, strict=True):
        spent.clear()
        started = time.process_time()
        best = tune(run, space, trials=count, given={"out": folder / kind}, seed=seed, progress=shown())
        search = best.record["search"]
        figures[kind] = {
            "cpu_seconds": time.process_time() - started - spent[-1],  # the last one makes the run, not a trial
            "trials": count,
            "given_up": sum(trial["state"] == "given up" for trial in search["trials"]),
            "val_loss": search["trials"][search["best"]]["figure"],
            "test_accuracy": best.scores["accuracy"],
            "parameters": best.phases[-1].had["parameters"],
        }
    return figures


def _chosen(side: dict) -> float:
    return min(side.values(), key=lambda trial: trial["val_loss"])["test_accuracy"]


def summary(pairs: list[dict]) -> dict:
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    ours = mean([sum(p["tlkit"][k]["cpu_seconds"] for k in ("frozen", "unfrozen")) for p in pairs])
    theirs = [{k: mean(p["keras_tuner"][k]["cpu_seconds"]) for k in ("frozen", "unfrozen")} for p in pairs]
    cost = mean([90 * costs["frozen"] + 10 * costs["unfrozen"] for costs in theirs])
    sides = ("tlkit", "keras_tuner")
    chosen = [[_chosen(pair[side]) for side in sides] for pair in pairs]
    difference = interval([a - b for a, b in chosen])
    accuracy = {side: mean([row[place] for row in chosen]) for place, side in enumerate(sides)}
    return {
        "seeds": len(pairs),
        "cpu_seconds_of_100_trials": {"tlkit": ours, "keras_tuner, by its mean trial": cost},
        "ratio": cost / ours,
        "test_accuracy_of_the_chosen": accuracy,
        "difference": difference,
        "bars": {
            "50 times more trials an hour": cost / ours >= 50,
            "not worse: the difference's interval reaches 0": bool(difference) and difference[1] >= 0,
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs=2, default=[90, 10])
    parser.add_argument("--alternative", type=int, nargs=2, default=[90, 10])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tuning.json")
    parser.add_argument("--resume", action="store_true", help="go on behind the seeds that --out holds")
    parser.add_argument("--own", type=Path, nargs=3, help="arrays, folder and result: what a fresh process does")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.own:
        args.own[2].write_text(json.dumps(searched(args.own[0], args.own[1], args.seed, tuple(args.trials))))
        return
    pairs = json.loads(args.out.read_text())["pairs"] if args.resume else []
    for seed in range(len(pairs), args.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            arrays_of(seed, (0.7, 0.15, 0.15), folder / "arrays.npz")
            words = ["--own", str(folder / "arrays.npz"), str(folder), str(folder / "own.json"), "--seed", str(seed)]
            subprocess.run([sys.executable, __file__, *words, "--trials", *map(str, args.trials)], check=True)
            outcome = json.loads((folder / "own.json").read_text())
            print(json.dumps(outcome), flush=True)
            words = [str(HERE / "tuning_worker.py"), str(folder / "arrays.npz"), str(folder / "other.json")]
            words += ["--frozen", str(args.alternative[0]), "--unfrozen", str(args.alternative[1])]
            parameters = outcome["unfrozen"]["parameters"] - outcome["frozen"]["parameters"]
            words += ["--parameters", str(parameters), "--seed", str(seed)]
            subprocess.run([sys.executable, *words], check=True, env=dict(os.environ))
            pairs.append(
                {"seed": seed, "tlkit": outcome, "keras_tuner": json.loads((folder / "other.json").read_text())}
            )
        record = {"summary": summary(pairs), "machine": MACHINE, "alternative_trials": args.alternative, "pairs": pairs}
        args.out.write_text(json.dumps(record, indent=1))
    print(json.dumps(summary(pairs), indent=1))


if __name__ == "__main__":
    main()
