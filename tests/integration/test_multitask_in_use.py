"""Several heads on one module: what they learn from labels of their own, what moves, and what is exported."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import readme_checks
from changing import reread
from fitting import LABELS, SIZE, Brighter, built, examples, same, stopped_after, values

import tlkit
from tlkit import methods, tasks
from tlkit.core import multi_targets
from tlkit.core.columns import ArrayColumn, RaggedColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.run import Phase
from tlkit.exporting import predict
from tlkit.runs import folder as run_folder

PHASES = (Phase(epochs=3, lr=1e-2), Phase(epochs=2, lr=1e-3, unfrozen=0.5))
HALVES = ("grey", "red")

pytestmark = pytest.mark.usefixtures("module_cache")


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


def colours(first: int = 1) -> Splits:
    return Splits(*(examples(n, first + i) for i, n in enumerate((42, 15, 15))), LABELS)


def halves(first: int = 1) -> Splits:
    """Another label: whether the picture is red. With `first` 1 of the same pictures."""
    return methods.relabelled(colours(first), lambda name: HALVES[int(name.partition("-")[2]) % 3 == 2])


def both(**options):
    return methods.multitask(colour=tasks.classify(LABELS), half=tasks.classify(HALVES), **options)


def fitted(folder, task, data, phases=PHASES, **options):
    model, _ = built(folder, task=task)
    return tlkit.fit(model, task, data, phases, batch_size=12, **options)


def test_examples_of_both_are_one_and_others_have_one_label():
    mixed = methods.task_mix(colour=colours(), half=halves())
    assert len(mixed.train) == 42 and (mixed.train.target_array["half"]["weight"] == 1).all()
    apart = methods.task_mix(colour=colours(), half=halves(7))
    assert len(apart.train) == 84 and apart.heads == {"colour": LABELS, "half": HALVES}
    half = multi_targets.parts(apart, "half")
    assert half.train.ids == halves(7).train.ids and half.labels == HALVES
    np.testing.assert_array_equal(half.train.target_array, halves(7).train.target_array)
    np.testing.assert_array_equal(half.train.inputs[3], halves(7).train.inputs[3])
    assert apart.fingerprint != mixed.fingerprint


def test_an_example_of_weight_0_keeps_its_label(folder):
    """Methods that weigh examples give some of them 0: they count in no loss, but their class is there."""
    weights = np.where(colours().train.target_array == 2, 0, 1.5).astype(np.float32)
    light = dataclasses.replace(colours(), train=dataclasses.replace(colours().train, weights=weights))
    mixed = methods.task_mix(colour=light, half=halves(7))
    colour = multi_targets.part(mixed.train, "colour")
    assert colour.ids == light.train.ids and (colour.target_array == 2).sum() == 14
    np.testing.assert_array_equal(colour.weights, weights)
    loss_weights = both().objective.weights(mixed.train.targets)
    np.testing.assert_array_equal(loss_weights[:42, 0], weights)
    bare = dataclasses.replace(light.train, weights=(weights > 0).astype(np.float32))
    zeros = methods.task_mix(colour=dataclasses.replace(light, train=bare), half=halves(7)).train.target_array
    np.testing.assert_array_equal(both().objective.weights(ArrayColumn(zeros))[:42, 0], bare.weights)
    history = fitted(folder, both(), mixed, (Phase(epochs=1, lr=1e-2),)).phases[0].history
    assert np.isfinite(history["loss"]).all()


def test_examples_of_all_heads_are_changed_alike():
    changed = dataclasses.replace(colours(), train=dataclasses.replace(colours().train, augment=Brighter()))
    with pytest.raises(InputError, match=r"must be changed alike.*Received: Brighter\(\), None"):
        methods.task_mix(colour=changed, half=halves(7))
    again = methods.relabelled(changed, lambda name: HALVES[int(name.partition("-")[2]) % 3 == 2])
    assert repr(methods.task_mix(colour=changed, half=again).train.augment) == "Brighter()"


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """Pictures whose sides change places, and the share of the width at which a point lies."""

    def draw(self, seed):
        return {"mirrored": float(seed % 2)}

    def inputs(self, value, drawn):
        return value[:, ::-1] if drawn["mirrored"] else value

    def targets(self, value, drawn):
        return 1 - value if drawn["mirrored"] else value


def points(splits: Splits, places, augment=Mirrored()) -> Splits:
    """The pictures with a point each, at `places(position)`, in place of labels."""

    def moved(part):
        rows = np.array([[places(i)] for i in range(len(part))], np.float32)
        return dataclasses.replace(part, targets=ArrayColumn(rows))

    train, val, test = map(moved, (splits.train, splits.val, splits.test))
    return Splits(dataclasses.replace(train, augment=augment), val, test)


def test_what_moves_with_the_picture_moves_in_each_head_that_has_it():
    mixed = methods.task_mix(near=points(colours(), lambda i: 0.25), far=points(colours(7), lambda i: 0.75)).train
    assert len(mixed) > len(colours().train)  # some pictures have both points, others one
    picture = np.arange(6).reshape(1, 2, 3)
    for i in range(0, len(mixed), 5):
        for seed in (0, 1):
            drawn = mixed.augment.draw(seed)
            moved = mixed.targets.batch([mixed.augment.targets(mixed.targets[i], drawn)])
            assert mixed.augment.inputs(picture, drawn).tolist() == Mirrored().inputs(picture, drawn).tolist()
            for head, place in (("near", 0.25), ("far", 0.75)):
                known = bool(mixed.targets[i][head]["known"])
                place = 1 - place if seed else place
                assert moved[head]["target"].item() == (place if known else 0) and moved[head]["known"].item() == known
    assert multi_targets.part(mixed, "near").augment == Mirrored()


def test_heads_whose_targets_move_are_trained(folder):
    data = methods.task_mix(near=points(colours(), lambda i: 0.25), far=points(colours(7), lambda i: 0.75))
    task = methods.multitask(near=tasks.regress(["x"]), far=tasks.regress(["x"]))
    run = fitted(folder, task, data, (Phase(epochs=2, lr=1e-2),), views=2)
    assert np.isfinite(run.phases[0].history["loss"]).all()


def test_targets_that_are_no_array_are_refused():
    ragged = RaggedColumn([np.zeros((i % 3, 5), np.float32) for i in range(len(colours().train))])
    boxes = dataclasses.replace(colours(), train=dataclasses.replace(colours().train, targets=ragged))
    with pytest.raises(InputError, match="those of boxes are a RaggedColumn"):
        methods.task_mix(colour=colours(), boxes=boxes)


def test_data_that_do_not_fit_each_other_are_refused():
    with pytest.raises(InputError, match="two heads or more"):
        methods.task_mix(colour=colours())
    small = dataclasses.replace(halves(), train=reread(halves().train, spec="other"))
    with pytest.raises(InputError, match="read alike, and colour and half differ"):
        methods.task_mix(colour=colours(), half=small)
    with pytest.raises(InputError, match=r"of one task, .*task_mix\(colour=\.\.\., half=\.\.\.\)"):
        both().objective.check(colours())
    with pytest.raises(InputError, match=r"Head 'half': .*labels are not the data's"):
        both().objective.check(methods.task_mix(colour=colours(), half=colours(7)))


@pytest.mark.parametrize("name", ["checkpoints", "saved_model", "serving_default", "two words", "a/b"])
def test_a_head_cannot_take_the_name_of_something_else(name):
    with pytest.raises(InputError, match="A head cannot be called"):
        methods.multitask(**{name: tasks.classify(LABELS), "other": tasks.classify(HALVES)})


def test_an_input_on_two_sides_is_said():
    moved = halves()
    moved = dataclasses.replace(moved, train=moved.test, test=moved.train)
    (note,) = methods.task_mix(colour=colours(), half=moved).notes
    assert "57 inputs lie in more than one" in note


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", {"colour": 1.0, "half": 0.1}])
def test_both_heads_train_on_their_own_labels(folder, weighting):
    run = fitted(folder, both(weighting=weighting), methods.task_mix(colour=colours(), half=halves(7)))
    history = run.phases[0].history
    assert {"colour_accuracy", "val_half_accuracy"} <= set(history) and np.isfinite(history["loss"]).all()
    assert set(run.model.output) == {"colour", "half"} and run.task.made_by[0] == "tlkit.methods.multitask"
    assert not [v.path for v in run.model.variables if "log_variances" in v.path]
    assert {"colour_accuracy", "half_accuracy_low"} <= set(tlkit.evaluate(run.model, run.task, run.data.test).scores)
    assert all(p.proof["sha256_before"] == p.proof["sha256_after"] for p in run.phases)


def vectors(count: int, seed: int, column: int) -> Examples:
    """Two classes by the sign of one of three numbers."""
    x = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    names = tuple(f"{seed}-{i}" for i in range(count))
    return Examples(
        names,
        ReadColumn(x.__getitem__, ArraySpec((3,), "float32"), names),
        ArrayColumn((x[:, column] > 0).astype(np.int32)),
    )


@pytest.mark.parametrize("weighting", ["equal", "uncertainty"])
def test_each_head_learns_what_is_its_own_to_learn(weighting):
    import keras

    keras.utils.set_random_seed(0)
    task = methods.multitask(
        weighting=weighting, first=tasks.classify("ab", dropout=0), second=tasks.classify("cd", dropout=0)
    )
    inputs = keras.Input((3,))
    model = keras.Model(inputs, task.head(keras.layers.Dense(16, activation="relu")(inputs)))
    data = methods.task_mix(
        first=Splits(*(vectors(n, i, 0) for i, n in enumerate((200, 60, 100)))),
        second=Splits(*(vectors(n, 9 + i, 1) for i, n in enumerate((60, 60, 100)))),
    )
    run = tlkit.fit(model, task, data, [Phase(epochs=20, lr=1e-2, unfrozen=1.0)])
    scores = tlkit.evaluate(run.model, run.task, run.data.test).scores
    assert scores["first_accuracy"] > 0.9 and scores["second_accuracy"] > 0.9


def test_labels_that_an_example_lacks_are_never_read(folder):
    mixed = methods.task_mix(colour=colours(), half=halves(7))

    def poisoned(part: Examples) -> Examples:
        targets = part.target_array.copy()
        targets["colour"]["target"][~targets["colour"]["known"]] = 2
        return dataclasses.replace(part, targets=targets)

    other = dataclasses.replace(mixed, train=poisoned(mixed.train), val=poisoned(mixed.val))
    honest, bad = (values(fitted(folder, both(), data).model) for data in (mixed, other))
    assert same(honest, bad)


def test_a_fit_that_was_stopped_ends_as_one_that_was_not(folder, tmp_path):
    data = methods.task_mix(colour=colours(), half=halves(7))
    task = both(weighting="uncertainty")
    whole = fitted(folder, task, data)
    stopped_after(4, lambda: fitted(folder, task, data, checkpoints=tmp_path))
    assert same(values(whole.model), values(fitted(folder, task, data, checkpoints=tmp_path).model))


def test_heads_with_methods_of_their_own_train(folder):
    """Domain adaptation in one head; the other has labels elsewhere."""
    task = methods.multitask(
        colour=methods.dann(tasks.classify(LABELS, hidden=(8,))),
        half=tasks.classify(HALVES, class_weights="balanced"),
    )
    data = methods.task_mix(colour=methods.domain_mix(colours(), colours(21)), half=halves(7))
    run = fitted(folder, task, data)
    assert methods.one_head(run, "colour").task.made_by[0] == "tlkit.tasks.classify"
    assert not [v.path for v in run.model.variables if "dann" in v.path]
    assert len(multi_targets.part(run.data.train, "colour")) == 42
    again = tasks.restore(json.loads(json.dumps(task.made_by)))
    assert list(again.outputs) == ["colour", "half"] and json.dumps(again.made_by) == json.dumps(task.made_by)


def test_methods_of_a_head_come_off_one_by_one(folder):
    teacher = fitted(folder, tasks.classify(LABELS), colours(), PHASES[:1])
    task = methods.multitask(
        colour=methods.dann(methods.distill(tasks.classify(LABELS))),
        half=tasks.classify(HALVES),
        weighting="uncertainty",
    )
    data = methods.task_mix(colour=methods.domain_mix(methods.taught(colours(), teacher), colours(21)), half=halves(7))
    run = fitted(folder, task, data, PHASES[:1])
    assert methods.one_head(run, "colour").task.made_by[0] == "tlkit.tasks.classify" and run.task.remains is None
    colour = multi_targets.part(run.data.train, "colour")
    np.testing.assert_array_equal(colour.target_array, colours().train.target_array)
    test = multi_targets.part(run.data.test, "colour")
    x = np.stack([test.inputs[i] for i in range(len(test))]).astype("float32")
    score = tlkit.evaluate(run.model, run.task, run.data.test).scores["colour_accuracy"]
    assert score == np.mean(np.argmax(run.model(x)["colour"], axis=1) == test.target_array)


def test_scores_without_labels_are_those_of_the_heads_own_target(folder, tmp_path):
    """The other head's examples are of no domain of this one."""
    from tlkit.methods.parts import selection

    task = methods.multitask(colour=methods.dann(tasks.classify(LABELS)), half=tasks.classify(HALVES))
    data = methods.task_mix(colour=methods.domain_mix(colours(), colours(21)), half=halves(7))
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    run = tlkit.finetune(layer, task, data, PHASES[:1], out=tmp_path, image_size=(SIZE, SIZE))
    target = tlkit.evaluate(methods.one_head(run, "colour").model, tasks.classify(LABELS), colours(21).val)
    expected = selection.label_free(target.outputs)
    scores = {key: value for key, value in run.scores.items() if key.startswith("colour_") and key[7:] in expected}
    assert scores == pytest.approx({f"colour_{key}": value for key, value in expected.items()}, abs=1e-5)
    assert len(scores) == 2 and np.isfinite(list(run.scores.values())).all()


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory, module_cache):
    out = tmp_path_factory.mktemp("runs") / "both"
    data = methods.task_mix(colour=colours(), half=halves(7))
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    run = tlkit.finetune(layer, both(), data, PHASES, out=out, batch_size=12, image_size=(SIZE, SIZE))
    return tlkit.export(run, formats=("saved_model", "float32", "int8"))


