"""Series from arrays to exported files: forecasts and classification by the zoo's modules, whole."""

from __future__ import annotations

import csv
import json

import keras
import numpy as np
import pytest
import readme_checks
import zoo_checks
from fitting import same, stopped_after

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.progress import Progress, quiet
from tlkit.formats import hub_module
from tlkit.tasks.forecasting import phases_for
from tlkit.zoo import rocket

FORMATS = ("saved_model", "float32")


@pytest.fixture(scope="module")
def forecast_run(tmp_path_factory):
    """Zero-shot forecasts of made-up sales, exported."""
    zoo_checks.folder("forecaster")
    data = tlkit.datasets.made_series.sales(6, 12, shops=2, months=80)
    task = tlkit.tasks.forecast(6, (0.1, 0.5, 0.9), 12)
    run = tlkit.finetune("zoo:forecaster", task, data, out=tmp_path_factory.mktemp("forecast"))
    return tlkit.export(run, formats=FORMATS)


@pytest.fixture(scope="module")
def gesture_run(tmp_path_factory):
    zoo_checks.folder("rocket")
    data = tlkit.datasets.made_series.gestures(60, 40)
    task = tlkit.tasks.classify(data.labels, normalize=True, dropout=0.0, l2=1e-3)
    phases = (tlkit.Phase(epochs=30, lr=3e-3),)
    run = tlkit.finetune("zoo:rocket", task, data, phases, out=tmp_path_factory.mktemp("gestures"))
    return tlkit.export(run, formats=FORMATS)


def test_a_short_history_stays_zero_shot_and_is_judged_beside_others(forecast_run):
    assert [result.had["unfrozen"] for result in forecast_run.phases] == [0.0]
    assert forecast_run.phases[0].had["parameters"] == 0
    scores = forecast_run.scores
    assert scores["mase"] < scores["mase_naive"] and 0.4 < scores["coverage_80"] <= 1
    assert {"wql", "wql_naive", "mase_low", "mase_naive_high"} <= set(scores)
    page = (forecast_run.folder / "report.html").read_text()
    assert "seasonal naive" in page and "<polygon" in page and "Error by step ahead" in page


def test_forecasts_are_exported_sorted_and_take_a_context(forecast_run):
    from ai_edge_litert.interpreter import Interpreter

    assert all(row.passed for row in forecast_run.exports)
    runner = Interpreter(model_path=str(forecast_run.folder / "model.tflite")).get_signature_runner()
    (name,) = runner.get_input_details()
    context = np.full((1, 72, 1), np.nan, np.float32)
    context[0, -30:, 0] = 50 + np.arange(30)
    (quantiles,) = runner(**{name: context}).values()
    assert quantiles.shape == (1, 6, 3) and np.isfinite(quantiles).all() and (np.diff(quantiles, axis=-1) >= 0).all()
    shifted = context + 1000
    (again,) = runner(**{name: shifted}).values()
    np.testing.assert_allclose(again - 1000, quantiles, atol=2.0)


