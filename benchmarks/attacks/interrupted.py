"""A run that is killed, interrupted or met by another process; the same command again ends as the unbroken run does.

The run writes, renames and syncs some hundred times; kills and signals strike before moments that are spread evenly
over all of these and its epochs. Compared are the bytes of all exported files, weights, history and scores.
"""

import contextlib
import functools
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attacks.base import base
from attacks.cases import Case, Outcome

KILLS = 14
STRIKES = 5  # moments at which each signal comes
WORDS = ("--epochs", "3", "2", "--batch-size", "4", "--formats", "saved_model", "float32", "--max-drop", "1")
EXPORTED = ("model.tflite", "labels.txt", "saved_model")


def cases() -> Iterator[Case]:
    """Kills, then signals, then two processes."""
    whole = _unbroken()
    moments = whole["moments"]
    for number in range(KILLS):
        at = 1 + round(number * (moments - 1) / (KILLS - 1))
        yield _case("kills", f"kill -9 before moment {at} of {moments}", functools.partial(_struck, signal.SIGKILL, at))
    for name in ("SIGINT", "SIGTERM"):
        for number in range(STRIKES):
            at = 1 + round((number + 0.5) * (moments - 1) / STRIKES)
            strike = functools.partial(_struck, signal.Signals[name], at)
            yield _case("signals", f"{name} before moment {at} of {moments}", strike)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        yield _case("signals", f"{name} while workers export", functools.partial(_struck, signal.Signals[name], None))
    yield _case("two processes", "the same command at once", _at_once)
    yield _case("two processes", "the same command, a moment later", functools.partial(_at_once, pause_s=1.5))
    yield _case("two processes", "one cache, two folders", _one_cache)
    yield _case("two processes", "an export while the run is trained", functools.partial(_beside, "export", "run"))
    yield _case("two processes", "the run while it is exported", _export_first)


def _case(area: str, name: str, act: Callable[[Path], str]) -> Case:
    return Case(area, name, act, _told, timeout_s=600)


def _told(outcome: Outcome) -> str:
    return f"traceback: {outcome.error[:300]}" if outcome.trace else str(outcome.value)


# One run, in a process of its own


def _words(folder: Path, out: str = "run") -> list[str]:
    data, module = base() / "data", base() / "module"
    arguments = ["run", "image_classification", "--data", data, "--module", module, "--out", folder / out, *WORDS]
    return [str(word) for word in arguments]


def _forked(words: list[str], log: Path, prepare: Callable[[], object] = lambda: None) -> int:
    """The command in a fork of this process, which has not used TensorFlow yet; its number is returned."""
    number = os.fork()
    if number:
        return number
    code = 70
    with contextlib.suppress(BaseException):
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        from tlkit.cli import commands

        prepare()
        code = commands.main(words)
    os._exit(code)


def _end(number: int) -> int:
    """Exit code of a process, minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def _counted(strike: Callable[[int], object]) -> None:
    """Call `strike` with the running number of each moment: a rename, a sync or an epoch of this process."""
    from tlkit.training import fit

    seen = [0]

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen[0] += 1
            strike(seen[0])
            return function(*args, **kwargs)

        return call

    os.replace, os.fsync = before(os.replace), before(os.fsync)
    fit._run_epoch = before(fit._run_epoch)


@functools.cache
def _unbroken() -> dict[str, Any]:
    """What the run gives that nothing stopped, and how many moments it has."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        count = folder / "moments"

        def prepare() -> None:
            os.environ["TLKIT_CACHE"] = str(folder / "cache")
            _counted(lambda number: count.write_text(str(number)))

        code = _end(_forked(_words(folder), folder / "log", prepare))
        if code:
            raise RuntimeError(f"the unbroken run ended with {code}: {(folder / 'log').read_text()[-2000:]}")
        return {"moments": int(count.read_text()), "result": _result(folder / "run")}


def _result(run: Path) -> dict[str, str]:
    """Hashes of all that must be the same."""
    import zipfile

    record = json.loads((run / "run.json").read_text())
    phases = [(p["history"], p["best_epoch"], p["improved"], p["proof"]) for p in record["phases"]]
    with zipfile.ZipFile(run / "model.keras") as archive:
        weights = archive.read("model.weights.h5")
    hashes = {
        "history": _hash(json.dumps(phases).encode()),
        "scores": _hash(json.dumps(record["scores"], sort_keys=True).encode()),
        "weights": _hash(_arrays(weights)),
    }
    for name in EXPORTED:
        path = run / name
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        hashes |= {str(p.relative_to(run)): _hash(p.read_bytes()) for p in files}
    return hashes


def _arrays(weights: bytes) -> bytes:
    """All arrays of an HDF5 file by name; its dates aside."""
    import io

    import h5py

    arrays: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(weights)) as file:
        file.visititems(
            lambda name, dataset: arrays.update({name: dataset[()]}) if isinstance(dataset, h5py.Dataset) else None
        )
    return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# What is wrong


