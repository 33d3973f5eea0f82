"""Archives by strangers: plain files come out, everything else is refused and leaves nothing outside."""

import errno
import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hub_server import tar_of
from hypothesis import given
from hypothesis import strategies as st

from tlkit.core.errors import InputError, UnsafeModuleError
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


def _tar(folder, name, members, kind="w:gz"):
    """An archive of (TarInfo, content) whose headers are as given."""
    with tarfile.open(folder / name, kind, format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return folder / name


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_is_as_long_as_a_disk(kind, tmp_path):
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 3 << 30
    with gzip.open(tmp_path / "long.tar.gz", "wb", 1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(10):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(UnsafeModuleError, match="header or a name of over 4 MiB"):
        unpack(tmp_path / "long.tar.gz", tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


def test_headers_that_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "_LONGEST_HEADER", 1 << 20)
    for i in range(3):
        path = tmp_path / f"{i}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={f"comment{i}": "x" * 500_000}) as tar:
            tar.addfile(tarfile.TarInfo(f"a{i}"), io.BytesIO(b""))
    data = b"".join(p.read_bytes()[: 512 * 979] for p in sorted(tmp_path.glob("*.tar")))
    (tmp_path / "many.tar").write_bytes(data + bytes(1024))
    with pytest.raises(UnsafeModuleError, match="headers without end"):
        unpack(tmp_path / "many.tar", tmp_path / "out")


def test_headers_one_behind_the_other(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 0
    (tmp_path / "deep.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) * 5_000)
    with pytest.raises(InputError, match="not a whole tar archive"):
        unpack(tmp_path / "deep.tar", tmp_path / "out")


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_every_damage_and_every_checksum(ending, tmp_path):
    info = tarfile.TarInfo("saved_model.pb")
    info.size = 50_000
    whole = _tar(tmp_path, "m.tar", [(info, os.urandom(info.size))], f"w:{ending}").read_bytes()
    unpack(tmp_path / "m.tar", tmp_path / "fine")
    places = [40, 200, len(whole) // 2, len(whole) - 20, len(whole) - 7, len(whole) - 5]
    for i, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        (tmp_path / "m.tar").write_bytes(damaged)
        with pytest.raises(InputError, match="not a whole tar archive") as caught:
            unpack(tmp_path / "m.tar", tmp_path / f"out{i}")
        assert "\n" not in str(caught.value)


def test_a_full_disk_is_not_the_archives_fault(tmp_path, monkeypatch):
    (tmp_path / "m.tgz").write_bytes(tar_of({"saved_model.pb": b"x"}))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "_write", full)
    with pytest.raises(OSError, match="No space left on device"):
        unpack(tmp_path / "m.tgz", tmp_path / "out")


def _zip(path, members, **attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(entry, key, value)
            archive.writestr(entry, data)
    return path


def test_a_zip_archive_comes_out_whole(tmp_path):
    members = {
        "m/saved_model.pb": b"graph",
        "m/variables/variables.index": os.urandom(3_000_000),
        "m/assets/v\u00e4.txt": b"x",
    }
    unpack(_zip(tmp_path / "m.zip", members, external_attr=0o755 << 16), tmp_path / "m")
    assert {p: (tmp_path / "m" / p).read_bytes() for p in members} == members
    assert not os.access(tmp_path / "m/m/saved_model.pb", os.X_OK)
    assert module_root(tmp_path / "m") == tmp_path / "m" / "m"


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/tlkit-escaped", "C:\\escaped", "..\\escaped", "a/../../x"])
def test_zip_members_that_escape(name, tmp_path):
    with pytest.raises(UnsafeModuleError, match="leaves the module's folder"):
        unpack(_zip(tmp_path / "m.zip", {"saved_model.pb": b"x", name: b"x"}), tmp_path / "in")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "m.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_zip_members_that_are_links_or_devices(kind, tmp_path):
    path = _zip(tmp_path / "m.zip", {"s": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16, create_system=3)
    with pytest.raises(UnsafeModuleError, match="a link or a device, 's'"):
        unpack(path, tmp_path / "out")


def test_zip_bombs_lies_and_damage(tmp_path, monkeypatch):
    path = _zip(tmp_path / "m.zip", {"saved_model.pb": bytes(100_000)})
    with pytest.raises(UnsafeModuleError, match="more than 10000 bytes"):
        unpack(path, tmp_path / "bomb", limit_bytes=10_000)
    data = path.read_bytes()
    size = (100_000).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (500).to_bytes(4, "little")))
    with pytest.raises(InputError, match="not a whole zip archive"):
        unpack(path, tmp_path / "lie")
    data = _zip(path, {"saved_model.pb": os.urandom(1_000)}).read_bytes()
    for i, place in enumerate((0, 100, 500, 1_000)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with pytest.raises(InputError):
            unpack(path, tmp_path / f"damaged{i}")
    path.write_bytes(data[:-30])
    with pytest.raises(InputError, match="not a whole zip archive"):
        unpack(path, tmp_path / "cut")
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(InputError, match="not a whole zip archive"):
        unpack(path, tmp_path / "twice")
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 5)
    with pytest.raises(UnsafeModuleError, match="5 files"):
        unpack(_zip(tmp_path / "many.zip", {f"f{i}": b"" for i in range(10)}), tmp_path / "many")


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
    os.mkfifo(tmp_path / "saved_model.pb")
    with pytest.raises(InputError, match=r"its saved_model\.pb is a folder or a device"):
        module_root(tmp_path)
    (tmp_path / "saved_model.pb").unlink()
    (tmp_path / "saved_model.pb").touch()
    assert module_root(tmp_path) == tmp_path


def test_a_whole_disk_is_not_searched_for_a_module(tmp_path, monkeypatch):
    for i in range(9):
        (tmp_path / str(i)).mkdir()
    monkeypatch.setattr("tlkit.hub.unpacking.MOST_FOLDERS", 5)
    with pytest.raises(InputError, match="holds over 5 folders; give the one with"):
        module_root(tmp_path)
