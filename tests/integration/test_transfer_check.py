"""transfer_check tells help from harm: on a module that knows the task, and on one that knows nothing of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from fitting import LABELS, SIZE, data

import tlkit
from tlkit import report, tasks
from tlkit.choosing.transfer_check import FROZEN, SCRATCH, TUNED, compared, fresh_weights, mean_interval
from tlkit.core.errors import InputError
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.model.evaluate import Headline

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]
PHASES = (Phase(epochs=4, lr=1e-2), Phase(epochs=1, lr=1e-3, unfrozen=0.5))


def test_scores_are_compared_in_pairs():
    accuracy = Headline("accuracy", "Accuracy", 0.5, None, None, "Wilson", "share", lower_is_better=False)
    check = compared({SCRATCH: (0.5, 0.6, 0.4), FROZEN: (0.7, 0.8, 0.6), TUNED: (0.5, 0.7, 0.4)}, accuracy)
    first = next(d for d in check.differences if (d.better, d.than) == (FROZEN, SCRATCH))
    assert first.mean == pytest.approx(0.2) and first.low == pytest.approx(0.2) and first.proved and check.helped
    assert check.verdict.startswith("Transfer helped: frozen against from scratch: +0.200 accuracy")
    none = compared({SCRATCH: (0.5, 0.6), FROZEN: (0.5, 0.5)}, accuracy)
    assert not none.helped and "did not help" in none.verdict and "lies below it" in none.verdict
    alone = compared({SCRATCH: (0.5,), FROZEN: (0.9,)}, accuracy)
    assert not alone.helped and "no interval with one seed" in alone.verdict
    errors = dataclasses.replace(accuracy, name="eer", lower_is_better=True)
    fewer = compared({SCRATCH: (0.4, 0.42, 0.38), FROZEN: (0.1, 0.11, 0.1)}, errors)
    assert fewer.helped and fewer.differences[0].mean == pytest.approx(0.297, abs=1e-3)
    assert mean_interval([1.0]) == (None, None)
    assert mean_interval(np.arange(40.0).tolist())[0] == pytest.approx(
        19.5 - 2.0227 * np.std(np.arange(40), ddof=1) / 40**0.5, abs=1e-3
    )


def test_help_allows_for_the_number_of_comparisons():
    """The same differences help where they are the only ones, and not where another way was tried as well."""
    accuracy = Headline("accuracy", "Accuracy", 0.5, None, None, "Wilson", "share", lower_is_better=False)
    scratch, errors = (0.5, 0.5, 0.5), 0.02 / 3**0.5
    alone = compared({SCRATCH: scratch, FROZEN: (0.52, 0.56, 0.54)}, accuracy)
    two = compared({SCRATCH: scratch, FROZEN: (0.52, 0.56, 0.54), TUNED: scratch}, accuracy)
    assert (alone.level, two.level) == (0.95, 0.975)
    assert alone.differences[0].low == pytest.approx(0.04 - 4.3027 * errors, abs=1e-5)
    assert two.differences[0].low == pytest.approx(0.04 - 6.2053 * errors, abs=1e-5)
    three = compared({SCRATCH: scratch, FROZEN: (0.58, 0.60, 0.62), TUNED: scratch}, accuracy)
    assert three.helped and "97.5 % interval that allows for 2 comparisons" in three.verdict
    close = (0.5135, 0.52, 0.5265)  # mean 0.02, error 0.00375
    assert compared({SCRATCH: scratch, FROZEN: close}, accuracy).helped
    assert not compared({SCRATCH: scratch, FROZEN: close, TUNED: scratch}, accuracy).helped


def test_the_verdict_names_a_way_that_is_proved():
    accuracy = Headline("accuracy", "Accuracy", 0.5, None, None, "Wilson", "share", lower_is_better=False)
    check = compared({SCRATCH: (0.5, 0.5, 0.5), FROZEN: (0.6, 0.6, 0.6), TUNED: (0.4, 1.0, 0.9)}, accuracy)
    assert check.helped and check.verdict.startswith("Transfer helped: frozen against from scratch: +0.100")


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
            summed = variable.shape[:-2] if variable.shape[-1] == 1 else variable.shape[:-1]  # the depthwise one
            assert np.std(value) == pytest.approx((2 / np.prod(summed)) ** 0.5, rel=0.35)
        elif variable.dtype == "float32":
            assert set(np.unique(value)) <= {0.0, 1.0}


def test_each_way_is_trained_once_a_seed(module_folder):
    folder = module_folder("keras3_hub")
    lines = []

    class Heard:
        line = staticmethod(lines.append)

    check = tlkit.transfer_check(
        str(folder), tasks.classify(LABELS), data(), phases=PHASES, seeds=(0, 1), batch_size=16, image_size=(32, 32),
        progress=Heard(),
    )  # fmt: skip
    assert set(check.scores) == {SCRATCH, FROZEN, TUNED} and all(len(v) == 2 for v in check.scores.values())
    assert len(lines) == 6 and check.score == "accuracy" and len(check.differences) == 3
    assert check.verdict in str(check)
    again = tlkit.transfer_check(
        str(folder), tasks.classify(LABELS), lambda seed: data(), phases=PHASES, seeds=(0,), batch_size=16,
        image_size=(32, 32), progress=quiet,
    )  # fmt: skip
    assert again.scores[TUNED][0] == check.scores[TUNED][0]


def test_a_runs_report_shows_its_check(tmp_path, module_folder):
    accuracy = Headline("accuracy", "Accuracy", 0.5, None, None, "Wilson", "share", lower_is_better=False)
    check = compared({SCRATCH: (0.5, 0.6, 0.4), FROZEN: (0.7, 0.8, 0.6)}, accuracy)
    run = tlkit.finetune(
        module_folder("keras3_hub"),
        tasks.classify(LABELS),
        data(),
        (Phase(1, 1e-2),),
        out=tmp_path,
        image_size=(32, 32),
    )
    shown = check.shown_in(run)
    assert shown.record["transfer"]["helped"]
    for again in (shown, tlkit.load(tmp_path)):
        page = report.write(again, tmp_path / "again.html").read_text()
        assert "Did transfer help?" in page and check.verdict in page and "95 % interval" in page
    assert json.loads((tmp_path / "run.json").read_text())["transfer"]["scores"][FROZEN] == [0.7, 0.8, 0.6]


def test_what_cannot_be_checked(module_folder):
    folder, task = module_folder("keras3_hub"), tasks.classify(LABELS)
    with pytest.raises(InputError, match="`seeds` is empty"):
        tlkit.transfer_check(folder, task, data(), seeds=())
    with pytest.raises(InputError, match="a loaded SavedModel, whose variables every training would change"):
        tlkit.transfer_check(tf.saved_model.load(str(folder)), task, data())
    with pytest.raises(InputError, match="every training needs a fresh one"):
        tlkit.transfer_check(tlkit.HubLayer(folder), task, data())


def test_a_keras_model_stays_as_it_is():
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    norm = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=8)(inputs))
    module = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(norm))
    before = [np.array(v) for v in module.weights]
    plan = (Phase(epochs=1, lr=1e-2, unfrozen=1.0),)
    task, options = tasks.classify(LABELS), {"phases": plan, "seeds": (0,), "progress": quiet}
    with pytest.raises(InputError, match="Nothing says which range of pixels"):
        tlkit.transfer_check(module, task, data(), **options)
    tlkit.transfer_check(module, task, data(), **options, input_range=(0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(before, module.weights, strict=True))


class Untold(tf.Module):
    """A module that does not tell training from inference."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.random.stateless_normal((3, 4), seed=(0, 1)))

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)])
    def __call__(self, x):
        return tf.tensordot(tf.reduce_mean(x, (1, 2)), self.w, 1)


def test_a_module_without_a_training_argument_is_checked(tmp_path):
    tf.saved_model.save(Untold(), str(tmp_path))
    check = tlkit.transfer_check(
        tmp_path, tasks.classify(LABELS), data(), phases=(Phase(epochs=1, lr=1e-2),), seeds=(0,), progress=quiet,
        input_range=(0, 1),
    )  # fmt: skip
    assert set(check.scores) == {SCRATCH, FROZEN, TUNED}


def test_fresh_depthwise_kernels_sum_over_their_window_alone():
    """He's rule keeps the second moment: that of the kernel times what is summed over is 2."""
    import keras

    inputs = keras.Input((8, 8, 64))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="windows")(inputs)
    x = keras.layers.Conv2D(1, 3, use_bias=False, name="sums")(x)  # (3, 3, 128, 1) and no depthwise kernel
    layer = tlkit.HubLayer(keras.Model(inputs, keras.layers.Flatten()(x)))
    fresh_weights(layer, 0)
    deviations = {tuple(v.shape): float(np.std(v)) for v in layer.weights}
    assert deviations[(3, 3, 64, 2)] == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    assert deviations[(3, 3, 128, 1)] == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.1)
