"""Handles that are fetched: over a real loopback server, without TensorFlow (a saved_model.pb of any bytes does)."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import pytest
from hub_server import serving, tar_gz, tar_of

from tlkit.core import files
from tlkit.core.errors import DownloadError, InputError, OfflineError, UnsafeModuleError
from tlkit.hub import downloading, resolve
from tlkit.hub.store import modules_dir

CONTENT = {"saved_model.pb": b"graph" * 100, "variables/variables.data-00000-of-00001": os.urandom(300_000)}
ARCHIVE = tar_of(CONTENT)
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    for name in ("TFHUB_CACHE_DIR", "TLKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloading, "PAUSE_S", 0.01)
    monkeypatch.setattr(downloading, "TIMEOUT_S", 5.0)


@pytest.fixture
def hub():
    with serving({"/mod/1": ARCHIVE}) as server:
        yield server


def whole(folder):
    return all((folder / name).read_bytes() == data for name, data in CONTENT.items())


def leftovers():
    partial = modules_dir() / "partial"
    return sorted(partial.rglob("*")) if partial.exists() else []


def spawn(address, **env):
    code = f"from tlkit.hub import resolve; print(resolve({address!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


# What works


@pytest.mark.parametrize("way", ["", "/redirect", "/flaky", "/slow", "/query"])
def test_fetched_once_and_kept_by_content(hub, way):
    address = f"{hub.address}{way}/mod/1"
    folder = resolve(address)
    asked = sum(hub.requests.values())
    assert whole(folder)
    assert folder == modules_dir() / DIGEST
    assert resolve(address) == folder
    assert resolve(address, offline=True) == folder
    assert sum(hub.requests.values()) == asked
    assert all("tf-hub-format=compressed" in path for path in hub.requests)
    assert leftovers() == []


def test_a_query_is_kept(hub):
    resolve(f"{hub.address}/mod/1?token=a%2Fb")
    assert list(hub.requests) == ["/mod/1?token=a%2Fb&tf-hub-format=compressed"]


def test_the_plain_line_where_there_is_no_terminal(hub, capsys):
    resolve(f"{hub.address}/mod/1")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"Downloading {hub.address}/mod/1" in err
    assert "(0.3 MB)" in err


def test_a_bar_on_a_terminal(hub, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert whole(resolve(f"{hub.address}/mod/1"))


def test_two_processes_download_once(hub):
    address = f"{hub.address}/slow/mod/1"
    both = [spawn(address) for _ in range(2)]
    outputs = [p.communicate(timeout=60) for p in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert sum(hub.requests.values()) == 1


def test_a_killed_download_leaves_nothing_in_the_way(hub):
    address = f"{hub.address}/stall/mod/1"
    victim = spawn(address)
    deadline = time.monotonic() + 30
    while not any(p.name == "archive" for p in leftovers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=30)
    assert leftovers() != []
    hub.stopping.set()  # from now on /stall breaks off at once
    started = time.monotonic()
    with pytest.raises(DownloadError, match="broke off"):
        resolve(address)
    assert time.monotonic() - started < 5
    assert leftovers() == []
    assert whole(resolve(f"{hub.address}/mod/1"))


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "index"])
def test_a_damaged_cache_repairs_itself(hub, damage):
    address = f"{hub.address}/mod/1"
    data = resolve(address) / "variables/variables.data-00000-of-00001"
    if damage == "flip":
        content = bytearray(data.read_bytes())
        content[1000] ^= 1
        data.write_bytes(content)
    elif damage == "cut":
        data.write_bytes(b"")
    elif damage == "remove":
        data.unlink()
    else:
        next((modules_dir() / "index").iterdir()).write_text("{")
    if damage != "index":
        with pytest.raises(OfflineError, match="in the cache, but damaged"):
            resolve(address, offline=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert whole(resolve(address))
    assert ("damaged" in "".join(str(w.message) for w in caught)) == (damage != "index")
    assert sum(hub.requests.values()) == 2


def test_expected_sha256(hub):
    address = f"{hub.address}/mod/1"
    with pytest.raises(DownloadError, match=f"not what was expected: its sha256 is {DIGEST}"):
        resolve(address, sha256="0" * 64)
    assert not (modules_dir() / "index").exists()
    folder = resolve(address, sha256="sha256:" + DIGEST.upper())
    assert resolve(address, sha256=files.sha256_tree(folder)) == folder  # what Module.sha256 is
    with pytest.raises(OfflineError, match="another content"):
        resolve(address, sha256="1" * 64, offline=True)
    with pytest.raises(InputError, match="64 hex digits"):
        resolve(address, sha256="abc")


# What fails, each in one sentence


@pytest.mark.parametrize(
    ("way", "message", "requests"),
    [
        ("/html/mod/1", "answered with a web page, not with a module's archive", 1),
        ("/truncated/mod/1", r"broke off \d+ bytes early, after 3 attempts", 3),
        ("/nothing/here", "said 404 Not Found, after 1 attempt; check the address", 1),
        ("/down/mod/1", "said 503 Service Unavailable, after 3 attempts", 3),
    ],
)
def test_failures(hub, way, message, requests):
    with pytest.raises(DownloadError, match=message) as caught:
        resolve(hub.address + way)
    assert "\n" not in str(caught.value)
    assert sum(hub.requests.values()) == requests
    assert leftovers() == []


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("/length/mod/1?abc", "sends a length that is no number: Content-Length abc"),
        ("/length/mod/1?1e6", "sends a length that is no number"),
        ("/length/mod/1?\u0661", "sends a length that is no number|answer cannot be read"),
        ("/length/mod/1?9999999999999999", "more than 32 GiB|has room for"),
        ("/to/mod/1?http://[bad/", "answer cannot be read"),
        ("/to/mod/1?http://h:port/", "answer cannot be read|cannot be reached"),
        ("/to/mod/1?ftp://127.0.0.1/x", "sends on to ftp://127.0.0.1/x, which is no web address|said 302"),
        ("/to/mod/1?file:///etc/passwd", "which is no web address|said 302"),
        ("/loop/mod/1", "said 302 .*infinite loop"),
        ("/garbage/mod/1", "answer cannot be read"),
        ("/chunked/mod/1", "broke off"),
    ],
)
def test_odd_answers_get_one_clean_sentence(hub, way, message):
    with pytest.raises(DownloadError, match=message) as caught:
        resolve(hub.address + way)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert "None" not in str(caught.value)
    assert leftovers() == []


def test_drips_end(hub, monkeypatch):
    monkeypatch.setattr(downloading, "SLOW_S", 0.3)
    monkeypatch.setattr(downloading, "HEAD_S", 0.3)
    monkeypatch.setattr(downloading, "ATTEMPTS", 1)
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"after \d+ s only \d+ bytes had come"):
        resolve(f"{hub.address}/drip/mod/1")
    with pytest.raises(DownloadError):
        resolve(f"{hub.address}/drophead/mod/1")
    assert time.monotonic() - started < 15


def test_an_endless_body_ends_at_the_limit_or_the_disk(hub, monkeypatch):
    monkeypatch.setattr(downloading, "MAX_BYTES", 1 << 20)
    with pytest.raises(DownloadError, match="more than a module has: refused"):
        resolve(f"{hub.address}/endless/mod/1")
    free = downloading._SPARE_BYTES + (1 << 18)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))
    with pytest.raises(DownloadError, match=r"disk of the cache has room for 0 MB; free some"):
        resolve(f"{hub.address}/endless/mod/1")
    assert leftovers() == []


def test_a_stall_times_out(hub, monkeypatch):
    monkeypatch.setattr(downloading, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(downloading, "ATTEMPTS", 2)
    with pytest.raises(DownloadError, match=r"no data came for 0\.3 s, after 2 attempts"):
        resolve(f"{hub.address}/stall/mod/1")


def test_nobody_answers():
    with serving({}) as server:
        address = server.address
    with pytest.raises(DownloadError, match=r"cannot be reached.*after 3 attempts; check the connection"):
        resolve(f"{address}/mod/1")


def test_tfhub_dev_says_where_modules_went():
    hint = "moved to Kaggle, where a handle reads kaggle:owner/model/framework/variation"
    error = downloading.urllib.error.HTTPError("x", 404, "Not Found", {}, None)
    assert hint in downloading._explain("https://tfhub.dev/google/x/1", error, 1)
    with pytest.raises(DownloadError, match=hint):
        downloading._refuse_page("https://www.tfhub.dev/google/x/1", "text/html", b"<html>")


def test_offline(hub, monkeypatch):
    with pytest.raises(OfflineError, match=r"mod/1 is not in the cache at .*downloads are switched off"):
        resolve(f"{hub.address}/mod/1", offline=True)
    monkeypatch.setenv("TLKIT_OFFLINE", "1")
    with pytest.raises(OfflineError):
        resolve(f"{hub.address}/mod/1")
    assert whole(resolve(f"{hub.address}/mod/1", offline=False))


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"saved_model.pb": b"x", "../escaped": b"x"}, UnsafeModuleError, "leaves the module's folder"),
        ({"readme.txt": b"x"}, DownloadError, "did not send a module.*holds no SavedModel"),
    ],
)
def test_bad_archives_from_a_server(members, error, message):
    with serving({"/evil/1": tar_of(members)}) as server, pytest.raises(error, match=message):
        resolve(f"{server.address}/evil/1")
    assert leftovers() == []


def test_a_body_that_is_no_archive():
    with (
        serving({"/json/1": b'{"error": "quota"}'}) as server,
        pytest.raises(DownloadError, match=r"did not send a module.*not a whole tar archive"),
    ):
        resolve(f"{server.address}/json/1")


# Local sources and where the cache is


def test_local_archives_and_folders(tmp_path):
    module = tmp_path / "models" / "m"
    for name, data in CONTENT.items():
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).write_bytes(data)
    (tmp_path / "m.tar.gz").write_bytes(tar_gz(module, prefix="inner/"))
    assert resolve(module, offline=True) == module
    folder = resolve(tmp_path / "m.tar.gz", offline=True)
    assert whole(folder)
    (folder / "saved_model.pb").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged"):
        assert whole(resolve(tmp_path / "m.tar.gz", offline=True))
    with pytest.raises(InputError, match="not what was expected"):
        resolve(module, sha256="0" * 64)
    with pytest.raises(InputError, match=f"did you mean {module}"):
        resolve(module.parent)
    assert resolve(module.as_uri()) == module
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name, data in CONTENT.items():
            archive.writestr(f"inner/{name}", data)
    assert whole(resolve(tmp_path / "archive.zip"))
    assert whole(resolve((tmp_path / "archive.zip").as_uri()))


def test_a_zip_archive_from_a_server(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in CONTENT.items():
            archive.writestr(name, data)
    with serving({"/m.zip": buffer.getvalue()}) as server:
        assert whole(resolve(f"{server.address}/m.zip"))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_saved_model_that_is_no_file(make, tmp_path):
    make(tmp_path / "saved_model.pb")
    with pytest.raises(InputError, match=r"its saved_model\.pb is a folder or a device, not a file"):
        resolve(tmp_path)
    with pytest.raises(InputError):
        resolve(tmp_path / "saved_model.pb")


def test_where_the_cache_is(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    assert modules_dir() == tmp_path / "cache" / "modules"
    monkeypatch.delenv("TLKIT_CACHE")
    assert resolve(f"{hub.address}/mod/1").is_relative_to(tmp_path / "hub" / "tlkit")


def test_what_tensorflow_hub_has_cached_is_used(tmp_path, monkeypatch):
    address = "https://tfhub.dev/google/some/1"
    theirs = tmp_path / "hub" / hashlib.sha1(address.encode()).hexdigest()
    theirs.mkdir(parents=True)
    (theirs / "saved_model.pb").write_bytes(b"x")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    assert resolve(address, offline=True) == theirs
    with pytest.raises(OfflineError):  # it has no checksum to hold against an expected one
        resolve(address, offline=True, sha256="0" * 64)
