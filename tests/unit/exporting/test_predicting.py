"""What `predict` says about files that it cannot ask."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.errors import InputError
from tlkit.exporting import predicting
from tlkit.exporting.modality import Reading


def test_a_file_of_an_earlier_version_is_named_as_the_cause():
    with pytest.raises(InputError, match="an earlier tlkit exported it: export the run again"):
        predicting._answers(Reading(np.zeros((1, 4))), None, {"labels": []})


def test_a_head_that_answers_a_step_at_a_time_is_asked_alone():
    card = {"heads": {"word": {"labels": ["O", "B-x"], "output": "probabilities"}}}
    with pytest.raises(InputError, match="'word' gives more than one answer a file"):
        list(predicting._by_head({"word": np.zeros((1, 5, 2))}, card, 3))