def test_all_heads_are_signatures_of_one_file_and_each_has_files_of_its_own(exported):
    from ai_edge_litert.interpreter import Interpreter

    assert [e.passed for e in exported.exports] == [True, True, True]
    both_heads, half_alone = exported.folder / "model.tflite", exported.folder / "half" / "model.tflite"
    assert set(Interpreter(str(both_heads)).get_signature_list()) == {"serving_default", "colour", "half"}
    assert list(Interpreter(str(half_alone)).get_signature_list()) == ["serving_default"]
    assert both_heads.stat().st_size < 1.5 * half_alone.stat().st_size + 20_000  # the graph thrice, the weights once
    x = exported.data.test.inputs[0][None].astype(np.float32)
    probabilities = Interpreter(str(both_heads)).get_signature_runner("half")(image=x)["probabilities"]
    alone = Interpreter(str(half_alone)).get_signature_runner()(image=x)["probabilities"]
    np.testing.assert_allclose(probabilities, alone, atol=1e-5)


def test_a_head_is_a_run_of_its_own(exported):
    half = tlkit.load(exported.folder / "half")
    assert half.task.made_by[0] == "tlkit.tasks.classify" and half.record["head"] == "half"
    assert half.record["scores"]["accuracy"] == exported.scores["half_accuracy"]
    assert {row["format"] for row in half.record["exports"]} == {"saved_model", "float32", "int8"}
    again = tlkit.load(exported.folder)
    assert list(again.task.outputs) == ["colour", "half"]
    report = (exported.folder / "report.html").read_text()
    assert "2 heads" in report and 'href="half/report.html"' in report


