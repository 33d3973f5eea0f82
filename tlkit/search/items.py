"""Items of a catalogue as vectors that histories find: the order of cosines is that of the model's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Pipeline
from tlkit.data.ratings import RATINGS, in_history
from tlkit.data.ratings_module import BIAS, ITEMS, queries, weights_of
from tlkit.layer.hub_layer import HubLayer


def item_vectors(layer: HubLayer) -> np.ndarray:
    """float32 (items, width + 2) of length 1: vector, bias, and what makes all equally long.

    Source: Bachrach et al. 2014, doi:10.1145/2645710.2645741 (largest products as nearest neighbours).
    """
    weights = _weights(layer)
    rows = np.concatenate([weights[ITEMS][1:], weights[BIAS][:, None]], axis=1).astype(np.float64)
    lengths = (rows**2).sum(axis=1)
    longest = max(float(lengths.max()), 1e-12)
    rest = np.sqrt(np.maximum(longest - lengths, 0.0))[:, None]
    return np.asarray(np.concatenate([rows, rest], axis=1) / np.sqrt(longest), np.float32)


def history_vectors(layer: HubLayer, histories: Sequence[np.ndarray], pipeline: Pipeline) -> np.ndarray:
    """float32 (n, width + 2) of length 1, what the tower makes of histories.

    Args:
        layer: The module.
        histories: int, numbers of items from 1 on, the latest last.
        pipeline: Says how many items a history has.
    """
    length = int((pipeline.get(RATINGS) or {})["history"])
    rows = np.stack([in_history([int(number) for number in history if number], length) for history in histories])
    tower = queries(rows, _weights(layer))
    whole = np.concatenate([tower, np.ones((len(tower), 1)), np.zeros((len(tower), 1))], axis=1)
    return np.asarray(whole / np.linalg.norm(whole, axis=1, keepdims=True), np.float32)


def numbers_of(histories: Sequence[Any], ids: Sequence[str]) -> list[np.ndarray]:
    """Histories of ids as numbers from 1 on; arrays of whole numbers, as data hold them, are such numbers already.

    Raises:
        InputError: If one names an item that the catalogue has not.
    """
    number = {item_id: i + 1 for i, item_id in enumerate(ids)}
    rows = []
    for history in histories:
        if isinstance(history, str):
            raise InputError(f"A query is a history, a list of ids. Received: {history!r:.60}.")
        if isinstance(history, np.ndarray) and history.dtype.kind in "iu":
            items = history.tolist()
            strange = [item for item in items if not 0 <= item <= len(ids)]
        else:
            items = [str(item) for item in history]
            strange = [item for item in items if item not in number]
        if strange:
            raise InputError(
                f"The history names the item {strange[0]!r:.60}, which is none of the {len(ids):,} indexed."
            )
        rows.append(np.array([number.get(item, item) for item in items], np.int64))
    return rows


def _weights(layer: HubLayer) -> dict[str, np.ndarray]:
    return {name: np.asarray(value.value) for name, value in weights_of(layer.module_variables.values()).items()}
