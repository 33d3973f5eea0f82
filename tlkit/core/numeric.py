"""What counts as a number where one is asked for."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any


def is_number(value: Any) -> bool:
    """Whether a value is a real number of Python's or NumPy's; True, False and text are none.

    Example:
        >>> is_number(0.5), is_number(True), is_number("0.5")
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def number_in(cell: str) -> float:
    """The number that a cell of a table holds, NaN where it holds none; 1_000, which Python reads, is none.

    Example:
        >>> number_in(" 1.5e3 "), number_in("1_000"), number_in("x")
        (1500.0, nan, nan)
    """
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan
