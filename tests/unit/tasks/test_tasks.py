"""Tasks as records: recipes, checks before work, scores, losses against closed forms."""

import dataclasses
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from changing import decoded, judged
from sklearn import metrics as reference

from tlkit import methods, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.tasks import recording
from tlkit.tasks.classification import balanced_weights

LABELS = ("bird", "flag", "tool")
rng = np.random.default_rng(3)


def examples(targets):
    targets = np.asarray(targets)
    ids = tuple(f"{i}.png" for i in range(len(targets)))
    return Examples(
        ids, ReadColumn(lambda i: np.zeros(4, np.float32), ArraySpec((4,), "float32"), ids), ArrayColumn(targets)
    )


def splits(train, val=None, test=None, labels=LABELS):
    val = train if val is None else val
    return Splits(examples(train), examples(val), examples(val if test is None else test), labels)


def test_importing_tasks_and_making_one_needs_no_keras():
    code = "import sys; from tlkit import tasks; tasks.classify(['a', 'b']); print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "task",
    [
        tasks.classify(LABELS),
        tasks.classify(LABELS, [8, 4], 0.5, "gelu", 1e-4, label_smoothing=0.1, class_weights={"bird": 2.0}),
        tasks.classify(LABELS, focal_gamma=2.0, multi_label=True, monitor="val_accuracy"),
        tasks.regress(["x", "y"], mean=(1.0, 2.0), std=(3.0, 4.0), loss="huber"),
    ],
)
def test_recipe_survives_json(task):
    again = tasks.restore(json.loads(json.dumps(task.made_by)))
    assert (again.name, again.labels, again.objective.monitor) == (task.name, task.labels, task.objective.monitor)
    assert json.dumps(again.made_by) == json.dumps(task.made_by)


def own_head(features):
    import keras

    return keras.layers.Dense(3, name="mine")(features)


def test_own_head_is_recorded_by_import_path_and_called_only_with_trust():
    import keras

    task = tasks.classify(LABELS, head=own_head)
    assert task.made_by[1]["head"] == {"function": f"{__name__}.own_head"}
    recipe = json.loads(json.dumps(task.made_by))
    features = keras.Input((4,))
    assert tasks.restore(recipe, trust=True).head(features).shape == (None, 3)
    untrusted = tasks.restore(recipe)
    assert untrusted.made_by[1]["head"] == task.made_by[1]["head"]
    with pytest.raises(InputError, match="not part of tlkit"):
        untrusted.head(features)


def test_a_lambda_head_opens_but_cannot_be_built_again():
    import keras

    recorded = tasks.classify(LABELS, head=lambda x: x).made_by
    task = tasks.restore(recorded)
    assert task.made_by == recorded
    with pytest.raises(InputError, match="no import path"):
        task.head(keras.Input((3,)))


def test_heads_without_an_import_path_are_told_apart_or_said_not_to_be():
    def head_of(units):
        return lambda x: x * units

    narrow, again, wide = (tasks.classify(LABELS, head=head_of(units)) for units in (4, 4, 32))
    unseen = tasks.classify(LABELS, head=head_of(threading.Lock()))
    assert recording.key_of(narrow) == recording.key_of(again) != recording.key_of(wide)
    assert recording.key_of(unseen) != recording.key_of(tasks.classify(LABELS, head=head_of(threading.Lock())))
    assert recording.told_apart(narrow.made_by) and not recording.told_apart(unseen.made_by)


def test_own_head_of_another_width_is_refused():
    import keras

    with pytest.raises(InputError, match="3 raw outputs"):
        tasks.classify(LABELS, head=lambda x: x).head(keras.Input((4,)))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (("os.system", {"command": "true"}), "not part of tlkit"),
        (("tlkit.tasks.nothing", {}), "no task `nothing`"),
        (("tlkit.tasks.metrics", {}), "no task `metrics`"),
        (("tlkit.tasks.classify", {"labels": LABELS, "colour": 1}), "do not fit"),
        (("tlkit.tasks.classify", {"labels": ["one"]}), "nothing to tell apart"),
        (["tlkit.tasks.classify"], "import path and its arguments"),
    ],
)
def test_recipes_that_cannot_be_restored(recipe, message):
    with pytest.raises(InputError, match=message):
        tasks.restore(recipe)


