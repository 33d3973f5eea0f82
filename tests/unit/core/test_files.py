"""Folders of the cache: filled once, and again where they are damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tlkit.core import files, swapping
from tlkit.core.files import PARTIAL, atomic_folder, is_kept, kept_folder, record_kept
from tlkit.data.spool import spool
from tlkit.datasets import samples


def gone(path):
    path.unlink() if path.is_file() else path.rename(path.with_name("moved"))


DAMAGES = {
    "a file changed": lambda p: (p / "a").write_bytes(b"other"),
    "a file gone": lambda p: (p / "a").unlink(),
    "a file more": lambda p: (p / "b").write_bytes(b"x"),
    "the folder gone": gone,
    "the folder a file": lambda p: [gone(p), p.write_bytes(b"x")],
    "the folder a dangling link": lambda p: [gone(p), p.symlink_to("nowhere")],
    "the record gone": lambda p: p.with_name("kept.sha256").unlink(),
    "the record garbage": lambda p: p.with_name("kept.sha256").write_bytes(b"\xff\x00"),
    "the record a pipe": lambda p: [p.with_name("kept.sha256").unlink(), os.mkfifo(p.with_name("kept.sha256"))],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_folder_is_filled_once_and_again_where_it_is_damaged(name, tmp_path):
    filled = []

    def fill(folder):
        filled.append(folder)
        (folder / "a").write_bytes(b"content")

    target = tmp_path / "cache" / "kept"
    for _ in range(2):
        assert kept_folder(target, fill) == target
    assert len(filled) == 1
    DAMAGES[name](target)
    kept_folder(target, fill)
    assert len(filled) == 2
    assert [p.name for p in target.iterdir()] == ["a"] and (target / "a").read_bytes() == b"content"
    assert is_kept(target) and not list(target.parent.glob(f"{PARTIAL}*"))


def test_what_cannot_be_filled_leaves_nothing(tmp_path):
    def fill(folder):
        (folder / "half").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept_folder(tmp_path / "kept", fill)
    assert [p.name for p in tmp_path.iterdir()] == [".kept.lock"]


def test_a_file_has_its_hash_beside_it(tmp_path):
    file = tmp_path / "front.tflite"
    assert not is_kept(file)
    file.write_bytes(b"x")
    assert not is_kept(file)
    record_kept(file)
    assert is_kept(file)
    file.write_bytes(b"y")
    assert not is_kept(file)


def test_damaged_samples_and_spools_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    folder = samples.folder()
    picture = next(folder.glob("*/*.png"))
    content = picture.read_bytes()
    picture.write_bytes(b"")
    assert samples.folder() == folder and picture.read_bytes() == content
    spooled, places = spool([b"one", b"two"])
    spooled.path.write_bytes(b"?" * 6)
    again, places = spool([b"one", b"two"])
    assert [again(i) for i in places] == [b"one", b"two"]
    (again.path.parent / "index.json").write_text("[]")
    again, places = spool([b"two", b"one"])
    assert [again(i) for i in places] == [b"two", b"one"]
    assert files.cache_dir() == tmp_path


# -- killed while a folder is replaced

STAGES = {  # what is stopped at, with and without the system's exchange
    "filling": "",
    "before the exchange": "swapping.exchanged = end",
    "behind the exchange": "files.swapping.swap = lambda a, b, swap=swapping.swap: (swap(a, b), end())",
    "before the first rename": "swapping.exchanged = no; os.replace = end",
    "between the renames": "swapping.exchanged = no; os.replace = lambda a, b, move=os.replace: (move(a, b), end())",
}
KILLED = """
import os, signal, sys
from tlkit.core import files, swapping
no, end = lambda *_: False, lambda *_: os.kill(os.getpid(), signal.SIGKILL)
{stage}
with files.atomic_folder(sys.argv[1]) as partial:
    (partial / "a.txt").write_text("new")
    {filling}
"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_while_a_folder_is_replaced_loses_and_doubles_nothing(stage, tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.txt").write_text("old")
    code = KILLED.format(stage=STAGES[stage], filling="end()" if stage == "filling" else "pass")
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL and list(tmp_path.glob(f"{PARTIAL}*"))
    content = "new" if stage == "behind the exchange" else "old"
    if stage != "between the renames":
        assert (target / "a.txt").read_text() == content
    with pytest.raises(ZeroDivisionError), atomic_folder(target):
        assert (target / "a.txt").read_text() == content
        raise ZeroDivisionError  # the next start fails, too
    assert (target / "a.txt").read_text() == content
    with atomic_folder(target) as partial:
        (partial / "a.txt").write_text("newest")
    assert (target / "a.txt").read_text() == "newest" and [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("before", ["folder", "file", "link", "nothing"])
def test_a_folder_takes_the_place_of_whatever_lay_there(before, exchange, tmp_path, monkeypatch):
    if not exchange:
        monkeypatch.setattr(swapping, "exchanged", lambda *_: False)
    target, other = tmp_path / "model", tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    {"folder": target.mkdir, "file": target.touch, "link": lambda: target.symlink_to(other), "nothing": bool}[before]()
    with atomic_folder(target) as partial:
        (partial / "a.txt").write_text("new")
        with atomic_folder(tmp_path / "beside"):  # of another name: it leaves this one alone
            assert partial.is_dir()
        with pytest.raises(ZeroDivisionError), atomic_folder(target):  # of this name: it does, too, as we are alive
            raise ZeroDivisionError
        assert partial.is_dir()
    assert not target.is_symlink() and (target / "a.txt").read_text() == "new" and (other / "kept").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside", "model", "other"]
