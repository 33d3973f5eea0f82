"""Data and the cache on paths that fsspec opens: in memory here, on S3 against a server of our own where moto is."""

import contextlib
import shutil
import signal
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

import tlkit
from tlkit.cli import commands
from tlkit.cluster import placed
from tlkit.core import progress, remote
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.files import cache_dir, held, sha256_tree, url_of
from tlkit.core.remote import beside, local
from tlkit.features import extract
from tlkit.features.engines import Engine


@pytest.fixture(params=["memory", "s3"])
def bucket(request, monkeypatch, tmp_path):
    """A URL below which nothing lies yet, and a home of its own for this host's copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TLKIT_CACHE", raising=False)
    name = f"b{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        if request.param == "s3":
            stack.enter_context(_s3(monkeypatch, name))
        yield f"{request.param}://{name}"
    if request.param == "memory":
        with contextlib.suppress(FileNotFoundError):
            fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


@contextlib.contextmanager
def _s3(monkeypatch, name):
    """A bucket of moto's server on loopback."""
    pytest.importorskip("s3fs", reason="pip install s3fs 'moto[server]'")
    server = pytest.importorskip("moto.server", reason="pip install s3fs 'moto[server]'").ThreadedMotoServer(
        "127.0.0.1", port=0, verbose=False
    )
    server.start()
    try:
        host, port = server.get_host_and_port()
        for variable, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(variable, value)
        fsspec.filesystem("s3").mkdir(name)
        yield
    finally:
        server.stop()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def _put(url: str, files: dict[str, bytes]) -> None:
    system, root = fsspec.core.url_to_fs(url)
    for name, content in files.items():
        system.pipe_file(f"{root}/{name}", content)


def _images(folder: Path, count: int = 12) -> dict[str, bytes]:
    """Files of two classes."""
    rng, files = np.random.default_rng(0), {}
    for number in range(count):
        name = f"{'fox' if number % 2 else 'owl'}/{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
        files[name] = (folder / name).read_bytes()
    return files


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/flowers", "s3://bucket/flowers"),
        (Path("s3://bucket/flowers"), "s3://bucket/flowers"),
        (Path("file:///data/flowers"), "file:///data/flowers"),
        ("C:/flowers", None),
        ("zoo:efficientnet-lite0", None),
        ("folder/s3:/x", None),
        ("folder::s3", None),
        ("my folder::s3://b", None),
        (Path("zip://a.csv::s3://b/x.zip"), "zip://a.csv::s3://b/x.zip"),
        (Path("zip://::/data/x.zip"), "zip://::/data/x.zip"),
        (Path("simplecache::s3://b/x"), "simplecache::s3://b/x"),
        (7, None),
    ],
)
def test_a_url_is_told_from_a_path(path, url):
    assert url_of(path) == url


def test_a_path_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert local("~/flowers") == Path("/home/somebody/flowers")
    assert beside("~/flowers/labels.csv") == Path("/home/somebody/flowers")


def test_a_copy_follows_what_is_there(bucket):
    url = f"{bucket}/data"
    _put(url, {"a/1.txt": b"one", "b/2.txt": b"two", "3.txt": b"three"})
    folder = local(url)
    assert folder.name == "data"
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.txt")} == {
        "a/1.txt": b"one",
        "b/2.txt": b"two",
        "3.txt": b"three",
    }
    _put(url, {"a/1.txt": b"uno"})
    system, root = fsspec.core.url_to_fs(url)
    system.rm(f"{root}/3.txt")
    (folder / "b/2.txt").unlink()
    assert local(url) == folder
    assert (folder / "a/1.txt").read_bytes() == b"uno"
    assert (folder / "b/2.txt").read_bytes() == b"two"
    assert not (folder / "3.txt").exists()
    assert local(f"{url}/a/1.txt").read_bytes() == b"uno"
    system.rm(f"{root}/b", recursive=True)
    assert not (local(url) / "b").exists(), "a class that is gone there is none here"


def test_a_catalogue_alone_copies_nothing_beside_it(bucket):
    _put(f"{bucket}/shop", {"items.csv": b"item,title\n1,Heat\n2,Emma\n", "big/huge.bin": b"0" * 1000})
    assert tlkit.data.ratings.catalogue(f"{bucket}/shop/items.csv").titles == ("Heat", "Emma")
    assert not list(cache_dir().rglob("huge.bin"))


