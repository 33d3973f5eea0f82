"""A decoding whose last step brings each output to its own unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tlkit.answers.scores import check_columns


def _as_it_is(raw: Any) -> Any:
    return raw


@dataclass(frozen=True)
class Affine:
    """Raw outputs -> {name: `standard(raw) * factor + offset`}, one factor and offset a column.

    Exported files have a standardised model inside and do this step in float32 behind it: as weights of float16 or of 8
    bits, a factor of 1e9 would be infinite and one of 1e-9 zero, and two columns would share one scale.

    Attributes:
        name: Of the tensor.
        factor: Of each column, > 0.
        offset: Of each column.
        standard: What is decoded before.
    """

    name: str
    factor: tuple[float, ...]
    offset: tuple[float, ...]
    standard: Callable[[Any], Any] = _as_it_is

    def __call__(self, raw: Any) -> dict[str, Any]:
        """Decode a batch, float32 (n, k)."""
        import keras

        standard = self.standard(raw)
        check_columns(standard, len(self.factor))
        factor, offset = (keras.ops.convert_to_tensor(values, dtype="float32") for values in (self.factor, self.offset))
        return {self.name: standard * factor + offset}

    def bare(self, raw: Any) -> dict[str, Any]:
        """The same before it gets its unit."""
        return {self.name: self.standard(raw)}
