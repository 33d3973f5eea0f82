"""What caches and checkpoints know a callable by: its name, its code and the values that it holds."""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import inspect
import io
import itertools
import math
import operator
import pickle
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.files import sha256_bytes

SCALARS = (bool, int, float, complex, str, bytes, types.NoneType, types.EllipsisType)
PRINTED = (np.generic, np.dtype, PurePath, enum.Enum, range, slice)  # whose `repr` says all

MOST_BYTES = 64 << 20  # of a constant of a module that is looked at: larger ones take longer than they tell
_BYTES_OF_VALUE, _DEEPEST = 8, 20


def identity(thing: Any) -> str:
    """What tells a callable from all that do something else, in this process and in later ones.

    Of a function these are its import path, its code, the values around it (of its closure, its defaults), and of its
    package the constants and functions that it names. Constants are plain values, NumPy arrays, and lists, dicts,
    tuples, sets and frozen dataclasses of these, of 64 MiB each at most. Of an object they are its class and its
    fields. What tlkit brings is known by its name or `repr`, so that a new version finds the caches of the last.

    Args:
        thing: A function, or an object that can be called or has methods, such as a `tlkit.Augment`; or None.

    Raises:
        InputError: If it holds what nothing but its address tells from another, such as an open file or a model.

    Example:
        >>> def times(factor):
        ...     return lambda x: x * factor
        >>> identity(times(2)) == identity(times(2)), identity(times(2)) == identity(times(3))
        (True, False)
    """
    if isinstance(thing, SCALARS):
        return repr(thing)
    if _package(thing) == "tlkit" and " at 0x" not in repr(thing):
        return repr(thing)
    if _is_brought(thing):
        return _path(thing)
    try:
        return sha256_bytes(repr(_plain(thing, {})))
    except RecursionError:
        raise _unknown(thing) from None


def known(thing: Any) -> str | None:
    """The `identity` of plain values or a callable; None where nothing tells it from others.

    Example:
        >>> known([1, 2]) == known([1, 2]) != known([1, "2"]), known(io.StringIO())
        (True, None)
    """
    if hasattr(thing, "get_config"):  # of Keras, which has weights besides, and would save itself to tell
        return None
    try:
        return sha256_bytes(identity(thing))
    except Exception:  # also whatever an object says when it is asked for its state
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class Itself:
    """A key that is equal for one and the same thing alone, which lives as long as the key."""

    thing: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _plain(thing: Any, seen: dict[int, Any]) -> Any:
    """Nested tuples of plain values and texts; `seen` keeps what has been met already, whose address stays its own."""
    if isinstance(thing, SCALARS):
        return thing
    if isinstance(thing, PRINTED):
        return repr(thing)
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    if isinstance(thing, tuple):
        return (type(thing).__name__, *(_plain(part, seen) for part in thing))
    if isinstance(thing, set | frozenset):
        return (type(thing).__name__, *sorted(repr(_plain(part, seen)) for part in thing))
    if id(thing) in seen:
        return "above", list(seen).index(id(thing))
    seen[id(thing)] = thing
    if isinstance(thing, list):
        return (type(thing).__name__, *(_plain(part, seen) for part in thing))
    if isinstance(thing, Mapping):
        return ("mapping", *((_plain(key, seen), _plain(value, seen)) for key, value in thing.items()))
    if not isinstance(thing, type) and any(hasattr(thing, name) for name in ("__array__", "__array_interface__")):
        return _plain_array(np.asarray(thing), seen)
    return _plain_callable(thing, seen)


def _plain_array(array: np.ndarray, seen: dict[int, Any]) -> Any:
    if array.dtype.hasobject:
        return "objects", array.shape, _plain(array.reshape(-1).tolist(), seen)
    return "array", str(array.dtype), array.shape, sha256_bytes(np.ascontiguousarray(array).tobytes())


def _plain_callable(thing: Any, seen: dict[int, Any]) -> Any:
    if isinstance(thing, functools.partial):
        return "partial", *(_plain(part, seen) for part in (thing.func, thing.args, thing.keywords))
    if isinstance(thing, types.MethodType):
        return thing.__name__, _plain(thing.__self__, seen)
    if isinstance(thing, types.FunctionType):
        return _plain_function(thing, seen)
    if isinstance(thing, type):
        return _plain_class(thing, seen)
    if inspect.isroutine(thing) and isinstance(getattr(thing, "__self__", None), types.ModuleType | types.NoneType):
        return _path(thing)  # of a package in C
    if hasattr(thing, "__wrapped__"):  # by functools.cache, tf.function
        return _plain(thing.__wrapped__, seen)
    return _plain_object(thing, seen)


