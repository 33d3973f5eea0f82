"""`tlkit cache`: it knows its own folders, and lets others be."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

import tlkit
from tlkit.cli import commands
from tlkit.core import files

ROOT = Path(tlkit.__file__).parent


def test_clearing_leaves_what_is_not_tlkit_s(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    for name in ("thesis/chapter1.tex", "notes.txt", "features/a/0.npy", "zoo/net/model", f"{files.PARTIAL}x/part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0123456789")
    assert commands.main(["cache", "clear"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "thesis"]
    printed = capsys.readouterr().out
    assert "freed 0.0 MB" in printed and "as it is not tlkit's: notes.txt, thesis" in printed
    assert commands.main(["cache"]) == 0 and "thesis" not in capsys.readouterr().out


def test_every_folder_of_the_cache_is_known():
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py"))
    names = set(re.findall(r'cache_dir\(\) / "([a-z_]+)"', sources))
    assert len(names) >= 9 and names <= set(files.CACHED)


def test_a_cache_without_locks_does_without(tmp_path, monkeypatch):
    def refused(*_arguments, **_options):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(files, "_lock", refused)
    with files.locked(tmp_path / "lock"):
        pass
    monkeypatch.setattr(files, "NO_LOCKS", ())
    with pytest.raises(OSError, match="not implemented"), files.locked(tmp_path / "lock"):
        pass