def test_commands_that_write_take_no_url(capsys):
    assert commands.main(["export", "memory://b/run", "--formats", "float32"]) == 2
    assert "takes paths of this host: copy memory://b/run here" in capsys.readouterr().err


def test_what_has_not_changed_is_not_copied_again(bucket, monkeypatch):
    _put(f"{bucket}/data", {"1.txt": b"one", "2.txt": b"two"})
    local(f"{bucket}/data")
    _put(f"{bucket}/data", {"2.txt": b"dos"})
    system, copied = fsspec.core.url_to_fs(bucket)[0], []
    get = system.get_file
    monkeypatch.setattr(system, "get_file", lambda *a, **k: (copied.append(a[0]), get(*a, **k))[1])
    local(f"{bucket}/data")
    assert {Path(name).name for name in copied} == {"2.txt"}


def test_loaders_read_what_lies_at_a_url(bucket, tmp_path):
    files = _images(tmp_path / "here")
    rows = "".join(f"{name},{name.partition('/')[0]}\n" for name in files)
    (tmp_path / "here/labels.csv").write_text(f"path,label\n{rows}")
    _put(f"{bucket}/animals", files)
    here = tlkit.data.image.from_folder(tmp_path / "here", progress=False)
    there = tlkit.data.image.from_folder(f"{bucket}/animals", progress=False)
    assert there.train.fingerprint == here.train.fingerprint
    _put(f"{bucket}/animals", {"labels.csv": (tmp_path / "here/labels.csv").read_bytes()})
    table = tlkit.data.image.from_csv(f"{bucket}/animals/labels.csv", progress=False)
    assert sorted(table.labels) == ["fox", "owl"]
    texts = b"text,label\n" + b"".join(b"say %d,%d\n" % (number, number % 2) for number in range(20))
    _put(bucket, {"texts.csv": texts})
    assert len(tlkit.data.text.from_table(f"{bucket}/texts.csv").train) == 14


def test_what_cannot_be_opened_is_said_in_a_sentence(bucket, monkeypatch):
    with pytest.raises(tlkit.InputError, match=f"There is nothing at {bucket}/none: check the path."):
        local(f"{bucket}/none")
    with pytest.raises(tlkit.InputError, match="cannot be written to as a folder"), held(f"{bucket}/run"):
        pass
    with pytest.raises(tlkit.InputError, match=r"nosuch://x cannot be opened: .*nosuch"):
        local("nosuch://x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(tlkit.InputError, match=r"pip install 'tlkit\[remote\]'"):
        local(bucket)


# -- a copy that is stopped

KILLED = """
import os, signal, sys
from fsspec.implementations.local import LocalFileSystem
from tlkit.core import remote

get, calls = LocalFileSystem.get_file, []


def dying(self, rpath, lpath, **options):
    calls.append(rpath)
    if len(calls) == 6:
        open(lpath, "wb").write(open(rpath, "rb").read()[:3])
        os.kill(os.getpid(), signal.SIGKILL)
    get(self, rpath, lpath, **options)


LocalFileSystem.get_file, remote.AT_ONCE = dying, 1
remote.local(sys.argv[1])
"""


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder of 20 files, its URL, and a list of those that are copied from here on."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "there"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02d}.txt").write_bytes(b"number %02d" % number)
    copied, get = [], LocalFileSystem.get_file
    monkeypatch.setattr(LocalFileSystem, "get_file", lambda *a, **k: (copied.append(Path(a[1]).name), get(*a, **k))[1])
    return folder, f"file://{folder}", copied


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_copy_that_was_killed_goes_on_behind_the_files_that_are_whole(there):
    folder, url, copied = there
    killed = subprocess.run([sys.executable, "-c", KILLED, url], check=False)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = cache_dir().rglob(".tlkit-partial-*")
    (here,) = (path for path in cache_dir().rglob("there"))
    whole = _contents(here)
    assert len(whole) == 5 and whole.items() <= _contents(folder).items()
    gone, _ = sorted(whole)[:2]
    (folder / gone).unlink()
    assert _contents(local(url)) == _contents(folder)
    assert sorted(copied) == sorted(set(_contents(folder)) - set(whole)) and not partial.exists()
    copied.clear()
    local(url)
    assert not copied


