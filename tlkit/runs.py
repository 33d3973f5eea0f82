"""A run's folder: written whole, opened again by `load`."""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkit import indexing, tasks
from tlkit.batches import order_of_epoch, stack
from tlkit.errors import InputError
from tlkit.files import PARTIAL, atomic_file, write_atomic
from tlkit.layer import HubLayer  # registers the layer, so that Keras can open its files
from tlkit.methods import one_head
from tlkit.model import backbone_of
from tlkit.report import run_json
from tlkit.report import write as write_report
from tlkit.types import ArraySpec, Examples, Passage, Run, Splits

KEPT_TRAIN, KEPT_TEST = 100, 500  # examples kept for later exports: int8 calibration, and the gates' held-out set
PACKAGES = ("tlkit", "tensorflow", "keras", "ai-edge-litert", "numpy")


def describe(run: Run, *, seed: int, batch_size: int, command: str = "") -> dict[str, Any]:
    """Plain data that reproduces the run: command, versions, seed, module, data."""
    layer = backbone_of(run.model)
    return {
        "command": command,
        "arguments": list(_INVOCATION.get().words),
        "seed": seed,
        "batch_size": batch_size,
        "module": None if layer is None else _module(layer),
        "input_range": None if layer is None else layer.input_range,
        "data": {
            "fingerprint": run.data.fingerprint,
            **{name: len(getattr(run.data, name)) for name in ("train", "val", "test")},
        },
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "machine": platform.platform(),
        "threads": _threads(),
    }


def _module(layer: HubLayer) -> dict[str, Any]:
    """Which module it was, and its blocks, input side first; none where it cannot be cut."""
    try:
        blocks = layer.blocks
    except InputError:
        blocks = ()
    shown = ("name", "shape", "parameters", "depth", "cost")
    rows = [{key: getattr(block, key) for key in shown} for block in blocks]
    return {"handle": layer.handle, "sha256": layer.sha256, "blocks": rows}


@dataclass(frozen=True)
class Invocation:
    """How the command line was called: the words that make the run again, and whether to start over."""

    words: tuple[str, ...] = ()
    fresh: bool = False


NOT_CALLED = Invocation()
_INVOCATION: contextvars.ContextVar[Invocation] = contextvars.ContextVar("invocation", default=NOT_CALLED)


@contextlib.contextmanager
def invoked(words: Sequence[str], *, fresh: bool) -> Iterator[None]:
    """Runs made inside were asked for by these words of the command line."""
    token = _INVOCATION.set(Invocation(tuple(words), fresh))
    try:
        yield
    finally:
        _INVOCATION.reset(token)


def starts_over() -> bool:
    """Whether --fresh was given."""
    return _INVOCATION.get().fresh


def finished(folder: Path, words: Sequence[str]) -> Mapping[str, Any] | None:
    """The record of the run in `folder`, if these words made it and it was exported; None where there is none.

    Raises:
        InputError: If the folder holds the run of another command.
    """
    path = folder / "run.json"
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    if list(record.get("arguments") or []) != list(words):
        raise InputError(
            f"{folder} holds the run of another command (tlkit {' '.join(record.get('arguments') or ['?'])}); "
            "choose another --out, or start over with --fresh."
        )
    return {**record, "folder": str(folder)} if record.get("exports") else None


def record_of(run: Any) -> Mapping[str, Any]:
    """What run.json holds, for a Run; anything else a recipe may give back passes."""
    return {**run_json(run), "folder": str(run.folder)} if isinstance(run, Run) else {"result": run}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _threads() -> int:
    """The thread count decides the last bits of sums, so the record holds it."""
    return os.cpu_count() or 1


