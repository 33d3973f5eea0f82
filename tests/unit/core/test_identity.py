"""What caches and checkpoints know callables by."""

from __future__ import annotations

import dataclasses
import doctest
import functools
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tlkit.core import identity as identities
from tlkit.core.columns import FileColumn
from tlkit.core.errors import InputError
from tlkit.core.identity import Itself, identity, known
from tlkit.data.augment import Augmentation

PLUGIN = """
import dataclasses
import functools
import numpy as np

SCALE = 2
ODD = frozenset({"a", "b", "c"})

def scaled(x):
    return x * SCALE

def read(path):
    "Of a file."
    return scaled(np.load(path)) if path.suffix not in {".txt", ".csv", ".bin"} else None

def times(factor):
    return lambda path: read(path) * factor

@dataclasses.dataclass(frozen=True)
class Change:
    most: float = 0.3

    def draw(self, seed):
        return {"by": self.most * (seed % 2)}

    def inputs(self, value, drawn):
        return scaled(value) + drawn["by"]

    def targets(self, value, drawn):
        return value

class Plain:
    strength = 3

    def __init__(self, table):
        self.table = table

    def __call__(self, value, seed):
        return self.table[value] + self.strength
"""
USES = (
    "read",
    "times(3)",
    "Change()",
    "Change",
    "Plain({1: [2.0]})",
    "functools.partial(read, mode=4)",
    "Change().draw",
)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """(source, name) -> a module of that source."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    imported = set()

    def made(source=PLUGIN, name="plugin_of_identity"):
        (tmp_path / f"{name}.py").write_text(source)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        imported.add(name)
        return importlib.import_module(name)

    yield made
    for name in imported:
        sys.modules.pop(name, None)


def of(module, uses=USES):
    return [identity(eval(use, vars(module))) for use in uses]


def test_the_docstring_holds():
    assert doctest.testmod(identities).failed == 0


def test_all_that_differs_has_another_identity(plugin):
    module = plugin()
    others = ("times(4)", "Change(0.4)", "Plain({1: [2.5]})", "functools.partial(read, mode=5)", "Change(0.4).draw")
    known = of(module, (*USES, *others, "scaled", "Change().inputs", "lambda x: x", "lambda x: x + 1", "np.load"))
    assert len(set(known)) == len(known)
    assert of(module) == of(module)


def test_another_process_sees_the_same(plugin, tmp_path):
    uses = [*USES, "lambda x: x in ODD"]
    code = "import plugin_of_identity as p; from tlkit.core.identity import identity\n"
    code += f"print(*(identity(eval(use, vars(p))) for use in {uses!r}))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
        plugin()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        assert done.stdout.split() == of(plugin(), uses)


def test_an_edit_of_what_is_used_is_seen_and_others_are_not(plugin):
    before = of(plugin())
    assert of(plugin("# a comment\n" + PLUGIN.replace("ODD = ", "UNUSED = 1\nODD = "))) == before
    for edit in (("SCALE = 2", "SCALE = 3"), ("x * SCALE", "x + SCALE")):
        edited = of(plugin(PLUGIN.replace(*edit)))
        differs = [a != b for a, b in zip(edited, before, strict=True)]
        assert differs == [True, True, True, True, False, True, True]
    edited = of(plugin(PLUGIN.replace("strength = 3", "strength = 4")))
    assert [a != b for a, b in zip(edited, before, strict=True)] == [False] * 4 + [True] + [False] * 2


def test_records_of_one_name_in_two_modules_differ(plugin):
    first, second = plugin(), plugin(name="second_plugin_of_identity")
    assert repr(first.Change()) == repr(second.Change())
    assert not set(of(first)) & set(of(second))


def test_what_tlkit_brings_keeps_its_name():
    assert identity(Augmentation()) == repr(Augmentation()) and identity(None) == "None"
    assert identity(tlkit.load) == "tlkit.runs.folder.load"
    assert identity(functools.partial(tlkit.load, trust=True)) != identity(functools.partial(tlkit.load, trust=False))


def test_long_arrays_are_known_by_all_of_their_numbers():
    rows = np.zeros(5000)
    before = identity(functools.partial(np.add, rows))
    rows[2500] = 1
    assert "..." in repr(rows) and identity(functools.partial(np.add, rows)) != before


def test_what_cannot_be_told_apart_is_refused(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Holds:
        what: object

        def __call__(self, path):
            return np.load(path)

    with (tmp_path / "a").open("w") as file:
        for reader in (lambda path: file, Holds(file), functools.partial(np.load, file)):
            with pytest.raises(InputError, match="A TextIOWrapper in what reads or changes examples cannot be told"):
                FileColumn([tmp_path / "a"], reader)


def test_files_are_known_by_how_they_are_read(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))

    def column(scale):
        return FileColumn([tmp_path / "a.npy"], lambda path: np.load(path) * scale)

    assert column(2).digests == column(2).subset([0]).digests != column(3).digests


def test_functions_that_name_each_other_come_to_an_end(plugin):
    module = plugin("def even(n):\n    return n == 0 or odd(n - 1)\n\ndef odd(n):\n    return n > 0 and even(n - 1)\n")
    assert identity(module.even) == identity(module.even) != identity(module.odd)


def test_what_is_not_known_is_none_and_a_thing_is_itself_alone():
    def holding(thing):
        return lambda x: (x, thing)

    assert known(holding(4)) == known(holding(4)) != known(holding(32))
    assert known(holding(threading.Lock())) is None
    thing = [1]
    assert Itself(thing) == Itself(thing) != Itself([1]) and {Itself(thing): 1}[Itself(thing)] == 1


CONSTANTS = {
    "list": ("NAMES = ['a', 'b']", "NAMES = ['a', 'c']"),
    "dict": ("NAMES = {'a': (1, 2)}", "NAMES = {'a': (1, 3)}"),
    "tuple": ("NAMES = ('a', ('b',))", "NAMES = ('a', ('c',))"),
    "set": ("NAMES = {'a', 'b', 'c', 'd'}", "NAMES = {'a', 'b', 'c', 'e'}"),
    "frozenset": ("NAMES = frozenset('abcd')", "NAMES = frozenset('abce')"),
    "array": ("NAMES = np.arange(5)", "NAMES = np.arange(5) + 1"),
    "record": ("NAMES = Table(('a', 'b'))", "NAMES = Table(('a', 'c'))"),
}
READER = """
import dataclasses
import numpy as np

