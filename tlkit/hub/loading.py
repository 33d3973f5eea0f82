"""From a handle to a loaded module; and a module's graph without its weights, small enough for a layer's config."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.files import sha256_bytes
from tlkit.formats import hub_module
from tlkit.hub.cards import card_of
from tlkit.hub.reference_variables import KINDS, remaining, with_resource_variables
from tlkit.hub.resolving import locate
from tlkit.hub.scanning import Scan, check
from tlkit.hub.tfhub import tensorflow_hub
from tlkit.hub.unpacking import MODEL_FILES, safe_parts

_TF1_MARK = "tfhub_module.pb"
_MAX_PACKED_BYTES, _MAX_PACKED_FILES = 2 << 30, 10_000


@dataclass(frozen=True, eq=False)
class Module:
    """A loaded module.

    Attributes:
        handle: What it was opened by; for an object, a description.
        sha256: Hash of its folder's content; where an object was given, hash of its graph and variables.
        folder: Where its SavedModel lies, or None for an object that was already loaded.
        loaded: The restored object.
        card: What its author wrote down about it (input_range, image_size, ...), or {}.
    """

    handle: str
    sha256: str
    folder: Path | None
    loaded: Any
    card: Mapping[str, Any]


def open_module(
    handle: Any,
    *,
    tags: str | Sequence[str] | None = None,
    load_options: Any = None,
    trust: bool = False,
    sha256: str | None = None,
    offline: bool | None = None,
) -> Module:
    """Find a module, scan it, and load it.

    Args:
        handle: All that `resolve` takes; a loaded SavedModel; a keras.Model or another object that TensorFlow can
            save, which is written to a temporary folder and loaded from there, so that all modules are alike.
        tags: Which meta graph of a TF1-style SavedModel to load.
        load_options: A `tf.saved_model.LoadOptions`.
        trust: Whether to load it although the scan refuses it.
        sha256: Expected hash, of the archive that is fetched or of the folder's content; of a handle only.
        offline: Whether to fetch nothing; None asks TLKIT_OFFLINE.

    Raises:
        UnsafeModuleError: If the scan refuses it.
        InputError: If it cannot be found or loaded.
    """
    if isinstance(handle, str | os.PathLike):
        stored = locate(handle, sha256=sha256, offline=offline)
        return _open(os.fspath(handle), stored.folder, stored.sha256, trust, tags=tags, options=load_options)
    if is_restored(handle):
        return Module("a loaded SavedModel", _object_sha256(handle), None, handle, {})
    folder = _scratch_folder() / "module"
    _write(handle, folder)
    name = f"{type(handle).__module__.split('.')[0]}:{getattr(handle, 'name', type(handle).__name__)}"
    module = _open(name, folder, "", trust, tags=tags, options=load_options)
    return replace(module, sha256=_object_sha256(module.loaded))  # its file names functions by a running number


def variables(loaded: Any) -> tuple[Any, ...]:
    """All TensorFlow variables of a restored object, also those that it does not list itself."""
    import tensorflow as tf

    listed = [v for v in getattr(loaded, "variables", None) or () if isinstance(v, tf.Variable)]
    tracked = [v for v in tf.train.TrackableView(loaded).descendants() if isinstance(v, tf.Variable)]
    return tuple({id(v): v for v in (*listed, *tracked)}.values())


def pack(folder: str | os.PathLike[str] | None, loaded: Any = None) -> bytes:
    """A SavedModel's graph, assets and card as a zip file, without the variables; the same bytes for the same content.

    Args:
        folder: The SavedModel, or None where only the loaded object is left.
        loaded: That object; it is saved again to be packed.

    Raises:
        InputError: If it cannot be saved, or keeps more than variables in its checkpoint, which would be lost.
    """
    if folder is not None:
        return _zipped(Path(folder))
    with tempfile.TemporaryDirectory(prefix="tlkit-") as scratch:
        again = Path(scratch, "module")
        _save(loaded, again)
        (again / "fingerprint.pb").unlink(missing_ok=True)
        return _zipped(again)


def unpack(data: bytes, *, tags: str | Sequence[str] | None = None, trust: bool = False) -> Module:
    """The module of `pack`, scanned and loaded, its variables zero.

    Args:
        data: What `pack` gave.
        tags: Which meta graph of a TF1-style SavedModel to load.
        trust: Whether to load it although the scan refuses it.

    Raises:
        UnsafeModuleError: If the scan refuses it.
        InputError: If it is no such zip file.
    """
    import tensorflow as tf

    folder = _scratch_folder() / "module"
    _unzip(data, folder)
    options = tf.saved_model.LoadOptions(experimental_skip_checkpoint=True)
    what = "The module's graph inside the file"
    module = _open("a packed graph", folder, sha256_bytes(data), trust, tags=tags, options=options, what=what)
    for variable in variables(module.loaded):
        variable.assign(tf.zeros(variable.shape, variable.dtype))
    if not (folder / "assets").exists():  # exporting again copies the assets from here, so with them it stays
        shutil.rmtree(folder.parent, ignore_errors=True)
    return Module(module.handle, module.sha256, None, module.loaded, module.card)


def saved(loaded: Any) -> Path:
    """A loaded object, saved again into a folder that lasts as long as the process.

    Raises:
        InputError: If TensorFlow cannot save it.
    """
    folder = _scratch_folder() / "module"
    _save(loaded, folder)
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    return folder


# -- loading


def _open(
    name: str, folder: Path, sha256: str, trust: bool, *, tags: Any, options: Any, what: str | None = None
) -> Module:
    findings = check(folder, trust, what=what)
    _need(findings, name)
    readable = _upgraded(folder) if set(findings.operations) & set(KINDS) else folder
    with _one_sentence(name):
        return Module(name, sha256, folder, _load(readable, tags, options), card_of(folder, name))


def _upgraded(folder: Path) -> Path:
    """A TF1 module with resource variables in place of its own, which TensorFlow 2 could not train."""
    binary = folder / MODEL_FILES[0]
    if not binary.is_file():
        return folder
    copy = _scratch_folder() / "module"
    shutil.copytree(folder, copy, copy_function=_link, ignore=shutil.ignore_patterns(binary.name))
    (copy / binary.name).write_bytes(with_resource_variables(binary.read_bytes()))
    return copy


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _load(folder: Path, tags: Any, options: Any) -> Any:
    if (folder / _TF1_MARK).exists():
        return tensorflow_hub().load(str(folder), tags=tags, options=options)
    import tensorflow as tf

    return tf.saved_model.load(str(folder), tags=tags, options=options)


def _need(findings: Scan, name: str) -> None:
    """Bring in the package that has the operations, or say which one it is."""
    if not findings.missing:
        return
    try:
        importlib.import_module("tensorflow_text")
    except ImportError as error:
        raise InputError(
            f"{name} needs the operations of tensorflow_text ({', '.join(findings.missing[:3])}): "
            "pip install 'tlkit[text]'."
        ) from error


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """What TensorFlow says about a broken module fills a screen; its first line is what matters."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever TensorFlow meets in a module is a finding about the module
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, AssertionError) and "not bound to checkpointed values" in reason:
            reason = "the files in its folder variables hold the weights of another module, or not all of its own"
        raise InputError(f"{name} cannot be loaded as a SavedModel: {reason[:300]}") from error


