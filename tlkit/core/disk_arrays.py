"""Arrays that lie on disk while they are filled."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap


def disk_array(file: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file of zeros as an array whose values go to it.

    Its place is taken at once: a disk that is full is an error here. Later, while values are written, it would end the
    process by a signal (SIGBUS), as there is no call that could fail.

    Raises:
        OSError: If the disk has no place for it.
    """
    array = open_memmap(file, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
    return array
