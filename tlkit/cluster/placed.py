"""What runs in the workers that Ray placed, what they print, and what their end is called."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cluster.joining import joined
from tlkit.core import remote
from tlkit.core.errors import InputError, TlkitError, TrainingError
from tlkit.core.trouble import first_line
from tlkit.core.workers import CONFIG

if TYPE_CHECKING:
    from tlkit.core.run import Run

SENT = ("TLKIT_", "TF_", "KERAS_", "PYTHONPATH")  # beginnings of the names of settings that workers get
ALIKE = ("tlkit", "tensorflow", "keras", "numpy")  # packages whose versions decide results
GO_ON = "start the same command again, and it goes on behind what was finished."
WAIT_S = 60.0  # for the last lines and the result


def setting() -> dict[str, Any]:
    """What decides here how work is done."""
    return {
        "environment": {name: value for name, value in os.environ.items() if name.startswith(SENT)},
        "path": [str(Path(place or ".").absolute()) for place in sys.path],
        "folder": str(Path.cwd()),
        "host": socket.gethostname(),
        "copies": {url: str(place) for url, place in remote.copies.items()},
        "versions": {name: importlib.metadata.version(name) for name in ALIKE},
    }


def _settle(setting: Mapping[str, Any]) -> None:
    """Work in this process as in the one that asks.

    Raises:
        InputError: If this host has other versions, lacks the folder, or keeps copies of data elsewhere.
    """
    if "TF_USE_LEGACY_KERAS" not in setting["environment"]:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray Train sets it
    os.environ.update(setting["environment"])
    sys.path += [place for place in setting["path"] if place not in sys.path]
    host = socket.gethostname()
    for name, version in setting["versions"].items():
        if (has := importlib.metadata.version(name)) != version:
            raise InputError(f"{host} has {name} {has}, and this host {version}: install one version on all hosts.")
    try:
        os.chdir(setting["folder"])
    except OSError:
        raise InputError(f"{host} has no folder {setting['folder']}: work in one that all hosts see.") from None
    for url, place in {} if host == setting["host"] else setting["copies"].items():
        if (copy := str(remote.local(url, progress=False))) != place:
            raise InputError(
                f"{host} keeps its copy of {url} at {copy}, and this host at {place}, where examples are looked for: "
                "set XDG_CACHE_HOME to one path on all hosts."
            )


class Actor:
    """A process that works through calls of the function that it was sent last."""

    def __init__(self) -> None:
        self.function: Any = None

    def take(self, pickled: bytes, setting: Mapping[str, Any]) -> None:
        """The function of the calls to come, and what decides how they are done."""
        from ray import cloudpickle

        _settle(setting)
        self.function = cloudpickle.loads(pickled)

    def work(self, number: int, arguments: Sequence[Any]) -> tuple[int, Any]:
        """Number and result of a call."""
        return number, self.function(*arguments)


def asked(actor: Any, *arguments: Any) -> Any:
    """What an actor's function gives, in another process."""
    import ray as engine

    return engine.get(actor.work.remote(0, arguments))[1]


def one_worker(config: Mapping[str, Any]) -> None:
    """What Ray Train calls on each worker, with TF_CONFIG set."""
    from ray import cloudpickle

    _settle(config["setting"])
    chief = json.loads(os.environ[CONFIG])["task"]["index"] == 0
    told = _Lines(config["lines"]) if chief else io.StringIO()
    logging.disable(logging.WARNING)  # TensorFlow tells of each exchange
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        result = cloudpickle.loads(config["work"])()
    if chief:
        config["lines"].put((json.dumps(result, default=str),))


def saved_run(make_run: Callable[..., Run], given: Mapping[str, Any]) -> str | None:
    """Folder of the run that this worker makes with the others; None of what is no saved run."""
    with joined():
        folder = getattr(make_run(**given), "folder", None)
    return None if folder is None else str(folder)


class _Lines(io.TextIOBase):
    """Text that goes into a queue line by line."""

    def __init__(self, lines: Any) -> None:
        self.lines, self.rest = lines, ""

    def write(self, text: str) -> int:
        """Whole lines are sent, what follows them waits."""
        *whole, self.rest = (self.rest + text).split("\n")
        for line in whole:
            self.lines.put(line)
        return len(text)


@contextlib.contextmanager
def printing(lines: Any) -> Iterator[list[str]]:
    """Print what comes out of a queue until the block is left; what comes in a tuple is in the list that this gives."""
    results: list[str] = []

    def printed() -> None:
        with contextlib.suppress(Exception):  # the queue's own process may have ended
            while (line := lines.get()) is not None:
                if isinstance(line, tuple):
                    results.extend(line)
                else:
                    print(line, flush=True)

    thread = threading.Thread(target=printed, daemon=True)
    thread.start()
    try:
        yield results
    finally:
        with contextlib.suppress(Exception):
            lines.put(None)
        thread.join(WAIT_S)


# -- what went wrong


def of_actors(error: BaseException) -> BaseException:
    """What an actor raised, or that it has ended."""
    import ray as engine

    if isinstance(error, engine.exceptions.RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    if isinstance(error, engine.exceptions.RayError):
        return TrainingError(f"A worker of Ray has ended ({first_line(error)}), so the others stop too; {GO_ON}")
    return error


def of_workers(error: Exception) -> Exception:
    """What a worker raised, or which of them has ended."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    raised = [failure for failure in failures.values() if isinstance(failure, TlkitError)]
    refused = [failure for failure in raised if isinstance(failure, InputError)]
    if refused or raised:
        return (refused or raised)[0]
    ended = [rank for rank, failure in failures.items() if type(failure).__module__.startswith("ray.")]
    if ended:
        return TrainingError(f"Worker {ended[0]} of Ray has ended, so the others stop too; {GO_ON}")
    return next(iter(failures.values()), error)
