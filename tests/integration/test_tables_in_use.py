"""Tables from rows to files that take columns, strings included; trees beside, and another slice to start from."""

from __future__ import annotations

import csv
import json
import warnings

import numpy as np
import pytest
from fitting import same, stopped_after

import tlkit
from tlkit import methods, tasks
from tlkit.core.errors import InputError

COUNT = 400
FILES = ("saved_model", "float32", "float16")


def rows(count=COUNT, seed=0, shift=0.0):
    """A rule over a number with gaps, a huge one, and a category with rare values: two classes, and a value."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40 + shift, 10, count).round(1)
    pay = rng.lognormal(14, 1, count).round()
    job = rng.choice(["cook", "clerk", "Köchin", "nurse"], count)
    score = (age > 40).astype(int) + (job == "cook") * 2 + (np.log(pay) > 14)
    job[::50] = [f"rare {i}" for i in range(len(job[::50]))]
    return {
        "age": [None if i % 11 == 0 else float(value) for i, value in enumerate(age)],
        "yearly pay": pay.tolist(),
        "job": ["" if i % 13 == 0 else str(value) for i, value in enumerate(job)],
        "value": (score + rng.normal(0, 0.1, count)).tolist(),
        "label": np.where(score + rng.normal(0, 0.3, count) > 1.5, "yes", "no").tolist(),
    }


def read(**options):
    return tlkit.data.table.from_frame(rows(), leave_out=["value"], **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = read()
    handle = tlkit.data.table.module(data, hidden=(32, 16), bins=8)
    trained = tlkit.finetune(
        handle, tasks.classify(data.labels), data, tlkit.plans.whole(epochs=15, lr=1e-2),
        out=tmp_path_factory.mktemp("runs") / "table",
    )  # fmt: skip
    return tlkit.export(methods.beside_trees(trained), formats=FILES)


def test_it_learns_exports_and_says_how_trees_are(run):
    assert run.scores["auc"] > 0.85 and run.scores["auc_trees"] > 0.85
    assert [row.passed for row in run.exports] == [True] * 3 and run.exports[1].largest_difference < 1e-5
    assert sum("HistGradientBoosting" in note for note in run.data.notes) == 1
    page = (run.folder / "report.html").read_text()
    assert "HistGradientBoosting" in page and "<th>yearly pay</th>" in page


def test_a_run_opens_again_with_its_scores(run):
    again = tlkit.load(run.folder)
    expected = run.model.predict_on_batch(batch(run))
    np.testing.assert_allclose(again.model.predict_on_batch(batch(run)), expected, atol=1e-6)
    assert again.scores["auc"] == pytest.approx(run.scores["auc"])


def batch(run):
    import tensorflow as tf

    return {name: tf.constant(column) for name, column in run.data.test.inputs.take(np.arange(8)).items()}


def test_files_take_rows_as_they_are(run, tmp_path):
    table = tlkit.data.table.from_frame(rows(6, seed=5), leave_out=["value"], like=read(), split=(1, 0, 0)).train
    cells = rows(6, seed=5)
    with (tmp_path / "few.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["job", "yearly pay", "age"])
        out.writerows(
            zip(*(["" if c is None else c for c in cells[n]] for n in ("job", "yearly pay", "age")), strict=True)
        )
    predictions = tlkit.predict(run, [tmp_path / "few.csv"])
    model = tasks.classify(run.task.labels).decode(run.model.predict_on_batch(
        {name: np_to_tf(column) for name, column in table.inputs.take(np.arange(6)).items()}
    ))["probabilities"]  # fmt: skip
    assert [prediction.file for prediction in predictions] == [f"{tmp_path / 'few.csv'}, row {i}" for i in range(1, 7)]
    for prediction, shares in zip(predictions, np.asarray(model), strict=True):
        assert dict(prediction.scores)[run.task.labels[1]] == pytest.approx(shares[1], abs=1e-5)
    assert predictions[0].note == "missing: age, job"
    (tmp_path / "comma.csv").write_text('job,yearly pay,age\ncook,300000,"39,5"\n')
    (prediction,) = tlkit.predict(run, [tmp_path / "comma.csv"])
    assert prediction.note == "'39,5' is no number in age; missing: age"


def np_to_tf(array):
    import tensorflow as tf

    return tf.constant(array)


def test_a_row_of_json_and_what_no_row_is(run, tmp_path):
    row = {"age": 50, "yearly pay": 3e6, "job": "never seen"}
    (tmp_path / "row.json").write_text(json.dumps(row))
    (prediction,) = tlkit.predict(run, [tmp_path / "row.json"])
    assert prediction.note == "job 'never seen' is rare or unknown"
    (tmp_path / "row.json").write_text(json.dumps({**row, "age": 130, "job": "cook"}))
    (prediction,) = tlkit.predict(run, [tmp_path / "row.json"])
    ages = [age for age in rows()["age"] if age is not None]
    assert prediction.note.startswith("age 130 is outside ") and prediction.note.endswith(", where training was")
    assert float(prediction.note.split()[4]) >= min(ages) and float(prediction.note.split()[6].strip(",")) <= max(ages)
    (tmp_path / "lacking.json").write_text(json.dumps({"age": 50}))
    with pytest.raises(InputError, match="lacks the column 'yearly pay'"):
        tlkit.predict(run, [tmp_path / "lacking.json"])
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        tlkit.predict(run, [tmp_path / "broken.json"])
    (tmp_path / "text.json").write_text('"abc"')
    with pytest.raises(InputError, match="must hold a JSON object"):
        tlkit.predict(run, [tmp_path / "text.json"])


def test_unknown_and_missing_are_told_apart_as_the_card_says(run):
    import tensorflow as tf

    layer = run.model.get_layer("backbone")
    card = {column["name"]: column for column in layer.card["columns"]}
    assert card["job"]['""'] == "a value of its own" and "rare 0" not in card["job"]["values"]
    assert card["age"]["NaN"] == "the median, marked" and card["yearly pay"]["NaN"] == "the median"

    def features(age, pay, job):
        cells = {"age": tf.constant([[age]]), "yearly_pay": tf.constant([[pay]]), "job": tf.constant([[job]])}
        return layer(cells).numpy()[0]

    nan, pay = float("nan"), card["yearly pay"]["median"]
    np.testing.assert_allclose(features(40.0, nan, "cook"), features(40.0, pay, "cook"), rtol=1e-5)
    assert not np.array_equal(features(nan, pay, "cook"), features(card["age"]["median"], pay, "cook"))
    assert np.array_equal(features(40.0, pay, "never seen"), features(40.0, pay, "rare 0"))
    assert not np.array_equal(features(40.0, pay, ""), features(40.0, pay, "rare 0"))


def test_a_published_module_starts_another_slice(run, tmp_path):
    folder = tlkit.publish(run, tmp_path / "published")
    part = tlkit.data.table.from_frame(rows(120, seed=3), leave_out=["value"], like=folder)
    adapted = tlkit.finetune(
        folder,
        tasks.classify(part.labels),
        part,
        tlkit.plans.two_phase(epochs=(5, 2), unfrozen=1.0),
        out=tmp_path / "run",
    )
    assert adapted.scores["auc"] > 0.8 and adapted.phases[0].proof
    other = tlkit.data.table.from_frame(rows(120), leave_out=["value"], categories=["age"])
    with pytest.raises(InputError, match="read them with `like=`"):
        tlkit.finetune(folder, tasks.classify(other.labels), other, out=tmp_path / "other")
    lacking = tlkit.data.table.from_frame(rows(120), leave_out=["value", "age"])
    with pytest.raises(InputError, match="takes the column 'age'"):
        tlkit.finetune(folder, tasks.classify(lacking.labels), lacking, out=tmp_path / "lacking")


def test_methods_of_domains_take_rows(run, tmp_path):
    of_source, other = read(), tlkit.data.table.from_frame(rows(200, 7, 5.0), leave_out=["value"], like=read())
    mixed = methods.domain_mix(of_source, other)
    folder = tlkit.publish(run, tmp_path / "published")
    task = methods.coral(tasks.classify(of_source.labels), weight=1.0)
    assert tlkit.finetune(folder, task, mixed, (tlkit.Phase(2, 1e-3),), out=tmp_path / "coral").scores["accuracy"] > 0.6
    weighted = methods.density_ratio(of_source, other, tlkit.HubLayer(folder, name="backbone"))
    assert weighted.train.weights is not None and weighted.train.weights.mean() == pytest.approx(1, abs=1e-3)


def test_a_killed_fit_of_a_table_goes_on_to_the_same_bits(tmp_path):
    """Dropout, texts and decay are on; the second epoch of three is the last before the stop."""
    data = read()
    handle = tlkit.data.table.module(data, hidden=(8,), bins=4, dropout=0.3)

    def finetuned(name):
        plan = tlkit.plans.whole(epochs=3)
        return tlkit.finetune(handle, tasks.classify(data.labels), data, plan, out=tmp_path / name)

    whole = finetuned("whole")
    stopped_after(2, lambda: finetuned("stopped"))
    again = finetuned("stopped")
    assert [dict(phase.history) for phase in again.phases] == [dict(phase.history) for phase in whole.phases]
    assert same(map(np.array, again.model.variables), map(np.array, whole.model.variables))


def test_values_and_two_heads(tmp_path):
    cells = rows()
    values = tlkit.data.table.from_frame(cells, label=["value"], leave_out=["label"])
    labels = tlkit.data.table.from_frame(cells, leave_out=["value"])
    handle = tlkit.data.table.module(values, hidden=(32, 16), bins=8)
    plan = tlkit.plans.whole(epochs=15, lr=1e-2)
    of_values = methods.beside_trees(
        tlkit.finetune(handle, tasks.regress(["value"]), values, plan, out=tmp_path / "value")
    )
    assert of_values.scores["r2"] > 0.6 and of_values.scores["r2_trees"] > 0.6
    both = methods.multitask(kind=tasks.classify(labels.labels), size=tasks.regress(["value"]))
    of_both = tlkit.finetune(handle, both, methods.task_mix(kind=labels, size=values), plan, out=tmp_path / "both")
    assert of_both.scores["kind_accuracy"] > 0.75 and of_both.scores["size_r2"] > 0.5


@pytest.mark.slow
def test_table_check_tells_transfer_from_trees(run, tmp_path):
    source_data = tlkit.data.table.from_frame(rows(300), leave_out=["value"], split=(0.8, 0.2, 0))

    def target(seed):
        return tlkit.data.table.from_frame(
            rows(90, 20 + seed), leave_out=["value"], like=source_data, split=(0.3, 0, 0.7)
        )

    check = tlkit.table_check(
        source_data,
        target,
        tasks.classify(source_data.labels),
        first=tlkit.plans.whole(epochs=6, lr=5e-3),
        seeds=(0, 1),
    )
    assert list(check.scores) == ["from scratch", "zero-shot", "fine-tuned", "trees", "trees on both"]
    assert all(len(values) == 2 and min(values) > 0 for values in check.scores.values())
    assert min(check.scores["zero-shot"]) > 0.6
    assert {difference.than for difference in check.differences if difference.better.startswith("trees")} == {
        "fine-tuned"
    }
    shown = check.shown_in(run)
    assert shown.record["transfer"]["score"] == "auc"
    with pytest.raises(InputError, match="like=source"):
        tlkit.table_check(source_data, tlkit.data.table.from_frame(rows(90)), tasks.classify(source_data.labels))
    with pytest.raises(InputError, match="`seeds` is empty"):
        tlkit.table_check(source_data, source_data, tasks.classify(source_data.labels), seeds=())


def test_trees_refuse_what_is_no_table(run):
    with pytest.raises(InputError, match="of one label"):
        methods.trees(run.data, tasks.similarity("cosine"))
    plain = tlkit.Examples(("a",), np.zeros((1, 2), np.float32), np.zeros(1, np.int32))
    with pytest.raises(InputError, match="Trees take tables"):
        methods.trees(tlkit.Splits(plain, plain, plain), tasks.classify(["a", "b"]))


def test_modules_are_made_once_and_not_over_others(tmp_path):
    data = read()
    first = tlkit.data.table.module(data, hidden=(8,))
    assert tlkit.data.table.module(data, hidden=(8,)) == first != tlkit.data.table.module(data, hidden=(8,), seed=1)
    tlkit.data.table.module(data, tmp_path / "module", hidden=(8,))
    with pytest.raises(InputError, match="exists already"):
        tlkit.data.table.module(data, tmp_path / "module")
    with pytest.raises(InputError, match=r"tlkit\.data\.table has read"):
        tlkit.data.table.module(tlkit.datasets.digits.uci())


def test_trees_of_many_labels_say_nothing_on_the_terminal(tmp_path):
    rows = ["a,b,kind", *(f"{i},{i % 7},kind {i % 30}" for i in range(90))]
    (tmp_path / "many.csv").write_text("\n".join(rows))
    data = tlkit.data.table.from_table(tmp_path / "many.csv", label="kind")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tlkit.methods.trees(data, tlkit.tasks.classify(data.labels)).scores["accuracy"] >= 0
