"""A vector an item, by what describes it: its text or image through a frozen module, or its columns as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.data import table_images
from tlkit.data.image_source import IMAGE
from tlkit.data.ratings import Catalogue
from tlkit.data.table_columns import NUMBER, as_categories, as_numbers, establish
from tlkit.data.table_module import known_values
from tlkit.data.text_source import TEXT_MODALITY

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

ANY_SIZE = (224, 224)  # at which a module that takes images of any size reads them
RARE = 2  # items below which a value tells nobody's likeness


def vectors_of(catalogue: Catalogue, module: Any, batch_size: int = 64) -> np.ndarray:
    """float (items, width).

    Args:
        catalogue: The items.
        module: A module of texts or of images, None for the columns as they are, or a list of these, whose vectors of
            length 1 are joined.
        batch_size: Texts or images at a time.

    Raises:
        InputError: If the catalogue has no images, or no columns, or an image cannot be read.
    """
    if not isinstance(module, list | tuple):
        return _by(catalogue, module, batch_size)
    if not module:
        raise InputError("`module` names nothing that tells how like items are: give a module, or None for columns.")
    parts = [_by(catalogue, part, batch_size) for part in module]
    parts = [part - part.mean(axis=0) for part in parts]
    return np.concatenate([p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-9) for p in parts], axis=1)


def _by(catalogue: Catalogue, module: Any, batch_size: int) -> np.ndarray:
    if module is None:
        return by_columns(catalogue)
    from tlkit.features.vectors import as_taken, opened, vectors
    from tlkit.layer.lookup import is_image

    layer = opened(module)
    examples = _images(catalogue, layer) if is_image(layer) else _texts(catalogue)
    nothing = examples.subset([])
    return vectors(layer, as_taken(Splits(examples, nothing, nothing), layer).train, batch_size)


def by_columns(catalogue: Catalogue) -> np.ndarray:
    """float32 (items, width): numbers in deviations, 0 where one is missing, and categories one-hot.

    Raises:
        InputError: If no column describes the items.
    """
    if not catalogue.columns:
        raise InputError("The catalogue has no columns that describe items: give `module` one that reads their texts.")
    parts = []
    for column in establish(catalogue.columns).columns:
        cells = catalogue.columns[column.name]
        if column.kind == NUMBER:
            numbers = as_numbers(cells)
            apart = (numbers - np.nanmean(numbers)) / max(float(np.nanstd(numbers)), 1e-9)
            parts.append(np.nan_to_num(apart))
        else:
            values = as_categories(cells)
            parts.append((values == np.array(known_values(values[:, 0], RARE))).astype(np.float32))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _texts(catalogue: Catalogue) -> Examples:
    return _examples(catalogue, TextColumn(catalogue.texts), TEXT_MODALITY)


def _images(catalogue: Catalogue, layer: HubLayer) -> Examples:
    from tlkit.layer.lookup import own_image_size

    if not catalogue.images:
        raise InputError(f"{layer.handle} reads images, and the catalogue has none: name their column, `image`.")
    _, column, broken = table_images.opened(catalogue.ids, catalogue.images, Path())
    if broken:
        raise InputError(f"The image of the item {broken[0].name!r:.300} cannot be used: {broken[0].reason}.")
    return _examples(catalogue, table_images.resized(column, own_image_size(layer) or ANY_SIZE), IMAGE)


def _examples(catalogue: Catalogue, inputs: Any, modality: str) -> Examples:
    none: Any = np.zeros((len(catalogue.ids), 0), np.float32)
    return Examples(ids=catalogue.ids, inputs=inputs, targets=none, modality=modality, pipeline=Pipeline())
