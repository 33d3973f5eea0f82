"""KMM, density ratios and TrAdaBoost against ADAPT's KMM and TrAdaBoost on the same arrays, seed by seed.

    python benchmarks/instance_weighting.py --seeds 10 --out benchmarks/results/instance_weighting.json

Cases: a generated covariate shift and a generated mixture of rules; scikit-learn's breast cancer with a sample biased
as in Huang et al. 2006; its diabetes with one sex as source and the other as target; emoji10 drawn in two styles
(noto -> twemoji, no emoji on both sides) as features of zoo:efficientnet-lite0. Columns are standardised before, for
both; features, which have one unit, are divided by one number. Weights are judged by one learner for all,
scikit-learn's logistic regression; each TrAdaBoost by its own vote, ADAPT's over that learner (ridge), ours over
its own linear head of the same ridge. Seconds are those of the method's call, ours with making and
evaluating the Keras model. ADAPT runs in an environment of its own in the cache folder, with its defaults, and
once with our kernel and bound.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import HERE, MACHINE, interval
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score

import tlkit
from tlkit import methods, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.files import cache_dir, write_atomic
from tlkit.datasets import samples
from tlkit.methods.parts import instances

Case = dict[str, np.ndarray]
BOUND = 10.0  # kmm's default
FEW = 20  # labelled rows of the target
WEIGHING = {
    "kmm": methods.kmm,
    "classifier": methods.density_ratio,
    "ulsif": lambda source, target, module: methods.density_ratio(source, target, module, kind="ulsif"),
}


def adapt_python() -> str:
    """Python of ADAPT's environment, made once."""
    folder = cache_dir() / "environments" / "adapt"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "adapt==0.4.5", "tensorflow==2.15.*"], check=True)
        (folder / "ready").touch()
    return str(python)


# -- cases: source_x, source_y, target_x, target_y, test_x, test_y


def case_of(source: tuple, target: tuple, test: tuple, *, one_unit: bool = False) -> Case:
    x = instances.standardized(source[0], np.concatenate([target[0], test[0]]), one_unit=one_unit)
    parts = x[0], x[1][: len(target[0])], x[1][len(target[0]) :]
    given = zip(("source", "target", "test"), parts, (source[1], target[1], test[1]), strict=True)
    case = {f"{name}_{kind}": value for name, *pair in given for kind, value in zip("xy", pair, strict=True)}
    return case | {"one_unit": np.array(one_unit)}


def generated_shift(seed: int) -> Case:
    """A curved rule, which the learner's straight line can follow only where the target lies."""
    rng = np.random.default_rng(seed)

    def drawn(count: int, mean: float, spread: float) -> tuple:
        x = rng.normal(size=(count, 5))
        x[:, :2] = mean + spread * x[:, :2]
        return x, (x[:, 0] ** 2 + x[:, 1] + 0.3 * rng.normal(size=count) > 1.5).astype(np.int32)

    return case_of(drawn(400, 0.0, 1.0), drawn(400, 0.9, 0.5), drawn(2000, 0.9, 0.5))


def breast_cancer(seed: int) -> Case:
    """Half of the rows are the target; of the others those near the mean are seldom in the source."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    rng, y = np.random.default_rng(seed), y.astype(np.int32)
    order = rng.permutation(len(x))
    pool, rest = order[:284], order[284:]
    apart = np.linalg.norm((x - x.mean(axis=0)) / x.std(axis=0), axis=1)
    source = pool[rng.random(len(pool)) < np.exp(-0.05 * apart[pool] ** 2)]
    return case_of((x[source], y[source]), (x[rest], y[rest]), (x[rest], y[rest]))


def mixed_rules(seed: int) -> Case:
    """A third of the source follows the target's rule."""
    rng = np.random.default_rng(seed)

    def drawn(count: int, share: float) -> tuple:
        x = rng.normal(size=(count, 5))
        follows = rng.random(count) < share
        return x, (np.where(follows, x[:, 0] + x[:, 1], x[:, 2] - x[:, 0]) > 0).astype(np.int32)

    return case_of(drawn(300, 1 / 3), drawn(FEW, 1.0), drawn(2000, 1.0))


