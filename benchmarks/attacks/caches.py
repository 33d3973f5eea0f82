"""Every kind of file that the cache holds, damaged in every way: it is made again, or a sentence says what to do."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from attacks.base import base
from attacks.cases import Case, either, gives, refused

Damage = Callable[[Path], object]


def cases() -> Iterator[Case]:
    """By kind of cache, then by file, then by damage."""
    source = _filled()
    for kind in KINDS:
        for path in sorted((source / kind / "cache").rglob("*")):
            name = path.relative_to(source / kind / "cache").as_posix()
            if kind == "samples" and path.suffix == ".png" and not name.endswith("noto/heart/1f499.png"):
                continue  # one picture stands for all
            for damage in _damages(path):
                yield _case(kind, name, damage)


def _case(kind: str, name: str, damage: str) -> Case:
    def act(folder: Path) -> Any:
        shutil.copytree(_filled() / kind, folder / kind, symlinks=True)
        os.environ["TLKIT_CACHE"] = str(folder / kind / "cache")
        path = folder / kind / "cache" / name
        DAMAGES[damage](path)
        return _in_a_sentence(KINDS[kind], folder / kind)

    expected = np.load(_filled() / kind / "expected.npy")
    same = gives(lambda answer: np.allclose(answer, expected, rtol=0, atol=1e-5), "what the sound cache gives")
    wrong = either(same, refused()) if damage in ODD else same
    return Case("caches", f"{kind}: {_short(name)} {damage}", act, wrong)


def _short(name: str) -> str:
    return "/".join(f"{part[:6]}..{part[-9:]}" if len(part) > 24 else part for part in name.split("/"))


def _in_a_sentence(use: Callable[[Path], Any], folder: Path) -> Any:
    """What the use gives; errors of the system as the command line tells them."""
    from tlkit.core.errors import InputError
    from tlkit.core.trouble import explained

    try:
        return use(folder)
    except OSError as error:
        sentence = explained(error, folder / "cache")
        if "does not know" in sentence:
            raise
        raise InputError(sentence) from error


# Damage


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _instead(make: Damage) -> Damage:
    def damage(path: Path) -> None:
        _gone(path)
        make(path)

    return damage


def _one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 0x10
    path.write_bytes(data)


def _of_its_kind(path: Path) -> None:
    """A sound file of the same kind, but another one."""
    if path.suffix == ".npy":
        np.save(path, np.zeros_like(np.load(path)))
    elif path.suffix == ".tflite":
        shutil.copyfile(base() / "run/model.tflite", path)
    elif path.suffix == ".png":
        shutil.copyfile(base() / "data/dark/00.png", path)
    elif path.suffix == ".json":
        path.write_text('{"name": "litert", "sha256": "", "shape": [1], "handle": "x", "folder": "..", "archive": ""}')
    else:
        path.write_bytes(b"0" * max(1, path.stat().st_size))


DAMAGES: dict[str, Damage] = {
    "missing": _gone,
    "empty": lambda p: p.write_bytes(b""),
    "garbage": lambda p: p.write_bytes(b"\x93\x00\xff garbage " * 40),
    "cut": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "with one bit flipped": _one_bit,
    "with more behind": lambda p: p.write_bytes(p.read_bytes() + b"more"),
    "of another": _of_its_kind,
    "that is null": lambda p: p.write_bytes(b"null"),
    "that is a list": lambda p: p.write_bytes(b"[]"),
    "that is an empty object": lambda p: p.write_bytes(b"{}"),
    "that is a number": lambda p: p.write_bytes(b"7"),
    "that is brackets": lambda p: p.write_bytes(b"[" * 100_000),
    "that is a pickle": lambda p: p.write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e."),
    "that is a folder": _instead(lambda p: p.mkdir()),
    "that is a pipe": _instead(os.mkfifo),
    "that is a link to itself": _instead(lambda p: p.symlink_to(p)),
    "that is a dangling link": _instead(lambda p: p.symlink_to("gone")),
    "that is a file": _instead(lambda p: p.write_bytes(b"x")),
    "that holds more": lambda p: (p / "stray.json").write_bytes(b"[]"),
}
ODD = ("that is a folder", "that is a pipe", "that is a link to itself", "that is a dangling link", "that is a file")
OF_FOLDERS = ("missing", "that is a link to itself", "that is a file", "that holds more")
OF_LOCKS = ("missing", "garbage", "that is a folder", "that is a pipe", "that is a link to itself")
OF_TEXTS = ("that is null", "that is a list", "that is an empty object", "that is a number", "that is brackets")
OF_FILES = (
    *("missing", "empty", "garbage", "cut", "with one bit flipped", "with more behind", "of another"),
    *("that is a pickle", "that is a folder", "that is a pipe", "that is a link to itself", "that is a dangling link"),
)


def _damages(path: Path) -> tuple[str, ...]:
    if path.is_dir():
        return OF_FOLDERS
    if not path.stat().st_size or path.suffix == ".sha256":
        return OF_LOCKS
    return (*OF_FILES, *OF_TEXTS) if path.suffix == ".json" else OF_FILES


# What is cached, and how it is used


def _features(folder: Path, converted: bool = False) -> Any:
    import tlkit
    from tlkit.features import engines, extract

    engines.CONVERSION_S = 0.0 if converted else 1e9
    data = tlkit.data.image.resized(tlkit.data.image.from_folder(folder / "data", progress=False), (16, 16))
    return np.asarray(extract.extract(tlkit.HubLayer(folder / "module", input_range=(0, 255)), data.train))


def _fronts(folder: Path) -> Any:
    shutil.rmtree(folder / "cache" / "features", ignore_errors=True)
    return _features(folder, converted=True)


def _hash_as_array(path: Path) -> np.ndarray:
    from tlkit.core.files import sha256_tree

    return np.frombuffer(bytes.fromhex(sha256_tree(path)), np.uint8)


def _modules(folder: Path) -> Any:
    from tlkit.hub import resolve

    return _hash_as_array(resolve(folder / "module.tar.gz"))


def _zoo(folder: Path) -> Any:
    from tlkit.zoo import store

    def builder(order: dict[str, Any]) -> None:
        shutil.copytree(folder / "module", order["folder"], dirs_exist_ok=True)
        Path(order["folder"], "assets.extra").mkdir()

    store._run_builder, store.fetch = builder, lambda *_, **__: {}  # type: ignore[assignment]
    return _hash_as_array(store.folder("efficientnet-lite0"))


def _samples(_folder: Path) -> Any:
    from tlkit.datasets import samples

    return _hash_as_array(samples.folder())


def _spool(_folder: Path) -> Any:
    from tlkit.data.spool import spool

    spooled, places = spool([b"one", np.arange(12, dtype=np.uint8).reshape(2, 2, 3), b"three"])
    return np.concatenate([np.frombuffer(bytes(spooled(i)), np.uint8) for i in places])


KINDS: dict[str, Callable[[Path], Any]] = {
    "features": _features,
    "fronts": _fronts,
    "modules": _modules,
    "zoo": _zoo,
    "samples": _samples,
    "spool": _spool,
}


@functools.cache
def _filled() -> Path:
    """A folder with `KIND/cache` and `KIND/expected.npy`, filled in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="tlkit-caches-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, __file__, str(base()), str(folder)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], capture_output=True)
    return folder


def _fill(source: Path, folder: Path) -> None:
    for kind, use in KINDS.items():
        place = folder / kind
        place.mkdir()
        for name in ("data", "module"):
            shutil.copytree(source / name, place / name)
        with tarfile.open(place / "module.tar.gz", "w:gz") as archive:
            archive.add(place / "module", arcname=".")
        os.environ["TLKIT_CACHE"] = str(place / "cache")
        np.save(place / "expected.npy", use(place))
        if kind == "fronts":
            shutil.rmtree(place / "cache" / "features")


if __name__ == "__main__":
    _fill(Path(sys.argv[1]), Path(sys.argv[2]))
