"""The commands of series, tables and ratings in an empty folder, and the keys of their scores."""

from __future__ import annotations

import csv
import importlib.util
import json

import numpy as np
import pytest

import tlkit
from tlkit.cli import commands

pytestmark = pytest.mark.long


def written(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def sales():
    months = [f"{2012 + i // 12}-{1 + i % 12:02d}" for i in range(84)]
    wave = 50 + np.arange(84) / 4 + 9 * np.sin(np.arange(84) * np.pi / 6) + np.random.default_rng(0).normal(0, 1, 84)
    return ["time", "value"], list(zip(months, wave.round(2).tolist(), strict=True))


def people(count=300):
    rng = np.random.default_rng(0)
    age, job = rng.normal(40, 10, count).round(1), rng.choice(["cook", "clerk", "nurse"], count)
    income = np.where((age > 40) ^ (job == "cook"), "high", "low")
    return ["age", "job", "income"], list(zip(age.tolist(), job.tolist(), income.tolist(), strict=True))


def test_forecasting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "table.csv", *sales())
    scores = ran("forecasting --data table.csv --horizon 12 --season-length 12", "runs/forecasting")
    assert {"mase", "mase_naive", "wql", "wql_naive", "coverage_80", "mase_low", "coverage_80_high"} <= scores.keys()
    page = (tmp_path / "runs/forecasting/report.html").read_text()
    assert "AutoETS" in page and "AutoTheta" in page and "<polygon" in page and "seasonal naive" in page
    if importlib.util.find_spec("statsforecast"):
        assert "do not stand beside the model" not in page


@pytest.mark.parametrize("form", ["folder", "table"])
def test_series_classification(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    waves = [
        (label, np.sin(np.arange(40) / (3 + 4 * (label == "slow")) + rng.normal())) for label in ("slow", "fast") * 20
    ]
    if form == "folder":
        for i, (label, values) in enumerate(waves):
            written(tmp_path / "data" / label / f"{i}.csv", ["time", "x"], list(enumerate(values.round(4).tolist())))
    else:
        rows = [[label, *values.round(4).tolist()] for label, values in waves]
        written(tmp_path / "data.csv", ["label", *map(str, range(40))], rows)
    data = "data" if form == "folder" else "data.csv"
    assert ran(f"series_classification --data {data} --epochs 20", "runs/series_classification")["accuracy"] > 0.8


def test_tabular_classification(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "t.csv", *people())
    scores = ran("tabular_classification --data t.csv --label income", "runs/tabular_classification")
    assert {"auc", "auc_trees"} <= scores.keys() and scores["auc_trees"] > 0.8


def test_recommendation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [[f"u{u}", f"i{(3 * u + t) % 30}", 5, t] for u in range(60) for t in range(12)]
    written(tmp_path / "ratings.csv", ["user", "item", "rating", "time"], rows)
    turns = 2 * np.pi * np.arange(30) / 30
    items = [[f"i{i}", f"Film {i}", round(np.cos(t), 3), round(np.sin(t), 3)] for i, t in enumerate(turns)]
    written(tmp_path / "items.csv", ["item", "title", "x", "y"], items)
    command = "recommendation --data ratings.csv --items items.csv --features columns --cold 0.4 --epochs 3"
    scores = ran(command, "runs/recommendation")
    for name in ("ndcg_at_10", "recall_at_10", "cold_recall_at_10"):
        assert 0 <= scores[f"{name}_popularity"] <= 1 and 0 <= scores[name] <= 1


def test_features_of_items_that_do_not_go_together_are_refused_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["run", "recommendation", "--data", "ratings.csv", "--items", "items.csv", "--features"]
    assert commands.main([*words, "images"]) == 2 and "go together: give both, or none" in capsys.readouterr().err
    assert commands.main([*words, "texts", "plots"]) == 2 and "Received: plots" in capsys.readouterr().err


def ran(command, folder):
    """Scores that run.json has after `tlkit run`."""
    assert commands.main(["run", *command.split(), "--formats", "float32"]) == 0
    record = json.loads((tlkit.load(folder).folder / "run.json").read_text())
    assert [row["passed"] for row in record["exports"]] == [True]
    return record["scores"]
