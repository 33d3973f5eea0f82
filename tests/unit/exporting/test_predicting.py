"""What `predict` makes of what a file gives."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from tlkit import answers, tasks
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.format import Opened
from tlkit.exporting import predicting
from tlkit.exporting.predicting import Called


def of(*parts):
    """A task with these answers."""
    return dataclasses.replace(tasks.classify(["a", "b"]), answers=parts)


def predicted(task, call, top=5, value=None):
    value = np.zeros((1, 4), np.float32) if value is None else value
    parsed = Examples(("a.png",), ArrayColumn(value), ArrayColumn(np.zeros((1, 0), np.float32)))
    called = Called(Opened(call=lambda inputs: call(**inputs)), ("x",), task)
    return predicting._prediction(called, "a.png", parsed, top)


def test_a_file_of_an_earlier_version_is_named_as_the_cause():
    with pytest.raises(InputError, match="an earlier tlkit exported it: export the run again"):
        predicting._task_of({"labels": []}, "model.tflite", trust=False)


def test_a_task_of_ones_own_must_be_given_or_trusted():
    with pytest.raises(InputError, match=r"mean is not known\. .*pass the task itself, `task=`"):
        predicting._task_of({"made_by": ["elsewhere.task", {}]}, "model.tflite", trust=False)


def test_the_best_labels_come_first():
    scores = {"probabilities": np.array([[0.1, 0.7, 0.2]], np.float32)}
    listed = predicted(of(answers.scores(["a", "b", "c"])), lambda x: scores, top=2).scores
    assert [label for label, _ in listed] == ["b", "c"]


def test_all_values_are_said_in_their_order():
    task = of(answers.values(["depth", "height"], lambda raw: {"values": raw}))
    scores = predicted(task, lambda x: {"values": np.array([[1.0, 9.0]])}, top=1).scores
    assert scores == (("depth", 1.0), ("height", 9.0))


def test_a_map_of_labels_is_told_in_shares():
    scores = np.zeros((1, 2, 4, 3), np.float32)
    scores[..., 1] = 0.5
    scores[0, 0, 0, 2] = scores[0, 1, 1, 2] = 0.9
    listed = predicted(of(answers.scores(["sky", "sea", "sand"])), lambda x: {"probabilities": scores}, top=2).scores
    assert listed == (("sea, share of 2x4 positions", 0.75), ("sand, share of 2x4 positions", 0.25))


def test_a_map_of_values_is_told_by_its_mean():
    values = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    task = of(answers.values(["depth", "height"], lambda raw: {"values": raw}))
    scores = predicted(task, lambda x: {"values": values}).scores
    assert scores == (("depth, mean over 3 positions", 2.0), ("height, mean over 3 positions", 3.0))


def test_several_answers_are_said_by_their_names():
    style = dataclasses.replace(answers.scores(["a", "b"]), name="style", tensors=("probabilities",))
    size = dataclasses.replace(answers.values(["cm"], lambda raw: {"values": raw}), name="size", tensors=("values",))
    outputs = {"style": np.array([[0.25, 0.75]]), "size": np.array([[3.0]])}
    scores = predicted(of(style, size), lambda x: outputs, top=1).scores
    assert scores == (("style: b", 0.75), ("size: cm", 3.0))


def stepwise(again):
    """An answer that says how often it was called."""
    return dataclasses.replace(
        answers.vectors(lambda raw: {"embedding": raw}),
        again=again,
        say=lambda decoded, example: [("steps", float(example["input"][0]))],
    )


def test_an_answer_is_made_step_by_step():
    task = of(stepwise(lambda value, decoded: value + 1 if decoded["embedding"][0] < 3 else None))
    assert predicted(task, lambda x: {"embedding": x}).scores == (("steps", 3.0),)


def test_an_answer_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(predicting, "MOST_STEPS", 5)
    with pytest.raises(InputError, match="does not end: `again` gave 5"):
        predicted(of(stepwise(lambda value, decoded: value)), lambda x: {"embedding": x})


def test_the_columns_of_windows_are_answered_together():
    windows = Examples(
        ("t", "t@1"), ArrayColumn(np.eye(2, dtype=np.float32)), ArrayColumn(np.zeros((2, 0), np.float32)),
        columns={"window_of": _Shares([0.75, 0.25])},
    )  # fmt: skip
    called = Called(Opened(call=lambda inputs: {"probabilities": inputs["x"]}), ("x",), of(answers.scores(["a", "b"])))
    assert predicting._prediction(called, "t", windows, 5).scores == (("a", 0.75), ("b", 0.25))


class _Shares:
    """Which text windows are of, and how much of it they show."""

    def __init__(self, shares):
        self.shares = shares

    def __len__(self):
        return len(self.shares)

    def __getitem__(self, index):
        return {"id": "t", "digest": "d", "share": self.shares[index]}

    def take(self, indices):
        return {"share": np.array(self.shares)[indices]}


def broken(function):
    def mistaken(*_):
        raise KeyError("levle")

    return of(dataclasses.replace(answers.scores(["a", "b"]), **{function: mistaken}))


@pytest.mark.parametrize("function", ["say", "together", "again"])
def test_a_mistake_in_a_function_of_an_answer_is_no_damaged_file(function):
    sentence = f"`{function}` of the answer 'probabilities' failed .KeyError: 'levle'.: mend it"
    with pytest.raises(InputError, match=sentence):
        predicted(broken(function), lambda x: {"probabilities": np.array([[0.5, 0.5]])})


def test_lines_are_a_text_and_a_number():
    task = of(dataclasses.replace(answers.scores(["a", "b"]), say=lambda decoded, example: "level"))
    with pytest.raises(InputError, match=r"`say` of the answer .* failed .ValueError: not enough values"):
        predicted(task, lambda x: {"probabilities": np.array([[0.5, 0.5]])})


@pytest.mark.parametrize("call", [lambda x: {"other": x}, lambda x: x["y"], lambda y: {}])
def test_what_a_file_itself_does_wrong_is_the_files(call):
    with pytest.raises(InputError, match="is damaged, or of another version"):
        predicted(of(answers.scores(["a", "b"])), call)


def test_a_mistake_of_reading_names_what_is_read(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"a")
    with pytest.raises(InputError, match=r"a\.npy' cannot be read: no such key"):
        list(predicting._readings([tmp_path / "a.npy"], mistaken_parse, None, None))
    sentences = []
    assert not list(predicting._readings([tmp_path / "a.npy"], mistaken_parse, None, sentences.append))
    assert "cannot be read" in sentences[0]


def mistaken_parse(path, info):
    raise LookupError("no such key")


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_record_is_not_waited_for(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"")
    os.mkfifo(tmp_path / "run.json")
    assert predicting._of_folder(tmp_path, trust=False) is predicting.formats.float32
    assert predicting._of_file(tmp_path / "model.tflite", trust=False) is predicting.formats.float32