def test_what_a_trusted_path_gives_must_be_a_task():
    with pytest.raises(InputError, match="does not make a Task"):
        tasks.restore(("builtins.dict", {}), trust=True)
    with pytest.raises(InputError, match="cannot be imported"):
        tasks.restore(("no_such_package.task", {}), trust=True)


def test_a_task_inside_a_recipe_is_restored():
    inner = tasks.classify(LABELS)
    path, arguments = recording.record("tlkit.methods.x", {"task": inner, "rate": [0.1]})
    assert recording._live(json.loads(json.dumps(arguments))["task"], trust=False).labels == LABELS
    assert path == "tlkit.methods.x"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tasks.classify(["cat"]), "nothing to tell apart"),
        (lambda: tasks.classify([], multi_label=True), "at least 1 label"),
        (lambda: tasks.classify(["0"]), r"floats are numbers to predict; for classes .* `.astype\(int\)`"),
        (lambda: tasks.classify(["a", "b", "a"]), "these repeat: `a`"),
        (lambda: tasks.classify(LABELS, dropout=1.0), r"`dropout` must lie in \[0, 1\)"),
        (lambda: tasks.classify(LABELS, hidden=[0]), "`hidden` must hold positive"),
        (lambda: tasks.classify(LABELS, l2=-1.0), "`l2` must be 0 or more"),
        (lambda: tasks.classify(LABELS, label_smoothing=1.0), "`label_smoothing`"),
        (lambda: tasks.classify(LABELS, focal_gamma=0.0), "`focal_gamma` must be positive"),
        (lambda: tasks.classify(LABELS, monitor="loss"), "`monitor` must be one of"),
        (lambda: tasks.classify(LABELS, class_weights="even"), '"balanced" or a mapping'),
        (lambda: tasks.classify(LABELS, class_weights={"fish": 1.0}), "does not have: `fish`"),
        (lambda: tasks.classify(LABELS, class_weights={"bird": -1.0}), "finite and 0 or more"),
        (lambda: tasks.classify(LABELS, class_weights="balanced", multi_label=True), "leave it out"),
        (lambda: tasks.regress([]), "at least one name"),
        (lambda: tasks.regress(["x"], loss="log"), "`loss` must be one of"),
        (lambda: tasks.regress(["x"], mean=[1.0, 2.0]), "one value for each"),
        (lambda: tasks.regress(["x"], std=[0.0]), "`std` positive"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (splits([0, 1, 2], labels=("bird", "tool", "flag")), "make it of them, `classify"),
        (splits([0, 1, 3]), r"lie in \[0, 2\]. Received: 3 for `2.png` of the training split"),
        (splits([0, 1, 2], test=[0, -1]), "Received: -1 for `1.png` of the test split"),
        (splits([0, 0, 0]), "no example of `flag`, `tool`"),
        (splits([0.0, 1.0]), "whole class numbers"),
        (splits(np.eye(3, dtype=np.float32)), r"one 1 in each row, one column a class: .*argmax\(axis=1\)"),
        (splits(np.tri(3, dtype=np.float32)), "multi_label=True"),
        (splits(np.ones((3, 1), np.float32)), r"make floats that number classes whole, `.astype\(int\)`"),
        (splits(np.zeros(0, int)), "training split is empty"),
    ],
)
def test_data_that_cannot_be_classified(data, message):
    with pytest.raises(InputError, match=message):
        tasks.classify(LABELS).objective.check(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (splits([0, 1, 2]), "one column a label"),
        (splits(np.eye(3)[:, :2]), "one column a label"),
        (splits(np.eye(3) * 0.5), "0 or 1 everywhere"),
        (splits(np.eye(3)[:2]), "No training example has the label `tool`"),
    ],
)
def test_data_that_cannot_be_classified_by_several_labels(data, message):
    with pytest.raises(InputError, match=message):
        tasks.classify(LABELS, multi_label=True).objective.check(data)


