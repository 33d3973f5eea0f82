"""TensorFlow Datasets builders -> encoded images or texts, or sounds, at random access, with their targets."""

from __future__ import annotations

import bisect
import dataclasses
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.data import labelling
from tlkit.data.labelling import Labelled
from tlkit.data.splitting import PART_NAMES
from tlkit.data.spool import Selected, spool

Row = Mapping[str, Any]
AUDIO = "audio"


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of all splits of a builder, one after the other.

    Attributes:
        ids: "train/0", ...
        parts: The part of each row; () where the builder has one split only.
        read: Row -> what the feature holds: an encoded image or text, or the int64 samples of a sound.
        labelled: The targets.
        rate: Hz of the sounds as the builder has it; None where it does not say, or they are none.
    """

    ids: tuple[str, ...]
    parts: tuple[int, ...]
    read: Callable[[int], Any]
    labelled: Labelled
    rate: int | None = None


@dataclass(frozen=True, eq=False)
class Columns:
    """One feature of several random-access sources, one after the other."""

    sources: tuple[Sequence[Row], ...]
    ends: tuple[int, ...]
    feature: str

    def __call__(self, i: int) -> Any:
        """The feature of row i, counted through all sources."""
        k = bisect.bisect_right(self.ends, i)
        return self.sources[k][i - (self.ends[k - 1] if k else 0)][self.feature]


def open_table(builder: Any, feature: str, label: str, kind: str = "image") -> Table:
    """Open a builder by name, folder or object; one whose files cannot be read at random is spooled once.

    Args:
        builder: As in `data.image.from_tfds`.
        feature: Feature that holds the input.
        label: Feature that holds the target.
        kind: "image", "text" or "audio": what the feature must be.

    Raises:
        InputError: If it cannot be opened, lacks a feature, or has no training split.
    """
    opened = _opened(builder)
    _check_features(opened, feature, label, kind)
    names, counts, parts = _parts(opened)
    read, answers = _columns(opened, names, counts, feature, label, kind)
    return Table(
        ids=tuple(f"{name}/{i}" for name, count in zip(names, counts, strict=True) for i in range(count)),
        parts=parts,
        read=read,
        labelled=_with_notes(_labelled(answers, opened.info.features[label]), _left_out(opened)),
        rate=getattr(opened.info.features[feature], "sample_rate", None) or None,  # kept in files as 0
    )


@dataclass(frozen=True, eq=False)
class Objects:
    """As `Table`, with the objects in each image: arrays by the names of their features, and their classes' names."""

    ids: tuple[str, ...]
    parts: tuple[int, ...]
    read: Callable[[int], Any]
    objects: tuple[Mapping[str, Any], ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def open_objects(builder: Any, feature: str, objects: str, box: str, label: str) -> Objects:
    """Open a builder whose images have a Sequence of objects, each with a box and a class.

    Raises:
        InputError: As `open_table`, or if the objects lack a BBoxFeature or a ClassLabel.
    """
    import tensorflow_datasets as tfds

    opened = _opened(builder)
    _check_features(opened, feature, objects, "image")
    inner = getattr(opened.info.features[objects], "feature", None)
    kinds = {box: tfds.features.BBoxFeature, label: tfds.features.ClassLabel}
    features = dict(inner.items()) if inner is not None and hasattr(inner, "items") else {}
    for name, kind in kinds.items():
        if not isinstance(features.get(name), kind):
            raise InputError(
                f"The feature {objects!r} of {opened.name!r} must be a Sequence whose {name!r} is a {kind.__name__}."
            )
    names, counts, parts = _parts(opened)
    read, answers = _columns(opened, names, counts, feature, objects, "image")
    ids = tuple(f"{name}/{i}" for name, count in zip(names, counts, strict=True) for i in range(count))
    return Objects(ids, parts, read, tuple(map(_stacked, answers)), tuple(features[label].names), _left_out(opened))


@dataclass(frozen=True, eq=False)
class Masks:
    """As `Table`, with the mask of each image, as encoded bytes or an array."""

    ids: tuple[str, ...]
    parts: tuple[int, ...]
    read: Callable[[int], Any]
    mask: Callable[[int], Any]
    notes: tuple[str, ...] = ()


def open_masks(builder: Any, feature: str, mask: str) -> Masks:
    """Open a builder whose examples have an image and a mask.

    Raises:
        InputError: As `open_table`, or if the mask is no Image.
    """
    import tensorflow_datasets as tfds

    opened = _opened(builder)
    _check_features(opened, feature, mask, "image")
    if not isinstance(opened.info.features[mask], tfds.features.Image):
        raise InputError(f"The feature {mask!r} of {opened.name!r} is no image; name the one that is with `mask`.")
    names, counts, parts = _parts(opened)
    ids = tuple(f"{name}/{i}" for name, count in zip(names, counts, strict=True) for i in range(count))
    ends, decoders = tuple(accumulate(counts)), {name: tfds.decode.SkipDecoding() for name in (feature, mask)}
    try:
        sources = tuple(opened.as_data_source(split=name, decoders=decoders) for name in names)
    except NotImplementedError:  # TFRecord cannot be read at random
        masks: list[Any] = []
        spooled, positions = spool(_iterated(opened, names, feature, mask, masks, decoders))
        return Masks(ids, parts, Selected(spooled, positions), masks.__getitem__, _left_out(opened))
    return Masks(ids, parts, Columns(sources, ends, feature), Columns(sources, ends, mask), _left_out(opened))


@dataclass(frozen=True, eq=False)
class Rows:
    """Cells of all splits by feature, one after the other; `parts` is () where the builder has one split only."""

    ids: tuple[str, ...]
    parts: tuple[int, ...]
    columns: Mapping[str, list[Any]]
    notes: tuple[str, ...] = ()


def open_rows(builder: Any) -> Rows:
    """Open a builder whose features are one value each; classes are their names.

    Raises:
        InputError: If it cannot be opened, has no training split, or a feature of several values.
    """
    import tensorflow_datasets as tfds

    opened = _opened(builder)
    features = dict(opened.info.features.items()) if hasattr(opened.info.features, "items") else {}
    wide = [name for name, feature in features.items() if getattr(feature, "shape", None) != ()]
    if wide or not features:
        raise InputError(
            f"The builder {opened.name!r} is no table: its feature {(wide or ['?'])[0]!r} holds several values a row."
        )
    names, counts, parts = _parts(opened)
    columns: dict[str, list[Any]] = {name: [] for name in features}
    for split in names:
        for row in _rows(opened, split):
            for name, cell in row.items():
                columns[name].append(cell.decode() if isinstance(cell, bytes) else np.asarray(cell).item())
    for name, feature in features.items():
        if isinstance(feature, tfds.features.ClassLabel):
            columns[name] = [feature.names[cell] if cell >= 0 else "" for cell in columns[name]]
    ids = tuple(f"{name}/{i}" for name, count in zip(names, counts, strict=True) for i in range(count))
    return Rows(ids, parts, columns, _left_out(opened))


@dataclass(frozen=True, eq=False)
class Sequences:
    """As `Table`, with a sequence of numbers a row: float64 (steps,) or (steps, channels)."""

    ids: tuple[str, ...]
    parts: tuple[int, ...]
    values: list[np.ndarray]
    labelled: Labelled


def open_sequences(builder: Any, features: Sequence[str], label: str) -> Sequences:
    """Open a builder with a sequence of numbers a row, in one feature or in several of one channel each.

    Raises:
        InputError: If it cannot be opened, lacks a feature, has no training split, or a feature that is no sequence.
    """
    opened = _opened(builder)
    specs = opened.info.features
    _check_named(opened, (*features, label))
    for name in features:
        shape = getattr(specs[name], "shape", None)
        ranks = (1,) if len(features) > 1 else (1, 2)
        if not isinstance(shape, tuple) or len(shape) not in ranks or np.dtype(specs[name].np_dtype).kind not in "fiu":
            raise InputError(
                f"The feature {name!r} of {opened.name!r} is no sequence of numbers; name those that are with `value`."
            )
    names, counts, parts = _parts(opened)
    values: list[np.ndarray] = []
    answers: list[Any] = []
    for split in names:
        for row in _rows(opened, split):
            channels = [np.asarray(row[name], np.float64) for name in features]
            if len({len(channel) for channel in channels}) > 1:
                raise InputError(
                    f"Row {len(values)} of {opened.name!r} has channels of different lengths: "
                    f"{', '.join(f'{name} {len(steps)}' for name, steps in zip(features, channels, strict=True))}."
                )
            values.append(channels[0] if len(channels) == 1 else np.stack(channels, axis=1))
            answers.append(row[label])
    ids = tuple(f"{name}/{i}" for name, count in zip(names, counts, strict=True) for i in range(count))
    return Sequences(ids, parts, values, _with_notes(_labelled(answers, specs[label]), _left_out(opened)))


def _rows(builder: Any, split: str) -> Iterator[Row]:
    """Rows of a split as NumPy has them, in their order."""
    try:
        source = builder.as_data_source(split=split)
    except NotImplementedError:  # TFRecord cannot be read at random
        yield from builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator()
        return
    for i in range(len(source)):
        yield source[i]


def _stacked(rows: Any) -> Mapping[str, Any]:
    """The objects of an image as a dict of arrays, however tfds gives them."""
    if isinstance(rows, Mapping):
        return rows
    return {key: np.array([row[key] for row in rows]) for key in (rows[0] if len(rows) else ())}


def _parts(opened: Any) -> tuple[list[str], list[int], tuple[int, ...]]:
    """Names of a builder's splits, their sizes, and the part of each row, () where there is one only."""
    names = [name for name in opened.info.splits if name in PART_NAMES]
    if "train" not in names:
        raise InputError(f"The builder {opened.name!r} has no split 'train': it has {', '.join(opened.info.splits)}.")
    counts = [int(opened.info.splits[name].num_examples) for name in names]
    parts = tuple(PART_NAMES[name] for name, count in zip(names, counts, strict=True) for _ in range(count))
    return names, counts, parts if len(names) > 1 else ()


def _left_out(opened: Any) -> tuple[str, ...]:
    """A note on splits whose names say no part, with their sizes."""
    others = {name: info.num_examples for name, info in opened.info.splits.items() if name not in PART_NAMES}
    named = ", ".join(f"{name!r} ({count:,})" for name, count in others.items() if count)
    return (f"Left out: splits of {opened.name!r} that are no train, val or test: {named}.",) if named else ()


def _with_notes(labelled: Labelled, notes: Sequence[str]) -> Labelled:
    return dataclasses.replace(labelled, notes=(*labelled.notes, *notes))


def _columns(
    builder: Any, names: Sequence[str], counts: Sequence[int], feature: str, label: str, kind: str
) -> tuple[Callable[[int], Any], list[Any]]:
    ends, decoders = tuple(accumulate(counts)), _decoders(feature, kind)
    try:
        sources = tuple(builder.as_data_source(split=name, decoders=decoders) for name in names)
    except NotImplementedError:  # TFRecord cannot be read at random
        answers: list[Any] = []
        spooled, positions = spool(_iterated(builder, names, feature, label, answers, decoders))
        read: Callable[[int], Any] = Selected(spooled, positions)
        return Unpacked(read) if kind == AUDIO else read, answers
    answer = Columns(sources, ends, label)
    return Columns(sources, ends, feature), [answer(i) for i in range(ends[-1])]


def _iterated(
    builder: Any, names: Sequence[str], feature: str, label: str, answers: list[Any], decoders: dict[str, Any] | None
) -> Iterator[bytes]:
    for name in names:
        for row in builder.as_dataset(split=name, decoders=decoders, shuffle_files=False).as_numpy_iterator():
            answers.append(row[label])
            yield _packed(row[feature]) if decoders is None else bytes(row[feature])  # None is of sounds


@dataclass(frozen=True, eq=False)
class Unpacked:
    """Arrays out of what `_packed` made of them."""

    read: Callable[[int], bytes]

    def __call__(self, i: int) -> np.ndarray:
        """Array i."""
        array: np.ndarray = np.load(io.BytesIO(self.read(i)), allow_pickle=False)
        return array


def _packed(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _decoders(feature: str, kind: str) -> dict[str, Any] | None:
    """Leave decoding of images to us: tfds would drop what `pixels` looks at (alpha, rotation, damage)."""
    import tensorflow_datasets as tfds

    return None if kind == AUDIO else {feature: tfds.decode.SkipDecoding()}


def _labelled(answers: list[Any], feature: Any) -> Labelled:
    import tensorflow_datasets as tfds

    names = getattr(feature, "names", None)  # a Sequence passes on what its inner feature has
    if isinstance(feature, tfds.features.ClassLabel):
        return labelling.from_values(answers, names)
    if names is not None:
        return labelling.from_sets([[names[int(number)] for number in several] for several in answers], names)
    return labelling.from_values([a.decode() if isinstance(a, bytes) else a for a in answers])


def _check_features(builder: Any, feature: str, label: str, kind: str) -> None:
    import tensorflow_datasets as tfds

    _check_named(builder, (feature, label))
    kinds = {"image": tfds.features.Image, "text": tfds.features.Text, AUDIO: tfds.features.Audio}
    if not isinstance(builder.info.features[feature], kinds[kind]):
        raise InputError(
            f"The feature {feature!r} of {builder.name!r} is no {kind}; name the one that is with `{kind}`."
        )


def _check_named(builder: Any, names: Sequence[str]) -> None:
    features = sorted(builder.info.features)
    for name in names:
        if name not in features:
            raise InputError(f"The builder {builder.name!r} has no feature {name!r}: it has {', '.join(features)}.")


def _opened(builder: Any) -> Any:
    import tensorflow_datasets as tfds

    try:
        if not isinstance(builder, str | os.PathLike):
            opened = builder
        elif Path(builder).expanduser().is_dir():
            return tfds.builder_from_directory(str(Path(builder).expanduser()))
        else:
            opened = tfds.builder(str(builder))
        if not opened.is_prepared():
            opened.download_and_prepare(file_format="array_record")
    except Exception as error:  # tfds raises its own kinds, and those of every download library
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"TensorFlow Datasets cannot open {str(builder)!r}: {reason}") from error
    return opened
