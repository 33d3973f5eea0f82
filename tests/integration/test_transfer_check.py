"""transfer_check tells help from harm: on a module that knows the task, and on one that knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytest
from fitting import LABELS, data

import tlkit
from tlkit import tasks
from tlkit.errors import InputError
from tlkit.progress import quiet
from tlkit.transfer import FROZEN, SCRATCH, TUNED, compared, fresh_weights, mean_interval
from tlkit.types import Phase

pytestmark = pytest.mark.usefixtures("module_cache")
PHASES = (Phase(epochs=4, lr=1e-2), Phase(epochs=1, lr=1e-3, unfrozen=0.5))


def test_scores_are_compared_in_pairs():
    found = compared("accuracy", {SCRATCH: (0.5, 0.6, 0.4), FROZEN: (0.7, 0.8, 0.6), TUNED: (0.5, 0.7, 0.4)})
    first = next(d for d in found.differences if (d.better, d.than) == (FROZEN, SCRATCH))
    assert first.mean == pytest.approx(0.2) and first.low == pytest.approx(0.2) and first.proved and found.helped
    assert found.verdict.startswith("Transfer helped: frozen against from scratch: +0.200 accuracy")
    none = compared("accuracy", {SCRATCH: (0.5, 0.6), FROZEN: (0.5, 0.5)})
    assert not none.helped and "did not help" in none.verdict and "lies below it" in none.verdict
    alone = compared("accuracy", {SCRATCH: (0.5,), FROZEN: (0.9,)})
    assert not alone.helped and "no interval with one seed" in alone.verdict
    assert mean_interval([1.0]) == (None, None)
    assert mean_interval(np.arange(40.0).tolist())[0] == pytest.approx(
        19.5 - 1.96 * np.std(np.arange(40), ddof=1) / 40**0.5
    )


def test_fresh_weights_know_nothing(module_folder):
    layer = tlkit.HubLayer(module_folder("keras3_hub"))
    before = [np.array(v) for v in layer.weights]
    fresh_weights(layer, 3)
    kernels = [v for v in layer.weights if len(v.shape) > 1]
    assert kernels
    for variable, old in zip(layer.weights, before, strict=True):
        value = np.asarray(variable)
        if len(variable.shape) > 1:
            assert not np.allclose(value, old)
            assert np.std(value) == pytest.approx((2 / np.prod(variable.shape[:-1])) ** 0.5, rel=0.35)
        elif variable.dtype == "float32":
            assert set(np.unique(value)) <= {0.0, 1.0}


def test_each_way_is_trained_once_a_seed(module_folder):
    folder = module_folder("keras3_hub")
    lines = []

    class Heard:
        line = staticmethod(lines.append)

    found = tlkit.transfer_check(
        str(folder), tasks.classify(LABELS), data(), phases=PHASES, seeds=(0, 1), batch_size=16, image_size=(32, 32),
        progress=Heard(),
    )  # fmt: skip
    assert set(found.scores) == {SCRATCH, FROZEN, TUNED} and all(len(v) == 2 for v in found.scores.values())
    assert len(lines) == 6 and found.score == "accuracy" and len(found.differences) == 3
    assert found.verdict in str(found)
    again = tlkit.transfer_check(
        str(folder), tasks.classify(LABELS), lambda seed: data(), phases=PHASES, seeds=(0,), batch_size=16,
        image_size=(32, 32), progress=quiet,
    )  # fmt: skip
    assert again.scores[TUNED][0] == found.scores[TUNED][0]


def test_what_cannot_be_checked(module_folder):
    folder, task = module_folder("keras3_hub"), tasks.classify(LABELS)
    with pytest.raises(InputError, match="`seeds` is empty"):
        tlkit.transfer_check(folder, task, data(), seeds=())
    with pytest.raises(InputError, match="every training needs a fresh one"):
        tlkit.transfer_check(tlkit.HubLayer(folder), task, data())
