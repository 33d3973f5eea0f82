"""What kind of handle is this: a pure function of its text, and of whether it names something on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tlkit.core.errors import InputError

FORMS = (
    "a SavedModel folder, a .tar.gz or .zip of one, a run's folder, an http(s) or file:// address, "
    "kaggle:owner/model/framework/variation, gs://bucket/path, zoo:NAME, or keras.applications:NAME"
)
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_SHOWN = 200  # characters of a handle in an error
KAGGLE_FORM = "kaggle:owner/model/framework/variation or kaggle:owner/model/framework/variation/version"


@dataclass(frozen=True)
class Handle:
    """A handle and its kind.

    Attributes:
        kind: "folder", "archive", "run", "http", "kaggle", "gs", "zoo" or "keras".
        text: What that kind needs: a path, an address, or the name behind the prefix.
    """

    kind: str
    text: str


def parse(handle: str | os.PathLike[str]) -> Handle:
    """Tell a handle's kind.

    Raises:
        InputError: If it is none that tlkit knows, or a path where nothing is.

    Example:
        >>> parse("kaggle:google/mobilenet-v2/tensorFlow2/100-224-feature-vector/2").text
        'google/mobilenet-v2/tensorFlow2/100-224-feature-vector/2'
    """
    text = os.fspath(handle)
    if not text.strip() or any(c in text for c in "\0\n\r"):
        raise InputError(f"{_shown(text)} is no module; a handle is {FORMS}.")
    prefix, _, name = text.partition(":")
    if prefix in ("zoo", "keras.applications") and name:
        return Handle("keras" if prefix == "keras.applications" else "zoo", name)
    if prefix == "kaggle":
        return Handle("kaggle", kaggle_name(name))
    if prefix.lower() in ("http", "https", "file") and name.startswith("//"):
        return _of_address(text)
    return Handle("gs", text) if text.startswith("gs://") else _of_path(text)


def _of_address(address: str) -> Handle:
    try:
        parts = urlsplit(address)
        host, _port = (parts.hostname or "").removeprefix("www."), parts.port
    except ValueError as error:
        raise InputError(f"The address {_shown(address)} cannot be read: {error}.") from error
    if parts.scheme == "file":
        if host not in ("", "localhost"):
            raise InputError(f"{_shown(address)} lies on another machine; a file:// address reads file:///path.")
        return _of_path(_local(unquote(parts.path)))
    if not host or any(c.isspace() for c in address):
        raise InputError(f"The address {_shown(address)} names no server, or has a blank in it.")
    if host == "kaggle.com" and parts.path.startswith("/models/"):
        return Handle("kaggle", kaggle_name(parts.path.removeprefix("/models/")))
    return Handle("http", address)


def _local(path: str) -> str:
    """The path of a file:// address; on Windows a slash stands before the drive."""
    return path.removeprefix("/") if re.match(r"/[A-Za-z]:", path) and os.name == "nt" else path


def _shown(text: str) -> str:
    """A handle in an error: on one line, and not longer than one."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def kaggle_name(path: str) -> str:
    """owner/model/framework/variation[/version], from that or from the path of a page on kaggle.com.

    Example:
        >>> kaggle_name("google/bert/frameworks/TensorFlow2/variations/en-cased/versions/3")
        'google/bert/TensorFlow2/en-cased/3'
    """
    words = [w for w in path.strip("/").split("/") if w]
    if len(words) > 2 and words[2] == "frameworks":
        words = [w for w in words if w not in ("frameworks", "variations", "versions")]
    fine = len(words) in (4, 5) and all(re.fullmatch(r"[\w.-]+", w) and w.strip(".") for w in words)
    if not fine or (len(words) == 5 and not words[4].isdigit()):
        raise InputError(f"A Kaggle handle reads {KAGGLE_FORM}. Received: {_shown(path)}.")
    return "/".join(words)


def _of_path(text: str) -> Handle:
    try:
        return _of_local_path(text, Path(text).expanduser())
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
        raise InputError(f"There is no module {_shown(text)} here ({reason}); a handle is {FORMS}.") from error


def _of_local_path(text: str, path: Path) -> Handle:
    if path.is_dir():
        is_run = (path / "run.json").is_file() and (path / "model.keras").is_file()
        return Handle("run" if is_run and not (path / "saved_model.pb").is_file() else "folder", str(path))
    if path.is_file() and path.name.lower().endswith(ARCHIVES):
        return Handle("archive", str(path))
    if path.is_file() and path.suffix in (".keras", ".h5"):
        raise InputError(
            f"{text} is a Keras file, not a SavedModel: open it with keras.saving.load_model and pass the model itself."
        )
    if path.is_file() and path.name in ("saved_model.pb", "saved_model.pbtxt"):
        return Handle("folder", str(path.parent))
    if path.exists():
        raise InputError(f"{_shown(text)} is no module; a handle is {FORMS}.")
    raise InputError(f"There is no module {_shown(text)} here: nothing lies at that path, and a handle is {FORMS}.")
