"""Odd flags, handles and commands; run folders that are damaged; files that cannot be predicted; disks and rights."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from attacks.base import base
from attacks.cases import Case, Outcome, command, either, gives, refused

FAST = ("--epochs", "1", "0", "--formats", "float32", "--max-drop", "1")
EMPTY, GARBAGE = b"", b"\x93\x00\xff garbage " * 40


def cases() -> Iterator[Case]:
    """In the order of a run's life."""
    base()  # here, not in every case
    yield from _flags()
    yield from _handles()
    yield from _words()
    yield from _run_folders()
    yield from _predictions()
    yield from _disks()


def _run(*words: object, data: Path | None = None, module: object = None, out: object = "run"):
    source = base()
    fixed = ["run", "image_classification", "--data", data or source / "data", "--module", module or source / "module"]
    return command(*fixed, "--out", out, *FAST, *words)


_done = gives(lambda _: True, "done")


def _flags() -> Iterator[Case]:
    def case(flags: str, wrong: Callable[[Outcome], str]) -> Case:
        return Case("flags", flags or "none", lambda _folder: _run(*flags.split(" ")), wrong)

    for flags in (
        "--epochs -1 0",
        "--epochs x y",
        "--epochs 1",
        "--epochs 1.5 0",
        "--epochs 0 0",
        "--epochs nan 1",
        "--lr 0 0",
        "--lr -1 1",
        "--lr nan nan",
        "--lr inf inf",
        "--lr x y",
        "--lr 1e-3",
        "--unfrozen -0.1",
        "--unfrozen 1.1",
        "--unfrozen nan",
        "--unfrozen x",
        "--batch-size 0",
        "--batch-size -4",
        "--batch-size x",
        "--batch-size 1.5",
        "--seed x",
        "--seed 1.5",
        "--image-size 0 0",
        "--image-size -1 5",
        "--image-size x",
        "--image-size 8",
        "--formats nonsense",
        "--formats float32 float32x",
        "--formats",
        "--formats FLOAT32",
        "--formats .tflite",
        "--max-drop -1",
        "--max-drop 2",
        "--max-drop nan",
        "--max-drop x",
        "--check -1",
        "--check x",
        "--nonsense",
        "--nonsense 5",
        "--data",
        "--data gone",
        "--data /dev/null",
        "--data /proc",
        "--data \0",
        "--module gone",
        "--module /dev/null",
        "--module /",
        "--module .",
        "--out /dev/null",
        "--out /proc/x",
        "--out /dev/null/x",
        "--out /sys/x",
        "--out " + "x" * 300,
        "--out " + "/".join(["y" * 200] * 30),
        "--out a\0b",
    ):
        right = either(refused(), _done) if flags in ("--epochs 0 0", "--formats FLOAT32") else refused()
        yield case(flags, right)
    for flags in (
        "--lr 1e30 1e30",
        "--seed -1",
        "--seed 99999999999999999999",
        "--batch-size 1000000",
        "--image-size 16 16",
    ):
        yield case(flags, either(refused(), _done, _stopped))


def _stopped(outcome: Outcome) -> str:
    """Training that had to stop, or a gate that failed, in a sentence (exit code 1)."""
    return (
        "" if outcome.code == 1 and not outcome.trace and "tlkit:" in outcome.printed else "not stopped in a sentence"
    )


