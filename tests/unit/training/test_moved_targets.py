"""Inputs and targets of changed copies: one draw for both, the same in every pass, cached or not."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tlkit
from tlkit.core.batches import order_of_epoch, stable_seed, targets_of, view_of_epoch
from tlkit.core.columns import ArrayColumn, DictColumn, RaggedColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, as_augment
from tlkit.features.extract import Features, Layout, Request
from tlkit.training.inputs import Moment, Settings, Source, batches


@dataclass(frozen=True)
class Added:
    """Adds what it draws to inputs and targets, and counts what it is asked."""

    asked: collections.Counter = field(default_factory=collections.Counter, repr=False)

    def draw(self, seed: int) -> Mapping[str, float]:
        self.asked[seed] += 1
        return {"by": float(seed % 1000)}

    def inputs(self, value, drawn):
        return value + np.float32(drawn["by"])

    def targets(self, value, drawn):
        return {"rows": value["rows"] + np.float32(drawn["by"]), "label": value["label"]}


def examples(count: int, augment=None) -> Examples:
    """Example i is i, with i % 4 rows that say i too."""
    names = tuple(map(str, range(count)))
    rows = [np.full((i % 4, 2), i, np.float32) for i in range(count)]
    return Examples(
        names,
        ReadColumn(lambda i: np.full(3, i, np.float32), ArraySpec((3,), "float32"), names),
        DictColumn({"rows": RaggedColumn(rows, fill=-1), "label": ArrayColumn(np.arange(count, dtype=np.int32))}),
        augment=augment,
    )


def whole_epoch(source: Source, chosen: Settings, moment: Moment):
    order = order_of_epoch(len(source.examples), chosen.seed, moment.phase, moment.epoch)
    for indices, x, drawn in batches(source, order, chosen, moment):
        yield indices, x, targets_of(source.examples, indices, drawn)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 30), size=st.integers(1, 9), seed=st.integers(-9, 9), phase=st.integers(0, 2),
    epoch=st.integers(1, 3),
)  # fmt: skip
def test_targets_move_with_their_inputs_by_one_draw(count, size, seed, phase, epoch):
    augment = Added()
    source = Source(examples(count, augment))
    seen = []
    for indices, x, y in whole_epoch(source, Settings(seed, size, views=0), Moment(phase, epoch)):
        by = [float(stable_seed(seed, phase, epoch, int(i)) % 1000) for i in indices]
        np.testing.assert_array_equal(
            x, np.stack([np.full(3, i + b, np.float32) for i, b in zip(indices, by, strict=True)])
        )
        assert y["label"].tolist() == indices.tolist() and y["rows"].shape == (len(indices), min(3, count - 1), 2)
        for i, b, rows in zip(indices, by, y["rows"], strict=True):
            assert (rows[: i % 4] == np.float32(i + b)).all() and (rows[i % 4 :] == -1).all()
        seen += indices.tolist()
    assert sorted(seen) == list(range(count)) and set(augment.asked.values()) == {1}


def test_a_batch_of_cached_views_moves_targets_and_reads_no_inputs():
    augment, views = Added(), 3
    data = examples(20, augment)

    def unread(i):
        raise AssertionError("the inputs were read")

    unreadable = ReadColumn(unread, ArraySpec((3,), "float32"), data.ids)
    features = []
    for view in range(views):
        pieces = [np.arange(20)]
        (drawn,) = Request(data, "key", Layout(((3,),)), view, seed=5).drawn(pieces)
        rows = np.stack([augment.inputs(data.inputs[i], draw) for i, draw in enumerate(drawn)])
        features.append(Features(((rows,),), 20, 0.0, 0))
    augment.asked.clear()
    source = Source(Examples(data.ids, unreadable, data.targets, augment=augment), tuple(features))
    shown = view_of_epoch(20, views, 5, 0, 1)
    for indices, x, y in whole_epoch(source, Settings(5, 6, views=views), Moment(0, 1)):
        for i, moved, rows in zip(indices, x, y["rows"], strict=True):
            by = float(stable_seed(5, int(shown[i]), int(i)) % 1000)
            assert (moved == np.float32(i + by)).all() and (rows[: i % 4] == moved[0]).all()
    assert sum(augment.asked.values()) == 20


def test_nothing_is_drawn_for_validation():
    augment = Added()
    source = Source(examples(5, augment))
    for indices, x, drawn in batches(source, np.arange(5), Settings(views=0)):
        assert drawn is None and x[:, 0].tolist() == indices.tolist()
        assert targets_of(source.examples, indices, drawn)["label"].tolist() == indices.tolist()
    assert not augment.asked


def test_a_plain_function_draws_its_seed_and_leaves_targets_alone():
    seeds = []

    def changed(x, seed):
        seeds.append(seed)
        return -x

    source = Source(examples(7, changed))
    for indices, x, y in whole_epoch(source, Settings(2, 3, views=0), Moment(1, 4)):
        assert x[:, 0].tolist() == [-i for i in indices] and y["label"].tolist() == indices.tolist()
    assert sorted(seeds) == sorted(stable_seed(2, 1, 4, i) for i in range(7))


def test_augmentations_of_images_and_recordings_leave_targets_alone():
    for augment in (tlkit.data.image.augmentation(rotate=5), tlkit.data.audio.augmentation()):
        drawn = augment.draw(3)
        target = np.arange(3)
        assert augment.targets(target, drawn) is target and augment.draw(3) == drawn != augment.draw(4)
        assert all(isinstance(value, float | int) for value in drawn.values())


@pytest.mark.parametrize("wrong", [3, "flip", Added, object()])
def test_what_changes_nothing_is_refused(wrong):
    with pytest.raises(InputError, match=r"`augment` must be a tlkit\.Augment, which has draw, inputs and targets"):
        examples(2, wrong)


def test_a_keras_layer_is_refused_as_it_takes_no_seed():
    with pytest.raises(InputError, match=r"A Keras layer \(RandomFlip\) as `augment` would change other pixels"):
        examples(2, keras.layers.RandomFlip())


def test_an_augment_is_taken_as_it_is():
    augment = Added()
    assert as_augment(augment) is augment
