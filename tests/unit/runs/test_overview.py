"""What a run says before its work, from records alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import synthetic

from tlkit import plans
from tlkit.runs import overview


def test_labels_have_their_counts_in_each_part():
    data = synthetic.splits(("cat", "dog"))
    text = overview.lines(data)
    sizes = [len(part) for part in (data.train, data.val, data.test)]
    assert text[0] == "data    {} / {} / {} examples (train / val / test)".format(*sizes)
    cats = [int(np.sum(part.target_array == 0)) for part in (data.train, data.val, data.test)]
    assert "        cat  {} / {} / {}".format(*cats) in text


def test_many_labels_are_cut_and_the_rarest_is_named():
    names = tuple(f"class {i}" for i in range(30))
    data = synthetic.splits(names)
    text = overview.lines(data)
    assert len(text) == 2 + overview.SHOWN + 1
    fewest = int(np.bincount(data.train.target_array, minlength=30).min())
    assert text[-1].startswith("        and 10 more; fewest: class ") and text[-1].endswith(f", {fewest} in training")


def test_values_without_labels_have_sizes_alone():
    data = dataclasses.replace(synthetic.splits(), labels=())
    assert len(overview.lines(data)) == 1


def test_the_plan_has_a_line_a_phase():
    first, second = overview.plan_lines(plans.two_phase(epochs=(1, 5), patience=2))
    assert first == "plan    1. the head alone: 1 epoch at 0.003, ends after 2 without improvement"
    assert second == (
        "        2. the top 25% of the module: 5 epochs at 0.0003, warm-up, then falling along a cosine, "
        "ends after 2 without improvement"
    )
