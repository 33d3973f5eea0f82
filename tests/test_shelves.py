"""What completion offers: the names of a shelf that are public, and nothing else."""

from __future__ import annotations

import importlib
import pydoc
from types import ModuleType

import pytest

import tlkit

LISTED = [name for name in tlkit.__all__ if isinstance(getattr(tlkit, name), ModuleType)]
BELOW = [f"{shelf}.{name}" for shelf in ("data", "datasets") for name in getattr(tlkit, shelf).__all__]
SHELVES = ["tlkit", *(f"tlkit.{name}" for name in [*LISTED, *BELOW])]


def shelf_of(name):
    """The module; `tlkit.columns` and `tlkit.flags` lie elsewhere."""
    top, _, path = name.partition(".")
    shelf = importlib.import_module(top)
    for part in filter(None, path.split(".")):
        shelf = getattr(shelf, part)
    return shelf


def test_all_shelves_are_found():
    assert {"tlkit.data.image", "tlkit.datasets.digits", "tlkit.tasks", "tlkit.zoo", "tlkit.columns"} <= set(SHELVES)


@pytest.mark.parametrize("name", SHELVES)
def test_dir_shows_what_is_public_and_nothing_else(name):
    shelf = shelf_of(name)
    assert dir(shelf) == sorted(shelf.__all__) and len(set(shelf.__all__)) == len(shelf.__all__)
    assert [n for n in shelf.__all__ if n.startswith("_") and n != "__version__"] == []
    assert all(hasattr(shelf, n) for n in shelf.__all__)


@pytest.mark.parametrize("name", SHELVES)
def test_every_public_name_says_what_it_is(name):
    shelf = shelf_of(name)
    values = {n: getattr(shelf, n) for n in shelf.__all__}
    mute = [n for n, value in values.items() if callable(value) and not (value.__doc__ or "").strip()]
    assert shelf.__doc__ and mute == []


def test_help_begins_with_the_three_lines():
    text = pydoc.render_doc(tlkit, renderer=pydoc.plaintext)
    first = text[: text.index("PACKAGE CONTENTS")]
    lines = [line.strip() for line in first.splitlines()]
    calls = [line for line in lines if "tlkit." in line and "(" in line]
    assert ["from_folder" in calls[0], "finetune" in calls[1], "export" in calls[2]] == [True] * 3
