"""zoo:forecaster is made by its recipe: the same seed gives the same bytes in each process, and another one others."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tlkit.zoo import forecaster

SCRIPT = """
import sys
from pathlib import Path
from tlkit.zoo import forecaster
short = forecaster.Training(series=20, windows=100, steps=8, batch_size=32, seed=int(sys.argv[2]))
forecaster.Training = lambda: short
forecaster.build({}, Path(sys.argv[1]))
"""


def written(folder, seed):
    """Files of the module by name, trained shortly in a process of its own."""
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(seed)], check=True, timeout=300)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_seed_gives_the_same_bytes(tmp_path):
    first, again, other = (written(tmp_path / str(i), seed) for i, seed in enumerate((0, 0, 1)))
    (weights,) = [name for name in first if name.endswith(".data-00000-of-00001")]
    assert first == again and first[weights] != other[weights]


def test_series_are_drawn_from_the_seed_alone():
    one, same, other = (list(forecaster.made(6, seed)) for seed in (3, 3, 4))
    for (values, period), (others, like) in zip(one, same, strict=True):
        np.testing.assert_array_equal(values, others)
        assert period == like and np.isfinite(values).all()
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
