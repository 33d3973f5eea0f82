"""Memory of large arrays stays with the process while models run.

glibc gives what an operation frees back to the kernel, and the next one faults the same pages in again;
benchmarks/kept_memory.py has what that costs. Numbers are the same either way.

Source: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of mallopt's parameters
KEEPING = {MMAP_THRESHOLD: 2**30, TRIM_THRESHOLD: 2**31 - 1}
USUAL = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}  # where glibc's own rule ends once large arrays were freed
CHOSEN_BY_USER = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")

_lock = threading.Lock()
_inside = 0


@contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory waits for its next use; at the end it goes back. Elsewhere than on glibc nothing happens."""
    _enter(+1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(step: int) -> None:
    global _inside
    with _lock:
        before, _inside = _inside, _inside + step
        if (before == 0) != (_inside == 0):
            _set(KEEPING if _inside else USUAL)


def _set(parameters: Mapping[int, int]) -> None:
    libc = _glibc()
    if libc is None:
        return
    for parameter, value in parameters.items():
        libc.mallopt(parameter, value)
    if parameters is USUAL:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """The C library, or None where it is another one or the user has chosen how it keeps memory."""
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in CHOSEN_BY_USER):
        return None
    return ctypes.CDLL(None)
