"""What all tests share: a quiet TensorFlow, a cache of their own, and fixture modules built once a session."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import kept_workers
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "agg")


def pytest_collection_finish() -> None:
    """Leave what was imported by now out of the searches for garbage: with TensorFlow it is a million objects."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run a whole task, or a module of the zoo, are long by their names."""
    for item in items:
        if item.path.name.endswith("_in_use.py") or item.path.name.startswith("test_zoo_"):
            item.add_marker(pytest.mark.long)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Exports share a worker process, once something has exported."""
    kept_workers.keep()


@pytest.fixture(scope="session")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`module_folder(kind)`: the fixture SavedModel of that kind (a key of `modules.WRITERS`), written on first use."""
    root = tmp_path_factory.mktemp("modules")

    def folder(kind: str) -> Path:
        from modules import WRITERS

        target = root / kind
        return target if target.exists() else WRITERS[kind](target)

    return folder


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that the tests of one file share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
