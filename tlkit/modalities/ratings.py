"""Histories of items: clients send the numbers of the items, the latest last, 0 before the first."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality
from tlkit.data.ratings import RATINGS as READ
from tlkit.data.ratings import in_history, items_of, read_items
from tlkit.data.ratings_module import catalogue_hash
from tlkit.formats.tflite_metadata import plain_tensor
from tlkit.modalities.parsed import one_example

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

SHOWN = 5  # items of a history in the report


def _prepare(data: Splits, layer: HubLayer) -> Splits:
    """Histories as they are, if the module takes as many items, of the same catalogue.

    Raises:
        InputError: If it does not.
    """
    ids, _ = items_of(data.train.pipeline)
    if layer.card.get("catalogue") not in (None, catalogue_hash(ids)):
        raise InputError(
            f"{layer.handle} was made for another catalogue, or one in another order: make a module for these data, "
            "tlkit.data.ratings.module(data)."
        )
    leaves, length = layer.endpoint.input_leaves, data.train.inputs.spec.shape[0]
    if len(leaves) != 1 or not leaves[0].dtype.is_integer or leaves[0].shape[1:].as_list() != [length]:
        raise InputError(
            f"{layer.handle} takes no histories of {length} items: make a module for them, "
            "tlkit.data.ratings.module(data)."
        )
    return data


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    count = len(items_of(examples.pipeline)[0])
    text = f"Numbers of the items taken, 1 to {count} in the order of the labels, the latest last; 0 before the first."
    return InputInfo({tensor.name: plain_tensor(tensor.name, text) for tensor in model.inputs})


def _parse(source: Any, info: FileInfo) -> Examples:
    """A history: ids or titles, the latest last, one a line of a .txt file or in the column `item` of a table."""
    ids, titles = items_of(info.pipeline)
    is_file = isinstance(source, str | Path)
    items, file_notes = read_items(Path(source)) if is_file else ([str(item) for item in source], ())
    name = str(source) if is_file else "history"
    number = {title: i + 1 for i, title in reversed(list(enumerate(titles)))}
    number |= {item_id: i + 1 for i, item_id in enumerate(ids)}
    items = [item if item in number else " ".join(item.split()) for item in items]  # as titles are written
    numbers = [number[item] for item in items if item in number]
    if not numbers:
        raise InputError(f"{name!r} names no item of the catalogue: write their ids or titles, such as {ids[0]!r}.")
    strange = len(items) - len(numbers)
    notes = [note.removesuffix(".") for note in file_notes]
    notes += [f"{strange} of {len(items)} items are not in the catalogue"] if strange else []
    several = {title for title, count in Counter(titles).items() if count > 1} - set(ids)
    notes += [
        f"{title!r:.60} is the title of several items, and the first is taken" for title in items if title in several
    ]
    (length,) = info.shape
    notes += [f"the last {length} of {len(numbers)} items are read"] if len(numbers) > length else []
    note = "; ".join(notes)
    return one_example(name, READ, ArrayColumn(in_history(numbers, length)[None]), note, info.pipeline)


def _show(examples: Examples, index: int) -> str:
    """The latest items of a history as HTML."""
    _, titles = items_of(examples.pipeline)
    last = [int(i) for i in np.asarray(examples.inputs[index]) if i][-SHOWN:]
    return f"<ul>{_rows([titles[i - 1] for i in last])}</ul>"


def _rows(titles: Sequence[str]) -> str:
    return "".join(f"<li>{html.escape(title)}</li>" for title in titles)


RATINGS = Modality("ratings", _prepare, describe=_describe, parse=_parse, show=_show)
