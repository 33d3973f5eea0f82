"""The fused Adam steps as Keras' own does, and each variable at its own rate."""

from __future__ import annotations

import numpy as np
import pytest


def after(optimizer, steps: int = 30) -> list[np.ndarray]:
    """Three variables after some steps of seeded gradients."""
    import keras
    import tensorflow as tf

    variables = [keras.Variable(np.random.default_rng(i).normal(size=(5, 4)).astype(np.float32)) for i in range(3)]
    optimizer.build(variables)
    step = tf.function(lambda gradients: optimizer.apply(gradients, variables))
    rng = np.random.default_rng(9)
    for _ in range(steps):
        step([tf.constant(rng.normal(size=(5, 4)).astype(np.float32)) for _ in variables])
    return [np.asarray(v) for v in variables]


@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 1e-2, "global_clipnorm": 1.0}, {"beta_1": 0.5, "epsilon": 1e-3}]
)
def test_it_steps_as_keras_does(options):
    import keras

    from tlkit.training.optimizers import DepthAdamW

    theirs = keras.optimizers.AdamW if "weight_decay" in options else keras.optimizers.Adam
    for actual, expected in zip(
        after(DepthAdamW(learning_rate=1e-2, **options)), after(theirs(1e-2, **options)), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=5e-6)


def test_it_survives_its_config():
    from tlkit.training.optimizers import DepthAdamW

    optimizer = DepthAdamW({"a": 0.5}, weight_decay=0.1, learning_rate=1e-2)
    again = DepthAdamW.from_config(optimizer.get_config())
    assert again.factors == {"a": 0.5} and again.weight_decay == 0.1