@dataclasses.dataclass(frozen=True)
class Table:
    names: tuple

NAMES = None

def read(path):
    return len(NAMES), path
"""
ASKS = """
import sys
from tlkit.core.identity import identity
source = sys.argv[1]
module = type(sys)("mine_of_constants")
sys.modules[module.__name__] = module
for constant in sys.argv[2:]:
    exec(source.replace("NAMES = None", constant), module.__dict__)
    print(identity(module.read))
"""


def test_containers_and_arrays_that_a_reader_names_tell_it_from_another():
    """In each of two processes, whose hashes of texts differ."""
    constants = [constant for pair in CONSTANTS.values() for constant in pair]
    told = [
        subprocess.run(
            [sys.executable, "-c", ASKS, READER, *constants],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(set(told[0])) == len(constants)


def test_a_constant_that_nothing_tells_from_another_is_passed_over():
    """A reader that names an open file, a lock or a list of these is known by the rest, as before."""
    namespace = {"__name__": "mine_of_locks", "HELD": [threading.Lock()], "HUGE": np.broadcast_to(np.uint8(0), 1 << 27)}
    exec("def read(path):\n    return HELD, HUGE, path", namespace)
    first = identity(namespace["read"])
    namespace["HELD"] = [threading.Lock(), threading.Lock()]
    assert identity(namespace["read"]) == first
    endless = []
    endless.append(endless)
    namespace["HELD"] = endless
    assert identity(namespace["read"]) == first