@pytest.mark.parametrize("kept", [0, 1, 40, -1, -20])
def test_a_journal_that_was_cut_off_costs_the_files_of_its_last_lines(there, kept):
    folder, url, copied = there
    subprocess.run([sys.executable, "-c", KILLED, url], check=False)
    (journal,) = cache_dir().rglob("index.jsonl")
    journal.write_bytes(journal.read_bytes()[:kept])
    assert _contents(local(url)) == _contents(folder)
    assert len(copied) >= 15
    assert _contents(local(url)) == _contents(folder)


def test_a_copy_that_a_crash_cut_off_is_made_again(there):
    folder, url, copied = there
    here = local(url)
    copied.clear()
    (here / "07.txt").write_bytes(b"numb")
    assert _contents(local(url)) == _contents(folder) and copied == ["07.txt"]


def test_a_file_of_which_a_part_came_is_not_taken_for_whole(there, monkeypatch):
    folder, url, _ = there
    get = LocalFileSystem.get_file

    def short(self, rpath, lpath, **options):
        get(self, rpath, lpath, **options)
        if rpath.endswith("03.txt"):
            Path(lpath).write_bytes(b"numb")

    monkeypatch.setattr(LocalFileSystem, "get_file", short)
    with pytest.raises(tlkit.InputError, match=r"03\.txt gave 4 bytes and not 9: .* Start the same command again"):
        local(url)
    assert not list(cache_dir().rglob("there/03.txt")) and not list(cache_dir().rglob(".tlkit-partial-*"))
    monkeypatch.setattr(LocalFileSystem, "get_file", get)
    assert _contents(local(url)) == _contents(folder)


