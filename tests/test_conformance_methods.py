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
from test_conformance import FEATURES, ON_TASKS, SIDE, TASKS, WIDTH, accepted, task_of

from tlkit import methods
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Splits
from tlkit.core.run import Phase

pytestmark = pytest.mark.long

HELPERS = {  # tested with what they serve
    "beside_popularity", "beside_trees", "domain_mix", "item_vectors", "multitask", "new_items", "one_head",
    "relabelled", "task_mix", "taught", "trees",
}  # fmt: skip
RANGE = {"input_range": (0.0, 1.0)}  # of pixels
FROZEN, TUNING = (Phase(1, 1e-2),), (Phase(1, 1e-3, unfrozen=1.0),)


def net(task):
    """A small net with BatchNorm that gives what the task reads: vectors, sequences of them, or feature maps."""
    import tlkit

    return tlkit.HubLayer(plain_net(task), name="backbone", **RANGE if strides_of(task) else {})


def plain_net(task, norm=True):
    import keras

    keras.utils.set_random_seed(0)
    inputs = x = keras.Input(shape_of(task))
    layers = [keras.layers.Dense(WIDTH, activation="relu")]
    if strides_of(task):
        layers = [conv(stride) for stride in (2,) * int(np.log2(max(strides_of(task))))]
    for layer in layers:
        x = keras.layers.BatchNormalization()(layer(x)) if norm else layer(x)
    return keras.Model(inputs, x)


def conv(stride):
    import keras

    return keras.layers.Conv2D(WIDTH, 3, strides=stride, padding="same", activation="relu")


def strides_of(task):
    """Of the feature maps that the head takes; of other heads none."""
    name = task.reads.name
    return [int(stride) for stride in name[5:-1].split(",")] if name.startswith("maps(") else []


def shape_of(task):
    """What the net takes; of a pair one member."""
    if strides_of(task):
        return (SIDE, SIDE, 3)
    return (WIDTH,) if task.reads.members else FEATURES[task.reads.name]


def with_inputs(task, splits: Splits, shift: float = 0.0) -> Splits:
    """The splits with numbers around `shift` as the net takes them; of a pair two rows of them."""
    import tlkit

    taken = tlkit.build(net(task), task).input
    sides = list(taken) if isinstance(taken, dict) else []

    def changed(part):
        shape = (len(sides), *shape_of(task)) if sides else shape_of(task)
        rows = np.random.default_rng(0).normal(size=(len(part), *shape)).astype(np.float32) + np.float32(shift)
        spec = ArraySpec(shape_of(task), "float32")
        if not sides:
            return reread(part, rows.__getitem__, spec)
        read = lambda i: {name: rows[i, number] for number, name in enumerate(sides)}
        return reread(part, read, dict.fromkeys(sides, spec))

    return dataclasses.replace(splits, train=changed(splits.train), val=changed(splits.val), test=changed(splits.test))


def fitted(task, data, phases=FROZEN, backbone=None, seed=0):
    import tlkit

    model = tlkit.build(net(task) if backbone is None else backbone, task)
    return tlkit.fit(model, task, data, phases, batch_size=20, seed=seed)


def lora(task, source, other):
    import tlkit

    adapted = methods.lora(plain_net(task, norm=False), rank=2)
    layer = tlkit.HubLayer(adapted, name="backbone", **RANGE if strides_of(task) else {})
    return fitted(task, source, TUNING, layer)


WAYS = {
    "adabn": lambda task, source, other: methods.adabn(fitted(task, source), other.train),
    "aligned": lambda task, source, other: methods.aligned(source, other, task, net(task)),
    "balance": lambda task, source, other: fitted(task, methods.balance(source)),
    "density_ratio": lambda task, source, other: fitted(task, methods.density_ratio(source, other, net(task))),
    "kmm": lambda task, source, other: fitted(task, methods.kmm(source, other, net(task))),
    "l2_sp": lambda task, source, other: fitted(task, source, methods.l2_sp(TUNING)),
    "linear_then_tune": lambda task, source, other: fitted(task, source, methods.linear_then_tune(epochs=(1, 1))),
    "lora": lora,
    "soup": lambda task, source, other: methods.soup([fitted(task, source, seed=seed) for seed in (0, 1)]),
    "tradaboost": lambda task, source, other: methods.tradaboost(source, other, task, net(task), rounds=4),
}
FAST = ("classify", "regress")
# what these read is given by modules of their own kind, of tokens, recordings or histories: test_..._in_use has them
OWN_MODULES = {kind for kind in TASKS if task_of(kind).deployment is not None or kind == "forecast"}
COARSE = {kind for kind in TASKS if max(strides_of(task_of(kind)), default=0) >= SIDE}  # images are too small for maps
ANY_TASK = {"adabn", "l2_sp", "linear_then_tune", "lora", "soup"}  # what these refuse is no matter of the task


def test_every_public_method_is_checked():
    assert set(methods.__all__) == set(WAYS) | set(ON_TASKS) | HELPERS


@pytest.mark.parametrize(
    "kind",
    [k if k in FAST else pytest.param(k, marks=pytest.mark.slow) for k in TASKS if k not in OWN_MODULES | COARSE],
)
@pytest.mark.parametrize("name", WAYS)
def test_a_method_goes_with_a_task_or_says_that_it_does_not(name, kind):
    import tlkit

    task = task_of(kind)
    splits = accepted(task)
    source, other = with_inputs(task, splits), with_inputs(task, splits, shift=0.3)
    before = other.train.target_array.copy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            run = WAYS[name](task, source, other)
    except InputError as error:
        assert name not in ANY_TASK or task.solve is not None, str(error)
        assert re.match(r"^[A-Z`].*[.:]", str(error))
        return
    assert (other.train.target_array == before).all()
    assert all(np.isfinite(w).all() for w in run.model.get_weights())
    test = run.data.test if len(run.data.test) else source.test
    scores = tlkit.evaluate(run.model, run.task, test).scores
    assert scores and all(np.isfinite(value) for value in scores.values())
