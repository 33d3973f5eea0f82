"""Collections: texts and images without labels, for `tlkit.index` and adaptation; several sets of examples as one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.columns import joined as join
from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Examples, Pipeline, Splits
from tlkit.core.excerpts import OF
from tlkit.core.remote import local
from tlkit.data import image_source, text_source
from tlkit.data.image import WHITE
from tlkit.data.labelling import Labelled
from tlkit.data.listing import noted
from tlkit.data.pixels import MAX_PIXELS, Colour
from tlkit.data.sourcing import Division
from tlkit.data.splitting import divide
from tlkit.data.table_formats import read_any

__all__ = ["few_labels", "images", "joined", "texts"]


def __dir__() -> list[str]:
    return sorted(__all__)


def texts(
    source: str | os.PathLike[str],
    *,
    text: str = "text",
    encoding: str | None = None,
    separator: str | None = None,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = text_source.MAX_CHARACTERS,
) -> Splits:
    """Texts of a table or a folder, folders inside it included; none needs a label.

    A file is judged by its content, not its ending. Hidden files, tables and code are passed over; everything else
    that is no text, or an empty one, is quarantined.

    Args:
        source: A folder, or a table: CSV or TSV with a header, JSON Lines, or Parquet (extra `text`).
        text: Column of the texts, in a table.
        encoding, strict, progress, max_characters: As in `data.text.from_folder`.
        separator: As in `data.text.from_table`.

    Returns:
        Splits whose `train` holds all; ids are paths relative to the folder, or "row 17", as an editor counts.

    Raises:
        InputError: If there is no such folder, table or column, or no text in it.
    """
    options = text_source.Options(Division((1.0, 0.0, 0.0), 0, None, strict, progress), encoding, max_characters)
    path = local(source, progress=progress)
    if path.is_dir():
        names, files = _listed(path, "text")
        return text_source.from_files(names, files, _unlabelled(len(files)), fixed=(), options=options)
    rows = read_any(path, encoding, separator)
    column = rows.texts(text, "text")
    ids = [f"row {number}" for number in range(rows.first, rows.first + len(column))]
    splits = text_source.from_texts(ids, column.__getitem__, _unlabelled(len(ids)), fixed=(), options=options)
    return noted(splits, rows.notes)


def images(
    folder: str | os.PathLike[str],
    *,
    image_size: image_source.ImageSize | None = None,
    background: Colour = WHITE,
    augment: Augmenting | None = None,
    strict: bool = False,
    progress: bool = True,
    max_pixels: int = MAX_PIXELS,
    pixel_max: float | None = None,
) -> Splits:
    """Images of a folder, folders inside it included; none needs a label: the target of `methods.domain_mix`, for one.

    Args:
        folder: The folder. Hidden files are passed over; what is no image, or a broken one, is quarantined.
        image_size, augment, strict, progress, max_pixels, pixel_max: As in `data.image.from_folder`.
        background: Colour behind the transparent parts.

    Returns:
        Splits whose `train` holds all; ids are paths relative to the folder.

    Raises:
        InputError: If there is no such folder, or no image in it.
    """
    root = local(folder, progress=progress)
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}: give one that holds images.")
    options = image_source.Options(
        image_size, (1.0, 0.0, 0.0), 0, None, background, augment, strict, progress, max_pixels, pixel_max
    )
    names, files = _listed(root, "image")
    return image_source.from_files(names, files, _unlabelled(len(files)), fixed=(), options=options)


def joined(parts: Mapping[str, Examples], targets: np.ndarray | None = None) -> Examples:
    """Several sets of examples of a kind, one behind the other; ids get the part's name in front: "movies/17".

    Args:
        parts: Name -> examples, all of one spec. Where only some have weights, the others' are 1; the first way to
            augment that is found is that of all; groups are left out, and columns that not all have.
        targets: Of all examples in their order; None gives 0 throughout, as of a collection without labels.

    Raises:
        InputError: If there are none, or their specs differ.
    """
    several = list(parts.values())
    if not several or any(part.inputs.spec != several[0].inputs.spec for part in several):
        kinds = ", ".join(f"{name}: {part.inputs.spec}" for name, part in parts.items())
        raise InputError(f"Only examples of one kind can be joined. Received: {kinds or 'nothing'}.")
    full = [part for part in several if len(part)] or several[:1]
    ids = tuple(f"{name}/{example_id}" for name, part in parts.items() for example_id in part.ids)
    shared = [name for name in full[0].columns if name != OF and all(name in part.columns for part in full)]
    return Examples(
        ids=ids,
        inputs=join([part.inputs for part in full]),
        targets=ArrayColumn(np.zeros(len(ids), np.int32) if targets is None else targets),
        modality=several[0].modality,
        pipeline=one_pipeline(several),
        columns={name: join([part.columns[name] for part in full]) for name in shared},
        weights=_weights(several),
        augment=next((part.augment for part in several if part.augment is not None), None),
    )


def one_pipeline(several: Sequence[Examples]) -> Pipeline:
    """That of all, or where they differ, each behind the other under the step "joined"."""
    different = {part.pipeline.fingerprint: part.pipeline for part in several}
    if len(different) == 1:
        return several[0].pipeline
    return Pipeline().then("joined", pipelines=[pipeline.plain() for pipeline in different.values()])


def few_labels(splits: Splits, count: int, *, seed: int = 0) -> tuple[Splits, Examples]:
    """The splits as if about `count` labels were known, and the training examples whose labels are not, all 0 instead.

    Labels are left to training and validation by the shares that these have, and every class keeps its share, in
    training at least one; of the validation examples the others are dropped. The test stays whole.

    Args:
        splits: Of class numbers, or any other targets.
        count: Labels to keep, of training and validation together.
        seed: Of the draw.

    Returns:
        The splits with those examples alone, and the other training examples, for `methods.taught` for instance.

    Raises:
        InputError: If there are not as many labels, or no training examples.
    """
    labelled_count = len(splits.train) + len(splits.val)
    if not len(splits.train) or not 1 <= count <= labelled_count:
        raise InputError(
            f"`count` must be at least 1 and at most the number of training and validation examples, {labelled_count}. "
            f"Received: count={count!r}."
        )
    train_count = max(1, round(count * len(splits.train) / labelled_count))
    labelled_rows, hidden_rows = _drawn(splits.train, train_count, seed)
    val, _ = _drawn(splits.val, count - train_count, seed)
    hidden = splits.train.subset(hidden_rows)
    without = dataclasses.replace(hidden, targets=ArrayColumn(np.zeros_like(hidden.target_array)))
    return dataclasses.replace(splits, train=splits.train.subset(labelled_rows), val=splits.val.subset(val)), without


def _drawn(examples: Examples, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Positions of about `count` examples, every class by its share, and of the others."""
    if not count:
        return [], list(range(len(examples)))
    targets = examples.target_array
    classes = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)
    labels = [[int(target)] if classes else [] for target in targets]
    share = count / len(examples)
    parts = np.asarray(divide(examples.ids, labels, (share, 1 - share), seed=seed))
    return np.flatnonzero(parts == 0).tolist(), np.flatnonzero(parts == 1).tolist()


def _weights(several: list[Examples]) -> np.ndarray | None:
    if all(part.weights is None for part in several):
        return None
    return np.concatenate(
        [np.ones(len(part), np.float32) if part.weights is None else part.weights for part in several]
    )


def _listed(root: Path, kind: str) -> tuple[list[str], list[Path]]:
    """Names and paths of all files below a folder."""
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and not _hidden(file.relative_to(root))]
    if not files:
        raise InputError(f"The folder {str(root)!r} holds no files; give one with a file for each {kind}.")
    return [file.relative_to(root).as_posix() for file in files], files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _unlabelled(count: int) -> Labelled:
    return Labelled(np.zeros((count, 1), np.float32), (), "values")
