"""From a handle to a folder with a SavedModel on this machine, whatever the handle names."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path

from tlkit.core.errors import DownloadError, InputError, UnsafeModuleError
from tlkit.core.files import sha256_file, sha256_tree
from tlkit.hub import handles
from tlkit.hub.downloading import download
from tlkit.hub.store import Filled, Stored, is_offline, normal_sha256, obtain
from tlkit.hub.tfhub import tensorflow_hub
from tlkit.hub.unpacking import LEAST_BOUND_BYTES, MAX_MEMBERS, MODEL_FILES, module_root, safe_parts, unpack


def resolve(handle: str | os.PathLike[str], *, sha256: str | None = None, offline: bool | None = None) -> Path:
    """Find a module, fetching it into the cache where needed.

    What was fetched once stays: a Kaggle handle without a version keeps meaning the version that it first gave. The
    cache is `TLKIT_CACHE`/modules, else `TFHUB_CACHE_DIR`/tlkit, else in the user's cache folder; a module that
    tensorflow_hub has put into TFHUB_CACHE_DIR is used as it is. What is in our cache is checked against its hash each
    time, and fetched again when it is damaged.

    Args:
        handle: A SavedModel folder; a .tar.gz or .zip of one; the folder of a run, which stands for the module that it
            trained; the file:// address of any of these; an http(s) address that speaks the hub's protocol,
            tfhub.dev's included; kaggle:owner/model/framework/variation[/version], or the address of its page;
            gs://bucket/path; zoo:NAME; keras.applications:NAME.
        sha256: Expected hash, of the archive that is fetched or of the folder's content (`Module.sha256`).
        offline: Whether to fetch nothing; None asks TLKIT_OFFLINE.

    Returns:
        The folder that holds saved_model.pb.

    Raises:
        OfflineError: If it would have to be fetched and must not be.
        DownloadError: If it cannot be fetched, or is not what was expected.
        InputError: If the handle names no module.
    """
    return locate(handle, sha256=sha256, offline=offline).folder


def locate(handle: str | os.PathLike[str], *, sha256: str | None = None, offline: bool | None = None) -> Stored:
    """`resolve`, with the hashes of what was found."""
    expected, still = normal_sha256(sha256), is_offline(offline)
    parsed = handles.parse(handle)
    sources: dict[str, Callable[[], Stored]] = {
        "folder": lambda: _folder(Path(parsed.text)),
        "archive": lambda: _archive(Path(parsed.text)),
        "run": lambda: _run(Path(parsed.text)),
        "http": lambda: _http(parsed.text, expected, still),
        "kaggle": lambda: obtain(f"kaggle:{parsed.text}", _kaggle(parsed.text), sha256=expected, offline=still),
        "gs": lambda: obtain(parsed.text, _remote(parsed.text), sha256=expected, offline=still),
        "zoo": lambda: _zoo(parsed.text, offline),
        "keras": lambda: _keras(parsed.text, still),
    }
    stored = sources[parsed.kind]()
    if not stored.agrees(expected):
        actual = stored.archive or stored.sha256
        raise InputError(f"{os.fspath(handle)} is not what was expected: its sha256 is {actual}, not {expected}.")
    return stored


def _folder(folder: Path) -> Stored:
    if not any((folder / name).is_file() for name in MODEL_FILES):
        inner = module_root(folder)
        raise InputError(f"{folder} holds no saved_model.pb itself; did you mean {inner}?")
    return Stored(folder, sha256_tree(folder))


def _archive(path: Path) -> Stored:
    digest = sha256_file(path)

    def fill(work: Path, _again: bool) -> Filled:
        unpack(path, work / "module")
        return Filled(module_root(work / "module"), digest)

    return obtain(f"archive:{digest}", fill)


def _run(folder: Path) -> Stored:
    """The module of a run with the weights that it has now, published once for each state of its model."""

    def fill(work: Path, _again: bool) -> Filled:
        # `publishing` stands many floors above; a run's folder is the one handle that needs what is up there.
        importlib.import_module("tlkit.runs.publish").publish(folder, work / "module", card={"name": folder.name})
        return Filled(work / "module")

    return obtain(f"run:{sha256_file(folder / 'model.keras')}", fill)


def _http(address: str, sha256: str | None, offline: bool) -> Stored:
    theirs = _of_tensorflow_hub(address)
    if theirs is not None and sha256 is None:
        return Stored(theirs, sha256_tree(theirs))

    def fill(work: Path, _again: bool) -> Filled:
        archive = work / "archive"
        download(address, archive)
        try:
            unpack(archive, work / "module")
            return Filled(module_root(work / "module"), sha256_file(archive))
        except UnsafeModuleError:
            raise
        except InputError as error:
            raise DownloadError(f"{address} did not send a module: {error}") from error

    return obtain(address, fill, sha256=sha256, offline=offline)


def _of_tensorflow_hub(address: str) -> Path | None:
    """The module's folder in tensorflow_hub's own cache: the sha1 of the handle names it."""
    cache = os.environ.get("TFHUB_CACHE_DIR")
    folder = Path(cache or ".").expanduser() / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    return folder if cache and any((folder / name).is_file() for name in MODEL_FILES) else None


def _kaggle(name: str) -> Callable[[Path, bool], Filled]:
    """Through kagglehub, which has its own cache and the user's credentials; the module stays where it put it."""

    def fill(_work: Path, force: bool) -> Filled:
        import kagglehub

        try:
            return Filled(module_root(Path(kagglehub.model_download(name, force_download=force))))
        except InputError:
            raise
        except Exception as error:  # kagglehub has no common base for its errors
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DownloadError(
                f"kaggle:{name} cannot be downloaded ({reason[0].rstrip('.')}); check the handle "
                f"({handles.KAGGLE_FORM}), and whether the model asks for consent on its page or for credentials in "
                "KAGGLE_USERNAME and KAGGLE_KEY."
            ) from error

    return fill


def _remote(address: str) -> Callable[[Path, bool], Filled]:
    """Through tensorflow_hub and TensorFlow's own file systems, copied so that it can be scanned and checked."""

    def fill(work: Path, _again: bool) -> Filled:
        import tensorflow as tf

        try:
            _copy(str(tensorflow_hub().resolve(address)), work / "module")
        except tf.errors.OpError as error:
            raise DownloadError(f"{address} cannot be read: {str(error).splitlines()[0]}") from error
        return Filled(module_root(work / "module"))

    return fill


def _copy(source: str, target: Path) -> None:
    import tensorflow as tf

    count, size = 0, 0
    for root, _, names in tf.io.gfile.walk(source):
        inner = target.joinpath(*safe_parts(root.removeprefix(source).strip("/")))
        inner.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = f"{root.rstrip('/')}/{name}"
            count, size = count + 1, size + tf.io.gfile.stat(path).length
            if count > MAX_MEMBERS or size > 16 * LEAST_BOUND_BYTES:
                raise UnsafeModuleError(f"{source} holds more than a module does: refused.")
            tf.io.gfile.copy(path, str(inner.joinpath(*safe_parts(name))))


def _zoo(name: str, offline: bool | None) -> Stored:
    from tlkit import zoo

    folder = zoo.folder(name, offline=offline)
    return Stored(folder, sha256_tree(folder))


def _keras(name: str, offline: bool) -> Stored:
    from tlkit.hub import applications

    return applications.stored(name, offline=offline)
