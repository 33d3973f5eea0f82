"""Plans on a small real module: the losses that they gave, and the range test for a rate."""

from __future__ import annotations

import dataclasses
import doctest
import functools
from itertools import chain

import numpy as np
import pytest
from changing import reread
from fitting import LABELS, Brighter, built, data, fitted
from PIL import Image

from tlkit import plans, tasks
from tlkit.core.errors import InputError
from tlkit.core.run import Phase
from tlkit.layer.lookup import backbone_of

# Training and validation losses, epoch by epoch; TensorFlow 2.21 and Keras 3.15 on x86-64
GOLDEN = {
    "feature_extraction": [1.296473, 1.107611, 1.128033, 1.116151, 1.099908, 1.096072],
    "two_phase": [1.296473, 1.107611, 1.116151, 1.099908, 1.180892, 1.148352, 1.093517, 1.092482],
    "gradual": [1.296473, 1.116151, 1.199261, 1.100417, 1.106173, 1.092306],
}
SHORT = {
    "feature_extraction": plans.feature_extraction(epochs=3, lr=1e-2),
    "two_phase": plans.two_phase(epochs=(2, 2), lr=(1e-2, 1e-3), unfrozen=0.5),
    "gradual": plans.gradual(stages=3, epochs=1, lr=(1e-2, 1e-3)),
}


pytestmark = pytest.mark.usefixtures("module_cache")


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


@pytest.fixture(scope="module")
def run_of(folder):
    return functools.cache(lambda name: fitted(folder, SHORT[name], seed=1))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_losses(run_of, name):
    run = run_of(name)
    losses = chain.from_iterable(chain(p.history["loss"], p.history["val_loss"]) for p in run.phases)
    np.testing.assert_allclose(list(losses), GOLDEN[name], rtol=1e-3)


def test_gradual_thaws_more_parameters_phase_by_phase(run_of):
    counts = [result.had["parameters"] for result in run_of("gradual").phases]
    assert len(counts) == 3 and counts == sorted(set(counts))


# -- range test


PART = Phase(epochs=1, lr=1.0, unfrozen=0.5, lr_decay=0.8)


@pytest.fixture(scope="module")
def tried(folder):
    """(model, states and flags before, what was found) of a test over a phase that unfreezes half."""
    model, task = built(folder, task=tasks.classify(LABELS, dropout=0.1))
    layer = backbone_of(model)
    before = states(model), layer.trainable, layer.unfrozen, layer.batch_stats
    range_test = plans.find_lr(model, task, data(Brighter()), PART, lr=(1e-5, 100.0), batch_size=16)
    return model, before, range_test


def states(model) -> list[bytes]:
    return [np.array(v).tobytes() for v in model.variables]


def test_weights_states_and_flags_are_put_back(tried):
    model, before, _ = tried
    layer = backbone_of(model)
    assert any("seed_generator" in v.path for v in model.variables)
    assert (states(model), layer.trainable, layer.unfrozen, layer.batch_stats) == before


def test_the_suggestion_lies_where_the_loss_falls(tried):
    range_test = tried[2]
    assert len(range_test.rates) == len(range_test.losses) == len(range_test.smoothed)
    assert np.all(np.diff(np.log(range_test.rates)) > 0) and np.allclose(
        np.diff(np.log(range_test.rates), 2), 0, atol=1e-9
    )
    assert range_test.diverged and len(range_test.rates) < 100
    lowest = range_test.rates[int(np.argmin(range_test.smoothed))]
    assert np.isfinite(range_test.suggestion)
    assert range_test.rates[0] < range_test.suggestion <= lowest < range_test.rates[-1]


def test_a_fit_at_the_suggested_rate_learns(folder, tried):
    run = fitted(folder, (dataclasses.replace(PART, epochs=3, lr=tried[2].suggestion),))
    assert run.phases[0].history["loss"][-1] < run.phases[0].history["loss"][0]


def test_the_plot_is_written(tried, tmp_path):
    figure = tried[2].plot(tmp_path / "lr.png")
    assert Image.open(tmp_path / "lr.png").size == (960, 600)
    assert figure.axes[0].get_xscale() == "log"
    assert [p.name for p in tmp_path.iterdir()] == ["lr.png"]


def test_what_the_user_compiled_stays_compiled(folder):
    model, task = built(folder)
    model.compile(optimizer="sgd", loss="mse")
    mine = model.optimizer
    plans.find_lr(model, task, data(), Phase(epochs=1, lr=1.0, unfrozen=1.0), lr=(1e-5, 1e-2), steps=30, batch_size=8)
    assert model.optimizer is mine and backbone_of(model).trainable is False


def test_weights_are_put_back_after_an_error(folder):
    model, task = built(folder)
    before = states(model)
    splits = data()
    targets = np.asarray(splits.train.target_array).copy()

    def broken(i):
        raise OSError("the disk is gone") if i == 30 else InterruptedError

    bad = dataclasses.replace(splits, train=reread(dataclasses.replace(splits.train, targets=targets), broken))
    with pytest.raises((OSError, InterruptedError)):
        plans.find_lr(model, task, bad, Phase(epochs=1, lr=1.0, unfrozen=1.0), batch_size=8)
    assert states(model) == before and backbone_of(model).trainable is False


def test_refused_arguments_are_named(folder):
    model, task = built(folder)
    for options, sentence in (
        ({"lr": (1e-2, 1e-3)}, r"lowest and the highest rate to try, both positive. Received: lr=\(0.01, 0.001\)"),
        ({"lr": (0.0, 1.0)}, "both positive"),
        ({"steps": 3}, "`steps` must be 10 or more. Received: steps=3"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
    ):
        with pytest.raises(InputError, match=sentence):
            plans.find_lr(model, task, data(), **options)
    empty = dataclasses.replace(data(), train=data().train.subset([]))
    with pytest.raises(InputError):
        plans.find_lr(model, task, empty)


def test_docstrings_hold():
    from tlkit.training import lr_range, step

    assert doctest.testmod(lr_range).failed == 0 and doctest.testmod(step).failed == 0


def test_a_loss_that_never_falls_is_said():
    from tlkit.training.lr_range import found

    rates = np.geomspace(1e-6, 1.0, 20).tolist()
    with pytest.raises(InputError, match=r"did not fall at any rate from 1.0e-06 to 3.8e-05; begin with a lower `lr`"):
        found(rates, [1.0, 1.1, 1.2, 2.0, 30.0, 41.0])
    with pytest.raises(InputError, match="did not fall at any rate"):
        found(rates, [])


def test_the_suggestion_is_that_of_a_curve_that_is_known():
    """A loss that falls from 1 to .2 around 1e-3 and rises from 1e-1 on, with noise and one odd batch."""
    from tlkit.training.lr_range import found

    rates = np.geomspace(1e-6, 1.0, 200)
    depth = np.log10(rates)
    losses = 1 - 0.8 / (1 + np.exp(-4 * (depth + 3))) + 50 * np.maximum(0, depth + 1) ** 2
    losses += np.random.default_rng(0).normal(0, 0.02, 200)
    losses[40] = 0.0
    result = found(rates.tolist(), losses.tolist())
    assert 10**-3.2 < result.suggestion < 10**-2.8
    assert result.diverged
