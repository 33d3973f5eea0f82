"""What kind of handle is this: a pure function of its text, and of whether it names something on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tlkit.errors import InputError

FORMS = (
    "a SavedModel folder, a .tar.gz of one, an http(s) address, kaggle:owner/model/framework/variation, "
    "gs://bucket/path, zoo:NAME, or keras.applications:NAME"
)
ARCHIVES = (".tar.gz", ".tgz", ".tar")
KAGGLE_FORM = "kaggle:owner/model/framework/variation or kaggle:owner/model/framework/variation/version"


@dataclass(frozen=True)
class Handle:
    """A handle and its kind.

    Attributes:
        kind: "folder", "archive", "http", "kaggle", "gs", "zoo" or "keras".
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
    prefix, _, name = text.partition(":")
    if prefix in ("zoo", "keras.applications") and name:
        return Handle("keras" if prefix == "keras.applications" else "zoo", name)
    if prefix == "kaggle":
        return Handle("kaggle", kaggle_name(name))
    if text.startswith(("http://", "https://")):
        return _of_address(text)
    return Handle("gs", text) if text.startswith("gs://") else _of_path(text)


def _of_address(address: str) -> Handle:
    parts = urlsplit(address)
    host = (parts.hostname or "").removeprefix("www.")
    if host == "kaggle.com" and parts.path.startswith("/models/"):
        return Handle("kaggle", kaggle_name(parts.path.removeprefix("/models/")))
    return Handle("http", address)


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
        raise InputError(f"A Kaggle handle reads {KAGGLE_FORM}. Received: {path!r}.")
    return "/".join(words)


def _of_path(text: str) -> Handle:
    path = Path(text).expanduser()
    if path.is_dir():
        return Handle("folder", str(path))
    if path.is_file() and path.name.endswith(ARCHIVES):
        return Handle("archive", str(path))
    if path.is_file() and path.suffix in (".keras", ".h5"):
        raise InputError(
            f"{text} is a Keras file, not a SavedModel: open it with keras.saving.load_model and pass the model itself."
        )
    if path.is_file() and path.name in ("saved_model.pb", "saved_model.pbtxt"):
        return Handle("folder", str(path.parent))
    if path.exists():
        raise InputError(f"{text} is no module; a handle is {FORMS}.")
    raise InputError(f"There is no module {text!r} here: nothing lies at that path, and a handle is {FORMS}.")