def _handles() -> Iterator[Case]:
    def case(handle: str) -> Iterator[Case]:
        yield Case("handles", f"inspect {handle[:40]!r}", lambda _f: command("inspect", handle, "--offline"), refused())
        yield Case("handles", f"run {handle[:40]!r}", lambda _f: _run("--offline", module=handle), refused())

    for handle in (
        "http://[::1/x",
        "http://",
        "https://",
        "http:///x",
        "http://x:99999/",
        "http://x:y/",
        "ftp://x/y",
        "gopher://x",
        "~nosuchuser/x",
        "x" * 5000,
        "a\nb",
        "a\0b",
        " ",
        "kaggle:",
        "kaggle:x",
        "kaggle:a/b/c",
        "kaggle:a/b/c/d/e/f",
        "zoo:",
        "zoo:gone",
        "zoo:../x",
        "keras.applications:",
        "keras.applications:Nope",
        "gs://",
        "gs://x",
        "s3://x/y",
        "file://",
        "file://host/x",
        "file:///gone",
        "C:\\modules\\x",
        "../../..",
        "gone.tar.gz",
        "gone.zip",
        "gone.keras",
        "https://tfhub.dev/google/x/1",
        "\u202e",
        "${HOME}",
        "$(id)",
        "| id",
        "module; id",
    ):
        yield from case(handle)

    def made(name: str, make: Callable[[Path], object]) -> Case:
        def act(folder: Path):
            make(folder / "thing")
            return command("inspect", folder / "thing")

        return Case("handles", f"inspect {name}", act, refused())

    yield made("an empty folder", lambda p: p.mkdir())
    yield made("an empty file", lambda p: p.write_bytes(b""))
    yield made("a pipe", os.mkfifo)
    yield made("a socket", lambda p: socket.socket(socket.AF_UNIX).bind(str(p)))
    yield made("a link to itself", lambda p: p.symlink_to(p))
    yield made("a folder whose saved_model.pb is a folder", lambda p: (p / "saved_model.pb").mkdir(parents=True))
    yield made("a folder whose saved_model.pb is a pipe", lambda p: [p.mkdir(), os.mkfifo(p / "saved_model.pb")])
    yield made("a folder whose saved_model.pb is empty", lambda p: [p.mkdir(), (p / "saved_model.pb").write_bytes(b"")])
    yield made("a folder of pictures", lambda p: shutil.copytree(base() / "data", p))


def _words() -> Iterator[Case]:
    for words in (
        "nonsense",
        "run gone",
        "run gone.py",
        "run gone.json",
        "run /dev/null",
        "run .json",
        "predict",
        "predict gone",
        "predict gone x.png",
        "export",
        "export gone",
        "export gone --formats x",
        "cache nonsense",
        "cache clear x",
        "new",
        "new gone",
        "new image_classification --to /dev/null",
        "zoo gone",
        "zoo a b",
        "doctor x",
        "recipes x",
        "inspect",
        "inspect a b c",
        "run image_classification",
        "demo --seed x",
        "--fresh",
        "predict / /",
        "export /",
    ):
        yield Case("commands", words, lambda _f, words=words: command(*words.split(" ")), refused_or_usage)

    def recipe(name: str, text: str, wrong: Callable) -> Case:
        def act(folder: Path):
            (folder / "mine.py").write_text(text)
            return command("run", folder / "mine.py")

        return Case("commands", f"a recipe {name}", act, wrong)

    yield recipe("that is no Python", "def main(:\n", refused())
    yield recipe("without main", "x = 1\n", refused("main"))
    yield recipe("that raises at import", "raise ValueError('no')\n", _no_traceback)
    yield recipe("that raises", "def main():\n    raise ValueError('no')\n", _no_traceback)
    yield recipe("that gives nothing", "def main():\n    pass\n", _done)
    yield recipe("that imports what is not there", "import nonsense_package\n", _no_traceback)
    yield recipe("of bytes", "\0\0\0", refused())


def refused_or_usage(outcome: Outcome) -> str:
    """Refused, or the usage is shown."""
    return refused()(outcome) if outcome.trace or "usage" not in outcome.printed.lower() else ""


def _no_traceback(outcome: Outcome) -> str:
    if outcome.trace or "Traceback (most recent" in outcome.printed:
        return f"traceback: {outcome.error or outcome.printed[-200:]}"
    return "" if outcome.code not in (0, None) else f"silent: exit code {outcome.code}"


def _copied_run(folder: Path) -> Path:
    return Path(shutil.copytree(base() / "run", folder / "run", symlinks=True))


