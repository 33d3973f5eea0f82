"""Forecasts: scores by hand, what is compared with, the plan, the window inside the graph, and what is refused."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from tlkit import answers, data, tasks
from tlkit.core.columns import ArrayColumn, RaggedColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.seasons import windows_of
from tlkit.core.section import Facts
from tlkit.layer.past import PastWindow
from tlkit.tasks import forecast_baselines, forecast_losses, forecast_scores, forecasting
from tlkit.zoo import forecaster

LEVELS = (0.1, 0.5, 0.9)


def examples(targets, **columns):
    targets = np.asarray(targets, np.float32)
    ids = tuple(f"a@{i}" for i in range(len(targets)))
    extra = {name: ArrayColumn(np.asarray(column, np.float32)) for name, column in columns.items() if name != "history"}
    if "history" in columns:
        extra["history"] = RaggedColumn([np.asarray(values, np.float32) for values in columns["history"]])
    return Examples(ids, ArrayColumn(np.zeros((len(ids), 3), np.float32)), ArrayColumn(targets), columns=extra)


def judged(part, quantiles, levels=LEVELS, season=1):
    scorer = forecast_scores.ForecastScorer(levels, season)
    scorer.update(part, {"quantiles": np.asarray(quantiles, np.float32)})
    return scorer.result()


def around(middle):
    return np.stack([np.asarray(middle) - 1, middle, np.asarray(middle) + 1], axis=-1)


def test_scores_by_hand():
    part = examples([[1, 2], [3, np.nan]], scale=[2, 4], naive=[[0, 0], [3, 3]], sigma=[1, 1])
    evaluation = judged(part, around([[2.0, 2.0], [1.0, 9.0]]))
    assert evaluation.scores["mase"] == pytest.approx((0.5 / 2 + 2 / 4) / 2)
    assert evaluation.scores["mase_naive"] == pytest.approx((1.5 / 2 + 0) / 2)
    assert evaluation.scores["coverage_80"] == pytest.approx(2 / 3), "3 lies above 2; the unknown value does not count"
    losses = [
        [2 * 0.1 * 0, 2 * 0.5 * 1, 2 * 0.1 * 2],  # 1 against 1, 2, 3
        [2 * 0.1 * 1, 0, 2 * 0.1 * 1],  # 2 against 1, 2, 3
        [2 * 0.1 * 3, 2 * 0.5 * 2, 2 * 0.9 * 1],  # 3 against 0, 1, 2
    ]
    assert evaluation.scores["wql"] == pytest.approx(np.mean(losses, axis=1).sum() / 6, rel=1e-6)
    assert evaluation.scores["mase_low"] <= evaluation.scores["mase"] <= evaluation.scores["mase_high"]
    assert {"mase_naive_low", "wql_naive_high"} <= set(evaluation.scores)


def test_a_model_that_does_not_beat_naive_is_told_so():
    part = examples([[1, 2]], scale=[1], naive=[[1, 2]], sigma=[1])
    evaluation = judged(part, around([[5.0, 5.0]]))
    assert evaluation.details["notes"] == [evaluation.details["verdict"]]
    assert "does not beat the seasonal naive forecast" in evaluation.details["verdict"]
    better = judged(examples([[1, 2]], scale=[1], naive=[[9, 9]], sigma=[1]), around([[1.0, 2.0]]))
    assert "lower MASE here than seasonal naive" in better.details["verdict"]


def test_methods_are_compared_on_the_forecasts_that_they_made():
    rows = [{"method": "tlkit", "mase": 1.0, "model": 1.0}, {"method": "seasonal naive", "mase": 1.2, "model": 1.0}]
    others = [{"method": "AutoETS", "mase": 1.1, "model": 1.3}, {"method": "AutoTheta", "mase": 0.9, "model": 0.8}]
    assert "but AutoETS had the lower MASE here" in forecast_scores.verdict([*rows, *others])


def test_a_truth_of_zeros_has_no_weighted_quantile_loss():
    part = examples([[0, 0], [0, 0]], scale=[1, 1])
    assert {"mase", "coverage_80"} <= judged(part, around([[1, 1], [1, 1]])).scores.keys()
    assert "wql" not in judged(part, around([[1, 1], [1, 1]])).scores


def test_pieces_are_scored_as_the_whole():
    rng = np.random.default_rng(0)
    part = examples(rng.normal(size=(7, 4)), scale=np.ones(7), naive=rng.normal(size=(7, 4)), sigma=np.ones(7))
    rows = np.sort(rng.normal(size=(7, 4, 3)), axis=-1).astype(np.float32)
    scorer = forecast_scores.ForecastScorer(LEVELS, 1)
    for piece in ([0, 1, 2], [3, 4, 5, 6]):
        scorer.update(part.subset(piece), {"quantiles": rows[piece]})
    assert scorer.result().scores == judged(part, rows).scores


def test_classical_methods_are_those_of_statsforecast():
    models = pytest.importorskip("statsforecast.models")
    rng = np.random.default_rng(0)
    history = 10 + np.sin(np.arange(60) * np.pi / 3) + rng.normal(0, 0.3, 60)
    reference = models.SeasonalNaive(6).forecast(y=history, h=8, level=[80])
    apart = history[6:] - history[:-6]
    sigma = np.sqrt(np.mean(apart**2))
    naive = forecast_baselines.naive_quantiles(LEVELS, reference["mean"][None], np.array([sigma]), 6)[0]
    np.testing.assert_allclose(naive[:, 1], reference["mean"], rtol=1e-6)
    width = reference["hi-80"] - reference["mean"]
    ratio = (naive[:, 2] - naive[:, 1]) / width
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert abs(ratio[0] - 1) < 0.1, "their deviation counts degrees of freedom otherwise"
    forecasts, absent = forecast_baselines.classical([history] * 2, 8, 6, LEVELS)
    ets = models.AutoETS(season_length=6).forecast(y=history, h=8, level=[80])
    np.testing.assert_allclose(forecasts["ets"].quantiles[1], np.stack([ets["lo-80"], ets["mean"], ets["hi-80"]], -1))
    assert not absent


def test_without_statsforecast_the_naive_forecast_stays(monkeypatch):
    monkeypatch.setattr(forecast_baselines.importlib.util, "find_spec", lambda name: None)
    part = examples([[1, 2]], scale=[1], naive=[[1, 1]], sigma=[1], history=[np.arange(20)])
    details = judged(part, around([[1.0, 2.0]])).details
    assert {row["method"] for row in details["methods"]} == {"tlkit", "seasonal naive"}
    assert details["notes"][1:] == [forecast_baselines.MISSING], "and the report says how to have the others"
    (section,) = [section for section in answers.quantiles(LEVELS).sections if section.key == "methods"]
    assert 'pip install "tlkit[series]"' in section.view(Facts({"details": details}))["says"]


def test_a_method_that_fails_is_said_to_have_failed(monkeypatch):
    pytest.importorskip("statsforecast.models")
    monkeypatch.setattr(forecast_baselines, "_forecast", lambda *_: None)
    part = examples([[1, 2]], scale=[1], naive=[[1, 1]], sigma=[1], history=[np.arange(20)])
    notes = judged(part, around([[1.0, 2.0]])).details["notes"]
    assert "AutoETS failed on 1 of 1 histories, and does not stand beside the model." in notes


# -- the window and the loss


@pytest.mark.parametrize("season", [1, 4, 12, 48])
def test_the_window_in_the_graph_is_that_of_pretraining(season):
    values = np.random.default_rng(0).normal(50, 3, 200)
    past = windows_of(values, np.array([max(8, season), 60, 180]), season)
    inputs, level, spread = forecaster.inputs_of(past, season)
    window = PastWindow(forecaster.STEPS, season)(past[..., None])
    for name, expected in {**inputs, "level": level, "spread": spread}.items():
        np.testing.assert_allclose(np.asarray(window[name]), expected, atol=2e-5, err_msg=name)


def test_the_window_of_a_series_far_from_zero_keeps_its_spread():
    values = 1e6 + np.sin(np.arange(72.0))
    window = PastWindow(1, 1)(windows_of(values, np.array([72]), 1)[..., None])
    np.testing.assert_allclose(float(window["spread"][0, 0]), 100 + values.std(), rtol=0.01)


def test_the_loss_is_the_quantile_loss_in_deviations():
    loss = forecast_losses.QuantileLoss([0.9])
    raw = {"deviations": np.zeros((1, 2, 1), np.float32), "level": np.array([[10.0]]), "spread": np.array([[2.0]])}
    assert float(loss(np.array([[14.0, np.nan]]), raw)) == pytest.approx(0.9 * 2)
    assert float(loss(np.array([[8.0, 8.0]]), raw)) == pytest.approx(0.1 * 1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.levels == [0.9]


# -- the plan, and what is refused


def test_the_plan_tunes_where_there_is_enough_history():
    def said(n):
        lines = []
        task = tasks.forecast(4, season_length=4)
        splits = data.series.history({"a": np.sin(np.arange(float(n)))}, 4, 4)
        return task.plan(splits, lines.append, model), lines

    model = keras.Sequential()  # no module, no head
    short, why = said(60)
    assert [phase.unfrozen for phase in short] == [0.0] and "stays zero-shot" in why[0]
    long, why = said(400)
    assert [phase.unfrozen for phase in long] == [0.0, 1.0] and "unless zero-shot is better" in why[0]
    assert forecasting.phases_for(forecasting.FEW - 1, 10) == short
    splits = data.series.history({"a": np.sin(np.arange(400.0))}, 4, 4)
    assert tasks.forecast(4, season_length=4, zero_shot=True).plan(splits, print, model) == short


def test_levels_between_those_of_the_module_lie_on_a_line():
    quantiles = np.sort(np.random.default_rng(0).normal(size=(2, 3, 13)), axis=-1).astype(np.float32)
    between = np.asarray(forecasting._at_levels(quantiles, forecaster.LEVELS, (0.1, 0.25, 0.975)))
    np.testing.assert_allclose(between[..., 0], quantiles[..., 2], atol=1e-6)
    np.testing.assert_allclose(between[..., 1], (quantiles[..., 3] + quantiles[..., 4]) / 2, atol=1e-6)
    np.testing.assert_allclose(between[..., 2], quantiles[..., 12], atol=1e-6)
    with pytest.raises(InputError, match=r"gives quantiles from 0.025 to 0.975.*Received: quantiles=\[0.01\]"):
        forecasting._at_levels(quantiles, forecaster.LEVELS, (0.01,))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"horizon": 0}, "`horizon` of `forecast` must be a whole number"),
        ({"quantiles": (0.5, 0.1)}, "`quantiles` of `forecast` must hold levels"),
        ({"quantiles": (0.0, 0.5)}, "`quantiles`"),
        ({"quantiles": (0.1, 0.9)}, "`quantiles` of `forecast` must hold 0.5, as the median"),
        ({"quantiles": "0.5"}, "`quantiles`"),
        ({"season_length": 2.5}, "`season_length`"),
        ({"hidden": 0}, "`hidden`"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        tasks.forecast(**{"horizon": 3, **arguments})


def test_data_of_another_horizon_or_season_are_refused():
    splits = data.series.history({"a": np.sin(np.arange(80.0))}, 4, 6)
    with pytest.raises(InputError, match=r"Targets must be float32 \(n, 5\)"):
        tasks.forecast(5, season_length=6).objective.check(splits)
    with pytest.raises(InputError, match="season_length=6, and the task has 7"):
        tasks.forecast(4, season_length=7).objective.check(splits)
    unknown = dataclasses.replace(splits.train, targets=ArrayColumn(np.full((len(splits.train), 4), np.nan)))
    with pytest.raises(InputError, match="No training window"):
        tasks.forecast(4, season_length=6).objective.check(dataclasses.replace(splits, train=unknown))


# -- the answer


def test_quantiles_agree_in_shares_of_their_width():
    answer = answers.quantiles(LEVELS)
    rows = around(np.arange(8.0).reshape(2, 4))
    agreement = answer.agree({"quantiles": rows}, {"quantiles": rows + 0.2})
    np.testing.assert_allclose(agreement.difference, 0.1, atol=1e-5)
    assert not agreement.equal.any() and answer.agree({"quantiles": rows}, {"quantiles": rows + 0.05}).equal.all()


def test_what_is_said_names_the_steps():
    answer = answers.quantiles(LEVELS)
    lines = answer.say({"quantiles": around([1.0, 2.0])}, {"ahead": "2025-01\n2025-02"})
    assert lines == [("2025-01 (0.1 to 0.9: 0 to 2)", 1.0), ("2025-02 (0.1 to 0.9: 1 to 3)", 2.0)]
    assert answer.say({"quantiles": around([1.0])}, {})[0][0].startswith("1 ahead")