def test_an_interrupt_gives_up_what_is_under_way_and_keeps_what_is_whole(there, monkeypatch):
    folder, url, copied = there
    get = LocalFileSystem.get_file

    def interrupted(self, rpath, lpath, **options):
        if rpath.endswith("04.txt"):
            raise KeyboardInterrupt
        get(self, rpath, lpath, **options)

    monkeypatch.setattr(remote, "AT_ONCE", 1)
    monkeypatch.setattr(LocalFileSystem, "get_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        local(url)
    assert len(copied) < 20
    monkeypatch.setattr(LocalFileSystem, "get_file", get)
    whole = set(_contents(next(cache_dir().rglob("there"))))
    copied.clear()
    assert _contents(local(url)) == _contents(folder)
    assert {f"{n:02d}.txt" for n in range(4)} <= whole and set(copied) == set(_contents(folder)) - whole


def test_a_copy_says_how_far_it_is_unless_it_is_to_be_quiet(there, monkeypatch, capsys):
    folder, url, _ = there
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    (folder / "large.txt").write_bytes(b"0" * 2_000_000)
    local(url, progress=False)
    assert capsys.readouterr() == ("", "")
    (folder / "large.txt").write_bytes(b"1" * 3_000_000)
    local(url)
    assert f"copying {url} (MB): 3 of 3" in capsys.readouterr().err
    with pytest.raises(tlkit.InputError):
        tlkit.data.image.from_folder(url, progress=False)
    assert capsys.readouterr() == ("", "")


# -- URLs that read one file system through another


@pytest.fixture(params=["memory", "path"])
def archive(request, tmp_path, monkeypatch):
    """Writes files into a zip archive, and gives what stands behind "::" for it."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    place = f"memory://b{uuid.uuid4().hex}/x.zip" if request.param == "memory" else str(tmp_path / "x.zip")

    def written(files: dict[str, bytes]) -> str:
        with fsspec.open(place, "wb") as file, zipfile.ZipFile(file, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return place

    return written


def test_a_file_and_a_folder_of_an_archive_are_copied_and_followed(archive):
    place = archive({"a.csv": b"text\n1\n", "d/b.txt": b"two", "d/c/d.txt": b"three"})
    for url in (f"zip://a.csv::{place}", Path(f"zip://a.csv::{place}")):
        assert local(url).read_bytes() == b"text\n1\n" and local(url).name == "a.csv"
    assert {path.name for path in local(f"zip://d::{place}").rglob("*.txt")} == {"b.txt", "d.txt"}
    assert (local(f"zip://::{place}") / "d/c/d.txt").read_bytes() == b"three"
    archive({"a.csv": b"text\n2\n", "d/b.txt": b"two"})
    assert local(f"zip://a.csv::{place}").read_bytes() == b"text\n2\n"
    assert {path.name for path in local(f"zip://d::{place}").rglob("*.txt")} == {"b.txt"}


def test_a_table_in_an_archive_names_the_images_beside_it(archive, tmp_path):
    files = _images(tmp_path / "here")
    rows = "".join(f"{name},{name.partition('/')[0]}\n" for name in files)
    place = archive(
        {f"set/{name}": content for name, content in files.items()} | {"set/l.csv": b"path,label\n" + rows.encode()}
    )
    table = tlkit.data.image.from_csv(f"zip://set/l.csv::{place}", progress=False)
    folder = tlkit.data.image.from_folder(f"zip://set::{place}", progress=False)
    assert table.labels == folder.labels == ("fox", "owl")
    assert sorted(table.train.ids + table.val.ids + table.test.ids) == sorted(files)


def test_an_archive_that_cannot_be_read_is_said_in_a_sentence(archive, tmp_path, monkeypatch):
    place = archive({"a.csv": b"x"})
    with pytest.raises(tlkit.InputError, match=r"There is nothing at zip://b\.csv::.*x\.zip: check the path\.$"):
        local(f"zip://b.csv::{place}")
    with pytest.raises(tlkit.InputError, match=r"There is nothing at zip://a\.csv::.*zipx: check the path\.$"):
        local(f"zip://a.csv::{place}x")
    for name in ("simplecache", "filecache", "blockcache"):
        with pytest.raises(tlkit.InputError, match=rf"tlkit copies .* itself: leave '{name}::' out of {name}::"):
            local(f"{name}::zip://a.csv::file://{place}")
    (tmp_path / "no.zip").write_bytes(b"PK no zip")
    with pytest.raises(tlkit.InputError, match=r"zip://::.*no\.zip cannot be opened: File is not a zip file\.$"):
        local(f"zip://::{tmp_path}/no.zip")
    monkeypatch.setenv("TLKIT_CACHE", f"zip://::{place}")
    with pytest.raises(tlkit.InputError, match="TLKIT_CACHE takes a folder or one URL"):
        remote.fetch(cache_dir() / "features" / "x")


def test_a_name_that_leads_out_of_its_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))

    class Odd:
        def find(self, root, detail):
            return {f"{root}/../x": {"size": 1}}

    monkeypatch.setattr(remote, "_opened", lambda url: (Odd(), "/data"))
    with pytest.raises(tlkit.InputError, match="leads out of its folder"):
        local("memory://data")


def _host(monkeypatch, home: Path, bucket: str) -> None:
    """This process is another host from here on: it sees the shared cache alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setenv("TLKIT_CACHE", f"{bucket}/cache")


def _small_module():
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()])


def test_features_of_one_host_serve_another(bucket, monkeypatch, tmp_path):
    module = tlkit.zoo.write_keras_model(_small_module(), tmp_path / "module")
    _images(tmp_path / "data")
    data = tlkit.data.image.from_folder(tmp_path / "data", image_size=(16, 16), split=(1, 0, 0), progress=False).train

    def features():
        return tlkit.extract(tlkit.HubLayer(str(module), input_range=(0.0, 1.0)), data)

    _host(monkeypatch, tmp_path / "first", bucket)
    first = features()
    assert first.reused == 0
    place, before = cache_dir() / "features", sha256_tree(cache_dir() / "features")
    _host(monkeypatch, tmp_path / "second", bucket)
    assert cache_dir() / "features" != place
    second = features()
    assert second.reused == len(data)
    assert np.array_equal(np.asarray(first), np.asarray(second))
    numbers = {path.name: path.read_bytes() for path in place.rglob("0*")}
    assert {path.name: path.read_bytes() for path in (cache_dir() / "features").rglob("0*")} == numbers
    assert sha256_tree(place) == before


