"""Read the tensors of a safetensors file: a JSON header that says what lies where, then raw numbers. Runs nothing.

Source: the format's own description, huggingface.co/docs/safetensors: eight bytes with the header's length, the header,
and one buffer whose byte ranges the header names.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError

DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"},
    **{"I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "?"},
}
HEADER_LIMIT = 100_000_000  # bytes; the format's own limit


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array of every tensor in a safetensors file.

    Raises:
        InputError: If the file is damaged, in another format, or holds numbers that NumPy lacks (bfloat16).
    """
    content = Path(path).read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        if not 2 <= length <= min(HEADER_LIMIT, len(content) - 8):
            raise ValueError("its header has no sensible length")
        header = json.loads(content[8 : 8 + length])
        numbers = memoryview(content)[8 + length :]
        return {name: _array(entry, numbers) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(f"{path} is damaged, or not a safetensors file ({error!r}).") from error


def _array(entry: dict[str, Any], numbers: memoryview) -> np.ndarray:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"numbers of type {entry['dtype']}")
    dtype, shape, (begin, end) = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)) or end > len(numbers):
        raise ValueError("a tensor outside the file")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("a tensor whose shape is not its size")
    return np.frombuffer(numbers[begin:end], dtype).reshape(shape)
