"""How much of the gap between two domains each method closes, over several seeds, as JSON.

    python benchmarks/domain_adaptation.py --seeds 5 --out benchmarks/results/domain_adaptation.json

MNIST (3,000 digits, 2,100 to train on, cropped anew in each epoch) to UCI's digits, by the net and settings of
recipes/domain_adaptation.py: trained on the source alone, by each method, and on the target's labels; judged on the
target's test digits. The gap closed is (method - source only) / (trained on the target - source only), of each seed.
The target's labels are used by the last of these trainings and by the judge. Each seed runs in a fresh process.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from measuring import HERE, MACHINE, fresh, interval, recipe

EPOCHS, CROP = 10, 0.3
SOURCE, TARGET = "source_only", "target_trained"
ENOUGH, METHODS_WANTED = 0.5, 2


def work(seed: int, methods: list[str]) -> dict:
    """Accuracy on the target's test digits, and seconds, of each training."""
    import tlkit

    adaptation = recipe("domain_adaptation")
    given, other = adaptation.domains(None, None, CROP, seed)
    plain = tlkit.tasks.classify(given.labels, hidden=(100,), dropout=0.0)
    mixed = tlkit.methods.domain_mix(given, other)
    trainings = {SOURCE: (plain, given), TARGET: (plain, other)}
    for name in methods:
        trainings[name] = (adaptation.METHODS[name](plain), mixed)
    outcomes = {}
    for name, (task, data) in trainings.items():
        started = time.perf_counter()
        model = tlkit.build(adaptation.small_net(seed), task)
        run = tlkit.fit(model, task, data, (tlkit.Phase(EPOCHS, 1e-3, unfrozen=1.0),), seed=seed, batch_size=64)
        accuracy = tlkit.evaluate(run.model, run.task, other.test).scores["accuracy"]
        outcomes[name] = {"accuracy": accuracy, "seconds": time.perf_counter() - started}
    return outcomes


def summary(runs: list[dict]) -> dict:
    """Means with intervals over the seeds, and the share of the gap that each method closes."""
    rows = {}
    for name in runs[0]:
        accuracies = [run[name]["accuracy"] for run in runs]
        rows[name] = {"accuracy": statistics.fmean(accuracies), "interval": interval(accuracies)}
        rows[name]["seconds"] = statistics.fmean(run[name]["seconds"] for run in runs)
        if name not in (SOURCE, TARGET):
            closed = [_closed(run, name) for run in runs]
            rows[name] |= {"gap_closed": statistics.fmean(closed), "gap_closed_interval": interval(closed)}
    enough = [name for name, row in rows.items() if row.get("gap_closed", 0) >= ENOUGH]
    bar = {"methods that close at least half of the gap": enough, "met": len(enough) >= METHODS_WANTED}
    return {"methods": rows, "bar": bar}


def _closed(run: dict, name: str) -> float:
    before, best = run[SOURCE]["accuracy"], run[TARGET]["accuracy"]
    return (run[name]["accuracy"] - before) / (best - before)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=["coral", "mmd", "dann", "cdan", "mcc", "coral+mcc"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "domain_adaptation.json")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        args.out.write_text(json.dumps(work(args.worker, args.methods)))
        return
    runs = []
    for seed in range(args.seeds):
        runs.append(fresh(__file__, "--worker", str(seed), "--methods", *args.methods))
        print(seed, {name: round(row["accuracy"], 3) for name, row in runs[-1].items()}, flush=True)
        args.out.write_text(json.dumps({"machine": MACHINE, **summary(runs), "runs": runs}, indent=1))
    print(json.dumps(summary(runs), indent=1))


if __name__ == "__main__":
    main()
