"""A vector an item, by what describes it: its text or image through a frozen module, or its columns as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.data import table_images
from tlkit.data.image_source import IMAGE
from tlkit.data.ratings import Catalogue
from tlkit.data.step_columns import names_rows
from tlkit.data.table_columns import MANY_ROWS, NUMBER, TableColumn, as_categories, as_numbers, establish
from tlkit.data.table_module import known_values
from tlkit.data.text_source import TEXT_MODALITY

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

ANY_SIZE = (224, 224)  # at which a module that takes images of any size reads them
IMAGES = "Items are alike by their images."
RARE = 2  # items below which a value tells nobody's likeness


@dataclass(frozen=True, eq=False, repr=False)
class ItemVectors:
    """What tells how like the items of a catalogue are.

    Attributes:
        vectors: float (items, width).
        notes: Sentences on what they are made of.
    """

    vectors: np.ndarray
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ItemVectors{self.vectors.shape}"


def item_vectors(catalogue: Catalogue, module: Any = "zoo:minilm-l6-v2", *, batch_size: int = 64) -> ItemVectors:
    """What `new_items` tells the likeness of items by. Asked before training, it refuses before training.

    Args:
        catalogue: The items.
        module: A frozen module of texts or of images, None for the columns as they are, or a list of these, whose
            vectors of length 1 are joined, so that each counts alike.
        batch_size: Texts or images at a time.

    Raises:
        InputError: If the catalogue has no images, or no column that tells items apart, or an image cannot be read.
    """
    modules = list(module) if isinstance(module, list | tuple) else [module]
    if not modules:
        raise InputError("`module` names nothing that tells how like items are: give a module, or None for columns.")
    described = [_by(catalogue, part, batch_size) for part in modules]
    notes = [note for part in described for note in part.notes]
    if catalogue.images and IMAGES not in notes:
        notes.append("No module reads the images of the catalogue: name one of images beside that of texts.")
    if len(described) == 1:
        return ItemVectors(described[0].vectors, tuple(notes))
    parts = [part.vectors - part.vectors.mean(axis=0) for part in described]
    parts = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9) for part in parts]
    return ItemVectors(np.concatenate(parts, axis=1), tuple(notes))


def _by(catalogue: Catalogue, module: Any, batch_size: int) -> ItemVectors:
    if module is None:
        return _by_columns(catalogue)
    from tlkit.features.vectors import opened, vectors
    from tlkit.layer.lookup import is_image
    from tlkit.modalities.prepare import prepare

    layer = opened(module)
    images = is_image(layer)
    examples = _images(catalogue, layer) if images else _texts(catalogue)
    nothing = examples.subset([])
    taken = prepare(Splits(examples, nothing, nothing), layer)
    return ItemVectors(vectors(layer, taken.train, batch_size), (*taken.notes, *((IMAGES,) if images else ())))


def _by_columns(catalogue: Catalogue) -> ItemVectors:
    """Numbers in deviations, 0 where one is missing, and categories one-hot; what names items is left out.

    Raises:
        InputError: If no column tells items apart.
    """
    if not catalogue.columns:
        raise InputError("The catalogue has no columns that describe items: give `module` one that reads their texts.")
    parts = {
        column.name: _of_column(column, catalogue.columns[column.name])
        for column in establish(catalogue.columns).columns
    }
    used = [name for name, part in parts.items() if part.shape[1]]
    aside = [name for name in catalogue.columns if name not in used]
    if not used:
        raise InputError(
            "No column of the catalogue tells which items are alike, as they name items or are texts: give `module` "
            f"one that reads texts. Received: columns {', '.join(map(repr, aside))}."
        )
    notes = [f"Items are alike by their columns {', '.join(map(repr, used))}."]
    if aside:
        named = ", ".join(map(repr, aside))
        notes.append(f"Not by {named}, which name items, are texts or dates, or are the same for all: left out.")
    return ItemVectors(np.concatenate([parts[name] for name in used], axis=1), tuple(notes))


def _of_column(column: TableColumn, cells: Sequence[Any]) -> np.ndarray:
    """float32 (items, width); of width 0 where each item has a value of its own, which tells no likeness."""
    nothing = np.zeros((len(cells), 0), np.float32)
    if column.kind != NUMBER:
        values = as_categories(cells)
        known = known_values(values[:, 0], RARE)  # all of them where none is in two items
        shared = (values == np.array(known[:1])).sum() >= RARE
        return np.asarray(values == np.array(known), np.float32) if shared else nothing
    numbers = as_numbers(cells)
    names_items = len(cells) >= MANY_ROWS or names_rows(column.name)
    if names_items and len(np.unique(numbers)) == len(cells) and (numbers == np.rint(numbers)).all():
        return nothing
    apart = (numbers - np.nanmean(numbers)) / max(float(np.nanstd(numbers)), 1e-9)
    return np.asarray(np.nan_to_num(apart), np.float32)


def _texts(catalogue: Catalogue) -> Examples:
    return _examples(catalogue, TextColumn(catalogue.texts), TEXT_MODALITY)


def _images(catalogue: Catalogue, layer: HubLayer) -> Examples:
    from tlkit.layer.lookup import own_image_size

    if not catalogue.images:
        raise InputError(f"{layer.handle} reads images, and the catalogue has none: name their column, `image`.")
    images = table_images.opened(catalogue.ids, catalogue.images, Path())
    if images.quarantine:
        broken = images.quarantine[0]
        raise InputError(f"The image of the item {broken.name!r:.300} cannot be used: {broken.reason}.")
    return _examples(catalogue, table_images.resized(images.column, own_image_size(layer) or ANY_SIZE), IMAGE)


def _examples(catalogue: Catalogue, inputs: Any, modality: str) -> Examples:
    none: Any = np.zeros((len(catalogue.ids), 0), np.float32)
    return Examples(ids=catalogue.ids, inputs=inputs, targets=none, modality=modality, pipeline=Pipeline())
