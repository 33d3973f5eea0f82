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
    values = np.array([value for _, value in sales()[1]])
    scale = np.abs(values[12:48] - values[:36]).mean()  # before the first of five origins, six months apart
    naive = [np.abs(values[at : at + 12] - values[at - 12 : at]).mean() / scale for at in range(48, 73, 6)]
    assert scores["mase_naive"] == pytest.approx(np.mean(naive), rel=1e-4)
    assert scores["mase"] < scores["mase_naive"] and scores["wql"] < scores["wql_naive"]
    assert scores["mase_low"] <= scores["mase"] and 0.5 < scores["coverage_80"] <= scores["coverage_80_high"] <= 1
    page = (tmp_path / "runs/forecasting/report.html").read_text()
    assert "AutoETS" in page and "AutoTheta" in page and "<polygon" in page and "seasonal naive" in page
    if importlib.util.find_spec("statsforecast"):
        assert {"mase_ets", "mase_theta"} <= scores.keys()
        assert "do not stand beside the model" not in page


def test_origins_of_made_up_sales_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["--origins", "3"], ["--stride", "2"], ["--calendar"]):
        assert commands.main(["run", "forecasting", *words]) == 2
        assert "`origins`, `stride` and `calendar` divide a table of your own: give --data" in capsys.readouterr().err


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
    data = "data" if form == "folder" else "data.csv"  # the waves differ in their speed alone
    assert ran(f"series_classification --data {data} --epochs 20", "runs/series_classification")["accuracy"] > 0.8


def test_tabular_classification(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "t.csv", *people())
    scores = ran("tabular_classification --data t.csv --label income", "runs/tabular_classification")
    assert scores["auc"] > 0.8 and scores["auc_trees"] > 0.8
    data = tlkit.data.table.from_table("t.csv", label="income")
    rows = data.test.inputs.take(np.arange(len(data.test)))
    run = tlkit.load("runs/tabular_classification")
    answers = run.task.decode(run.model.predict(rows_of(rows), verbose=0))["probabilities"]
    correct = np.asarray(answers).argmax(axis=1) == data.test.target_array
    assert scores["accuracy"] == pytest.approx(correct.mean())


def rows_of(rows):
    """Columns as TensorFlow takes them: Keras takes no strings of NumPy."""
    import tensorflow as tf

    return {name: tf.constant(column) for name, column in rows.items()}


def test_what_a_module_says_of_columns_is_not_said_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "t.csv", *people())
    card = {"columns": [{"name": name, "input": name, "kind": "category"} for name in ("age", "job")]}
    (tmp_path / "module/assets.extra").mkdir(parents=True)
    (tmp_path / "module/assets.extra/tlkit.json").write_text(json.dumps(card))
    words = ["run", "tabular_classification", "--data", "t.csv", "--label", "income", "--module", "module"]
    assert commands.main([*words, "--categories", "age"]) == 2
    assert "`like` says what the columns hold: leave out `categories`" in capsys.readouterr().err


def test_recommendation(tmp_path, monkeypatch):
    """Each user walks on a ring of items, whose columns say where they lie: what comes next can be known."""
    from ai_edge_litert.interpreter import Interpreter

    monkeypatch.chdir(tmp_path)
    rows = [[f"u{u}", f"i{(7 * u + t) % 40}", 5, t] for u in range(120) for t in range(14)]
    written(tmp_path / "ratings.csv", ["userId", "item", "rating", "when"], rows)
    turns = 2 * np.pi * np.arange(40) / 40
    items = [[f"i{i}", f"Film {i}", round(np.cos(t), 3), round(np.sin(t), 3)] for i, t in enumerate(turns)]
    written(tmp_path / "items.csv", ["item", "title", "x", "y"], items)
    names = "--user userId --time when --modules columns"
    command = f"recommendation --data ratings.csv --items items.csv {names} --cold 0.4 --epochs 40 --lr 0.02"
    scores = ran(command, "runs/recommendation")
    for name in ("ndcg_at_10", "recall_at_10", "cold_recall_at_10"):
        assert scores[f"{name}_popularity"] + 0.2 < scores[name] <= 1
    for way in ("", "_popularity", "_neighbours", "_factors"):
        assert 0 < scores[f"coverage{way}"] <= 1 and 0 < scores[f"recall_at_10{way}"] <= 1
    run = tlkit.load("runs/recommendation")
    films = tlkit.data.ratings.catalogue("items.csv")
    data = tlkit.data.ratings.from_table("ratings.csv", films, user="userId", time="when", cold=0.4)
    histories = data.test.inputs.take(np.arange(len(data.test)))
    expected = np.asarray(run.task.decode(run.model(histories))["items"])
    runner = Interpreter(str(run.folder / "model.tflite")).get_signature_runner()
    (name,) = runner.get_input_details()
    actual = np.stack([runner(**{name: history[None]})["items"][0] for history in histories])
    assert (actual == expected).all() and len(actual) > 100
    assert np.mean((expected == data.test.target_array[:, None]).any(axis=1)) == pytest.approx(scores["recall_at_10"])


def test_items_that_nothing_tells_apart_are_refused_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [[f"u{u}", f"i{(u + t) % 30}", 5, t] for u in range(9) for t in range(9)]
    written(tmp_path / "ratings.csv", ["user", "item", "rating", "time"], rows)
    written(tmp_path / "items.csv", ["item", "title"], [[f"i{i}", f"Film {i}"] for i in range(30)])
    words = ["run", "recommendation", "--data", "ratings.csv", "--items", "items.csv", "--modules"]
    assert commands.main([*words, "columns"]) == 2 and "no columns that describe items" in capsys.readouterr().err
    assert commands.main([*words, "zoo:efficientnet-lite0"]) == 2
    assert "reads images, and the catalogue has none: name their column, `image`" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def ran(command, folder):
    """Scores that run.json has after `tlkit run`."""
    assert commands.main(["run", *command.split(), "--formats", "float32"]) == 0
    record = json.loads((tlkit.load(folder).folder / "run.json").read_text())
    assert [row["passed"] for row in record["exports"]] == [True]
    return record["scores"]