def _differs(run: Path, log: Path) -> str:
    """How a finished run differs from the unbroken one, or ""."""
    from tlkit.core.files import LOCK, PARTIAL

    expected, actual = _unbroken()["result"], _result(run)
    different = [name for name in expected | actual if expected.get(name) != actual.get(name)]
    if different:
        return f"silent: other {', '.join(different)}"
    left = [p.name for p in run.rglob("*") if p.name.startswith(PARTIAL) or p.name == LOCK]
    if left:
        return f"left over: {', '.join(left)}"
    return "traceback: printed" if "Traceback (most recent" in log.read_text(errors="replace") else ""


def _again(folder: Path) -> str:
    """The same command to its end, and what is wrong then."""
    code = _end(_forked(_words(folder), folder / "log"))
    if code:
        return f"silent: the same command again ended with {code}: {(folder / 'log').read_text()[-300:]}"
    return _differs(folder / "run", folder / "log")


def _struck(number: signal.Signals, at: int | None, folder: Path) -> str:
    """A run that gets a signal before a moment, or half a second after its first worker began; then once more."""

    def strike() -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.01)  # until Python has seen it

    def prepare() -> None:
        if at is not None:
            _counted(lambda moment: strike() if moment == at else None)
            return
        started = subprocess.Popen

        class Struck(started):  # type: ignore[type-arg, misc, valid-type]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                threading.Timer(0.5, os.kill, (os.getpid(), number)).start()

        subprocess.Popen = Struck  # type: ignore[misc]

    process = _forked(_words(folder), folder / "log", prepare)
    code = _end(process)
    if code != (-number if number == signal.SIGKILL else 128 + number):
        return f"silent: ended with {code}: {(folder / 'log').read_text()[-300:]}"
    if number != signal.SIGKILL:
        wrong = _untidy(folder)
        if wrong:
            return wrong
    return _again(folder)


def _untidy(folder: Path) -> str:
    """What an interrupted run left or said that it should not."""
    from tlkit.core.files import LOCK, PARTIAL

    told = [line for line in (folder / "log").read_text(errors="replace").splitlines() if line.startswith("tlkit: ")]
    if "what was finished is kept" not in (told or [""])[-1]:
        return f"misleading: said {told[-1:]}"
    names = [p.name for p in folder.rglob("*")]
    left = [name for name in names if name.startswith(PARTIAL) or name == LOCK]
    return f"left over: {left}" if left else ""


# Two at once


def _at_once(folder: Path, pause_s: float = 0.0) -> str:
    first = _forked(_words(folder), folder / "log")
    time.sleep(pause_s)
    second = _forked(_words(folder), folder / "log2")
    codes = sorted((_end(first), _end(second)))
    told = (folder / "log").read_text() + (folder / "log2").read_text()
    if codes not in ([0, 0], [0, 2]) or "Traceback" in told:
        return f"silent: ended with {codes}: {told[-300:]}"
    if codes == [0, 2] and "is in use: process" not in told:
        return f"misleading: {told[-300:]}"
    return _differs(folder / "run", folder / "log")


def _one_cache(folder: Path) -> str:
    both = [_forked(_words(folder, name), folder / f"log-{name}") for name in ("run", "other")]
    codes = [_end(number) for number in both]
    if codes != [0, 0]:
        return f"silent: ended with {codes}: {(folder / 'log-run').read_text()[-300:]}"
    wrong = [_differs(folder / name, folder / f"log-{name}") for name in ("run", "other")]
    return wrong[0] or wrong[1]


def _beside(verb: str, out: str, folder: Path) -> str:
    """Another command on the run's folder while the run is trained."""
    first = _forked(_words(folder), folder / "log")
    while not (folder / out / "checkpoints").exists() and os.waitpid(first, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    second = _end(_forked([verb, str(folder / out)], folder / "log2"))
    code = _end(first)
    told = (folder / "log2").read_text()
    if code or second != 2 or "Traceback" in told:
        return f"silent: ended with {code} and {second}: {told[-300:]}"
    return _differs(folder / "run", folder / "log")


def _export_first(folder: Path) -> str:
    """A second export of a finished run, while one is at work: one of them is refused, or both are done."""
    _end(_forked(_words(folder), folder / "log"))
    words = ["export", str(folder / "run"), *WORDS[-5:]]
    both = [_forked(words, folder / "log2") for _ in range(2)]
    codes = sorted(_end(number) for number in both)
    told = (folder / "log2").read_text()
    if codes not in ([0, 0], [0, 2]) or "Traceback" in told:
        return f"silent: ended with {codes}: {told[-300:]}"
    return _differs(folder / "run", folder / "log")