@pytest.mark.parametrize(
    ("targets", "message"),
    [(np.zeros((4, 1), np.float32), "one column a name"), (np.zeros((4, 2), int), "float32"),
     (np.array([[0, 1], [np.nan, 1]], np.float32), "`1.png` in the training split is not a finite number")],
)  # fmt: skip
def test_data_that_cannot_be_regressed(targets, message):
    with pytest.raises(InputError, match=message):
        tasks.regress(["x", "y"]).objective.check(splits(targets, labels=()))


def test_fit_data_passes_the_checks():
    tasks.classify(LABELS).objective.check(splits([0, 1, 2, 2], val=[0], test=np.zeros(0, int)))
    tasks.classify(LABELS, multi_label=True).objective.check(splits(np.eye(3)))
    tasks.regress(["x"]).objective.check(splits(np.ones(3, np.float32), labels=()))


def test_class_weights():
    targets = np.array([0, 0, 0, 2], np.int32)
    assert np.allclose(balanced_weights(targets, 3), [4 / 9, 0, 4 / 3])
    weighted = tasks.classify(LABELS, class_weights="balanced").objective.weights(ArrayColumn(np.array([0, 0, 1, 2])))
    assert np.allclose(weighted, [4 / 6, 4 / 6, 4 / 3, 4 / 3])
    assert weighted.dtype == np.float32
    mapped = tasks.classify(LABELS, class_weights={"flag": 3.0}).objective.weights(ArrayColumn(np.array([0, 1, 2])))
    assert mapped.tolist() == [1, 3, 1]
    assert tasks.classify(LABELS).objective.weights is None


