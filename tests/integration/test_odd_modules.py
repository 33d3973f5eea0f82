"""Modules of unknown rank, models that were never called, and what a run's folder holds of unfinished work."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from fitting import LABELS, SIZE, data
from keras import layers as L

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.progress import quiet
from tlkit.core.run import Phase


class AnyRank(tf.Module):
    """A convolution on images, exported for an input of no rank."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((3, 3, 3, 4), (5, 6)))

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
    def __call__(self, x):
        x = tf.ensure_shape(x, [None, None, None, 3])
        return tf.reduce_mean(tf.nn.conv2d(x, self.kernel, 2, "SAME"), [1, 2])


def test_an_input_of_unknown_rank_takes_it_from_the_data():
    layer = tlkit.HubLayer(AnyRank(), name="backbone", input_range=(0, 255))
    with pytest.raises(InputError, match="does not say of which rank its input is, so the data must: pass `data=`"):
        tlkit.build(layer, tlkit.tasks.classify(LABELS))


def test_a_model_that_was_never_called_is_told_to_be_called():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__(name="subclassed")
            self.dense = L.Dense(3)

        def call(self, x):
            return self.dense(x)

    told = r"'subclassed' does not know its inputs yet: call it once on a batch of them, model\(batch\)"
    for use in (tlkit.HubLayer, lambda model: tlkit.build(model, tlkit.tasks.classify(LABELS))):
        with pytest.raises(InputError, match=told) as caught:
            use(Subclassed())
        assert "specs" not in str(caught.value)


def test_unfinished_work_of_any_kind_is_swept_and_the_run_s_folder_is_a_handle(module_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    (out / "checkpoints" / ".tlkit-partial-x.keras" / "inner").mkdir(parents=True)
    (out / "checkpoints" / ".tlkit-partial-y.keras").touch()
    run = tlkit.finetune(
        tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0)),
        tlkit.tasks.classify(LABELS), data(), (Phase(epochs=1, lr=3e-3),), out=out, image_size=(SIZE, SIZE),
        progress=quiet,
    )  # fmt: skip
    assert list(out.rglob(".tlkit-partial-*")) == []
    x = np.stack([run.data.test.inputs[i] for i in range(2)])
    features = keras.Model(run.model.inputs, run.model.get_layer("backbone").output)(x)
    np.testing.assert_allclose(tlkit.HubLayer(out, input_range=(0.0, 1.0))(x), features, atol=1e-5)
