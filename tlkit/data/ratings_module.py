"""The module of ratings: a history in, a score for each item of the catalogue out, in the hub's format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Splits
from tlkit.core.files import atomic_folder, cache_dir, kept_folder, sha256_bytes

UNSEEN = -1e4  # logit of an item that the history holds; float16 has it
ITEMS, BIAS = "items/embedding", "items/bias"  # names of the weights that have a row an item
WHOLE, LATEST, AGE = "history/kernel", "latest/kernel", "history/age"  # names of the tower's weights
FADING = 0.5  # weight of an item in the latest ones, for each step further back
_VERSION = "4"


def module(
    data: Splits, folder: str | os.PathLike[str] | None = None, *, width: int = 64, context: int = 200, seed: int = 0
) -> Path:
    """Write two towers with random weights, and give their folder as a handle.

    An item is a vector and a bias. A history is the sum of the vectors of its last `context` items over the root of
    their count, weighed by how long ago they were, through a linear map that begins as the identity; besides, the
    latest items pass a map of their own. The score of an item is the product of both, plus its bias; outside training,
    items that the history holds are put last.

    Args:
        data: What `tlkit.data.ratings` read.
        folder: Where to write; must not exist. None is a folder of the cache, which the same items and arguments share.
        width: Of the vectors.
        context: Items of a history that the tower reads, the latest ones.
        seed: Of the weights.

    Raises:
        InputError: If the data are no ratings, the folder exists, or an argument is below 1.

    Source: Covington, Adams and Sargin 2016, doi:10.1145/2959100.2959190 (a tower of histories, softmax over items).
    """
    from tlkit.data.ratings import items_of

    ids, _ = items_of(data.train.pipeline)
    spec = data.train.inputs.spec
    if not ids or not isinstance(spec, ArraySpec):
        raise InputError("The module of ratings is made of data that tlkit.data.ratings has read.")
    if not all(isinstance(size, int | np.integer) and size >= 1 for size in (width, context)):
        raise InputError(f"`width` and `context` must be 1 or more. Received: {width=}, {context=}.")
    length = int(spec.shape[0] or 0)

    def fill(place: Path) -> None:
        _write(ids, length, width, min(context, length), seed, place)

    if folder is None:
        name = sha256_bytes(_VERSION, str((width, context, seed, length)), *ids)[:32]
        return kept_folder(cache_dir() / "ratings" / name, fill)
    target = Path(folder)
    if target.exists():
        raise InputError(f"{target} exists already; write the module into a new folder.")
    with atomic_folder(target) as partial:
        fill(partial)
    return target


def weights_of(variables: Iterable[Any]) -> dict[str, Any]:
    """The variables of a module that `module` wrote, by their names.

    Raises:
        InputError: If it wrote none of them.
    """
    by_path = {variable.path: variable for variable in variables}
    weights = {
        name: next((variable for path, variable in by_path.items() if path.endswith(name.replace("/", "."))), None)
        for name in (ITEMS, BIAS, WHOLE, LATEST, AGE)
    }
    if any(variable is None for variable in weights.values()):
        raise InputError("The module has no vectors of items: it was not made by tlkit.data.ratings.module.")
    return weights


def queries(histories: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the tower of histories makes of some, in NumPy; an item's score is its product with the item's vector.

    Args:
        histories: int (n, history), numbers of items, the latest last, 0 before the first.
        weights: The module's, by their names.

    Returns:
        float32 (n, width).
    """
    context = len(weights[AGE])
    last = histories[:, -context:]
    present = (last > 0).astype(np.float32)
    vectors = weights[ITEMS][last] * present[:, :, None]
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    summed = (vectors * np.exp(weights[AGE])[:, None]).sum(axis=1) / np.sqrt(count)
    return np.asarray(summed @ weights[WHOLE] + np.tensordot(_recency(context), vectors, (0, 1)) @ weights[LATEST])


def _recency(context: int) -> np.ndarray:
    return np.asarray(FADING ** np.arange(context)[::-1], np.float32)


def catalogue_hash(ids: Sequence[str]) -> str:
    """What the card of a module has of the catalogue that it scores."""
    return sha256_bytes(*ids)[:32]


def _write(ids: Sequence[str], length: int, width: int, context: int, seed: int, folder: Path) -> None:
    import tensorflow as tf

    from tlkit.formats import hub_module

    rng, count = np.random.default_rng(seed), len(ids)
    drawn = rng.normal(0, 0.05, (count + 1, width)).astype(np.float32)
    drawn[0] = 0
    items = tf.Variable(drawn, name=ITEMS)
    bias = tf.Variable(tf.zeros(count), name=BIAS)
    whole = tf.Variable(np.eye(width, dtype=np.float32), name=WHOLE)
    latest = tf.Variable(np.zeros((width, width), np.float32), name=LATEST)
    age = tf.Variable(np.zeros(context, np.float32), name=AGE)
    recent = tf.constant(_recency(context), tf.float32)

    def call(history: Any, training: bool) -> Any:
        last = history[:, length - context :]
        present = tf.cast(last > 0, tf.float32)
        vectors = tf.gather(items, last) * present[:, :, None]
        count_ = tf.maximum(tf.reduce_sum(present, 1, keepdims=True), 1.0)
        summed = tf.reduce_sum(vectors * tf.exp(age)[:, None], 1) / tf.sqrt(count_)
        query = tf.matmul(summed, whole) + tf.matmul(tf.reduce_sum(vectors * recent[:, None], 1), latest)
        logits = tf.matmul(query, items, transpose_b=True)[:, 1:] + bias
        if training:
            return logits
        rows = tf.range(tf.shape(history)[0])[:, None] + tf.zeros_like(history)
        places = tf.reshape(tf.stack([rows, history], 2), [-1, 2])
        shape = tf.add(tf.shape(logits), [0, 1])  # number 0 is none
        in_history = tf.scatter_nd(places, tf.ones_like(places[:, 0], tf.float32), shape)[:, 1:]
        return tf.where(in_history > 0, tf.ones_like(logits) * UNSEEN, logits)

    weights = [items, bias, whole, latest, age]
    card = {"name": "ratings", "modality": "ratings", "summary": f"{count} items, vectors of {width}"}
    card["catalogue"] = catalogue_hash(ids)
    hub_module.write_module(
        call, weights, weights, tf.TensorSpec((None, length), tf.int32, name="history"), folder, card=card
    )
