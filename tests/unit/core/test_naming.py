"""Names of records and functions: tlkit's own words, and import paths that import nothing without trust."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from tlkit.cli import commands
from tlkit.core import naming
from tlkit.core.errors import InputError
from tlkit.core.format import Format
from tlkit.exporting import formats

ROOM = "exporting.formats"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user's, not imported yet; importing it leaves a file behind."""
    (tmp_path / "own_formats.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'imported')!r}).touch()\n"
        "import tlkit\nMINE = tlkit.Format('own_formats.MINE', 'm.bin', print, print)\nOTHER = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_formats", None)


def test_a_word_is_tlkits_own():
    assert naming.found("int8", Format, ROOM) is formats.int8
    with pytest.raises(InputError, match="There is no format 'onnx': tlkit brings saved_model, float32"):
        naming.found("onnx", Format, ROOM)
    with pytest.raises(InputError, match="There is no format 'tflite'"):  # a module of the room is no record of it
        naming.found("tflite", Format, ROOM)


def test_a_strangers_module_is_imported_with_trust_alone(module):
    with pytest.raises(InputError, match="import `own_formats` first, or pass `trust=True`"):
        naming.found("own_formats.MINE", Format, ROOM)
    assert not (module / "imported").exists()
    record = naming.found("own_formats.MINE", Format, ROOM, trust=True)
    assert record.file == "m.bin" and (module / "imported").exists()
    assert naming.found("own_formats.MINE", Format, ROOM) is record  # it is imported by now


def test_trust_of_the_environment_is_trust(module, monkeypatch):
    monkeypatch.setenv(naming.TRUST, "0")
    with pytest.raises(InputError, match="is not part of tlkit"):
        naming.found("own_formats.MINE", Format, ROOM)
    monkeypatch.setenv(naming.TRUST, "1")
    assert naming.found("own_formats.MINE", Format, ROOM).file == "m.bin"


def test_with_trust_the_command_line_looks_in_the_working_folder(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(module)])
    monkeypatch.setenv(naming.TRUST, "0")
    monkeypatch.chdir(module)
    words = ["export", "no-run", "--formats", "own_formats.MINE"]
    assert commands.main(words) == 2 and "`own_formats.MINE` cannot be imported" in capsys.readouterr().err
    assert commands.main([*words, "--trust"]) == 2 and "no-run is no run's folder" in capsys.readouterr().err
    assert "own_formats" in sys.modules and sys.path[-1] == str(module)


@pytest.mark.parametrize("name", ["own_formats.OTHER", "own_formats.NONE"])
def test_what_is_no_such_record_is_refused(module, name):
    with pytest.raises(InputError, match=f"`{name}` (must be a Format|cannot be imported)"):
        naming.found(name, Format, ROOM, trust=True)


def test_a_record_that_could_not_be_found_again_is_refused(module, monkeypatch):
    """By its name alone runs and files know it, in a process that has nothing else of it."""
    record = naming.found("own_formats.MINE", Format, ROOM, trust=True)
    naming.check_found_again(record, ROOM)
    naming.check_found_again(formats.int8, ROOM)
    monkeypatch.setattr(sys.modules["__main__"], "MINE", Format("__main__.MINE", "m.bin", print, print), raising=False)
    lost = [dataclasses.replace(record, name=name) for name in ("mine", "int8", "own_formats.HIS", "no_such_module.X")]
    for other in (*lost, sys.modules["__main__"].MINE, dataclasses.replace(record)):
        with pytest.raises(InputError, match=f"The format '{other.name}' cannot be found again: its `name` must be"):
            naming.check_found_again(other, ROOM)


def test_no_such_module():
    with pytest.raises(InputError, match=r"`no_such_module.X` cannot be imported: No module named"):
        naming.found("no_such_module.X", Format, ROOM, trust=True)


def test_functions_without_an_import_path_have_none():
    def local() -> None: ...

    assert naming.import_path(local) is None and naming.import_path(lambda: 0) is None
    assert naming.imported(naming.import_path(naming.found)) is naming.found