# -- objects instead of handles


def is_restored(loaded: Any) -> bool:
    """Whether it comes from `tf.saved_model.load`, which leaves these marks on it."""
    return hasattr(loaded, "signatures") and hasattr(loaded, "tensorflow_version")


def _write(module: Any, folder: Path) -> None:
    import keras

    if not isinstance(module, keras.Model):
        _save(module, folder)
        return
    try:
        hub_module.write_keras_model(module, folder)
    except TypeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"The model {module.name!r} cannot be called with its inputs as one argument ({reason}): "
            "give one whose `call` takes a tensor, or a list or dict of them."
        ) from error


def _save(module: Any, folder: Path) -> None:
    import tensorflow as tf

    try:
        tf.saved_model.save(module, str(folder))
    except (tf.errors.OpError, ValueError, TypeError, AssertionError, AttributeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"An object of type {type(module).__name__} cannot be used as a module, for TensorFlow cannot save it "
            f"({reason[:300]}); give a handle, a loaded SavedModel or a keras.Model."
        ) from error


def _object_sha256(loaded: Any) -> str:
    """Hash of what a restored object computes with: the operations of its functions, and its variables' content."""
    values = [v.numpy() for v in variables(loaded)]
    content = (p for v in values for p in (str(v.dtype), str(v.shape), v.tobytes() if v.dtype != object else str(v)))
    return sha256_bytes(*(_function_sha256(f) for f in _functions(loaded)), *content)