def diabetes(seed: int) -> Case:
    """Progress of diabetes in one sex from the other's rows and 20 of its own."""
    x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    y, other = y.astype(np.float64), np.random.default_rng(seed).permutation(np.flatnonzero(x[:, 1] == 2))
    source, x = np.flatnonzero(x[:, 1] == 1), np.delete(x, 1, axis=1)
    y = (y - y[source].mean()) / y[source].std()
    return case_of(*((x[rows], y[rows]) for rows in (source, other[:FEW], other[FEW:])))


def emoji(seed: int, few: bool) -> Case:
    """noto -> twemoji; with `few`, two labelled twemoji a class."""
    given = tlkit.data.image.resized(samples.emoji10("both", split=(0.6, 0.0, 0.4), seed=seed), (224, 224))

    def drawn(part: Examples, style: str) -> tuple:
        subset = part.subset([i for i, name in enumerate(part.ids) if name.startswith(style)])
        return np.asarray(tlkit.extract("zoo:efficientnet-lite0", subset)), subset.target_array

    x, y = drawn(given.train, "twemoji")
    chosen = np.concatenate([np.flatnonzero(y == label)[:2] for label in range(10)]) if few else np.arange(len(y))
    return case_of(drawn(given.train, "noto"), (x[chosen], y[chosen]), drawn(given.test, "twemoji"), one_unit=True)


KMM_CASES = {"generated": generated_shift, "breast_cancer": breast_cancer, "emoji": lambda s: emoji(s, False)}
BOOST_CASES = {"mixed_rules": mixed_rules, "diabetes": diabetes, "emoji": lambda s: emoji(s, True)}


# -- our side


def splits_of(case: Case, name: str) -> Splits:
    """Its rows as training, the test's as test."""
    parts = []
    for part in (name, "test"):
        x, y = case[f"{part}_x"].astype(np.float32), case[f"{part}_y"]
        y = y[:, None].astype(np.float32) if y.dtype.kind == "f" else y.astype(np.int32)
        ids = tuple(f"{part}{i}" for i in range(len(x)))
        parts.append(Examples(ids, ReadColumn(x.__getitem__, ArraySpec(x.shape[1:], "float32"), ids), ArrayColumn(y)))
    return Splits(parts[0], parts[0].subset([]), parts[1])


def timed(function: Callable, *arguments) -> tuple:
    started = time.perf_counter()
    return function(*arguments), time.perf_counter() - started


def learner(case: Case):
    return Ridge() if case["source_y"].dtype.kind == "f" else LogisticRegression(max_iter=2000)


def score(case: Case, predicted: np.ndarray) -> float:
    truth = case["test_y"]
    return float(r2_score(truth, predicted) if truth.dtype.kind == "f" else np.mean(truth == predicted))


def judged(case: Case, weights: np.ndarray) -> float:
    """Score on the test of the learner with these weights of the source, brought to mean 1."""
    weights = np.maximum(weights, 0.0)
    fitted = learner(case).fit(case["source_x"], case["source_y"], sample_weight=weights / weights.mean())
    return score(case, fitted.predict(case["test_x"]))


def module_of(case: Case) -> tlkit.HubLayer | None:
    """A module that gives its inputs, where these are features that one made: they are then scaled as features are."""
    if not case["one_unit"]:
        return None
    import keras

    inputs = keras.Input(case["source_x"].shape[1:])
    return tlkit.HubLayer(keras.Model(inputs, keras.layers.Identity()(inputs)), name="backbone")


def weighed(case: Case) -> dict:
    """Each of our weights and none, by seconds and score."""
    source, target = splits_of(case, "source"), splits_of(case, "target")
    figures = {"none": {"seconds": 0.0, "score": judged(case, np.ones(len(source.train)))}}
    for name, weigh in WEIGHING.items():
        done, seconds = timed(weigh, source, target, module_of(case))
        figures[name] = {"seconds": seconds, "score": judged(case, done.train.weights.astype(np.float64))}
    return figures


