"""Adam as one operation a variable, with a rate of its own for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tlkit")
class DepthAdamW(keras.optimizers.Adam):
    """AdamW whose step on a variable is multiplied by that variable's factor.

    Scaling gradients instead would do nothing: Adam divides the scale out again (FACTS: .995 of the full rate).
    A step is TensorFlow's one fused operation a variable, where Keras writes Adam in many: there is less to trace.

    Args:
        factors: Factor by `variable.path`; a path that is not named has factor 1.
        weight_decay: Decoupled weight decay, or None; it ignores the factors.
        **kwargs: What `keras.optimizers.Adam` takes, but for `amsgrad`.

    Source: Kingma and Ba 2015, arXiv:1412.6980, end of section 2; Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    def __init__(
        self, factors: Mapping[str, float] | None = None, weight_decay: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(weight_decay=weight_decay or None, **kwargs)
        self.factors = dict(factors or {})

    def build(self, variables: list[Any]) -> None:
        """Look each variable's factor up once: `update_step` gets raw TensorFlow variables, which have no path."""
        super().build(variables)
        self._factor_of = {self._var_key(v): self.factors.get(v.path, 1.0) for v in variables}

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """One step on all variables; the powers of the decay rates are the same for all."""
        step = tf.cast(self.iterations.value + 1, tf.float32)
        self._powers = (tf.pow(self.beta_1, step), tf.pow(self.beta_2, step))
        super().apply(grads, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One Adam step at the variable's own rate."""
        place = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=learning_rate * self._factor_of[self._var_key(variable)],
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self) -> dict[str, Any]:
        """The config of Adam and the factors."""
        return {**super().get_config(), "factors": self.factors}