def save(run: Run, folder: str | Path) -> Run:
    """Write model, task, record, kept examples and report into `folder`; each file is whole or as it was.

    Each head of several is a run of its own in a folder of its name below it.

    Returns:
        The run with its `folder`.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for left in path.glob(f"{PARTIAL}*"):  # by a run that was killed while it wrote
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    run = replace(run, folder=path)
    with atomic_file(path / "model.keras") as partial:
        run.model.save(partial)
    write_atomic(path / "task.json", json.dumps(_plain_task(run), indent=1))
    _keep_examples(run, path / "examples.npz")
    for head in run.task.heads:
        save(one_head(run, head), path / head)
    return save_record(run)


def save_record(run: Run) -> Run:
    """Write run.json and report.html again, after an export for instance."""
    if run.folder is None:
        return run
    write_report(run, run.folder / "report.html")
    write_atomic(run.folder / "run.json", json.dumps(run_json(run), indent=1, allow_nan=False))
    return run


def _plain_task(run: Run) -> dict[str, Any]:
    name, arguments = run.task.recipe
    return {"task": name, "arguments": dict(arguments)}


# -- examples kept for later exports


def _keep_examples(run: Run, path: Path) -> None:
    kept = {"train": _chosen(run.data.train, KEPT_TRAIN), "test": _chosen(run.data.test, KEPT_TEST)}
    arrays: dict[str, Any] = {"labels": np.asarray(run.data.labels, dtype=str)}
    for name, examples in kept.items():
        arrays[f"{name}.ids"] = np.asarray(examples.ids, dtype=str)
        arrays[f"{name}.digests"] = np.asarray(examples.digests, dtype=str)
        arrays[f"{name}.targets"] = examples.targets
        arrays[f"{name}.recipe"] = np.asarray(examples.recipe)
        arrays[f"{name}.texts"] = np.asarray(examples.texts, dtype=str)
        arrays[f"{name}.passages"] = _packed(examples.passages)
        arrays |= _inputs(name, _stacked(examples))
    with atomic_file(path) as partial:
        np.savez_compressed(partial, **arrays)


def _stacked(examples: Examples) -> Any:
    """All inputs as one batch; of none, such as the test of a head that has no labels there, an empty one."""
    if len(examples):
        return stack([examples.read(i) for i in range(len(examples))])

    def empty(spec: ArraySpec) -> np.ndarray:
        return np.zeros((0, *(size or 0 for size in spec.shape)), "str" if spec.dtype == "string" else spec.dtype)

    return keras.tree.map_structure(empty, examples.spec)


def _chosen(examples: Examples, most: int) -> Examples:
    """At most `most` of the examples, spread evenly over a fixed order."""
    if len(examples) <= most:
        return examples
    return examples.subset(np.sort(order_of_epoch(len(examples), 0, 0, 0)[:most]).tolist())


def _inputs(name: str, stacked: Any) -> dict[str, np.ndarray]:
    if isinstance(stacked, Mapping):
        return {f"{name}.x.{key}": value for key, value in stacked.items()}
    return {f"{name}.x": stacked}


def _kept(arrays: Mapping[str, np.ndarray], name: str) -> Examples:
    keys = sorted(k for k in arrays if k.startswith(f"{name}.x."))
    inputs: Any = {k.split(".x.")[1]: arrays[k] for k in keys} if keys else arrays[f"{name}.x"]

    def read(i: int) -> Any:
        return {k: v[i] for k, v in inputs.items()} if keys else inputs[i]

    def spec(x: np.ndarray) -> ArraySpec:
        return ArraySpec(tuple(x.shape[1:]), x.dtype.name)

    return Examples(
        ids=tuple(str(i) for i in arrays[f"{name}.ids"]),
        read=read,
        targets=arrays[f"{name}.targets"],
        spec={k: spec(v) for k, v in inputs.items()} if keys else spec(inputs),
        digests=tuple(str(d) for d in arrays[f"{name}.digests"]),
        recipe=str(arrays.get(f"{name}.recipe", "")),
        texts=tuple(str(t) for t in arrays.get(f"{name}.texts", ())),
        passages=_unpacked(arrays[f"{name}.passages"]) if f"{name}.passages" in arrays else (),
    )


def _packed(passages: Sequence[Passage]) -> np.ndarray:
    """uint8 (n,) JSON: of each text what is shown of it."""
    return np.frombuffer(json.dumps([_plain_passage(one) for one in passages]).encode(), np.uint8)


def _plain_passage(one: Passage) -> dict[str, Any]:
    start, end = (int(one.offsets[0, 0]), int(one.offsets[-1, 1])) if len(one.offsets) else (0, 0)
    offsets = (one.offsets - start).tolist()
    return {"text": one.text[start:end], "answers": one.answers, "offsets": offsets, "step": one.step}


def _unpacked(content: np.ndarray) -> tuple[Passage, ...]:
    return tuple(
        Passage(one["text"], tuple(one["answers"]), np.array(one["offsets"], np.int32).reshape(-1, 2), one["step"])
        for one in json.loads(content.tobytes())
    )


# -- opening


def load(path: str | Path) -> Any:
    """Open what tlkit saved.

    Args:
        path: A run's folder, an index's folder, or a .keras file.

    Returns:
        A Run (its data are the examples kept for exports), an Index, or the keras.Model.

    Raises:
        InputError: If there is nothing to open, or it cannot be opened; UnsafeModuleError if the file carries a graph
            that reads or writes files.
    """
    target = Path(path)
    if target.suffix == ".keras":
        return _load_model(target)
    if (target / indexing.RECORD).is_file():
        return indexing.Index.load(target)
    if not (target / "run.json").is_file():
        raise InputError(f"{target} is neither a .keras file nor a run's folder (it has no run.json).")
    return _load_run(target)


def opened(run: Run | str | Path) -> Run:
    """The run itself, or the one in a folder."""
    found = run if isinstance(run, Run) else load(run)
    if not isinstance(found, Run):
        raise InputError(f"What is wanted is a run or its folder. Received: {run!r}.")
    return found


def _load_model(path: Path) -> keras.Model:
    if not path.is_file():
        raise InputError(f"There is no file {path}; give the path of a .keras file.")
    try:
        return keras.saving.load_model(path, custom_objects={"HubLayer": HubLayer})
    except InputError:
        raise
    except (ValueError, TypeError, OSError, KeyError) as error:
        cause = _own_cause(error)
        if cause is not None:
            raise cause from None
        raise InputError(f"{path} cannot be opened as a Keras model: {_first_line(error)}") from error


def _own_cause(error: BaseException | None) -> InputError | None:
    """The refusal behind Keras' own message, which would dump the whole config, graph included."""
    while error is not None:
        if isinstance(error, InputError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _load_run(folder: Path) -> Run:
    record = json.loads((folder / "run.json").read_text())
    plain = json.loads((folder / "task.json").read_text())
    with np.load(folder / "examples.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    test = _kept(arrays, "test")
    data = Splits(_kept(arrays, "train"), test.subset([]), test, tuple(str(n) for n in arrays["labels"]))
    return Run(
        model=_load_model(folder / "model.keras"),
        task=tasks.restore((plain["task"], plain["arguments"])),
        data=data,
        seconds=record.get("seconds", {}),
        record=record,
        folder=folder,
    )
