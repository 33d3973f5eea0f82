"""What `predict` says about files that it cannot ask."""

from __future__ import annotations

import numpy as np
import pytest
from changing import passages

from tlkit.core.errors import InputError
from tlkit.core.format import Opened
from tlkit.exporting import predicting
from tlkit.exporting.predicting import Reading


def test_a_file_of_an_earlier_version_is_named_as_the_cause():
    with pytest.raises(InputError, match="an earlier tlkit exported it: export the run again"):
        predicting._answers(passages("a", [()], [], 1), Reading(np.zeros((1, 4))), None, {"labels": []})


def test_a_head_that_answers_a_step_at_a_time_is_asked_alone():
    card = {"heads": {"word": {"labels": ["O", "B-x"], "output": "probabilities"}}}
    with pytest.raises(InputError, match="'word' gives more than one answer a file"):
        list(predicting._by_head({"word": np.zeros((1, 5, 2))}, card, 3))


def opened(outputs):
    return Opened(call=lambda inputs: {"out": outputs})


def test_a_map_of_labels_is_told_in_shares():
    scores = np.zeros((1, 2, 4, 3), np.float32)
    scores[..., 1] = 0.5
    scores[0, 0, 0, 2] = scores[0, 1, 1, 2] = 0.9
    card = {"labels": ["sky", "sea", "sand"], "output": "probabilities"}
    found = predicting._prediction("a.png", Reading({"x": np.zeros((1, 4))}), opened(scores), card, 2)
    assert found.scores == (("sea", 0.75), ("sand", 0.25))
    assert found.note == "share of the 2x4 positions at which each label is the best"


def test_a_map_of_values_is_told_by_its_mean():
    values = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    for labels, names in ((["depth", "height"], ["depth", "height"]), ([], ["0", "1"])):
        card = {"labels": labels, "output": "values"}
        found = predicting._prediction("a.png", Reading({"x": np.zeros((1, 4))}), opened(values), card, 5)
        assert found.scores == tuple(zip(names, (2.0, 3.0), strict=True))
        assert "mean over 3 positions" in found.note


def test_more_outputs_than_names_are_refused_by_name():
    card = {"labels": ["a", "b"], "output": "probabilities"}
    with pytest.raises(InputError, match="has 2 names"):
        predicting._prediction("a.png", Reading({"x": np.zeros((1, 4))}), opened(np.zeros((1, 7))), card, 5)
