"""Read the constants of a TFLite file: its weights, to build the network anew where it can be trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tlkit.errors import InputError


def read_constants(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array of every constant in a TFLite file; nothing of it is run.

    Raises:
        InputError: If the file is damaged, or none.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged, or not a TFLite file ({error}).") from error
    found = {}
    for detail in interpreter.get_tensor_details():
        try:
            found[detail["name"]] = np.array(interpreter.get_tensor(detail["index"]))
        except ValueError:  # what is computed has no numbers before memory is allocated
            continue
    return found