def boosted(case: Case) -> dict:
    """Our TrAdaBoost, and the learner on the target alone and on both."""
    source, target = splits_of(case, "source"), splits_of(case, "target")
    values = case["source_y"].dtype.kind == "f"
    labels = [str(i) for i in range(int(case["source_y"].max()) + 1)]
    task = tasks.regress(["value"]) if values else tasks.classify(labels)
    run, seconds = timed(lambda: methods.tradaboost(source, target, task, module_of(case)))
    outputs = run.evaluation.outputs
    x, y = (np.concatenate([case[f"source_{kind}"], case[f"target_{kind}"]]) for kind in "xy")
    alone = learner(case).fit(case["target_x"], case["target_y"]).predict(case["test_x"])
    both = learner(case).fit(x, y).predict(case["test_x"])
    return {
        "tradaboost": {"seconds": seconds, "score": score(case, outputs[:, 0] if values else outputs.argmax(axis=1))},
        "target_only": {"seconds": 0.0, "score": score(case, alone)},
        "both_alike": {"seconds": 0.0, "score": score(case, both)},
    }


# -- both sides


def of_adapt(cases: dict[str, Case]) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        for name, case in cases.items():
            x = np.concatenate([case["source_x"], case["target_x"]])
            gamma = 1 / (2 * instances.kernel_width(x) ** 2)
            np.savez(Path(scratch) / f"{name}.npz", gamma=gamma, bound=BOUND, **case)
        out = Path(scratch) / "found.json"
        subprocess.run([adapt_python(), str(HERE / "adapt_worker.py"), scratch, str(out)], check=True)
        return json.loads(out.read_text())


def cases_of(seed: int, data: list[str]) -> dict[str, Case]:
    cases = {f"kmm/{name}": make(seed) for name, make in KMM_CASES.items() if name in data}
    return cases | {f"tradaboost/{name}": make(seed) for name, make in BOOST_CASES.items() if name in data}


def key(name: str, seed: int) -> str:
    return f"{name.replace('/', '_')}_{seed}"


def row_of(cases: dict[str, Case], theirs: dict, seed: int) -> dict:
    """Everything of one seed: case -> method -> seconds and score."""
    figures = {}
    for name, case in cases.items():
        figures[name] = weighed(case) if name.startswith("kmm") else boosted(case)
        for method, outcome in theirs[key(name, seed)].items():
            weighs = "weights" in outcome
            value = (
                judged(case, np.array(outcome["weights"])) if weighs else score(case, np.array(outcome["predicted"]))
            )
            figures[name][method] = {"seconds": outcome["seconds"], "score": value}
    return figures


def summary(rows: list[dict]) -> dict:
    """Per case: mean scores and seconds, and the paired gain of ours over ADAPT's with its 95 % interval."""
    figures = {}
    for name in rows[0]:
        methods_of = rows[0][name]
        ours = name.split("/")[0]
        gains = {
            other: [row[name][ours]["score"] - row[name][other]["score"] for row in rows]
            for other in methods_of
            if other != ours
        }
        figures[name] = {
            "scores": {m: statistics.fmean(row[name][m]["score"] for row in rows) for m in methods_of},
            "seconds": {m: statistics.fmean(row[name][m]["seconds"] for row in rows) for m in methods_of},
            "gain_over": {o: {"mean": statistics.fmean(g), "interval": interval(g)} for o, g in gains.items()},
        }
        low_high = interval(gains["adapt"]) or [-math.inf, math.inf]
        figures[name]["equal or better than adapt"] = low_high[1] >= 0
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    every = [*dict.fromkeys([*KMM_CASES, *BOOST_CASES])]
    parser.add_argument("--data", nargs="+", choices=every, default=every)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "instance_weighting.json")
    args = parser.parse_args()
    rows: list[dict] = []
    seeds = {seed: cases_of(seed, args.data) for seed in range(args.seeds)}
    theirs = of_adapt({key(name, seed): case for seed, cases in seeds.items() for name, case in cases.items()})
    for seed, cases in seeds.items():
        rows.append(row_of(cases, theirs, seed))
        shown = {n: {m: round(v["score"], 3) for m, v in case.items()} for n, case in rows[-1].items()}
        print(seed, json.dumps(shown), flush=True)
        record = {"summary": summary(rows), "machine": MACHINE, "seeds": len(rows), "rows": rows}
        write_atomic(args.out, json.dumps(record, indent=1))
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
