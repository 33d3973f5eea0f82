"""What TensorFlow's registry says about an operation; the one private name that the scan of modules needs."""

from __future__ import annotations

from typing import Any

from tensorflow.python.framework import op_def_registry


def op_definition(name: str) -> Any | None:
    """The OpDef of an operation that is registered in this process, or None."""
    return op_def_registry.get(name)
