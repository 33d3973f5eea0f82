"""How a run came about: the command that was called, versions, threads, module."""

from __future__ import annotations

import contextlib
import contextvars
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from tlkit.core import excerpts
from tlkit.core.errors import InputError
from tlkit.core.run import Run
from tlkit.layer.hub_layer import HubLayer  # registers the layer, so that Keras can open its files
from tlkit.layer.lookup import backbone_of
from tlkit.report import run_json

PACKAGES = ("tlkit", "tensorflow", "keras", "ai-edge-litert", "numpy")


def describe(run: Run, *, seed: int, batch_size: int, command: str = "") -> dict[str, Any]:
    """Plain data that reproduces the run: command, versions, seed, module, data."""
    layer = backbone_of(run.model)
    return {
        "command": command,
        "arguments": list(_INVOCATION.get().words),
        "seed": seed,
        "batch_size": batch_size,
        "module": None if layer is None else _module(layer),
        "input_range": None if layer is None else layer.input_range,
        "data": {
            "fingerprint": run.data.fingerprint,
            **{name: len(excerpts.whole(getattr(run.data, name))) for name in ("train", "val", "test")},
        },
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "machine": platform.platform(),
        "threads": _threads(),
    }


def _module(layer: HubLayer) -> dict[str, Any]:
    """Which module it was, and its blocks, input side first; none where it cannot be cut."""
    try:
        blocks = layer.blocks
    except InputError:
        blocks = ()
    fields = ("name", "shape", "parameters", "depth", "cost")
    rows = [{key: getattr(block, key) for key in fields} for block in blocks]
    return {"handle": layer.handle, "sha256": layer.sha256, "blocks": rows}


@dataclass(frozen=True)
class Invocation:
    """How the command line was called: the words that make the run again, and whether to start over."""

    words: tuple[str, ...] = ()
    fresh: bool = False


NOT_CALLED = Invocation()
_INVOCATION: contextvars.ContextVar[Invocation] = contextvars.ContextVar("invocation", default=NOT_CALLED)


@contextlib.contextmanager
def invoked(words: Sequence[str], *, fresh: bool) -> Iterator[None]:
    """Runs made inside were asked for by these words of the command line."""
    token = _INVOCATION.set(Invocation(tuple(words), fresh))
    try:
        yield
    finally:
        _INVOCATION.reset(token)


@contextlib.contextmanager
def starting(*, over: bool) -> Iterator[None]:
    """Runs made inside start over, or go on where their folder's checkpoints end."""
    token = _INVOCATION.set(replace(_INVOCATION.get(), fresh=over))
    try:
        yield
    finally:
        _INVOCATION.reset(token)


def starts_over() -> bool:
    """Whether --fresh was given."""
    return _INVOCATION.get().fresh


def record_of(run: Any) -> Mapping[str, Any]:
    """What run.json holds, for a Run; anything else a recipe may give back passes."""
    return {**run_json(run), "folder": str(run.folder)} if isinstance(run, Run) else {"result": run}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _threads() -> int:
    """The thread count decides the last bits of sums, so the record holds it."""
    return os.cpu_count() or 1
