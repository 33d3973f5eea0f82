"""Adam with a rate of its own for each variable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tlkit")
class DepthAdamW(keras.optimizers.Adam):
    """AdamW whose step on a variable is multiplied by that variable's factor.

    Scaling gradients instead would do nothing: Adam divides the scale out again (FACTS: .995 of the full rate).

    Args:
        factors: Factor by `variable.path`; a path that is not named has factor 1.
        weight_decay: Decoupled weight decay, or None; it ignores the factors.
        **kwargs: What `keras.optimizers.Adam` takes.
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

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One Adam step at the variable's own rate."""
        super().update_step(gradient, variable, learning_rate * self._factor_of[self._var_key(variable)])

    def get_config(self) -> dict[str, Any]:
        """The config of Adam and the factors."""
        return {**super().get_config(), "factors": self.factors}