def _run_folders() -> Iterator[Case]:
    contents: dict[str, Callable[[Path], object]] = {
        "missing": lambda p: p.unlink(),
        "empty": lambda p: p.write_bytes(EMPTY),
        "garbage": lambda p: p.write_bytes(GARBAGE),
        "cut": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
        "a folder": lambda p: [p.unlink(), p.mkdir()],
        "a pipe": lambda p: [p.unlink(), os.mkfifo(p)],
    }
    texts = {
        "null": b"null",
        "a list": b"[]",
        "an empty object": b"{}",
        "a number": b"7",
        "a string": b'"x"',
        "NaN": b"NaN",
    }

    def case(
        file: str, name: str, damage: Callable[[Path], object], words: Callable[[Path], tuple], wrong: Callable
    ) -> Case:
        def act(folder: Path):
            run = _copied_run(folder)
            damage(run / file)
            return command(*words(run))

        return Case("run folders", f"{file} {name}", act, wrong)

    commands = {
        "export": lambda run: ("export", run, "--formats", "float32"),
        "predict": lambda run: ("predict", run, base() / "data/dark/00.png"),
        "load": lambda run: ("run", run / "run.json"),
    }
    for file in ("run.json", "task.json", "model.keras", "examples.npz"):
        more = {name: (lambda p, t=t: p.write_bytes(t)) for name, t in texts.items()} if file.endswith(".json") else {}
        for name, damage in {**contents, **more}.items():
            for verb, words in commands.items():
                needed = {"export": ("run.json", "task.json", "model.keras", "examples.npz"), "load": ("run.json",)}
                sound = file not in needed.get(verb, ())
                yield case(file, name, damage, words, either(refused(), _done, _stopped) if sound else refused())
    for name in ("empty", "garbage", "cut", "missing", "a folder", "a pipe"):
        yield case("model.tflite", name, contents[name], commands["predict"], either(refused(), _done))

    def three_labels(path: Path) -> None:
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record).replace('["dark", "light"]', '["dark", "light", "third"]'))

    yield case("task.json", "of three labels", three_labels, commands["export"], refused())
    again = {"checkpoints": "checkpoints", "the lock": ".lock"}
    for name, entry in again.items():

        def act(folder: Path, entry=entry):
            run = _copied_run(folder)
            if (run / entry).is_dir():
                shutil.rmtree(run / entry)
            (run / entry).write_bytes(GARBAGE)
            return _run("--fresh", out=run)

        yield Case("run folders", f"run --fresh, {name} a file", act, either(refused(), _done))
    yield case(
        "run.json",
        "of somebody else",
        lambda p: p.write_text('{"name": "x", "version": 3}'),
        commands["load"],
        refused(),
    )


def _predictions() -> Iterator[Case]:
    def case(name: str, make: Callable[[Path], object]) -> Case:
        def act(folder: Path):
            make(folder / "x.png")
            return command("predict", base() / "run", base() / "data/dark/00.png", folder / "x.png")

        def wrong(outcome: Outcome) -> str:
            answered = "dark" in outcome.printed or "light" in outcome.printed
            return refused("x.png")(outcome) or ("" if answered else "silent: the good file was not answered")

        return Case("predict", name, act, wrong)

    yield case("missing", lambda _p: None)
    yield case("empty", lambda p: p.write_bytes(b""))
    yield case("garbage", lambda p: p.write_bytes(GARBAGE))
    yield case("a text", lambda p: p.write_text("hello"))
    yield case("a folder", lambda p: p.mkdir())
    yield case("a pipe", os.mkfifo)
    yield case("a socket", lambda p: socket.socket(socket.AF_UNIX).bind(str(p)))
    yield case("a link to itself", lambda p: p.symlink_to(p))
    yield case("a link to /dev/zero", lambda p: p.symlink_to("/dev/zero"))
    yield case("a link to /dev/tty", lambda p: p.symlink_to("/dev/tty"))
    yield case("HTML", lambda p: p.write_bytes(b"<html></html>"))
    rng = np.random.default_rng(0)
    for number in range(40):
        share, seed = float(rng.uniform(0.01, 0.99)), int(rng.integers(2**31))

        def damaged(folder: Path, number=number, share=share, seed=seed):
            data = bytearray((base() / "run/model.tflite").read_bytes())
            if number % 2:
                data = data[: int(len(data) * share)]
            else:
                for position in np.random.default_rng(seed).integers(0, len(data), 30):
                    data[position] ^= 0xFF
            (folder / "model.tflite").write_bytes(data)
            return command("predict", folder / "model.tflite", base() / "data/dark/00.png")

        yield Case("predict", f"a .tflite damaged, {number}", damaged, either(refused(), _done))


