"""LoRA on a Keras model as a backbone: what is trained, what stays, and that the sum is exported."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from fitting import LABELS, SIZE, data

import tlkit
from tlkit import methods, tasks
from tlkit.core.errors import InputError
from tlkit.core.run import Phase
from tlkit.layer.lookup import backbone_of

pytestmark = pytest.mark.usefixtures("module_cache")
RANK = 3


def net():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.AveragePooling2D(8)(inputs)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = keras.layers.Reshape((16, 6))(x)
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    return keras.Model(inputs, keras.layers.Dense(5, activation="tanh")(keras.layers.Flatten()(x)))


def test_it_computes_the_same_and_trains_thin_matrices_alone():
    plain = net()
    before = [np.array(v) for v in plain.weights]
    changed = methods.lora(plain, RANK)
    x = np.random.default_rng(0).random((2, SIZE, SIZE, 3)).astype("float32")
    np.testing.assert_allclose(changed(x), plain(x), atol=1e-6)
    names = {v.path.rpartition("/")[2] for v in changed.trainable_variables}
    assert names == {"lora_kernel_a", "lora_kernel_b"}
    dense = [v for v in changed.trainable_variables if v.path.startswith("dense")]
    assert sorted(tuple(v.shape) for v in dense) == [(RANK, 5), (96, RANK)]
    assert all(np.array_equal(a, b) for a, b in zip(before, plain.weights, strict=True))
    assert all(v.trainable for v in plain.trainable_variables) and len(plain.trainable_variables) == len(plain.weights)


def test_tuning_moves_the_change_and_no_kernel(tmp_path):
    changed = methods.lora(net(), RANK, alpha=6.0)
    layer = tlkit.HubLayer(changed, name="backbone", input_range=(0.0, 1.0))
    frozen = [np.array(v) for v in layer.non_trainable_variables] + [
        np.array(v) for v in layer.module_variables.values() if "lora" not in v.path
    ]
    task = tasks.classify(LABELS)
    splits = data()
    run = tlkit.fit(tlkit.build(layer, task), task, splits, (Phase(4, 1e-2, unfrozen=1.0),), batch_size=8)
    backbone = backbone_of(run.model)
    thin = [v for v in backbone.module_variables.values() if "lora" in v.path]
    assert thin and any(np.abs(np.asarray(v)).max() > 0 for v in thin if v.path.endswith("lora_kernel_b"))
    after = [np.array(v) for v in backbone.module_variables.values() if "lora" not in v.path]
    trainable_kept = [v for v in frozen if v.dtype != np.int64]
    assert all(any(np.array_equal(a, b) for b in trainable_kept if b.shape == a.shape) for a in after)
    assert run.phases[0].proof["sha256_before"] == run.phases[0].proof["sha256_after"]
    done = tlkit.export(tlkit.finetune(layer, task, splits, (Phase(0, 1e-3),), out=tmp_path), formats=("float32",))
    assert done.exports[0].passed


class Subclassed(keras.Model):
    """A model whose layers Keras finds, but whose calls it does not know."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def test_what_lora_cannot_change(module_folder):
    with pytest.raises(InputError, match=r"LoRA changes layers.*Received: str"):
        methods.lora("zoo:efficientnet-lite0")
    inputs = keras.Input((4,))
    with pytest.raises(InputError, match="has no Dense, EinsumDense"):
        methods.lora(keras.Model(inputs, keras.layers.ReLU()(inputs)))
    with pytest.raises(InputError, match=r"LoRA changes layers.*Received: HubLayer"):
        methods.lora(tlkit.HubLayer(module_folder("keras3_hub")))
    with pytest.raises(InputError, match="has LoRA in its layers already: give the model that it was made of"):
        methods.lora(methods.lora(net(), 2), 2)
    with pytest.raises(InputError, match=r"is not built, .*begin it with keras\.Input"):
        methods.lora(keras.Sequential([keras.layers.Dense(3)], name="raw"))
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    with pytest.raises(InputError, match="cannot be copied with its weights, as a subclass"):
        methods.lora(model)
    with pytest.raises(InputError, match="`rank` must be 1 or more"):
        methods.lora(net(), 0)
