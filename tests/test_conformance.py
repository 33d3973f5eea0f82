"""What every task, data loader and zoo module keeps to; each is picked up from its shelf, so a new one is checked too.

A task is made as the Example of its docstring makes it. If its targets are of a kind that none of `KINDS` makes, add a
line there.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import inspect
import json
import math
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from changing import passages, reread

from tlkit import data, datasets, methods, tasks, zoo
from tlkit.core.columns import ArrayColumn, DictColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.task import HeadOutputs, Inference, Task
from tlkit.formats import tflite
from tlkit.tasks import recording

pytestmark = pytest.mark.long

COUNT, STEPS, WIDTH, SIDE = 40, 8, 12, 32
FEATURES = {
    "answers()": (STEPS, WIDTH),
    "pooled()": (WIDTH,),
    "steps()": (STEPS, WIDTH),
    "pair()": (2, WIDTH),
    "hidden_and_embedding()": (STEPS, WIDTH),
    "token_scores()": (STEPS, WIDTH),
}
TABLE = np.random.default_rng(1).normal(size=(9, WIDTH)).astype(np.float32)  # what ids are looked up in
WORDS = ("float32", "int32", "string")


def _gives(function: Callable[..., Any]) -> str:
    return str(function.__annotations__.get("return", ""))


TASKS = sorted({name for name in tasks.__all__ if _gives(getattr(tasks, name)) == "Task"} - {"restore"})
SOLVED = ("anomalies", "padim", "patchcore", "sequence_anomalies")  # in closed form: nothing trains them


def task_of(name: str) -> Task:
    """The task that the docstring's Example makes."""
    function = getattr(tasks, name)
    shown = doctest.DocTestParser().get_examples(inspect.getdoc(function) or "")
    calls = [node for example in shown for node in ast.walk(ast.parse(example.source)) if _calls(node, name)]
    assert calls, f"tlkit.tasks.{name} needs an Example in its docstring that calls it"
    task = eval(ast.unparse(calls[0]), {name: function})  # our own docstring
    assert isinstance(task, Task)
    return task


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


# -- data of every kind that tasks take


def examples(targets: np.ndarray) -> Examples:
    names = tuple(f"{i}" for i in range(len(targets)))
    return Examples(
        names, ReadColumn(lambda i: np.zeros(3, np.float32), ArraySpec((3,), "float32"), names), ArrayColumn(targets)
    )


def same(make: Callable[[Task], np.ndarray]) -> Callable[[Task], Splits]:
    """Splits whose three parts hold equal targets."""
    return lambda task: Splits(*(examples(make(task)) for _ in range(3)), task.labels)


def numbers(task: Task) -> np.ndarray:
    return (np.arange(COUNT) % max(2, len(task.labels))).astype(np.int32)


def several(task: Task) -> np.ndarray:
    return (np.arange(COUNT * len(task.labels)).reshape(COUNT, -1) % 3 == 0).astype(np.float32)


def values(task: Task) -> np.ndarray:
    return np.linspace(0, 1, COUNT * max(1, len(task.labels)), dtype=np.float32).reshape(COUNT, -1)


def steps(task: Task) -> np.ndarray:
    return (np.arange(COUNT * STEPS).reshape(COUNT, STEPS) % (len(task.labels) + 1) - 1).astype(np.int32)


