"""What somebody's card may name without trust: functions that make a task, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tlkit import methods, tasks
from tlkit.core.errors import InputError
from tlkit.exporting import predicting


@pytest.mark.parametrize(
    "path", ["tlkit.tasks.restore", "tlkit.tasks.gathered", "tlkit.methods.soup", "tlkit.methods.taught"]
)
def test_a_card_calls_nothing_that_makes_no_task(path, tmp_path):
    hidden = ["os.system", {"command": f"touch {tmp_path / 'run'}"}]
    card = [path, {"recipe": hidden, "trust": True}]
    with pytest.raises(InputError, match="has no task"):
        tasks.restore(card)
    with pytest.raises(InputError, match="mean is not known"):
        predicting._task_of({"made_by": card}, "model.tflite", trust=False)
    inside = [
        "tlkit.methods.multitask",
        {"a": {"recipe": card}, "b": {"recipe": ["tlkit.tasks.classify", {"labels": ["x", "y"]}]}},
    ]
    with pytest.raises(InputError, match="has no task"):
        tasks.restore(inside)
    assert not list(tmp_path.iterdir())


def test_a_function_inside_a_card_is_not_called_either(tmp_path):
    task = tasks.restore(["tlkit.tasks.classify", {"labels": ["a", "b"], "head": {"function": "os.system"}}])
    with pytest.raises(InputError, match="is not part of tlkit"):
        task.head(f"touch {tmp_path / 'run'}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("label", ["recipe", "function"])
def test_labels_may_be_called_as_the_record_calls_things(label):
    task = tasks.segment([label, "other"], class_weights={label: 2.0})
    again = tasks.restore(json.loads(json.dumps(task.made_by)))
    assert again.made_by[1]["class_weights"] == {label: 2.0}


def test_numbers_of_numpy_are_written_as_plain_ones():
    for task in (
        tasks.segment(["a", "b"], width=np.int64(8)),
        tasks.detect(["a"], depth=np.int32(1)),
        tasks.classify(["a", "b"], dropout=np.float32(0.5)),
    ):
        assert tasks.restore(json.loads(json.dumps(task.made_by))).name == task.name


def test_methods_are_made_again():
    method = methods.dann(tasks.classify(["a", "b"]))
    assert tasks.restore(json.loads(json.dumps(method.made_by))).made_by[0] == "tlkit.methods.dann"
