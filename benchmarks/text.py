"""What the text recipes score: each over several seeds, with intervals, seconds and peak memory, as JSON.

    python benchmarks/text.py --seeds 3 --out benchmarks/results/text.json
    python benchmarks/text.py --only token_tagging --wnut ../shared/data/wnut17

text_classification: movie reviews, positive or negative, against logistic regression on the mean GloVe vectors of the
same training texts. token_tagging: WNUT-17 (Derczynski et al. 2017, "Results of the WNUT2017 Shared Task"), whose
seven systems scored 26.3 to 41.9 span F1, where its files are given; else the names of the Brown corpus. Each seed runs
in a fresh process.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WNUT = ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")
RECIPES = ("text_classification", "token_tagging")


def measured(recipe: str, seed: int, wnut: Path | None) -> dict:
    """Result of one seed, in a fresh process."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        words = [sys.executable, __file__, "--worker", recipe, "--seed", str(seed), "--out", str(result)]
        words += ["--wnut", str(wnut)] if wnut else []
        subprocess.run(words, check=True, stdout=sys.stderr)
        return json.loads(result.read_text())


def work(recipe: str, seed: int, wnut: Path | None, out: Path) -> None:
    """Adapt, evaluate, and write the scores down."""
    import importlib.util

    import tlkit

    spec = importlib.util.spec_from_file_location(recipe, HERE.parent / "recipes" / f"{recipe}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    started = time.perf_counter()
    tlkit.export = lambda run, **options: run  # what an export costs and keeps is measured elsewhere
    files = {} if wnut is None or recipe != "token_tagging" else dict(
        zip(("data", "val", "test"), (wnut / name for name in WNUT), strict=True)
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = module.main(out=Path(folder), seed=seed, **files)
    found = {
        "scores": dict(run.scores),
        "seconds": {**run.seconds, "whole": time.perf_counter() - started},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "examples": {part: len(getattr(run.data, part)) for part in ("train", "val", "test")},
    }
    if recipe == "text_classification":
        found["glove_auc"] = glove_auc(seed)
    out.write_text(json.dumps(found))


def glove_auc(seed: int) -> float:
    """Area under the ROC curve of logistic regression on the mean GloVe vectors of the same splits."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    import tlkit

    data = tlkit.data.reviews.sentences("movies", seed=seed)
    layer = tlkit.HubLayer("zoo:glove-50d")
    parts = {"train": data.train, "test": data.test}
    texts = {name: [str(part.read(i)) for i in range(len(part))] for name, part in parts.items()}
    x = {name: np.asarray(layer(np.array(own, dtype=object))) for name, own in texts.items()}
    fitted = LogisticRegression(max_iter=2000).fit(x["train"], data.train.targets)
    return float(roc_auc_score(data.test.targets, fitted.predict_proba(x["test"])[:, 1]))


def summary(recipe: str, found: list[dict]) -> dict:
    """Means over the seeds, and the bar."""
    name = "auc" if recipe == "text_classification" else "f1"
    scores = [one["scores"][name] for one in found]
    mean = statistics.fmean(scores)
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    shared = {
        name: mean, "standard_deviation": spread, "seeds": len(found),
        "seconds": statistics.fmean(one["seconds"]["whole"] for one in found),
        "peak_memory_mb": max(one["peak_memory_mb"] for one in found),
    }  # fmt: skip
    if recipe == "token_tagging":
        return {**shared, "bars": {"f1 >= .30": mean >= 0.30}}
    glove = statistics.fmean(one["glove_auc"] for one in found)
    bars = {"auc >= .798 + .05": mean >= 0.848, "gain over GloVe >= .05": mean - glove >= 0.05}
    return {**shared, "glove_auc": glove, "bars": bars}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=RECIPES)
    parser.add_argument("--wnut", type=Path, help="folder of WNUT-17's three files")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "text.json")
    parser.add_argument("--worker", choices=RECIPES, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.seed, args.wnut, args.out)
        return
    record = json.loads(args.out.read_text()) if args.out.exists() else {}
    for recipe in RECIPES if args.only is None else (args.only,):
        found = []
        for seed in range(args.seeds):
            found.append(measured(recipe, seed, args.wnut))
            print(recipe, seed, {k: round(v, 3) for k, v in found[-1]["scores"].items()}, flush=True)
            record[recipe] = {"summary": summary(recipe, found), "runs": found}
            record["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
            args.out.write_text(json.dumps(record, indent=1))
        print(json.dumps(record[recipe]["summary"], indent=1))


if __name__ == "__main__":
    main()
