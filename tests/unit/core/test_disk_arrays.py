"""Arrays that are filled on disk."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest

from tlkit.core.disk_arrays import disk_array


def test_what_is_written_is_read_from_the_file(tmp_path):
    array = disk_array(tmp_path / "a.npy", np.dtype(np.float32), (3, 4))
    assert not array.any()
    array[1] = 7
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


def test_a_full_disk_is_an_error_and_no_signal(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small]).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(OSError, match="No space left"):
            disk_array(small / "a.npy", np.dtype(np.float32), (1000, 1000))
    finally:
        subprocess.run(["umount", small], check=True)
