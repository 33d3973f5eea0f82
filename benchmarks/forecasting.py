"""Forecasts of ten public series by five rolling origins, with full and with short history, as JSON.

    python benchmarks/forecasting.py --out benchmarks/results/forecasting.json

Each series is forecast by zoo:forecaster zero-shot and as `finetune`'s plan decides, beside the seasonal naive
forecast, AutoETS and AutoTheta (statsforecast, refitted at each origin). "short" keeps 36 values, or three seasons,
before the first origin. Figures are MASE relative to the naive forecast; means are geometric over the series, with a
bootstrap interval over them. The file is written anew after each series.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import series_data
from measuring import MACHINE

BARS = {"full": 0.70, "short": 0.77}
METHODS = ("zero_shot", "plan", "ets", "theta")
ORIGINS, SHORT = 5, 36


def history_of(name, budget):
    """Values of a series: all, or few before its first origin."""
    season, horizon = series_data.TARGETS[name]
    values = series_data.target(name)
    if budget == "full":
        return values
    first = len(values) - horizon - (ORIGINS - 1) * max(1, horizon // 2)
    return values[max(0, first - max(3 * season, SHORT)) :]


def one_series(name, budget):
    import tlkit
    from tlkit.core.progress import quiet

    season, horizon = series_data.TARGETS[name]
    data = tlkit.data.series.history({name: history_of(name, budget)}, horizon, season, origins=ORIGINS)
    task = tlkit.tasks.forecast(horizon, season_length=season)
    cpu = time.process_time()
    layer = tlkit.HubLayer("zoo:forecaster", name="backbone")
    model = tlkit.build(layer, task, data=data)
    scores = tlkit.evaluate(model, task, data.test).scores
    row = {"season_length": season, "horizon": horizon, "scores_zero_shot": dict(scores)}
    evaluated = time.process_time()
    phases = task.plan(data, quiet.line, model)
    plan_scores, seconds = scores, 0.0
    if len(phases) > 1:
        started = time.process_time()
        run = tlkit.fit(model, task, data, phases)
        seconds = time.process_time() - started
        columns = {n: c for n, c in data.test.columns.items() if n != "history"}  # ETS need not be fitted again
        test = tlkit.Examples(
            data.test.ids, data.test.inputs, data.test.targets, data.test.modality, data.test.pipeline, columns
        )
        plan_scores = tlkit.evaluate(run.model, task, test).scores
        (chosen,) = [phase for phase in run.phases if phase.improved][-1:]  # its best epoch is what the run kept
        row["val_loss"] = {
            "zero_shot": run.phases[0].history["val_loss"][0],
            "chosen": chosen.history["val_loss"][chosen.best_epoch - 1],
        }
    mase = {"zero_shot": scores["mase"], "plan": plan_scores["mase"]}
    mase |= {name: scores[f"mase_{name}"] for name in ("ets", "theta") if f"mase_{name}" in scores}
    wql = {"zero_shot": scores["wql"], "plan": plan_scores["wql"]}
    return row | {
        "tuned": len(phases) > 1,
        "relative_mase": {name: value / scores["mase_naive"] for name, value in mase.items()},
        "relative_wql": {name: value / scores["wql_naive"] for name, value in wql.items()},
        "scores_plan": dict(plan_scores),
        "cpu_seconds": {"zero_shot_and_classical": round(evaluated - cpu, 1), "tuning": round(seconds, 1)},
    }


def summary(rows):
    """Geometric means over series, with bootstrap intervals over them."""
    means = {}
    rng = np.random.default_rng(0)
    for budget, series in rows.items():
        means[budget] = {}
        for method in METHODS:
            logs = [math.log(row["relative_mase"][method]) for row in series.values() if method in row["relative_mase"]]
            if len(logs) < len(series):
                continue
            drawn = np.exp([np.mean(rng.choice(logs, len(logs))) for _ in range(1000)])
            means[budget][method] = {
                "mean": float(np.exp(np.mean(logs))), "interval": np.percentile(drawn, [2.5, 97.5]).tolist(),
                "better_than_naive": int(np.sum(np.asarray(logs) < 0)), "series": len(logs),
            }  # fmt: skip
        for method in ("zero_shot", "plan"):
            coverage = [row[f"scores_{method}"]["coverage_80"] for row in series.values()]
            means[budget][f"coverage_80_{method}"] = float(np.mean(coverage))
    return means


def main(names, budgets, out):
    rows = {budget: {} for budget in budgets}
    for name in names:
        for budget in budgets:
            rows[budget][name] = one_series(name, budget)
            print(name, budget, json.dumps(rows[budget][name]["relative_mase"]), flush=True)
        record = {"machine": MACHINE, "origins": ORIGINS, "means": summary(rows), "bars": BARS, "series": rows}
        if out:
            Path(out).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["means"], indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", nargs="*", default=list(series_data.TARGETS))
    parser.add_argument("--budgets", nargs="*", default=["full", "short"])
    parser.add_argument("--out")
    given = parser.parse_args()
    main(given.series, given.budgets, given.out)
