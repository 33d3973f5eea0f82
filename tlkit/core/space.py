"""What a search may vary: ranges and choices, by the name of an argument."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.numeric import is_number

EXAMPLES = "lr[0]=1e-4:1e-2:log, epochs[0]=5:20, unfrozen=0.1,0.25"
PLACE = re.compile(r"(?P<name>\w+)\[(?P<place>\d+)\]")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are whole.

    Attributes:
        low: The least.
        high: The greatest, above `low`.
        log: Whether each power of ten is as likely as another, as it should be of rates.

    Example:
        >>> Range(1e-4, 1e-2, log=True)
        Range(low=0.0001, high=0.01, log=True)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (is_number(self.low) and is_number(self.high) and -math.inf < self.low < self.high < math.inf):
            raise InputError(f"A Range goes from a number to a higher one. Received: {self.low!r} to {self.high!r}.")
        if self.log and self.low <= 0:
            raise InputError(f"A Range with log=True lies above 0. Received: low={self.low!r}.")

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Space = Mapping[str, Range | tuple[Any, ...]]


def space_of(function: Callable[..., Any], space: Mapping[str, Any] | None) -> Space:
    """The space as ranges and tuples of choices: as it is given, or as the function's annotations say.

    `Annotated[float, Range(...)]`, `Literal[...]` and `bool` make an argument part of it.

    Args:
        function: What is searched for.
        space: Range, or a list of choices, by argument; "lr[0]" is the first item of a tuple. None asks the function.

    Raises:
        InputError: If nothing varies, or something is neither a range nor choices.

    Example:
        >>> def run(lr: Annotated[float, Range(1e-4, 1e-2)], head: Literal["linear", "wide"] = "linear"): ...
        >>> space_of(run, None)
        {'lr': Range(low=0.0001, high=0.01, log=False), 'head': ('linear', 'wide')}
    """
    choices = _annotated(function) if space is None else space
    dimensions = {name: _dimension(name, values) for name, values in choices.items()}
    if not dimensions:
        raise InputError(f"The space of the search is empty: say what may vary, as in {EXAMPLES}.")
    return dimensions


def _annotated(function: Callable[..., Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    hints.pop("return", None)
    return {name: values for name, hint in hints.items() if (values := _of_hint(hint)) is not None}


def _of_hint(hint: Any) -> Any:
    if hint is bool:
        return (False, True)
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) is Annotated:
        return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Range | tuple | list)), None)
    return None


def _dimension(name: str, values: Any) -> Range | tuple[Any, ...]:
    if isinstance(values, Range):
        return values
    if isinstance(values, list | tuple) and len(values) > 1:
        for choice in values:
            text_of(choice, name)
        return tuple(values)
    raise InputError(
        f"`{name}` of the space must be a Range, or a list of two choices or more. Received: {values!r:.60}."
    )


def text_of(choice: Any, name: str = "a choice") -> str:
    """A choice as it is stored: JSON.

    Raises:
        InputError: If it is no plain data, and so could not be known again.

    Example:
        >>> text_of((8, "relu"))
        '[8, "relu"]'
    """
    try:
        return json.dumps(choice, default=_plain, sort_keys=True)
    except TypeError:
        raise InputError(
            f"`{name}` of the space holds {choice!r:.60}, which cannot be stored: let it choose among numbers or "
            "texts, and make the object from them in the function."
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(value)


def parse(words: Iterable[str]) -> dict[str, Any]:
    """A space as it is written on the command line.

    Args:
        words: `name=low:high`, `name=low:high:log`, or `name=choice,choice`.

    Raises:
        InputError: If one is written otherwise, or a name comes twice.

    Example:
        >>> parse(["lr[0]=1e-4:1e-2:log", "unfrozen=0.1,0.25"])
        {'lr[0]': Range(low=0.0001, high=0.01, log=True), 'unfrozen': (0.1, 0.25)}
    """
    pairs = [_parsed(word) for word in words]
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"`--space` names {twice[0]} twice: give it one range, or one list of choices.")
    return dict(pairs)


def _parsed(word: str) -> tuple[str, Range | tuple[Any, ...]]:
    name, equals, text = word.partition("=")
    ends = [_value(end) for end in text.removesuffix(":log").split(":")]
    name = name.strip().replace("-", "_")
    if equals and len(ends) == 2 and all(is_number(end) for end in ends):
        return name, Range(ends[0], ends[1], log=text.endswith(":log"))
    if equals and "," in text:
        return name, tuple(_value(choice) for choice in text.split(","))
    raise InputError(f"`--space` is written as in {EXAMPLES}. Received: {word}")


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return words.get(text.strip().lower(), text.strip())


def arguments(values: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a run: those that are given, with the values of a trial in their places.

    Args:
        values: By name of the space.
        fixed: All other arguments, and those of which a place is tried.

    Raises:
        InputError: If a place is asked of what has none.

    Example:
        >>> arguments({"lr[1]": 0.5, "seed": 3}, {"lr": (1.0, 2.0)})
        {'lr': (1.0, 0.5), 'seed': 3}
    """
    merged = dict(fixed)
    for name, value in values.items():
        placed = PLACE.fullmatch(name)
        if placed is None:
            merged[name] = value
            continue
        sequence, place = merged.get(placed["name"]), int(placed["place"])
        if not isinstance(sequence, list | tuple) or place >= len(sequence):
            raise InputError(f"`{name}` of the space names no place of `{placed['name']}`, which is {sequence!r}.")
        merged[placed["name"]] = (*sequence[:place], value, *sequence[place + 1 :])
    return merged


def corners(space: Space) -> Sequence[dict[str, Any]]:
    """Values of the space at its lower and its upper end."""
    return [
        {name: (axis.low, axis.high)[end] if isinstance(axis, Range) else axis[-end] for name, axis in space.items()}
        for end in (0, 1)
    ]
