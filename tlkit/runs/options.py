"""Flags that recipes share, checked before a recipe reads its data: a mistake costs seconds, not a training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.flags import defaults, flat
from tlkit.core.run import Phase
from tlkit.data.long_texts import check_way
from tlkit.exporting import Gates, checked_formats
from tlkit.features import cache_budget
from tlkit.training.inputs import Settings
from tlkit.training.inputs import check as check_settings


def check(recipe: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse values of a recipe's flags that could only fail later.

    Flags are known by their names. One whose default would be refused has another meaning in that recipe, and passes.

    Args:
        recipe: The recipe's `main`.
        options: What it is about to be called with.

    Raises:
        InputError: At the first value that is out of its range.
    """
    cache_budget.check()
    _check_apart(options)
    chosen, usual = flat(options), flat(defaults(recipe))
    for name in [name for name in chosen if name in _CHECKS and name in usual]:
        if _passes(name, usual[name]):
            _CHECKS[name](chosen[name])


def _check_apart(options: Mapping[str, Any]) -> None:
    """Refuse to write a run into the folder of its data or its module, of which it would be a part the next time."""
    out, data, module = (options.get(name) for name in ("out", "data", "module"))
    folders = {"data": data, "module": Path(module) if isinstance(module, str) else None}
    for name, folder in folders.items():
        if isinstance(out, Path) and isinstance(folder, Path) and _is_part_of(out, folder, name):
            raise InputError(
                f"The run would be written into the folder of the {name}, {folder}, and be taken as part of it the "
                f"next time: choose another --out. Received: --out {out}."
            )


def _is_part_of(path: Path, folder: Path, name: str) -> bool:
    try:
        is_read = (folder / "saved_model.pb").is_file() if name == "module" else folder.is_dir()
        return is_read and folder.resolve() in (path.resolve(), *path.resolve().parents)
    except (OSError, ValueError, RuntimeError):  # a name too long, with a NUL, or that leads to itself: whoever opens
        return False  # it says so


def _passes(name: str, value: Any) -> bool:
    with contextlib.suppress(InputError, TypeError, ValueError):
        _CHECKS[name](value)
        return True
    return False


def _epochs(value: Any) -> None:
    counts = _several(value)
    for count in counts:
        Phase(epochs=count, lr=1e-3)
    if counts and not any(counts):
        raise InputError(f"Nothing would be trained: `epochs` must hold a number above 0. Received: epochs={value!r}.")


def _rates(value: Any) -> None:
    for rate in _several(value):
        Phase(epochs=1, lr=rate)


def _shares(value: Any) -> None:
    for share in _several(value):
        Phase(epochs=1, lr=1e-3, unfrozen=share)


def _sizes(value: Any) -> None:
    if not all(size >= 1 for size in _several(value)):
        raise InputError(f"A size must be 1 or more. Received: {value!r}.")


def _several(value: Any) -> tuple[Any, ...]:
    return () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "formats": checked_formats,
    "max_drop": lambda value: Gates(max_drop=value),
    "epochs": _epochs,
    "lr": _rates,
    "unfrozen": _shares,
    "batch_size": lambda value: check_settings(Settings(batch_size=value)),
    "micro_batch": lambda value: check_settings(Settings(micro_batch=value)),
    "long": check_way,
    "seed": lambda value: check_settings(Settings(seed=value)),
    "image_size": _sizes,
    "length": _sizes,
}