def test_a_head_of_an_opened_run_claims_nothing_of_the_others(exported, tmp_path):
    parent = tlkit.load(exported.folder)
    assert parent.record["exports"] and "colour_accuracy" in parent.scores
    half = methods.one_head(parent, "half")
    assert not half.scores and half.record["module"] == parent.record["module"]
    run_folder.save(half, tmp_path)
    written = json.loads((tmp_path / "run.json").read_text())
    assert (written["scores"], written["details"], written["exports"]) == ({}, {}, [])
    assert written["head"] == "half" and written["phases"]


def test_predict_answers_for_every_head(exported, tmp_path):
    from PIL import Image

    picture = tmp_path / "x.png"
    Image.fromarray(exported.data.test.inputs[0]).save(picture)
    (prediction,) = predict(exported.folder, [picture], top=1)
    assert [label.partition(": ")[0] for label, _ in prediction.scores] == ["colour", "half"]


def test_a_head_that_disagrees_is_caught(exported):
    from tlkit.exporting import bundle, formats, producing

    job = producing.Job(exported, exported.data.test, exported.folder, 1, 60.0, print)
    rows = len(exported.data.test)
    right = {name: np.full((rows, k), 1 / k, np.float32) for name, k in (("colour", 3), ("half", 2))}
    outputs = right | {"colour.probabilities": right["colour"], "half.probabilities": right["half"] + 0.01}
    comparison = bundle._compared(job, right, outputs, bundle.Gates(), answers_texts=False)
    assert abs(comparison.difference - 0.01) < 1e-6 and bundle.failure(formats.float32, comparison, bundle.Gates())


def test_each_head_has_a_readme_that_runs(exported):
    readme_checks.check(exported.folder, exported)
    readme = (exported.folder / "README.md").read_text()
    assert "it also has these:" in readme and all(f"\n| `{head}` | " in readme for head in ("colour", "half"))
    assert readme_checks.metadata(exported.folder / "half")["tags"][-1] == "image"
