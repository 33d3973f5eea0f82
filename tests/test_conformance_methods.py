"""What every method keeps to, whatever its type: it trains each kind of task, or refuses it in a sentence.

Methods of type `Task -> Task` are in test_conformance.py, picked up from their annotation. A new method of another type
gets one line in WAYS; a public name that is in neither is an error.
"""

from __future__ import annotations

import dataclasses
import re
import warnings

import numpy as np
import pytest
from changing import reread
from test_conformance import FEATURES, ON_TASKS, TASKS, WIDTH, accepted, features, task_of

from tlkit import methods
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Splits
from tlkit.core.run import Phase

HELPERS = {  # tested with what they serve
    "beside_popularity", "beside_trees", "domain_mix", "multitask", "new_items", "one_head", "relabelled", "task_mix",
    "taught", "trees",
}  # fmt: skip
FROZEN, TUNING = (Phase(1, 1e-2),), (Phase(1, 1e-3, unfrozen=1.0),)


def net(task):
    """A small net with BatchNorm that gives what it takes: vectors, or sequences of them."""
    import keras

    import tlkit

    keras.utils.set_random_seed(0)
    inputs = keras.Input(FEATURES[task.reads.name])
    x = keras.layers.BatchNormalization()(keras.layers.Dense(WIDTH, activation="relu")(inputs))
    return tlkit.HubLayer(keras.Model(inputs, x), name="backbone")


def with_inputs(task, given: Splits, shift: float = 0.0) -> Splits:
    """The splits with numbers around `shift` as the net takes them; of a pair two rows of them."""
    import tlkit

    taken = tlkit.build(net(task), task).input
    sides = list(taken) if isinstance(taken, dict) else []

    def changed(part):
        rows = features(task, len(part)) + np.float32(shift)
        spec = ArraySpec((WIDTH,) if sides else rows.shape[1:], "float32")
        if not sides:
            return reread(part, rows.__getitem__, spec)
        read = lambda i: {name: rows[i, number] for number, name in enumerate(sides)}
        return reread(part, read, dict.fromkeys(sides, spec))

    return dataclasses.replace(given, train=changed(given.train), val=changed(given.val), test=changed(given.test))


def fitted(task, data, phases=FROZEN, backbone=None, seed=0):
    import tlkit

    model = tlkit.build(net(task) if backbone is None else backbone, task)
    return tlkit.fit(model, task, data, phases, batch_size=20, seed=seed)


def lora(task, own, other):
    import keras

    import tlkit

    keras.utils.set_random_seed(0)
    inputs = keras.Input(FEATURES[task.reads.name])
    plain = keras.Model(inputs, keras.layers.Dense(WIDTH, activation="relu")(inputs))
    return fitted(task, own, TUNING, tlkit.HubLayer(methods.lora(plain, rank=2), name="backbone"))


WAYS = {
    "adabn": lambda task, own, other: methods.adabn(fitted(task, own), other.train),
    "aligned": lambda task, own, other: methods.aligned(own, other, task, net(task)),
    "balance": lambda task, own, other: fitted(task, methods.balance(own)),
    "density_ratio": lambda task, own, other: fitted(task, methods.density_ratio(own, other, net(task))),
    "kmm": lambda task, own, other: fitted(task, methods.kmm(own, other, net(task))),
    "l2_sp": lambda task, own, other: fitted(task, own, methods.l2_sp(TUNING)),
    "linear_then_tune": lambda task, own, other: fitted(task, own, methods.linear_then_tune(epochs=(1, 1))),
    "lora": lora,
    "soup": lambda task, own, other: methods.soup([fitted(task, own, seed=seed) for seed in (0, 1)]),
    "tradaboost": lambda task, own, other: methods.tradaboost(own, other, task, net(task), rounds=4),
}
FAST = ("classify", "regress")
ANY_TASK = {"adabn", "l2_sp", "linear_then_tune", "lora", "soup"}  # what these refuse is no matter of the task


def test_every_public_method_is_checked():
    assert set(methods.__all__) == set(WAYS) | set(ON_TASKS) | HELPERS


@pytest.mark.parametrize("kind", [k if k in FAST else pytest.param(k, marks=pytest.mark.slow) for k in TASKS])
@pytest.mark.parametrize("name", WAYS)
def test_a_method_goes_with_a_task_or_says_that_it_does_not(name, kind):
    import tlkit

    task = task_of(kind)
    given = accepted(task)
    own, other = with_inputs(task, given), with_inputs(task, given, shift=0.3)
    before = other.train.target_array.copy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            run = WAYS[name](task, own, other)
    except InputError as error:
        assert name not in ANY_TASK, str(error)
        assert re.match(r"^[A-Z`].*[.:]", str(error))
        return
    assert (other.train.target_array == before).all()
    assert all(np.isfinite(w).all() for w in run.model.get_weights())
    test = run.data.test if len(run.data.test) else own.test
    scores = tlkit.evaluate(run.model, run.task, test).scores
    assert scores and all(np.isfinite(value) for value in scores.values())
