"""Disks that are full, small, read-only or odd; each mount is the case's own and goes with its process."""

import ctypes
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attacks.base import base
from attacks.cases import Case, CommandLine, Outcome, command, either, gives, refused

FAST = ("--epochs", "1", "0", "--formats", "saved_model", "float32", "--max-drop", "1")
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_done = gives(lambda _: True, "done")


def cases() -> Iterator[Case]:
    """Runs first, then exports, then caches and scratch folders."""
    base()
    for size in ("8k", "32k", "64k", "128k", "256k", "512k", "1m"):
        yield _case(f"--out on a disk of {size}", lambda f, size=size: _run(f, out=_small(f / "disk", size) / "run"))
    yield _case("--out on a read-only disk", lambda f: _run(f, out=_read_only(f / "disk") / "run"), refused())
    for size in (1_000, 20_000, 100_000):
        yield _case(f"files of at most {size} bytes", lambda f, size=size: _limited(size, _run(f)))
    for size in ("8k", "64k"):
        yield _case(f"a cache on a disk of {size}", lambda f, size=size: _run(f, cache=_small(f / "cache", size)))
    yield _case("a read-only cache", lambda f: _run(f, cache=_read_only(f / "cache")), either(_done, refused()))
    for name in ("gone", "file", "full", "sealed"):
        yield _case(f"a scratch folder that is {name}", lambda f, name=name: _scratch(f, name))
    for verb in ("export", "run --fresh"):
        for size in ("4k", "40k"):
            for place in ("in the run", "elsewhere"):
                yield _whole_after(verb, size, place)
    yield _case("the same command once there is space", _space_later, _done)
    for name in ("a folder", "a pipe", "a link to itself", "a dangling link"):
        yield _case(f"{name} where model.keras goes", lambda f, name=name: _in_the_way(f, "model.keras", name))
        yield _case(f"{name} where model.tflite goes", lambda f, name=name: _in_the_way(f, "model.tflite", name))
        yield _case(f"{name} where the lock goes", lambda f, name=name: _in_the_way(f, ".tlkit-lock", name))


def _case(
    name: str,
    act: Callable[[Path], Any],
    wrong: Callable[[Outcome], str] = either(_done, refused()),  # noqa: B008
) -> Case:
    return Case("disks", name, act, wrong, timeout_s=240)


def _run(
    folder: Path, *, out: Path | None = None, cache: Path | None = None, more: tuple[str, ...] = ()
) -> CommandLine:
    if cache is not None:
        os.environ["TLKIT_CACHE"] = str(cache)
    options = ["--data", base() / "data", "--module", base() / "module", "--out", out or folder / "run"]
    return command("run", "image_classification", *options, *FAST, *more)


# Disks


def _mount(path: Path, options: str) -> Path:
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS):
        raise OSError("this needs the rights of root")
    os.system("mount --make-rprivate /")
    path.mkdir(exist_ok=True)
    if os.system(f"mount -t tmpfs -o {options} tmpfs '{path}'"):
        raise OSError("no tmpfs here")
    return path


def _small(path: Path, size: str) -> Path:
    return _mount(path, f"size={size}")


def _read_only(path: Path) -> Path:
    return _mount(path, "ro")


def _filled(path: Path, left: int) -> None:
    """Fill a disk but for so many bytes."""
    free = shutil.disk_usage(path).free
    (path / "filler").write_bytes(bytes(max(0, free - left)))


def _limited(size: int, line: CommandLine) -> CommandLine:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does; then a write fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return line


def _scratch(folder: Path, kind: str) -> CommandLine:
    import tempfile

    place = folder / "scratch"
    if kind == "file":
        place.write_bytes(b"x")
    elif kind == "full":
        _small(place, "4k")
    elif kind == "sealed":
        _read_only(place)
    os.environ["TMPDIR"] = str(place)
    tempfile.tempdir = str(place)
    return _run(folder)


# Results that were there before


def _whole_after(verb: str, size: str, place: str) -> Case:
    """A finished run on a disk that then fills up: it fails in a sentence or succeeds, and all files stay whole."""

    def act(folder: Path) -> CommandLine:
        import tlkit

        disk = _small(folder / "disk", "64m")
        run = Path(shutil.copytree(base() / "run", disk / "run", symlinks=True))
        target = run if place == "in the run" else disk / "files"
        _filled(disk, 1024 * int(size.removesuffix("k")))
        before = _exported(run)
        if verb == "export":
            line = command("export", run, "--out", target, *FAST[3:])
        else:
            line = _run(folder, out=target, more=("--fresh",))
        return CommandLine(line.words, lambda: (before, _exported(run), tlkit.load(run).model))

    def wrong(outcome: Outcome) -> str:
        complaint = either(_done, refused("space"))(outcome)
        if complaint or outcome.value is None:
            return complaint
        before, after, _ = outcome.value
        intact = all(after.get(name) == held for name, held in before.items())
        return "" if intact or outcome.code == 0 else "silent: the old files are damaged"

    return _case(f"{verb} {place}, {size} left", act, wrong)


def _exported(run: Path) -> dict[str, bytes]:
    names = ("model.tflite", "labels.txt", "saved_model/saved_model.pb")
    return {name: (run / name).read_bytes() for name in names if (run / name).is_file()}


def _space_later(folder: Path) -> CommandLine:
    """A run that met a full disk, and the same command when the filler is gone."""
    from tlkit.cli import commands

    disk = _small(folder / "disk", "64m")
    _filled(disk, 60_000)
    line = _run(folder, out=disk / "run")
    first = commands.main(list(line.words))
    if first != 2:
        raise RuntimeError(f"the first ended with {first}")
    (disk / "filler").unlink()

    def result() -> Any:
        return json.loads((disk / "run" / "run.json").read_text())["exports"]

    return CommandLine(line.words, result)


def _in_the_way(folder: Path, name: str, kind: str) -> CommandLine:
    path = folder / "run" / name
    path.parent.mkdir()
    if kind == "a folder":
        path.mkdir()
        (path / "mine").write_bytes(b"mine")
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "a link to itself" else "gone")
    return _run(folder)
