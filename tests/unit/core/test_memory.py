"""Memory stays with the process inside `kept`, and only there."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tlkit.core import memory

resource = pytest.importorskip("resource", reason="page faults are counted on Unix")
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back at once")
SIZE = 2**26 + 1


def faults(times: int = 8) -> int:
    """Page faults of making and dropping a large block of bytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        bytes_of = b"x" * SIZE
        del bytes_of
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    for name in memory.CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    memory._glibc.cache_clear()
    yield
    memory._glibc.cache_clear()


NESTED = """
from test_memory import faults
from tlkit.core import memory

with memory.kept():
    faults(1)
    with memory.kept():
        inner = faults()
    still = faults()
print(inner, still, faults())
"""


@glibc
def test_memory_is_kept_inside_and_given_back_behind():
    """In a process of its own: behind thousands of other tests glibc did not keep it; why is not known."""
    environment = {name: value for name, value in os.environ.items() if name not in memory.CHOSEN_BY_USER}
    done = subprocess.run(
        [sys.executable, "-c", NESTED], cwd=Path(__file__).parent, env=environment, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    inner, still, outside = map(int, done.stdout.split())
    assert inner < outside / 4 and still < outside / 4


@glibc
def test_an_error_ends_it_too():
    before = faults()
    with pytest.raises(ValueError), memory.kept():
        raise ValueError
    assert faults() > before / 2


@glibc
@pytest.mark.parametrize("name", memory.CHOSEN_BY_USER)
def test_what_the_user_has_chosen_stays(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    memory._glibc.cache_clear()
    before = faults()
    with memory.kept():
        faults(1)
        assert faults() > before / 2


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    memory._glibc.cache_clear()
    with memory.kept():
        assert memory._glibc() is None
