"""Archives by strangers: plain files come out, everything else is refused and leaves nothing outside."""

import os
import tarfile
from pathlib import Path

import pytest
from hub_server import tar_of
from hypothesis import given
from hypothesis import strategies as st

from tlkit.errors import InputError, UnsafeModuleError
from tlkit.hub import unpacking
from tlkit.hub.unpacking import module_root, safe_parts, unpack


def _member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


EVIL = {
    "climbs": {"../../escaped": b"x"},
    "climbs inside": {"a/../../escaped": b"x"},
    "absolute": {"/tmp/tlkit-escaped": b"x"},
    "windows drive": {"C:\\escaped": b"x"},
    "backslashes": {"..\\escaped": b"x"},
    "symlink": {"s": _member("s", tarfile.SYMTYPE, "/etc/passwd")},
    "symlink inside": {"a": b"x", "s": _member("s", tarfile.SYMTYPE, "a")},
    "hard link": {"h": _member("h", tarfile.LNKTYPE, "/etc/passwd")},
    "device": {"d": _member("d", tarfile.CHRTYPE)},
    "fifo": {"f": _member("f", tarfile.FIFOTYPE)},
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_members_are_refused(name, tmp_path):
    archive = tmp_path / "in" / "evil.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(tar_of({"saved_model.pb": b"x", **EVIL[name]}))
    with pytest.raises(UnsafeModuleError, match="refused"):
        unpack(archive, tmp_path / "in" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert not Path("/tmp/tlkit-escaped").exists()


def test_bombs_are_refused(tmp_path, monkeypatch):
    (tmp_path / "big.tar.gz").write_bytes(tar_of({"saved_model.pb": bytes(1 << 20)}))
    with pytest.raises(UnsafeModuleError, match="more than 1000 bytes"):
        unpack(tmp_path / "big.tar.gz", tmp_path / "big", limit_bytes=1000)
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 5)
    (tmp_path / "many.tar.gz").write_bytes(tar_of({f"f{i}": b"" for i in range(10)}))
    with pytest.raises(UnsafeModuleError, match="5 files"):
        unpack(tmp_path / "many.tar.gz", tmp_path / "many")


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
def test_broken_archives(cut, tmp_path):
    whole = tar_of({"saved_model.pb": os.urandom(100_000)})
    (tmp_path / "cut.tgz").write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(InputError, match=r"cut\.tgz is not a whole tar archive"):
        unpack(tmp_path / "cut.tgz", tmp_path / "out")


def test_no_archive_at_all_and_the_same_name_twice(tmp_path):
    (tmp_path / "page.tgz").write_bytes(b"<html>")
    with pytest.raises(InputError, match="not a whole tar archive"):
        unpack(tmp_path / "page.tgz", tmp_path / "page")
    (tmp_path / "twice.tgz").write_bytes(tar_of({"a": b"1", "./a": b"2"}))
    with pytest.raises(InputError, match="not a whole tar archive"):
        unpack(tmp_path / "twice.tgz", tmp_path / "twice")


def test_content_survives(tmp_path):
    members = {"saved_model.pb": b"graph", "variables/variables.index": b"", "assets/v\u00e4.txt": b"x\n"}
    (tmp_path / "m.tgz").write_bytes(tar_of({"./": _member("./", tarfile.DIRTYPE), **members}))
    unpack(tmp_path / "m.tgz", tmp_path / "m")
    assert {p: (tmp_path / "m" / p).read_bytes() for p in members} == members
    assert not os.access(tmp_path / "m" / "saved_model.pb", os.X_OK)


@given(st.text(alphabet="ab./\\:\0", max_size=12))
def test_safe_parts_never_climb(name):
    try:
        parts = safe_parts(name)
    except UnsafeModuleError:
        return
    assert ".." not in parts
    assert not any(set(part) & set("/\\\0") for part in parts)


def test_module_root(tmp_path):
    with pytest.raises(InputError, match="holds no SavedModel"):
        module_root(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "saved_model.pb").touch()
    assert module_root(tmp_path) == tmp_path / "a"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "saved_model.pb").touch()
    with pytest.raises(InputError, match=r"several SavedModels \(a, b\)"):
        module_root(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    assert module_root(tmp_path) == tmp_path