def _disks() -> Iterator[Case]:
    """Rights that are dropped inside the process, folders of the wrong kind, a disk that is full."""

    def unprivileged(act: Callable[[Path], object]) -> Callable[[Path], object]:
        def dropped(folder: Path):
            source = base()
            for path in (source, folder.parent):
                os.system(f"chmod -R a+rwX '{path}'")
            line = act(folder)
            os.setresgid(65534, 65534, 0)
            os.setresuid(65534, 65534, 0)
            return line

        return dropped

    def barred(name: str, act: Callable[[Path], object], wrong: Callable) -> Case:
        return Case("rights and disks", name, unprivileged(act), wrong)

    def sealed(path: Path, mode: int) -> Path:
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        return path

    yield barred(
        "--out in a folder that may not be written", lambda f: _run(out=sealed(f / "sealed", 0o555) / "run"), refused()
    )
    yield barred(
        "--out in a folder that may not be entered", lambda f: _run(out=sealed(f / "sealed", 0) / "run"), refused()
    )
    yield barred("--data that may not be read", lambda f: _run(data=sealed(f / "sealed", 0)), refused())
    yield barred("a module that may not be read", lambda f: _run(module=sealed(f / "sealed", 0)), refused())
    yield barred(
        "new --to a sealed folder",
        lambda f: command("new", "image_classification", "--to", sealed(f / "s", 0o555)),
        refused(),
    )

    def unreadable_picture(folder: Path):
        data = Path(shutil.copytree(base() / "data", folder / "data"))
        (data / "dark/00.png").chmod(0)
        return _run(data=data)

    def cache_of_mode(mode: int) -> Callable[[Path], object]:
        def act(folder: Path):
            os.environ["TLKIT_CACHE"] = str(sealed(folder / "cache", mode))
            return _run()

        return act

    def run_file_sealed(file: str, *words: str) -> Callable[[Path], object]:
        def act(folder: Path):
            run = _copied_run(folder)
            (run / file).chmod(0)
            return command(*(word.replace("RUN", str(run)) for word in words))

        return act

    yield barred("a picture that may not be read", unreadable_picture, either(_done, refused()))
    yield barred("a cache that may not be written", cache_of_mode(0o555), either(_done, refused("cache")))
    yield barred("a cache that may not be entered", cache_of_mode(0), either(_done, refused("cache")))
    yield barred("run.json that may not be read", run_file_sealed("run.json", "run", "RUN/run.json"), refused())
    yield barred(
        "model.keras that may not be read",
        run_file_sealed("model.keras", "export", "RUN", "--formats", "float32"),
        refused(),
    )

    def wrong_kind(name: str, act: Callable[[Path], object], wrong: Callable) -> Case:
        return Case("rights and disks", name, act, wrong)

    def cache_is(make: Callable[[Path], object]) -> Callable[[Path], object]:
        def act(folder: Path):
            make(folder / "cache")
            os.environ["TLKIT_CACHE"] = str(folder / "cache")
            return _run()

        return act

    yield wrong_kind("the cache is a file", cache_is(lambda p: p.write_bytes(b"x")), either(_done, refused("cache")))
    yield wrong_kind("the cache is a dangling link", cache_is(lambda p: p.symlink_to("gone")), either(_done, refused()))
    yield wrong_kind(
        "the features' folder is a file",
        cache_is(lambda p: [p.mkdir(), (p / "features").write_bytes(b"x")]),
        either(_done, refused()),
    )
    yield wrong_kind("--out is a file", lambda f: [(f / "run").write_bytes(b"x"), _run(out=f / "run")][1], refused())
    yield wrong_kind("--out is a pipe", lambda f: [os.mkfifo(f / "run"), _run(out=f / "run")][1], refused())
    yield wrong_kind(
        "--out is a link to itself", lambda f: [(f / "run").symlink_to(f / "run"), _run(out=f / "run")][1], refused()
    )
    yield wrong_kind("--out below a file", lambda f: [(f / "x").write_bytes(b"x"), _run(out=f / "x/run")][1], refused())
    yield wrong_kind(
        "export --out FILE",
        lambda f: [
            (f / "x").write_bytes(b"x"),
            command("export", _copied_run(f), "--out", f / "x", "--formats", "float32"),
        ][1],
        refused(),
    )

    def full(folder: Path):
        (folder / "small").mkdir()
        if os.system(f"mount -t tmpfs -o size=128k tmpfs '{folder / 'small'}'"):
            raise OSError("no tmpfs here")
        return _run(out=folder / "small/run")

    yield Case("rights and disks", "--out on a full disk", full, refused("space"))