def test_predict_reads_the_latest_values_and_names_the_steps(forecast_run, tmp_path):
    months = [f"{2015 + i // 12}-{1 + i % 12:02d}" for i in range(40)]
    with (tmp_path / "latest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["time", "value"], *zip(months, range(40), strict=True)])
    (prediction,) = tlkit.predict(forecast_run, [tmp_path / "latest.csv"])
    assert prediction.scores[0][0].startswith("2018-05 (0.1 to 0.9: ") and len(prediction.scores) == 6
    assert "the last 40 of 40 values" in prediction.note
    with (tmp_path / "short.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["time", "value"], *zip(months[:5], range(5), strict=True)])
    with pytest.raises(InputError, match="has 5 values, and a forecast needs 12"):
        tlkit.predict(forecast_run, [tmp_path / "short.csv"])


def test_predict_answers_for_each_series_of_a_table(forecast_run, tmp_path):
    rows = [[f"2024-01-{day:02d}", name, k + day] for k, name in enumerate("ab") for day in range(1, 31)]
    with (tmp_path / "two.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["time", "series", "value"], *rows])
    predictions = tlkit.predict(forecast_run, [tmp_path / "two.csv"])
    assert [prediction.file for prediction in predictions] == [f"{tmp_path / 'two.csv'}, {name}" for name in "ab"]
    assert predictions[0].scores[0][0].startswith("2024-01-31")
    assert float(predictions[1].scores[0][1]) == pytest.approx(predictions[0].scores[0][1] + 1, abs=0.05)


def test_a_killed_forecast_goes_on_to_the_same_bits(tmp_path):
    zoo_checks.folder("forecaster")
    data = tlkit.datasets.made_series.sales(6, 12, shops=1, months=60)
    task, phases = tlkit.tasks.forecast(6, season_length=12), phases_for(100, 2000)

    def finetuned(name):
        return tlkit.finetune("zoo:forecaster", task, data, phases, out=tmp_path / name)

    whole = finetuned("whole")
    stopped_after(2, lambda: finetuned("stopped"))  # in the phase whose weights are half those of its start
    again = finetuned("stopped")
    assert [result.phase.start_share for result in again.phases] == [0, 0.5]
    assert same(map(np.array, again.model.variables), map(np.array, whole.model.variables))
    assert again.scores == whole.scores


def test_a_forecast_run_opens_as_it_was(forecast_run):
    again = tlkit.load(forecast_run.folder)
    assert json.dumps(again.task.made_by) == json.dumps(forecast_run.task.made_by)
    x = forecast_run.data.test.inputs.take(np.arange(2))
    before, other = (np.asarray(run.task.decode(run.model(x))["quantiles"]) for run in (forecast_run, again))
    np.testing.assert_array_equal(before, other)


def test_tuning_is_never_worse_than_zero_shot_on_the_validation(tmp_path):
    zoo_checks.folder("forecaster")
    data = tlkit.datasets.made_series.sales(6, 12, shops=1, months=130)
    task = tlkit.tasks.forecast(6, season_length=12)
    first, tuned = phases_for(100, len(data.train))
    phases = (first, tlkit.Phase(**{**vars(tuned), "epochs": 3}))
    run = tlkit.finetune("zoo:forecaster", task, data, phases, out=tmp_path)
    zero_shot = run.phases[0].history["val_loss"][0]
    losses = [zero_shot, *run.phases[1].history["val_loss"]]
    loss = task.objective.loss()
    everything = np.arange(len(data.val))
    left = float(loss(data.val.targets.take(everything), run.model(data.val.inputs.take(everything))))
    assert left == pytest.approx(min(losses), rel=1e-4) and left <= zero_shot * (1 + 1e-6)
    assert run.phases[1].had["unfrozen"] == 1.0 and run.phases[1].history["loss"][-1] < run.phases[1].history["loss"][0]


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """The folder of a module that gives features of a window, and no forecasts."""
    inputs = keras.Input((72, 1))
    model = keras.Model(inputs, keras.layers.GRU(4)(inputs))
    folder = tmp_path_factory.mktemp("sequences") / "module"
    hub_module.write_keras_model(model, folder, card={"name": "gru", "modality": "series"})
    return folder


@pytest.mark.parametrize(("months", "unfrozen"), [(50, [0.0]), (130, [0.0, 1.0])])
def test_a_head_that_is_learned_is_never_called_zero_shot(months, unfrozen, sequences, tmp_path):
    """One epoch of a fresh head was the plan of a short history, and the note called that zero-shot."""
    lines: list[str] = []
    data = tlkit.datasets.made_series.sales(6, 12, shops=1, months=months)
    task, told = tlkit.tasks.forecast(6, season_length=12), Progress(lines.append, quiet.bar)
    run = tlkit.finetune(sequences, task, data, out=tmp_path / "run", progress=told)
    assert [result.had["unfrozen"] for result in run.phases] == unfrozen and run.phases[0].phase.epochs >= 5
    (note,) = [line for line in lines if "zero-shot" in line]
    assert "makes no forecasts of its own: its head is learned" in note and "nothing is zero-shot" in note
    with pytest.raises(InputError, match="so that its head must be learned: leave out `zero_shot`"):
        task = tlkit.tasks.forecast(6, season_length=12, zero_shot=True)
        tlkit.finetune(sequences, task, data, out=tmp_path / "other", progress=quiet)


def test_the_usual_plan_trains_the_head_alone_of_what_cannot_be_trained(tmp_path):
    """Without phases zoo:rocket was refused in its second one, as it has no weights that train."""
    zoo_checks.folder("rocket")
    lines: list[str] = []
    data = random_series(1)
    task, told = tlkit.tasks.classify(data.labels), Progress(lines.append, quiet.bar)
    run = tlkit.finetune("zoo:rocket", task, data, out=tmp_path, progress=told)
    assert [result.had["unfrozen"] for result in run.phases] == [0.0]
    assert "note: zoo:rocket cannot be trained: it has no trainable variables; so its head alone is." in lines


def test_a_forecaster_is_published_and_taken_up_again(forecast_run, tmp_path):
    folder = tlkit.publish(forecast_run, tmp_path / "published")
    phases = (tlkit.Phase(epochs=1, lr=1e-3),)
    again = tlkit.finetune(folder, forecast_run.task, forecast_run.data, phases, out=tmp_path / "run")
    for name in ("mase", "wql", "coverage_80"):
        assert again.scores[name] == pytest.approx(forecast_run.scores[name], rel=1e-5)


def test_numbers_are_predicted_from_series(tmp_path):
    zoo_checks.folder("rocket")
    rates = np.random.default_rng(0).uniform(0.1, 0.6, 120)
    rows = [np.sin(np.arange(60) * rate + i) for i, rate in enumerate(rates)]
    data = tlkit.data.series.from_arrays(rows, rates)
    phases = (tlkit.Phase(epochs=30, lr=3e-3),)
    task = tlkit.tasks.regress(data.labels, hidden=())
    run = tlkit.finetune("zoo:rocket", task, data, phases, out=tmp_path)
    assert run.scores["r2"] > 0.6


def test_a_horizon_beyond_the_module_is_refused(tmp_path):
    zoo_checks.folder("forecaster")
    data = tlkit.data.series.history({"a": np.sin(np.arange(200.0))}, 25, 6, origins=1)
    with pytest.raises(InputError, match="forecasts at most 24 steps ahead"):
        tlkit.finetune("zoo:forecaster", tlkit.tasks.forecast(25, season_length=6), data, out=tmp_path)


def test_rocket_tells_gestures_apart_in_its_file_too(gesture_run):
    assert gesture_run.scores["accuracy"] >= 0.9 and all(row.passed for row in gesture_run.exports)
    assert next(row for row in gesture_run.exports if row.format == "float32").agreement == 1.0


def test_thresholds_are_set_once_and_kept(gesture_run):
    from tlkit.layer.lookup import backbone_of
    from tlkit.modalities.prepare import prepare_like

    layer = backbone_of(gesture_run.model)
    values = {v.name: np.array(v) for v in layer.module_variables.values()}
    assert values[rocket.FITTED] == 1
    prepare_like(tlkit.datasets.made_series.gestures(30, 40, seed=5), gesture_run)
    for variable in layer.module_variables.values():
        np.testing.assert_array_equal(np.array(variable), values[variable.name])


def test_other_channels_than_those_of_the_thresholds_are_refused(gesture_run, tmp_path):
    """They were read by kernels that look at none of them; a module that was published was never fitted."""
    from tlkit.layer.lookup import backbone_of
    from tlkit.modalities.prepare import prepare

    layer = backbone_of(gesture_run.model)
    folder = tlkit.publish(layer, tmp_path / "fitted")
    for handle in (layer, folder):
        for channels in (1, 5):
            data = random_series(channels)
            with pytest.raises(InputError, match=f"of series of 3 channels, and these have {channels}: give"):
                tlkit.finetune(handle, tlkit.tasks.classify(data.labels), data, out=tmp_path / "run")
    (note,) = prepare(random_series(3), tlkit.HubLayer(folder)).notes[-1:]
    assert note.endswith("keeps the thresholds of the series that it was trained on before")


def test_a_module_that_was_published_unfitted_takes_its_thresholds_from_the_data(tmp_path):
    from tlkit.modalities.prepare import prepare

    zoo_checks.folder("rocket")
    folder = tlkit.publish(tlkit.HubLayer("zoo:rocket"), tmp_path / "unfitted")
    data = random_series(5)
    first, second = tlkit.HubLayer("zoo:rocket"), tlkit.HubLayer(folder)
    for layer in (first, second):
        prepare(data, layer)
    assert rocket.channels_of(np.array(rocket.variables_of(second.module_variables.values())[rocket.MIXING])) == 5
    assert same(map(np.array, first.variables), map(np.array, second.variables))


def test_rankings_and_searches_take_thresholds_from_the_data_they_are_about(tmp_path):
    """A ranking took them from the 8 series that it tries first, and a search lost them after its first trial."""
    from tlkit.choosing.rank import _opened

    zoo_checks.folder("rocket")
    layer = _opened("zoo:rocket", random_series(2), None)
    assert not np.array(rocket.variables_of(layer.module_variables.values())[rocket.FITTED])
    with pytest.raises(InputError, match="takes thresholds from what it reads first"):
        tlkit.index("zoo:rocket", random_series(2).train, progress=quiet)

    channels: list[int] = []

    def adapt(batch_stats: str = "adapt"):
        phases = (tlkit.Phase(epochs=1, lr=1e-3, batch_stats=batch_stats),)
        task, data = tlkit.tasks.classify(["a", "b"]), random_series(3)
        run = tlkit.finetune("zoo:rocket", task, data, phases, out=tmp_path / "best")
        variables = rocket.variables_of(run.model.get_layer("backbone").module_variables.values())
        channels.append(rocket.channels_of(np.array(variables[rocket.MIXING])))
        return run

    space = {"batch_stats": ["adapt", "frozen"]}
    tlkit.tune(adapt, space, trials=4, storage=tmp_path / "trials.sqlite", progress=quiet)
    assert channels == [3] * 5


def random_series(channels):
    values = np.random.default_rng(channels).normal(size=(40, 30, channels)).cumsum(axis=1)
    return tlkit.data.series.from_arrays(values, ["a", "b"] * 20)


def test_predict_reads_a_recording(gesture_run, tmp_path):
    values = gesture_run.data.test.inputs[0]
    with (tmp_path / "one.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["time", "x", "y", "z"], *([t, *row] for t, row in enumerate(values.tolist()))])
    (prediction,) = tlkit.predict(gesture_run, [tmp_path / "one.csv"], top=1)
    assert prediction.scores[0][0] == gesture_run.data.labels[int(gesture_run.data.test.target_array[0])]
    with (tmp_path / "two.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["time", "x"], *([t, t] for t in range(9))])
    with pytest.raises(InputError, match="has 1 channels, and the model takes 3"):
        tlkit.predict(gesture_run, [tmp_path / "two.csv"])


def test_a_module_that_takes_no_series_is_refused(tmp_path):
    data = tlkit.datasets.made_series.gestures(12)
    with pytest.raises(InputError, match=r"the series are \(steps, channels\) = \(60, 3\)"):
        tlkit.finetune("zoo:forecaster", tlkit.tasks.classify(data.labels), data, out=tmp_path)


def test_the_readme_of_a_forecast_runs(forecast_run):
    front = readme_checks.check(forecast_run.folder, forecast_run)
    assert front["base_model"] == "zoo:forecaster" and front["license"] == "apache-2.0" and "mase" in front["metrics"]