def asked(task: Task) -> Splits:
    """Questions on a text with a letter a step, half of them with an answer."""
    letters = np.arange(STEPS - 2, dtype=np.int32)
    offsets = np.stack([letters, letters + 1], axis=1)
    asked = passages("x" * len(letters), (("xx",), ()) * (COUNT // 2), offsets, 2)
    targets = np.tile(np.array([[3, 4, 2, STEPS], [0, 0, 2, STEPS]], np.int32), (COUNT // 2, 1))
    part = dataclasses.replace(examples(targets), columns={"passage": asked})
    return Splits(part, part, part)


def strangers(task: Task) -> Splits:
    count = task.made_by[1].get("speakers", 0)
    trained, heard = np.arange(2 * count) % max(1, count), np.arange(8) // 2
    parts = (trained, count + heard, count + 4 + heard)
    return Splits(*(examples(part.astype(np.int32)) for part in parts))


def masks(task: Task) -> np.ndarray:
    return np.tile(np.arange(SIDE, dtype=np.uint8) % max(2, len(task.labels)), (COUNT, SIDE, 1))


def rows(task: Task) -> np.ndarray:
    """A box and a row that fills up."""
    boxes = np.full((COUNT, 2, 5), -1, np.float32)
    boxes[:, 0] = [[i % max(1, len(task.labels)), 0.1, 0.2, 0.7, 0.9] for i in range(COUNT)]
    return boxes


def normal(task: Task) -> Splits:
    """Good images to train, and good and faulty ones."""
    marks = np.zeros((COUNT, SIDE, SIDE), np.uint8)
    some = marks.copy()
    some[::2, 4:9, 5:12] = 1
    return Splits(examples(marks), examples(some), examples(some))


def labelled(task: Task) -> np.ndarray:
    """x, y and whether it is labelled of each point."""
    points = np.tile(np.array([0.3, 0.6, 1.0], np.float32), (COUNT, max(1, len(task.labels)), 1))
    points[::3, 0, 2] = 0
    return points


def said(task: Task) -> Splits:
    """Texts of one or two units of a vocabulary, filled up with 0."""
    if not task.labels:
        raise InputError("There is no vocabulary.")
    numbers = np.zeros((COUNT, 3), np.int32)
    numbers[:, 0], numbers[::2, 1] = 1 + np.arange(COUNT) % max(1, len(task.labels)), 1
    texts = [" ".join(task.labels[i - 1] for i in row if i) for row in numbers]
    part = dataclasses.replace(examples(numbers), columns={"text": TextColumn(texts)})
    return Splits(part, part, part, task.labels)


def answered(task: Task) -> Splits:
    """Answers, as a language model learns them: the module reads what is right."""
    part = dataclasses.replace(examples(np.zeros((COUNT, 1), np.int32)), modality="dialogue")
    return Splits(part, part, part)


def futures(task: Task) -> np.ndarray:
    """Values that follow, the last of them not known in every third."""
    series = np.linspace(0, 1, COUNT * horizon_of(task), dtype=np.float32).reshape(COUNT, -1)
    series[::3, -1] = np.nan
    return series


def horizon_of(task: Task) -> int:
    return int(task.made_by[1].get("horizon", 1))


def dictated(task: Task) -> Splits:
    """Numbers of tokens, a step each, and the text that they are."""
    numbers = (np.arange(COUNT * STEPS).reshape(COUNT, STEPS) % (len(TABLE) + 1) - 1).astype(np.int32)
    part = dataclasses.replace(examples(numbers), columns={"text": TextColumn(["some words"] * COUNT)})
    return Splits(part, part, part)


def translated(task: Task) -> Splits:
    """Pairs of texts, of which the second is numbers of tokens."""
    return Splits(*(dataclasses.replace(part, modality="translation") for part in [dictated(task).train] * 3))


def calm(task: Task) -> Splits:
    """Sequences without a faulty step, and for validation and test some with one."""
    masks = np.zeros((COUNT, 1, STEPS), np.uint8)
    good = examples(masks.copy())
    masks[::2, 0, 1] = 1
    return Splits(good, examples(masks), examples(masks))


KINDS = (
    normal,
    *map(same, (futures, numbers, several, values, steps, masks)),
    calm,
    *map(same, (rows, labelled)),
    said,
    asked,
    strangers,
    answered,
    dictated,
    translated,
)


def accepted(task: Task) -> Splits:
    """The first kind of data that the task's own check lets pass."""
    for make in KINDS if task.labels else reversed(KINDS):
        try:
            splits = make(task)
            task.objective.check(splits)
        except (InputError, ValueError, ZeroDivisionError):
            continue
        return splits
    raise AssertionError(f"No kind of data in KINDS passes the check of {task.name}: add one line there.")


def model_of(task: Task) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input(shape, name=name) for name, shape in taken(task).items()}
    if task.reads.name.startswith("history("):
        return keras.Model(inputs, task.head(inputs))
    if task.reads.name == "answers()":
        return keras.Model(inputs["inputs"], task.head(_predicted(inputs["inputs"])))
    if task.reads.name in ("hidden_and_embedding()", "token_scores()"):
        hidden = keras.layers.Dense(WIDTH, name="module")(inputs["inputs"])
        table = keras.layers.Lambda(lambda _: keras.ops.convert_to_tensor(TABLE), name="table")(inputs["inputs"])
        return keras.Model(inputs["inputs"], task.head({"hidden": hidden, "embedding": table}))
    if task.reads.name.startswith("maps("):
        head_inputs = {int(name.removeprefix("map_")): tensor for name, tensor in inputs.items()}
    else:
        inputs = head_inputs = inputs["inputs"]
    model = keras.Model(inputs, task.head(head_inputs))
    return model if task.solve is None else keras.Model(model.input, solved(task, model).outputs(model.output))


def solved(task: Task, model: Any) -> Inference:
    """What remains of a task that is computed from features, here of noise."""
    import keras

    def outputs(part: Examples) -> HeadOutputs:
        rows = np.arange(len(part))
        return HeadOutputs(part, lambda: iter([(rows, keras.tree.map_structure(np.asarray, raw))]))

    raw, splits = model(features(task, COUNT)), accepted(task)
    return task.solve(outputs(splits.train), outputs(splits.val), lambda line: None)


def _predicted(states: Any) -> dict[str, Any]:
    """States with a table of tokens that trains, and the tokens that are to be predicted, some places empty."""
    import keras

    class Table(keras.layers.Layer):
        def build(self, _shape: Any) -> None:
            self.table = self.add_weight(shape=(7, WIDTH), name="table")

        def call(self, inputs: Any) -> Any:
            targets = keras.ops.arange(STEPS, dtype="int32") % 8 - 1
            return self.table + 0.0, keras.ops.zeros_like(inputs[..., 0], dtype="int32") + targets

    table, targets = Table(name="table")(states)
    return {"states": states, "embedding": table, "targets": targets}


def taken(task: Task) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what the task's head takes."""
    if task.reads.name.startswith("history("):
        horizon = int(task.reads.name.removeprefix("history(").partition(",")[0])
        return {"features": (WIDTH,), "lags": (horizon, 3), "level": (1,), "spread": (1,)}
    if not task.reads.name.startswith("maps("):
        return {"inputs": FEATURES[task.reads.name]}
    strides = [int(stride) for stride in task.reads.name[5:-1].split(",")]
    return {f"map_{stride}": (SIDE // stride, SIDE // stride, WIDTH) for stride in strides}


def features(task: Task, count: int) -> Any:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(count, *shape)).astype(np.float32) for name, shape in taken(task).items()}
    if "spread" in arrays:
        arrays["spread"] = 1 + np.abs(arrays["spread"])
    return arrays.get("inputs", arrays)


# -- tasks

AS_TRAINED = [name for name in TASKS if task_of(name).deployment is None]  # of others their functions are exported


@pytest.mark.parametrize("name", sorted({*TASKS} - {*AS_TRAINED}))
def test_a_task_with_a_deployment_is_no_head_among_others(name):
    with pytest.raises(InputError, match="it cannot be one of several heads"):
        methods.multitask(one=task_of(name), other=task_of(name))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_made_again_from_its_recipe(name):
    task = task_of(name)
    again = tasks.restore(json.loads(json.dumps(task.made_by)))
    assert task.made_by[0] == f"tlkit.tasks.{name}"
    for field in ("name", "labels", "outputs", "reads"):
        assert getattr(again, field) == getattr(task, field), field
    assert again.objective.monitor == task.objective.monitor
    assert json.dumps(again.made_by) == json.dumps(task.made_by)
    parameters = inspect.signature(getattr(tasks, name)).parameters
    assert set(task.made_by[1]) == set(parameters), "the recipe holds every argument"
    monitor = task.objective.monitor
    assert (monitor is None) == (task.solve is not None) == (name in SOLVED)
    assert monitor is None or (monitor[1] in ("min", "max") and monitor[0].startswith("val_"))
    recording.record("tlkit.methods.some", {"task": task})  # as part of another one


@pytest.mark.parametrize("name", TASKS)
def test_a_task_refuses_data_without_training_examples(name):
    task = task_of(name)
    splits = accepted(task)
    nothing = Splits(splits.train.subset([]), splits.val, splits.test, splits.labels)
    with pytest.raises(InputError) as refused:
        task.objective.check(nothing)
    assert re.match(r"^[A-Z`].*[.!]$", str(refused.value))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_refuses_an_argument_that_it_does_not_know(name):
    with pytest.raises(InputError, match="do not fit"):
        tasks.restore((f"tlkit.tasks.{name}", {**task_of(name).made_by[1], "no_such": 1}))


@pytest.mark.parametrize("name", [name for name in TASKS if name not in SOLVED])
def test_a_task_learns_is_measured_and_its_loss_is_fresh(name):
    import keras
    import tensorflow as tf

    task = task_of(name)
    model, part = model_of(task), accepted(task).train
    loss, x = task.objective.loss(), features(task, len(part))
    assert loss is not task.objective.loss() and isinstance(loss, keras.losses.Loss)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    outputs = model(x)
    assert type(again) is type(loss) and float(again(part.target_array, outputs)) == float(
        loss(part.target_array, outputs)
    )
    losses, optimizer = [], keras.optimizers.Adam(1e-2)
    for _ in range(5):
        with tf.GradientTape() as tape:
            value = loss(part.target_array, model(x, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        losses.append(float(value))
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    for metric in task.objective.metrics():
        metric.update_state(part.target_array, model(x))
        assert np.isfinite(float(metric.result()))


@pytest.mark.parametrize("name", AS_TRAINED)
def test_a_task_decodes_the_same_in_tflite(name, tmp_path):
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    task, root = task_of(name), tf.Module()
    model, x = model_of(task), features(task, 1)
    named = x if isinstance(x, dict) else {"inputs": x}
    specs = [tf.TensorSpec(array.shape, tf.float32, name=name) for name, array in named.items()]

    def serve(*tensors):
        inputs = tensors[0] if "inputs" in named else dict(zip(named, tensors, strict=True))
        return task.decode(model(inputs, training=False))

    root.serve = tf.function(serve, specs)
    root.kept = [v.value for v in model.variables]
    tf.saved_model.save(root, str(tmp_path), signatures=root.serve)
    runner = Interpreter(model_content=tflite.convert(tmp_path, "float32", None, spanned=False)).get_signature_runner()
    actual, expected = runner(**named), root.serve(*map(tf.constant, named.values()))
    assert actual.keys() == expected.keys()
    for output, tensor in expected.items():  # sorted, as equal scores may come in another order
        np.testing.assert_allclose(np.sort(actual[output], None), np.sort(tensor.numpy(), None), atol=1e-5)
    same = task.answers[0].agree({n: tensor.numpy() for n, tensor in expected.items()}, actual)
    assert same.difference.max() < 1e-4 and same.equal[same.margin > 1e-3].all()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_evaluated_in_plain_numbers_under_a_headline(name):

    task = task_of(name)
    part = accepted(task).test
    raw = model_of(task)(features(task, len(part)))
    outputs, scorer = {name: np.asarray(tensor) for name, tensor in task.decode(raw).items()}, task.scorer()
    scorer.update(part, outputs)
    evaluation = scorer.result()
    assert all(type(value) is float for value in evaluation.scores.values())
    named = evaluation.details["headline"]
    low, high = (evaluation.scores[f"{named['name']}_{end}"] for end in ("low", "high"))
    assert low <= evaluation.scores[named["name"]] <= high or math.isclose(low, high, abs_tol=1e-6)
    targets, answer = part.targets.take(np.arange(len(part))), task.answers[0]
    merits = evaluation.details.get("example_scores") or answer.merit(targets, task.own(answer, outputs))
    assert len(merits) and np.isfinite(np.asarray(merits, float)).all()
    json.dumps(evaluation.details, allow_nan=False)


# -- methods

CLAIMED = {
    "classify": tasks.classify(["a", "b"], hidden=(6,)),
    "classify, several labels": tasks.classify(["a", "b"], multi_label=True),
    "regress": tasks.regress(["x"], mean=[0.5], std=[0.3]),
}
ON_TASKS = sorted({name for name in methods.__all__ if _gives(getattr(methods, name)) == "Task"} - {"multitask"})


def mixed(task: Task) -> Splits:
    """Two domains, or a teacher's answers, as the method's own function on splits makes them."""
    kind = {"classify": numbers, "regress": values}[task.made_by[0].rpartition(".")[2]]
    splits = same(several if task.made_by[1].get("multi_label") else kind)(task)
    return Splits(splits.train, splits.val, splits.test, task.labels if kind is numbers else ())


@pytest.mark.parametrize("kind", CLAIMED)
@pytest.mark.parametrize("name", ON_TASKS)
def test_a_method_trains_every_task_that_it_claims(name, kind):
    import tlkit

    task, method = CLAIMED[kind], getattr(methods, name)
    try:
        wrapped = method(task)
    except InputError as error:
        assert kind != "classify" and "of one label" in str(error)
        return
    splits = with_features(task, mixed(task))
    run = trained(wrapped, for_method(name, task, splits))
    assert run.task.made_by == task.made_by and run.data.train.fingerprint
    assert tlkit.evaluate(run.model, run.task, splits.test).scores


def with_features(task: Task, splits: Splits) -> Splits:
    """The splits with random numbers that a head of the task takes."""
    parts = []
    for part in (splits.train, splits.val, splits.test):
        rows, specs = features(task, len(part)), {n: ArraySpec(s, "float32") for n, s in taken(task).items()}
        if isinstance(rows, dict):
            parts.append(
                dataclasses.replace(part, inputs=DictColumn({n: ArrayColumn(column) for n, column in rows.items()}))
            )
        else:
            parts.append(reread(part, rows.__getitem__, specs["inputs"]))
    return dataclasses.replace(splits, train=parts[0], val=parts[1], test=parts[2])


def for_method(name: str, task: Task, splits: Splits) -> Splits:
    """Data that a task made by this method learns from."""
    import tlkit

    if name == "distill":
        return methods.taught(splits, tlkit.Run(model_of(task), task, splits))
    return methods.domain_mix(splits, splits)


def trained(task: Task, data: Splits) -> Any:
    import tlkit

    run = tlkit.fit(model_of(task), task, data, (tlkit.Phase(3, 1e-2),), batch_size=20)
    assert all(np.isfinite(figures).all() for figures in run.phases[0].history.values())
    return run


@pytest.mark.parametrize("name", SOLVED)
def test_a_task_that_is_solved_is_no_head_among_others(name):
    both = methods.multitask(one=task_of(name), other=task_of(name))
    with pytest.raises(InputError, match="is solved in closed form and has no loss"):
        both.objective.loss()


@pytest.mark.parametrize("name", [name for name in AS_TRAINED if name not in SOLVED])
def test_every_task_can_be_one_of_several_heads(name):
    import tlkit

    task = task_of(name)
    splits = with_features(task, accepted(task))
    both = methods.multitask(one=task, other=task)
    run = trained(both, methods.task_mix(one=splits, other=splits))
    evaluation = tlkit.evaluate(run.model, run.task, run.data.test)
    alone = tlkit.evaluate(methods.one_head(run, "one").model, task, splits.test)
    assert {f"one_{key}": value for key, value in alone.scores.items()} == {
        key: value for key, value in evaluation.scores.items() if key.startswith("one_")
    }


@pytest.mark.parametrize("name", ON_TASKS)
def test_every_method_can_make_one_of_several_heads(name):
    task = CLAIMED["classify"]
    splits = with_features(task, mixed(task))
    both = methods.multitask(one=getattr(methods, name)(task), other=CLAIMED["regress"])
    others = with_features(CLAIMED["regress"], mixed(CLAIMED["regress"]))
    run = trained(both, methods.task_mix(one=for_method(name, task, splits), other=others))
    assert {inference.name: inference.task.made_by for inference in run.task.inference} == {
        "one": task.made_by, "other": CLAIMED["regress"].made_by,
    }  # fmt: skip
    assert tasks.restore(json.loads(json.dumps(both.made_by))).outputs == both.outputs


# -- data


def loaders() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public functions of each module of the two shelves that give Splits."""
    for place in (f"{shelf.__name__}.{name}" for shelf in (data, datasets) for name in shelf.__all__):
        module = importlib.import_module(place)
        for name in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
            member = getattr(module, name)
            if inspect.isfunction(member) and member.__module__ == module.__name__ and _gives(member) == "Splits":
                yield f"{place.removeprefix('tlkit.')}.{name}", member


LOADERS = dict(loaders())


def test_every_module_of_the_data_shelves_loads_something():
    names = {f"data.{name}" for name in data.__all__} | {f"datasets.{name}" for name in datasets.__all__}
    lacking = names - {name.rpartition(".")[0] for name in LOADERS}
    assert not lacking, f"{lacking} have no public function that gives Splits"


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_a_loader_says_what_it_takes_and_what_it_refuses(name):
    doc, parameters = inspect.getdoc(LOADERS[name]) or "", inspect.signature(LOADERS[name]).parameters
    assert doc
    if any(p.kind is p.KEYWORD_ONLY for p in parameters.values()):  # what people call; others are for other loaders
        lines = re.findall(r"^    (\w+(?:, \w+)*): ", doc, flags=re.MULTILINE)  # "seed, split: As in ..." names two
        documented = {argument for names in lines for argument in names.split(", ")}
        assert set(parameters) <= documented, f"{set(parameters) - documented} belong under Args:"
        assert "\nRaises:\n" in doc, "what is refused belongs under Raises:"
    defaults = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    if "seed" in defaults:
        assert defaults["seed"] == 0, "the same seed everywhere"
    assert "split" not in defaults or "seed" in parameters, "a division needs a seed"


def test_the_data_shelf_needs_no_tensorflow():
    import subprocess

    code = "import sys\n" + "\n".join(
        f"import {shelf.__name__}.{name}" for shelf in (data, datasets) for name in shelf.__all__
    )
    code += "\nsys.exit(str({'tensorflow', 'keras'} & set(sys.modules)) if 'tensorflow' in sys.modules else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- zoo


def zoo_modules() -> dict[str, ModuleType]:
    """Every file of the zoo that has a card, by its own name."""
    modules = {
        info.name: importlib.import_module(f"tlkit.zoo.{info.name}") for info in pkgutil.iter_modules(zoo.__path__)
    }
    return {name: module for name, module in modules.items() if hasattr(module, "CARD")}


ZOO = zoo_modules()


def test_the_zoo_lists_what_it_has():
    assert {name.replace("_", "-") for name in ZOO} == set(zoo.NAMES) == set(zoo.cards())


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_zoo_card_says_what_a_user_must_know(name):
    card = ZOO[name].CARD
    assert card.name == name.replace("_", "-") and callable(ZOO[name].build)
    assert re.fullmatch(r"[A-Za-z0-9.+-]+", card.licence), "an SPDX name"
    if card.package is not None:  # what tlkit makes itself comes from no package
        assert re.fullmatch(r"[0-9a-f]{64}", card.sha256) and card.package.files
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in card.package.files.values())
    assert card.modality in ("image", "text", "audio", "series") and card.credits and card.parameters > 0
    assert "\n" not in card.summary and card.summary
    assert any(word in card.inputs for word in WORDS), "dtype and shape of what it takes"
    assert "float32" in card.outputs and "batch" in card.outputs
    assert (card.sample_rate is not None) == (card.modality == "audio")
    assert (card.input_range is not None) == (card.modality == "image") or card.modality == "audio"
    json.dumps(card.to_json(), allow_nan=False)
