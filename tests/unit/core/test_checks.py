"""Records that users write: what is wrong in one is a sentence that names the field, before any work."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

import tlkit
from tlkit.core.errors import InputError
from tlkit.modalities.prepare import prepare
from tlkit.model.evaluate import evaluate


class Right:
    """Share of values whose rounding is the target."""

    def __init__(self):
        self.right, self.count = 0, 0

    def update(self, examples, decoded):
        self.right += int((decoded["level"].round()[:, 0] == examples.targets.take(np.arange(len(examples)))).sum())
        self.count += len(examples)

    def result(self):
        return tlkit.Evaluation({"right": self.right / self.count}, {"headline": {"name": "right"}})


def agree(expected, actual):
    differences = np.abs(expected["level"] - actual["level"])[:, 0]
    return tlkit.Agreement(differences, differences < 0.5, differences)


def task(**changed):
    return dataclasses.replace(tlkit.Task(
        name="level",
        made_by=("levels.level", {}),
        reads=tlkit.reads.pooled(),
        head=keras.layers.Dense(1),
        objective=tlkit.Objective(loss=keras.losses.MeanSquaredError),
        answers=(answer(),),
        scorer=Right,
    ), **changed)  # fmt: skip


def answer(**changed):
    say = lambda decoded, example: [("level", float(decoded["level"][0]))]
    plain = tlkit.Answer("level", decode=lambda raw: {"level": raw}, agree=agree, say=say)
    return dataclasses.replace(plain, **changed)


WRONG = {
    "answers": (lambda: task(answers=answer()), "a tuple of tlkit.Answer"),
    "objective": (lambda: task(objective=keras.losses.MeanSquaredError()), "a tlkit.Objective"),
    "scorer": (lambda: task(scorer=Right()), "a function that makes a fresh Scorer, or its class"),
    "made_by": (lambda: task(made_by=task), "what tlkit.made_by"),
    "reads": (lambda: task(reads="maps"), r"one of tlkit.reads, such as tlkit.reads.pooled\(\)"),
    "finish": (lambda: task(finish=3), "a function or None"),
    "inference": (lambda: task(inference=(task,)), "a tuple of tlkit.Inference"),
    "loss": (lambda: tlkit.Objective(loss=keras.losses.MeanSquaredError()), "a function that makes a fresh loss"),
    "metrics": (lambda: tlkit.Objective(keras.losses.Hinge, [keras.metrics.Mean()]), "makes a list of fresh metrics"),
    "monitor": (lambda: tlkit.Objective(keras.losses.Hinge, monitor="val_loss"), "or None"),
    "say": (lambda: answer(say="level"), "a function"),
    "labels": (lambda: answer(labels=["low", "high"]), "a tuple of names"),
    "tensors": (lambda: answer(tensors="level"), "a tuple of names"),
    "sections": (lambda: answer(sections=[("levels", "Levels")]), "a tuple of tlkit.Section"),
    "view": (lambda: tlkit.Section("levels", "Levels", "view", "<p>"), "a function"),
    "prepare": (lambda: tlkit.Modality("waves.WAVE", None), "a function"),
    "show": (lambda: tlkit.Modality("waves.WAVE", print, show="<p>"), "a function or None"),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_of_another_kind_is_named(field):
    make, wanted = WRONG[field]
    with pytest.raises(InputError, match=f"`{field}` of .* must be .*{wanted}.* Received: {field}="):
        make()


def test_what_users_functions_give_is_checked():
    data = examples()
    with pytest.raises(InputError, match="`begin` of the task 'level' must give a Task"):
        task(begin=lambda splits, say: None).begun(data, print)
    with pytest.raises(InputError, match="`finish` of the task 'level' must give a Task"):
        task(finish=lambda evaluation: None).finished(tlkit.Evaluation({}, {}))
    with pytest.raises(InputError, match=r"`decode` of the answer 'level' must give tensors by name, such as {'level'"):
        task(answers=(answer(decode=lambda raw: raw),)).decode(np.zeros((2, 1)))
    with pytest.raises(InputError, match=r"must give tensors by name.*Received: dict {'level': 'dict'}"):
        task().decode({"a": np.zeros((2, 1))})
    outputs = {"level": np.zeros((3, 1))}
    for merit, shape in ((lambda truth, decoded: 1.0, r"\(\)"), (lambda truth, decoded: decoded["level"], r"\(3, 1\)")):
        with pytest.raises(InputError, match=f"`merit` .* one number per example.* Received: shape {shape}"):
            answer(merit=merit).merits(np.zeros(3), outputs)
    for made, words in (
        (None, "must give an Agreement"),
        (tlkit.Agreement(0.0, True, 0.0), r"shape \(3,\) for"),
    ):
        with pytest.raises(InputError, match=f"`agree` of the answer 'level' {words}|`agree`.*{words}"):
            answer(agree=lambda expected, actual, made=made: made).agreement(outputs, outputs)
    assert answer().agreement(outputs, outputs).equal.all()


def examples():
    inputs, targets = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6, dtype=np.float32)
    part = tlkit.Examples(ids=tuple("abcdef"), inputs=inputs, targets=targets)
    return tlkit.Splits(part, part, part)


def scorer(**methods):
    return lambda: type("Own", (), {"update": lambda *batch: None, **methods})()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (scorer(), "`scorer` of the task 'level' must make a Scorer, which has `update` and `result`"),
        (scorer(result=lambda self: {"right": 1.0}), "`result` of the Scorer of .* must give an Evaluation"),
        (scorer(result=lambda self: tlkit.Evaluation({"right": 1.0}, {"headline": {"name": "rihgt"}})),
         "must be one of its scores, right. Received: 'rihgt'"),
    ],
)  # fmt: skip
def test_what_a_scorer_says_is_checked(made, words):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(InputError, match=words):
        evaluate(model, task(scorer=made), examples().test)


@pytest.mark.parametrize("given", [None, "train"])
def test_what_a_modality_prepares_is_splits(given, monkeypatch):
    import tlkit.modalities.prepare as prepare_file

    kind = tlkit.Modality("plain", lambda data, layer: None if given is None else data.train)
    monkeypatch.setattr(prepare_file, "modality_of", lambda part: kind)
    monkeypatch.setattr(prepare_file, "_check_tokenizer", lambda layer: None)
    monkeypatch.setattr(prepare_file, "check_found_again", lambda modality, room: None)
    with pytest.raises(InputError, match="`prepare` of the modality 'plain' must give a Splits"):
        prepare(examples(), None)
