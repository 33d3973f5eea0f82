"""The door to tensorflow_hub, which only gs:// handles and TF1-format modules need."""

from __future__ import annotations

import sys
import types
from typing import Any


def tensorflow_hub() -> Any:
    """Import tensorflow_hub, also where setuptools no longer brings `pkg_resources`.

    tensorflow_hub 0.16 asks `pkg_resources` for one function at its import; setuptools 82 dropped that module. The
    stand-in is there only during the import, so that nobody else mistakes it for the real one.
    """
    if "tensorflow_hub" in sys.modules or _importable("pkg_resources"):
        import tensorflow_hub as module

        return module
    from packaging.version import parse

    stand_in = types.ModuleType("pkg_resources")
    stand_in.__dict__["parse_version"] = parse
    sys.modules["pkg_resources"] = stand_in
    try:
        import tensorflow_hub as module
    finally:
        del sys.modules["pkg_resources"]
    return module


def _importable(name: str) -> bool:
    import importlib
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setuptools 80 and 81 warn that it will go
        try:
            importlib.import_module(name)
        except ImportError:
            return False
    return True
