"""The few examples that a run keeps, so that later exports can be measured and judged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkit.core import excerpts
from tlkit.core.batches import order_of_epoch, stack
from tlkit.core.examples import ArraySpec, Examples, Excerpt, Passage, Splits
from tlkit.core.files import atomic_file
from tlkit.core.run import Run

KEPT_TRAIN, KEPT_TEST = 100, 500  # examples kept for later exports: int8 calibration, and those to check on


# -- examples kept for later exports


def keep(run: Run, path: Path) -> None:
    """Write the examples of a run that later exports need, whole or not at all."""
    kept = _to_keep(run.data)
    arrays: dict[str, Any] = {"labels": np.asarray(run.data.labels, dtype=str)}
    for name, examples in kept.items():
        arrays[f"{name}.ids"] = np.asarray(examples.ids, dtype=str)
        arrays[f"{name}.digests"] = np.asarray(examples.digests, dtype=str)
        arrays[f"{name}.targets"] = examples.targets
        arrays[f"{name}.recipe"] = np.asarray(examples.recipe)
        arrays[f"{name}.texts"] = np.asarray(() if examples.excerpts else examples.texts, dtype=str)
        arrays[f"{name}.excerpts"] = np.frombuffer(json.dumps(_plain_excerpts(examples)).encode(), np.uint8)
        arrays[f"{name}.passages"] = _packed(examples.passages)
        arrays |= _inputs(name, _stacked(examples))
    with atomic_file(path) as partial:
        np.savez_compressed(partial, **arrays)


def _to_keep(data: Splits) -> dict[str, Examples]:
    """Examples by split: some to measure ranges with, and those that later exports are checked on."""
    if len(data.test):
        return {"train": _chosen(data.train, KEPT_TRAIN), "test": _chosen(data.test, KEPT_TEST)}
    if len(data.val):
        return {"train": _chosen(data.train, KEPT_TRAIN), "val": _chosen(data.val, KEPT_TEST), "test": data.test}
    return {"train": _chosen(data.train, KEPT_TEST), "test": data.test}


def _stacked(examples: Examples) -> Any:
    """All inputs as one batch; of none, such as the test of a head that has no labels there, an empty one."""
    if len(examples):
        return stack([examples.read(i) for i in range(len(examples))])

    def empty(spec: ArraySpec) -> np.ndarray:
        return np.zeros((0, *(size or 0 for size in spec.shape)), "str" if spec.dtype == "string" else spec.dtype)

    return keras.tree.map_structure(empty, examples.spec)


def _chosen(examples: Examples, most: int) -> Examples:
    """At most `most` of the examples, spread evenly over a fixed order."""
    count = len(excerpts.whole(examples))
    if count <= most:
        return examples
    return excerpts.of_texts(examples, np.sort(order_of_epoch(count, 0, 0, 0)[:most]).tolist())


def _inputs(name: str, stacked: Any) -> dict[str, np.ndarray]:
    if isinstance(stacked, Mapping):
        return {f"{name}.x.{key}": value for key, value in stacked.items()}
    return {f"{name}.x": stacked}


def kept(arrays: Mapping[str, np.ndarray], name: str) -> Examples:
    """The examples of one part ("train", "val", "test"), out of the arrays that `keep` wrote."""
    keys = sorted(k for k in arrays if k.startswith(f"{name}.x."))
    inputs: Any = {k.split(".x.")[1]: arrays[k] for k in keys} if keys else arrays[f"{name}.x"]

    windows = _excerpts(arrays.get(f"{name}.excerpts"))

    def read(i: int) -> Any:
        return {k: v[i] for k, v in inputs.items()} if keys else inputs[i]

    def spec(x: np.ndarray) -> ArraySpec:
        return ArraySpec(tuple(x.shape[1:]), x.dtype.name)

    counts = {len(v) for k, v in arrays.items() if k.startswith((f"{name}.x", f"{name}.ids", f"{name}.targets"))}
    if len(counts) != 1:
        raise ValueError(f"the arrays of {name} differ in length")
    return Examples(
        ids=tuple(str(i) for i in arrays[f"{name}.ids"]),
        read=read,
        targets=arrays[f"{name}.targets"],
        spec={k: spec(v) for k, v in inputs.items()} if keys else spec(inputs),
        digests=tuple(str(d) for d in arrays[f"{name}.digests"]),
        recipe=str(arrays.get(f"{name}.recipe", "")),
        texts=tuple(one.text for one in windows) or tuple(str(t) for t in arrays.get(f"{name}.texts", ())),
        excerpts=windows,
        passages=_unpacked(arrays[f"{name}.passages"]) if f"{name}.passages" in arrays else (),
    )


def _packed(passages: Sequence[Passage]) -> np.ndarray:
    """uint8 (n,) JSON: of each text what is shown of it."""
    return np.frombuffer(json.dumps([_plain_passage(one) for one in passages]).encode(), np.uint8)


def _plain_passage(one: Passage) -> dict[str, Any]:
    start, end = (int(one.offsets[0, 0]), int(one.offsets[-1, 1])) if len(one.offsets) else (0, 0)
    offsets = (one.offsets - start).tolist()
    return {"text": one.text[start:end], "answers": one.answers, "offsets": offsets, "step": one.step}


def _plain_excerpts(examples: Examples) -> dict[str, Any]:
    """Each text once, and of each window which text it is of and how much of it."""
    texts = {one.id: [one.text, one.digest] for one in examples.excerpts}
    return {"texts": texts, "windows": [[one.id, one.share] for one in examples.excerpts]}


def _excerpts(content: np.ndarray | None) -> tuple[Excerpt, ...]:
    plain: dict[str, Any] = {"texts": {}, "windows": []} if content is None else json.loads(content.tobytes())
    texts = plain["texts"]
    return tuple(Excerpt(name, texts[name][0], texts[name][1], share) for name, share in plain["windows"])


def _unpacked(content: np.ndarray) -> tuple[Passage, ...]:
    return tuple(
        Passage(one["text"], tuple(one["answers"]), np.array(one["offsets"], np.int32).reshape(-1, 2), one["step"])
        for one in json.loads(content.tobytes())
    )