def test_a_damaged_shard_of_the_shared_cache_is_computed_again(bucket, monkeypatch, tmp_path):
    module = tlkit.zoo.write_keras_model(_small_module(), tmp_path / "module")
    _images(tmp_path / "data")
    data = tlkit.data.image.from_folder(tmp_path / "data", image_size=(16, 16), split=(1, 0, 0), progress=False).train
    layer = tlkit.HubLayer(str(module), input_range=(0.0, 1.0))
    _host(monkeypatch, tmp_path / "first", bucket)
    expected = np.asarray(tlkit.extract(layer, data))
    system, root = fsspec.core.url_to_fs(f"{bucket}/cache")
    (shard,) = [name for name in system.find(root) if name.endswith(".npy")]
    sound = system.cat_file(shard)
    system.pipe_file(shard, sound[:-4] + b"oops")
    _host(monkeypatch, tmp_path / "second", bucket)
    again = tlkit.extract(layer, data)
    assert again.reused == 0
    assert np.array_equal(np.asarray(again), expected)
    assert system.cat_file(shard) == sound


def test_two_hosts_that_begin_by_two_engines_at_once_leave_no_mixture(monkeypatch, tmp_path):
    """Neither sees that the other has begun: their records say which shards are whose."""
    bucket = f"memory://b{uuid.uuid4().hex}"
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 8)
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    request = extract.Request(
        Examples(tuple(map(str, range(20))), values, np.zeros(20)), "key", extract.Layout(((2,),))
    )

    def computed(host: str, engine: str):
        _host(monkeypatch, tmp_path / host, bucket)
        factor = {"tensorflow": 2, "litert": 3}
        began = lambda name, probe: Engine(name or engine, "", lambda x: (factor[name or engine] * np.asarray(x),))
        return np.asarray(extract.compute(began, request))

    fetch = remote.fetch
    monkeypatch.setattr(remote, "fetch", lambda folder, wanted=None: None)
    for host, engine, factor in (("first", "litert", 3), ("second", "tensorflow", 2)):
        np.testing.assert_array_equal(computed(host, engine), factor * values)
    system, root = fsspec.core.url_to_fs(f"{bucket}/cache")
    shard = next(name for name in system.find(root) if name.endswith("000001.json"))
    for name in (shard, shard.replace("json", "npy")):  # the first one's comes last
        (local_copy,) = (tmp_path / "first").rglob(Path(name).name)
        system.pipe_file(name, local_copy.read_bytes())
    monkeypatch.setattr(remote, "fetch", fetch)
    np.testing.assert_array_equal(computed("third", "litert"), 2 * values)


def test_a_recipe_gets_the_copy_of_its_data(bucket):
    def recipe(data: Path, val: Path | None = None, out: Path = Path("runs/x")):
        """Adapt.

        Args:
            data: A folder.
            val: Another.
            out: What is written.
        """

    _put(f"{bucket}/animals", {"fox/1.txt": b"red"})
    options = commands._parsed(recipe, "run x", ["--data", f"{bucket}/animals", "--out", f"{bucket}/o"])
    assert (options["data"] / "fox/1.txt").read_bytes() == b"red"
    assert options["out"] == Path(f"{bucket}/o")
    assert options.get("val") is None


def test_workers_on_other_hosts_make_their_own_copy_of_what_examples_name(bucket, monkeypatch, tmp_path):
    """Examples that are sent name files of the sender's copy."""
    monkeypatch.setattr(remote, "copies", {})
    monkeypatch.chdir(tmp_path)
    _put(f"{bucket}/flowers", _images(tmp_path / "images"))
    copy = local(f"{bucket}/flowers", progress=False)
    sent = placed.setting() | {"host": "another"}
    shutil.rmtree(copy.parent)
    placed._settle(placed.setting())
    assert not copy.exists(), "on one host the copy is there"
    placed._settle(sent)
    assert (copy / "owl" / "0.png").is_file()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"keeps its copy of .* at .*elsewhere.*: set XDG_CACHE_HOME to one path"):
        placed._settle(sent)