def _probabilities(count=40, classes=3):
    logits = rng.normal(size=(count, classes)) * 2
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_single_label_scores():
    outputs, targets = _probabilities(), rng.integers(3, size=40)
    result = judged(tasks.classify(LABELS), examples(targets), outputs)
    predicted = outputs.argmax(1)
    assert result.scores["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert result.scores["macro_f1"] == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    assert result.scores["top2_accuracy"] == pytest.approx(reference.top_k_accuracy_score(targets, outputs, k=2))
    assert result.scores["accuracy_low"] < result.scores["accuracy"] < result.scores["accuracy_high"]
    mistakes = result.details["mistakes"]
    assert [m["probability"] for m in mistakes] == sorted((m["probability"] for m in mistakes), reverse=True)
    assert all(m["true"] != m["predicted"] and m["id"] == f"{m['index']}.png" for m in mistakes)
    assert np.mean(result.details["example_scores"]) == pytest.approx(result.scores["accuracy"])
    json.dumps([dict(result.scores), dict(result.details)], allow_nan=False)


def test_multi_label_scores():
    outputs, targets = rng.random((50, 3)), (rng.random((50, 3)) < 0.4).astype(np.float32)
    result = judged(tasks.classify(LABELS, multi_label=True), examples(targets), outputs)
    predicted = outputs > 0.5
    assert result.scores["exact_match"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert result.scores["hamming_loss"] == pytest.approx(reference.hamming_loss(targets, predicted))
    assert result.scores["macro_f1"] == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    expected = reference.average_precision_score(targets, outputs, average="macro")
    assert result.scores["mean_average_precision"] == pytest.approx(expected)
    json.dumps([dict(result.scores), dict(result.details)], allow_nan=False)


def test_regression_scores():
    truth = rng.normal(size=(60, 2)).astype(np.float32)
    values = truth + 0.3 * rng.normal(size=(60, 2))
    result = judged(tasks.regress(["x", "y"]), examples(truth), values)
    assert result.scores["r2"] == pytest.approx(reference.r2_score(truth, values))
    assert result.scores["mae"] == pytest.approx(reference.mean_absolute_error(truth, values))
    assert result.scores["rmse"] == pytest.approx(reference.root_mean_squared_error(truth.ravel(), values.ravel()))
    assert result.scores["mae_low"] < result.scores["mae"] < result.scores["mae_high"]
    json.dumps([dict(result.scores), dict(result.details)], allow_nan=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_count_as_wrong(bad):
    outputs = np.array([[0.9, 0.05, 0.05], [bad, bad, bad]])
    single = judged(tasks.classify(LABELS), examples([0, 0]), outputs)
    assert single.scores["accuracy"] == 0.5
    assert single.details["mistakes"][0]["predicted"] == "not a number"
    several = judged(tasks.classify(LABELS, multi_label=True), examples(np.eye(3)[:2]), outputs)
    assert several.scores["exact_match"] == 0.5
    values = judged(tasks.regress(["x"]), examples([[1.0], [2.0]]), np.array([[1.0], [bad]]))
    json.dumps([dict(e.scores) | dict(e.details) for e in (single, several, values)], allow_nan=False)


@pytest.mark.parametrize("targets", [np.array([1]), np.array([1, 1, 1])])
def test_few_and_uniform_examples_do_not_divide_by_zero(targets):
    count = len(targets)
    with np.errstate(all="raise"):
        single = judged(tasks.classify(LABELS), examples(targets), np.eye(3)[targets])
        several = judged(tasks.classify(LABELS, multi_label=True), examples(np.eye(3)[targets]), np.zeros((count, 3)))
        values = judged(tasks.regress(["x"]), examples(np.ones((count, 1))), np.ones((count, 1)))
    assert single.scores["accuracy"] == 1 and single.details["mistakes"] == []
    assert several.scores["exact_match"] == 0 and values.scores["r2"] == 1


def _softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_losses_of_one_label_equal_their_closed_forms():
    logits, targets = rng.normal(size=(8, 3)).astype(np.float32), rng.integers(3, size=8).astype(np.int32)
    p = _softmax(logits)
    p_true = p[np.arange(8), targets]
    smooth = np.eye(3)[targets] * 0.9 + 0.1 / 3
    cases = {
        (): -np.log(p_true),
        (("label_smoothing", 0.1),): -(smooth * np.log(p)).sum(1),
        (("focal_gamma", 2.0),): -((1 - p_true) ** 2) * np.log(p_true),
        (("focal_gamma", 1.5), ("label_smoothing", 0.1)): -(smooth * (1 - p) ** 1.5 * np.log(p)).sum(1),
    }
    for options, expected in cases.items():
        loss = tasks.classify(LABELS, **dict(options)).objective.loss()
        assert float(loss(targets, logits)) == pytest.approx(expected.mean(), rel=1e-5), options


def test_losses_of_several_labels_equal_their_closed_forms():
    logits = rng.normal(size=(8, 3)).astype(np.float32)
    targets = (rng.random((8, 3)) < 0.5).astype(np.float32)
    p = 1 / (1 + np.exp(-logits))
    smooth = targets * 0.8 + 0.1
    cases = {
        (): -(targets * np.log(p) + (1 - targets) * np.log(1 - p)),
        (("label_smoothing", 0.2),): -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p)),
        (("focal_gamma", 2.0),): -(targets * (1 - p) ** 2 * np.log(p) + (1 - targets) * p**2 * np.log(1 - p)),
    }
    for options, expected in cases.items():
        loss = tasks.classify(LABELS, multi_label=True, **dict(options)).objective.loss()
        assert float(loss(targets, logits)) == pytest.approx(expected.mean(), rel=1e-5), options


def test_focal_loss_agrees_with_keras_where_keras_does_not_clip():
    import keras

    from tlkit.tasks import losses

    logits, one_hot = rng.normal(size=(8, 3)).astype(np.float32), np.eye(3, dtype=np.float32)[rng.integers(3, size=8)]
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True)(one_hot, logits)
    assert float(losses.focal_softmax(one_hot, logits, 2.0).numpy().mean()) == pytest.approx(float(theirs), rel=1e-5)
    theirs = keras.losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True)(one_hot, logits)
    assert float(losses.focal_sigmoid(one_hot, logits, 2.0).numpy().mean()) == pytest.approx(float(theirs), rel=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_a_gradient_where_the_model_is_surely_wrong(gamma):
    import tensorflow as tf

    from tlkit.tasks import losses

    logits = tf.Variable([[40.0, 0.0, 0.0], [0.0, 40.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.focal_softmax(tf.constant([[0.0, 1.0, 0.0]] * 2), logits, gamma)
    gradient = tape.gradient(loss, logits).numpy()
    assert loss.numpy() == pytest.approx([40.0, 0.0], abs=1e-4)
    assert gradient[0] == pytest.approx([1.0, -1.0, 0.0], abs=1e-3)  # Keras' own clips, and gives 0 here
    assert gradient[1] == pytest.approx([0.0, 0.0, 0.0], abs=1e-3)


def test_standardised_regression_speaks_the_targets_unit():
    task = tasks.regress(["x"], mean=[100.0], std=[10.0], loss="mae")
    raw, targets = np.array([[0.0], [1.0]], np.float32), np.array([110.0, 110.0], np.float32)
    assert decoded(task, raw).ravel().tolist() == [100, 110]
    assert float(task.objective.loss()(targets, raw)) == pytest.approx(0.5)
    (mae,) = task.objective.metrics()
    mae.update_state(targets, raw)
    assert float(mae.result()) == pytest.approx(5.0)


def test_losses_survive_serialisation():
    import keras

    for task in (tasks.classify(LABELS, focal_gamma=2.0), tasks.regress(["x"], mean=[1.0], std=[2.0]),
                 tasks.classify(LABELS, focal_gamma=1.0, multi_label=True)):  # fmt: skip
        loss = task.objective.loss()
        again = keras.losses.deserialize(keras.losses.serialize(loss))
        assert again.get_config() == loss.get_config()


def test_multi_label_accuracy_counts_labels():
    (accuracy,) = tasks.classify(LABELS, multi_label=True).objective.metrics()
    accuracy.update_state(np.array([[1, 0, 1]]), np.array([[2.0, -1.0, -1.0]], np.float32))
    assert float(accuracy.result()) == pytest.approx(2 / 3)


def test_head_layers_are_named_and_two_classes_give_two_units():
    import keras

    features = keras.Input((4,))
    model = keras.Model(features, tasks.classify(["a", "b"], hidden=[8], l2=1e-4).head(features))
    names = [layer.name for layer in model.layers[1:]]
    assert names == ["head_dropout_1", "head_dense_1", "head_dropout_2", "head_outputs"]
    assert model.output_shape == (None, 2)
    assert len(model.losses) == 2
    plain = tasks.classify(["a", "b"], dropout=0.0).head
    assert [layer.name for layer in keras.Model(features, plain(features)).layers[1:]] == ["head_outputs"]


def test_head_pools_feature_maps_and_refuses_sequences():
    import keras

    assert tasks.classify(LABELS).head(keras.Input((7, 7, 16))).shape == (None, 3)
    with pytest.raises(InputError, match="one feature vector an example"):
        tasks.classify(LABELS).head(keras.Input((5, 16)))


@pytest.mark.parametrize("what", ["maps", None, tasks.classify])
def test_what_says_not_what_it_reads_is_no_task(what):
    with pytest.raises(InputError, match=r"`reads` of the task 'classify' must be one of tlkit\.reads, such as"):
        dataclasses.replace(tasks.classify(["a", "b"]), reads=what)


def test_scores_of_one_thing_alone_are_served_as_classes():
    import tensorflow as tf

    (answer,) = tasks.classify(["a", "b"]).answers
    assert set(answer.signatures["classify"]({"probabilities": tf.zeros((1, 2))}, {})) == {"classes", "scores"}
    assert answer.signatures["classify"]({"probabilities": tf.zeros((1, 4, 4, 2))}, {}) is None
    for task in (tasks.segment(["a", "b"]), tasks.tag(["O", "B-x"]), tasks.regress(["age"])):
        assert "classify" not in task.answers[0].signatures


def test_distillation_reads_the_module_as_its_task_does():
    task = tasks.classify(["a", "b"])
    assert methods.distill(task).reads == task.reads and methods.distill(task).head is task.head


def test_decoding_gives_probabilities():
    raw = np.array([[0.0, 0.0], [3.0, -3.0]], np.float32)
    assert decoded(tasks.classify(["a", "b"]), raw).sum(1) == pytest.approx(1)
    several = decoded(tasks.classify(["a", "b"], multi_label=True), raw)
    assert several[0].tolist() == [0.5, 0.5]
