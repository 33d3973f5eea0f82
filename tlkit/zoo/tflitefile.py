"""Read the constants of a TFLite file: its weights, to build the network anew where it can be trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tlkit.core.errors import InputError


def read_constants(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array of every constant in a TFLite file; nothing of it is run.

    Raises:
        InputError: If the file is damaged, or none.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        _check_root(Path(path))
        interpreter = Interpreter(model_path=str(path))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged, or not a TFLite file ({error}).") from error
    constants = {}
    for detail in interpreter.get_tensor_details():
        try:
            constants[detail["name"]] = np.array(interpreter.get_tensor(detail["index"]))
        except ValueError:  # what is computed has no numbers before memory is allocated
            continue
    return constants


def _check_root(path: Path) -> None:
    """Refuse a file whose root lies behind its end: LiteRT 1.3 believes the file, and reads what is not its own."""
    content = path.read_bytes()
    if int.from_bytes(content[:4], "little") >= len(content):
        raise ValueError("its root lies behind its end")