def _plain_function(function: types.FunctionType, seen: dict[int, Any]) -> Any:
    if _is_brought(function):
        return _path(function)
    cells = (cell.cell_contents for cell in function.__closure__ or ())
    closure = dict(zip(function.__code__.co_freevars, cells, strict=True))
    around = {
        name: function.__globals__[name] for name in sorted(_names(function.__code__) & set(function.__globals__))
    }
    around = {name: value for name, value in around.items() if _is_of_package(value, _package(function))}
    values = (closure, function.__defaults__, function.__kwdefaults__, around)
    return _path(function), _plain_code(function.__code__), *(_plain(value, seen) for value in values)


def _plain_class(kind: type, seen: dict[int, Any]) -> Any:
    """Its code and constants, those of bases in the same package included."""
    if (package := _package(kind)) == "tlkit":
        return _path(kind)
    parts: list[Any] = [_path(base) for base in kind.__mro__]
    for base in kind.__mro__:
        if _package(base) == package:
            parts += [(name, _plain(member, seen)) for name, member in _members(base)]
    return tuple(parts)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and constants that a class was written with."""
    generated = ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__replace__")
    for name, member in sorted(vars(kind).items()):
        if isinstance(member, staticmethod | classmethod):
            yield name, member.__func__
        elif isinstance(member, property):
            yield name, member.fget
        elif isinstance(member, types.FunctionType):
            if not (dataclasses.is_dataclass(kind) and name in generated):
                yield name, member
        elif isinstance(member, SCALARS) and not name.startswith("__"):
            yield name, member


def _plain_object(thing: Any, seen: dict[int, Any]) -> Any:
    kind = _plain_class(type(thing), seen)
    if dataclasses.is_dataclass(thing):
        return kind, *((field.name, _plain(getattr(thing, field.name), seen)) for field in dataclasses.fields(thing))
    text = repr(thing)
    if not (text.startswith("<") or " at 0x" in text):
        return kind, text
    if isinstance(thing, io.IOBase):
        raise _unknown(thing)
    reduce: Any = copyreg.dispatch_table.get(type(thing), operator.methodcaller("__reduce_ex__", 2))
    try:
        reduced = reduce(thing)  # as for pickle, which refuses what holds more than Python sees
    except (TypeError, AttributeError, pickle.PicklingError):
        raise _unknown(thing) from None
    return kind, reduced if isinstance(reduced, str) else _plain(tuple(reduced[1:3]), seen)


def _plain_code(code: types.CodeType) -> Any:
    """What code does: neither where it stands nor how it is laid out."""
    constants = (_plain_code(part) if isinstance(part, types.CodeType) else _plain(part, {}) for part in code.co_consts)
    return sha256_bytes(code.co_code), code.co_names, *constants


def _names(code: types.CodeType) -> set[str]:
    """What code names of its module and of objects, functions inside it included."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, types.CodeType))
    return set(code.co_names).union(*inner)


def _is_of_package(value: Any, package: str) -> bool:
    """Whether a name of a module stands for a constant, or for a function or class of the same package."""
    if isinstance(value, types.FunctionType | type):
        return _package(value) == package
    return _size_of_constant(value) <= MOST_BYTES


def _size_of_constant(value: Any, depth: int = 0) -> float:
    """Bytes of plain values, of arrays of them and of what holds these, counted as far as `MOST_BYTES`; infinite for
    anything else, which may hold what nothing tells from another.
    """
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, SCALARS + PRINTED):
        return _BYTES_OF_VALUE
    if isinstance(value, np.ndarray):
        return math.inf if value.dtype.hasobject else value.nbytes
    if isinstance(value, dict):
        parts: Iterable[Any] = itertools.chain.from_iterable(value.items())
    elif isinstance(value, tuple | list | set | frozenset):
        parts = value
    elif not isinstance(value, type) and getattr(getattr(value, "__dataclass_params__", None), "frozen", False):
        parts = (getattr(value, field.name) for field in dataclasses.fields(value))
    else:
        return math.inf
    total: float = _BYTES_OF_VALUE
    for part in parts:
        total += _size_of_constant(part, depth + 1) if depth < _DEEPEST else math.inf
        if total > MOST_BYTES:
            return math.inf
    return total


def _is_brought(thing: Any) -> bool:
    """Whether a function is one of a module of tlkit's."""
    return inspect.isfunction(thing) and _package(thing) == "tlkit" and "<" not in thing.__qualname__


def _path(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _package(thing: Any) -> str:
    return str(getattr(thing, "__module__", "") or "").partition(".")[0]


def _unknown(thing: Any) -> InputError:
    return InputError(
        f"A {type(thing).__name__} in what reads or changes examples cannot be told from another, so that caches and a "
        "resumed fit would mix them up: use a function, or a frozen dataclass of plain values, that holds none."
    )