def _functions(loaded: Any) -> Iterator[Any]:
    for name in ("__call__", "serve"):
        yield from getattr(getattr(loaded, name, None), "concrete_functions", None) or ()
    signatures = getattr(loaded, "signatures", None) or {}
    yield from (signatures[name] for name in sorted(signatures))


def _function_sha256(function: Any) -> str:
    """Operations and constants, without the names of functions and without their order: those count what ran before."""
    definition = function.graph.as_graph_def()
    inner = sorted(sha256_bytes(*_lines(f.node_def)) for f in definition.library.function)
    return sha256_bytes(*_lines(definition.node), *inner)


def _lines(nodes: Any) -> Iterator[str]:
    return (f"{n.op} {n.attr['value'].tensor.SerializeToString().hex()}" for n in nodes)


# -- packing


def _zipped(folder: Path) -> bytes:
    _refuse_hidden_state(folder)
    inner = [p for p in (folder / "assets").rglob("*") if p.is_file()]
    fixed = [folder / name for name in (*MODEL_FILES, _TF1_MARK, hub_module.CARD_FILE)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in (*fixed, *inner) if p.is_file()):
            entry = zipfile.ZipInfo(
                path.relative_to(folder).as_posix()
            )  # dated 1980, so that equal content packs equally
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, _content(path), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return with_resource_variables(data) if path.name == MODEL_FILES[0] else data


def _refuse_hidden_state(folder: Path) -> None:
    """A mutable table keeps its rows in the checkpoint, which a packed graph goes without."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / MODEL_FILES[0]
    metas = saved_model_pb2.SavedModel.FromString(_content(path)).meta_graphs if path.is_file() else ()
    if any(remaining(metas)):
        raise InputError(
            f"The TF1 module in {folder} has reference variables that nothing can read, so a .keras file cannot carry "
            "their values; export it as a SavedModel instead."
        )
    for node in (n for meta in metas for n in meta.object_graph_def.nodes):
        if node.saveable_objects and node.WhichOneof("kind") != "variable":
            state_names = ", ".join(sorted(node.saveable_objects)[:3])
            raise InputError(
                f"The module in {folder} keeps more than variables in its checkpoint ({state_names}), which a .keras "
                "file cannot carry; export it as a SavedModel instead."
            )


def _unzip(data: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir()]
            if sum(e.file_size for e in entries) > _MAX_PACKED_BYTES or len(entries) > _MAX_PACKED_FILES:
                raise InputError("The packed graph unpacks to more than a module's graph does: refused.")
            for entry in entries:
                target = folder.joinpath(*safe_parts(entry.filename))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(entry))
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise InputError(f"The packed graph of a module is damaged ({error}).") from error


def _scratch_folder() -> Path:
    """A temporary folder that lasts as long as the process: restored objects read their assets again when exported."""
    folder = Path(tempfile.mkdtemp(prefix="tlkit-module-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
