"""Values of examples, one a row: arrays, rows of any number, texts, files, what a function reads, dicts of these."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.brief import brief
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Batch, Column, Spec, Value
from tlkit.core.files import sha256_bytes, sha256_file
from tlkit.core.identity import identity

__all__ = ["ArrayColumn", "DictColumn", "FileColumn", "RaggedColumn", "ReadColumn", "TextColumn"]


def __dir__() -> list[str]:
    return sorted(__all__)


class _Rows:
    """What columns share; one that takes many rows at once has a `take` of its own, one that pads a `batch`."""

    def __repr__(self) -> str:
        return brief(self)

    def batch(self: Column, values: Sequence[Value]) -> Any:
        """Values behind each other."""
        return stack(values) if len(values) else empty(self.spec)

    def take(self: Column, indices: np.ndarray) -> Any:
        """The batch of the examples at `indices`."""
        return self.batch([self[int(i)] for i in indices])


@dataclass(frozen=True, eq=False, repr=False)
class ArrayColumn(_Rows):
    """Numbers, or short texts, in one array (n, ...).

    Attributes:
        values: First axis the examples. Objects are refused: their bytes are no content.
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.values, np.ndarray) or self.values.dtype.hasobject or not self.values.ndim:
            kind = getattr(self.values, "dtype", type(self.values).__name__)
            raise InputError(
                f"An ArrayColumn holds an array (n, ...) of numbers or texts. Received: {kind}. Rows of different "
                "sizes are a RaggedColumn."
            )
        values = self.values.view()
        values.flags.writeable = False  # digests are computed once
        object.__setattr__(self, "values", values)

    @property
    def spec(self) -> ArraySpec:
        """Shape of a row, and dtype."""
        dtype = "string" if self.values.dtype.kind in "US" else str(self.values.dtype)
        return ArraySpec(tuple(self.values.shape[1:]), dtype)

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each row."""
        rows = np.ascontiguousarray(self.values)
        return tuple(sha256_bytes(row.tobytes()) for row in rows)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        return self.values[index]

    def batch(self, values: Sequence[Value]) -> Any:
        """Rows behind each other."""
        return stack(values) if len(values) else self.values[:0]

    def take(self, indices: np.ndarray) -> Any:
        """Rows at `indices`."""
        return self.values[np.asarray(indices, np.int64)]

    def subset(self, indices: Sequence[int]) -> ArrayColumn:
        """A column of the rows at `indices`."""
        return ArrayColumn(self.values[np.asarray(indices, np.int64)])


@dataclass(frozen=True, eq=False, repr=False)
class RaggedColumn(_Rows):
    """Arrays of different lengths, such as the boxes of an image; a batch is padded.

    Attributes:
        rows: Arrays (k, ...), k differing alone; they get the dtype that holds all of them. One of none may be (0,).
        fill: What lies behind the rows that an example has: a value of that dtype; of texts it is "".
        most: Length of a batch's rows, so that batches have one shape; 0 is the longest of all. A subset keeps it.
    """

    rows: Sequence[np.ndarray]
    fill: float = 0
    most: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", _alike([np.asarray(row) for row in self.rows]))
        object.__setattr__(self, "most", max([self.most, *map(len, self.rows)]))
        if self.rows and not _holds(self.rows[0].dtype, self.fill):
            raise InputError(
                f"`fill` of a RaggedColumn of {self.rows[0].dtype} must be a value of that. Received: fill={self.fill}."
            )

    @functools.cached_property
    def spec(self) -> ArraySpec:
        """Shape of a row in a batch, and dtype."""
        if not self.rows:
            return ArraySpec((self.most,), "float32")
        dtype = "string" if self.rows[0].dtype.kind in "US" else str(self.rows[0].dtype)
        return ArraySpec((self.most, *self.rows[0].shape[1:]), dtype)

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each example's own rows."""
        return tuple(sha256_bytes(str(row.shape), np.ascontiguousarray(row).tobytes()) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.rows[index]

    def batch(self, values: Sequence[Value]) -> np.ndarray:
        """(b, most, ...), filled up behind what each example has.

        Raises:
            InputError: If values are of another shape or kind than the column's rows.
        """
        arrays = _alike([np.asarray(value) for value in values])
        text = self.spec.dtype == "string"
        dtype = np.result_type("U1", *{array.dtype for array in arrays}) if text else np.dtype(self.spec.dtype)
        longest, inner = max([self.most, *map(len, arrays)]), [size or 0 for size in self.spec.shape[1:]]
        padded = np.full((len(arrays), longest, *inner), "" if text else self.fill, dtype)
        for place, array in zip(padded, arrays, strict=True):
            if len(array):
                self._check_row(array)
                place[: len(array)] = array
        return padded

    def _check_row(self, array: np.ndarray) -> None:
        """Refuse what the column has no place for, such as fractions that an `Augment` makes of whole numbers."""
        as_text = self.spec.dtype == "string"
        fits = array.dtype.kind in "US" if as_text else np.can_cast(array.dtype, self.spec.dtype, "same_kind")
        if array.shape[1:] != self.spec.shape[1:] or not fits:
            raise InputError(
                f"A RaggedColumn of {self.spec.dtype} rows {self.spec.shape[1:]} cannot batch {array.dtype} rows "
                f"{array.shape[1:]}: make its own rows of that shape and dtype."
            )

    def subset(self, indices: Sequence[int]) -> RaggedColumn:
        """A column of the examples at `indices`, whose batches keep their shape."""
        chosen = dataclasses.replace(self, rows=[self.rows[int(i)] for i in indices])
        return chosen if len(chosen) else _with_spec(chosen, self.spec)


@dataclass(frozen=True, eq=False, repr=False)
class TextColumn(_Rows):
    """Texts of any length, one an example.

    Attributes:
        texts: The texts; examples may share one.
    """

    texts: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(self.texts))

    @property
    def spec(self) -> ArraySpec:
        """One text."""
        return ArraySpec((), "string")

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each text."""
        return tuple(sha256_bytes(text.encode("utf-8", "surrogatepass")) for text in self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> str:
        return self.texts[index]

    def batch(self, values: Sequence[Value]) -> np.ndarray:
        """Objects (b,)."""
        return np.array([str(value) for value in values], dtype=object)

    def subset(self, indices: Sequence[int]) -> TextColumn:
        """A column of the texts at `indices`."""
        return TextColumn([self.texts[int(i)] for i in indices])


@dataclass(frozen=True, eq=False, repr=False)
class ReadColumn(_Rows):
    """What a function reads, one value an example; safe to read from many threads if the function is.

    Attributes:
        read: Number of a row -> its value.
        spec: What it gives.
        digests: sha256 of the content of each example, before preprocessing.
        rows: Which row each example is; None is 0 to n - 1.
    """

    read: Callable[[int], Value]
    spec: Spec
    digests: tuple[str, ...]
    rows: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, index: int) -> Value:
        return self.read(int(index) if self.rows is None else self.rows[index])

    def subset(self, indices: Sequence[int]) -> ReadColumn:
        """A column of the examples at `indices`."""
        chosen = [int(i) for i in indices]
        rows = tuple(i if self.rows is None else self.rows[i] for i in chosen)
        return dataclasses.replace(self, digests=tuple(self.digests[i] for i in chosen), rows=rows)


@dataclass(frozen=True, eq=False, repr=False)
class FileColumn(_Rows):
    """Files that are read when they are asked for, such as masks; `spec` is that of the first.

    Attributes:
        paths: One an example.
        read: Path -> array, the same for the same file: a function, or a frozen dataclass that can be called. Its code
            and the values that it holds are part of the digests.
    """

    paths: Sequence[Path]
    read: Callable[[Path], np.ndarray]

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(map(Path, self.paths)))
        identity(self.read)  # or refuses it

    @functools.cached_property
    def spec(self) -> ArraySpec:
        """Shape and dtype of the first file's array."""
        if not self.paths:
            return ArraySpec((0,), "float32")
        first = np.asarray(self[0])
        return ArraySpec(tuple(first.shape), str(first.dtype))

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each file and of how it is read."""
        reader = identity(self.read)
        return tuple(sha256_bytes(reader, sha256_file(path)) for path in self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        path = self.paths[index]
        try:
            return self.read(path)
        except OSError as error:
            raise InputError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error

    def subset(self, indices: Sequence[int]) -> FileColumn:
        """A column of the files at `indices`; one of none has the spec of this."""
        chosen = dataclasses.replace(self, paths=[self.paths[int(i)] for i in indices])
        return chosen if len(chosen) else _with_spec(chosen, self.spec)


@dataclass(frozen=True, eq=False, repr=False)
class DictColumn(_Rows):
    """Several columns by name; values and batches are dicts.

    Attributes:
        columns: All of one length.
    """

    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        sizes = {name: len(column) for name, column in self.columns.items()}
        if len(set(sizes.values())) != 1:
            raise InputError(f"The columns of a DictColumn must have one length. Received: {sizes}.")

    @property
    def in_memory(self) -> bool:
        """Whether all of them are arrays, of which a batch is taken in one go."""
        return all(isinstance(column, ArrayColumn) for column in self.columns.values())

    @property
    def spec(self) -> dict[str, Any]:
        """Specs by name."""
        return {name: column.spec for name, column in self.columns.items()}

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each example's values, by name."""
        return tuple(
            sha256_bytes(*self.columns, *row) for row in zip(*(c.digests for c in self.columns.values()), strict=True)
        )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: column[index] for name, column in self.columns.items()}

    def batch(self, values: Sequence[Value]) -> dict[str, Any]:
        """Batches by name."""
        return {name: column.batch([value[name] for value in values]) for name, column in self.columns.items()}

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        """Batches of the examples at `indices`, by name."""
        return {name: column.take(indices) for name, column in self.columns.items()}

    def subset(self, indices: Sequence[int]) -> DictColumn:
        """A column of the examples at `indices`."""
        return DictColumn({name: column.subset(indices) for name, column in self.columns.items()})


@dataclass(frozen=True, eq=False, repr=False)
class DigestedColumn(_Rows):
    """A column with the digests of what its values were made of.

    Attributes:
        column: The values.
        digests: sha256 of the content of each example, before preprocessing.
    """

    column: Column
    digests: tuple[str, ...]

    @property
    def spec(self) -> Spec:
        """That of the column."""
        spec: Spec = self.column.spec
        return spec

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, index: int) -> Value:
        return self.column[index]

    def batch(self, values: Sequence[Value]) -> Batch:
        """As the column has it."""
        return self.column.batch(values)

    def take(self, indices: np.ndarray) -> Batch:
        """The batch of the examples at `indices`."""
        return self.column.take(indices)

    def subset(self, indices: Sequence[int]) -> DigestedColumn:
        """A column of the examples at `indices`."""
        return DigestedColumn(self.column.subset(indices), tuple(self.digests[int(i)] for i in indices))


@dataclass(frozen=True, eq=False, repr=False)
class MergedColumn(_Rows):
    """Columns of dicts side by side: the value of an example is one dict of all their entries.

    Attributes:
        parts: All of one length, no two with an entry of one name.
        digests: sha256 of the content of each example, before preprocessing.
    """

    parts: tuple[Column, ...]
    digests: tuple[str, ...]

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns of those parts that have some."""
        return {name: column for part in self.parts for name, column in getattr(part, "columns", {}).items()}

    @property
    def spec(self) -> dict[str, Any]:
        """Specs by name."""
        return {name: spec for part in self.parts for name, spec in part.spec.items()}

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: value for part in self.parts for name, value in part[index].items()}

    def batch(self, values: Sequence[Value]) -> dict[str, Any]:
        """Batches by name, each as its column has them."""
        part_values = [[{name: value[name] for name in part.spec} for value in values] for part in self.parts]
        batches = [part.batch(rows) for part, rows in zip(self.parts, part_values, strict=True)]
        return {name: batched for batch in batches for name, batched in batch.items()}

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        """The batch of the examples at `indices`."""
        return {name: batched for part in self.parts for name, batched in part.take(indices).items()}

    def subset(self, indices: Sequence[int]) -> MergedColumn:
        """A column of the examples at `indices`."""
        digests = tuple(self.digests[int(i)] for i in indices)
        return MergedColumn(tuple(part.subset(indices) for part in self.parts), digests)


@dataclass(frozen=True, eq=False, repr=False)
class JoinedColumn(_Rows):
    """Examples of several columns of one kind, in any order.

    Attributes:
        parts: The columns.
        places: int64 (n, 2): of each example, which column it is of, and which of its rows.
    """

    parts: tuple[Column, ...]
    places: np.ndarray

    @property
    def spec(self) -> Spec:
        """That of the first column."""
        spec: Spec = self.parts[0].spec
        return spec

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """Those of the columns."""
        digests = [part.digests for part in self.parts]
        return tuple(digests[part][row] for part, row in self.places.tolist())

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Value:
        part, row = self.places[index]
        return self.parts[int(part)][int(row)]

    def batch(self, values: Sequence[Value]) -> Batch:
        """As the first column has it."""
        return self.parts[0].batch(values)

    def subset(self, indices: Sequence[int]) -> JoinedColumn:
        """A column of the examples at `indices`."""
        return dataclasses.replace(self, places=self.places[np.asarray(indices, np.int64)])


def array_of(column: Column) -> np.ndarray:
    """The values of an ArrayColumn.

    Raises:
        InputError: If it is a column of another kind.
    """
    if not isinstance(column, ArrayColumn):
        kind = type(column).__name__
        raise InputError(f"What is to be predicted must be one array, an ArrayColumn. Received: a {kind}.")
    return column.values


def joined(parts: Sequence[Column], places: np.ndarray | None = None) -> Column:
    """Several columns as one.

    Args:
        parts: Columns of one kind, at least one.
        places: int64 (n, 2), as `JoinedColumn` has it; None takes all, one behind the other.
    """
    if places is None:
        rows = [np.arange(len(part)) for part in parts]
        places = np.stack([np.repeat(np.arange(len(parts)), [len(row) for row in rows]), np.concatenate(rows)], axis=1)
    if all(isinstance(part, ArrayColumn) for part in parts):
        starts = np.cumsum([0, *map(len, parts)])
        flat = np.concatenate([part.values for part in parts if isinstance(part, ArrayColumn)])
        return ArrayColumn(flat[starts[places[:, 0]] + places[:, 1]])
    if all(isinstance(part, DictColumn) and part.in_memory for part in parts):
        tables = [part.columns for part in parts if isinstance(part, DictColumn)]
        if all(table.keys() == tables[0].keys() for table in tables):
            return DictColumn({name: joined([table[name] for table in tables], places) for name in tables[0]})
    if all(isinstance(part, RaggedColumn) and part.fill == getattr(parts[0], "fill", None) for part in parts):
        rows = [parts[part][row] for part, row in places.tolist()]
        ragged = [part for part in parts if isinstance(part, RaggedColumn)]
        return dataclasses.replace(ragged[0], rows=rows, most=max(part.most for part in ragged))
    return JoinedColumn(tuple(parts), np.asarray(places, np.int64))


def _alike(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Rows of one dtype and of one shape behind their first axis; those that are empty take both of the others.

    Texts keep their widths, which digests see.
    """
    odd = next((row for row in rows if row.dtype.hasobject or not row.ndim), None)
    if odd is not None:
        raise InputError(
            f"A RaggedColumn holds arrays (k, ...) of numbers or texts. Received: {odd.dtype} {odd.shape}."
        )
    like = [row for row in rows if len(row)] or [row for row in rows if row.ndim > 1] or rows
    shapes, dtypes = {row.shape[1:] for row in like}, {row.dtype for row in like}
    texts = {dtype.kind in "US" for dtype in dtypes}
    if len(shapes) > 1 or len(texts) > 1:
        raise InputError(
            "Rows of a RaggedColumn differ in their count alone, and are all numbers or all texts. Received: shapes "
            f"{sorted(shapes)} behind the count, of {', '.join(sorted(map(str, dtypes)))}."
        )
    if not rows:
        return ()
    (shape,), (text,), dtype = shapes, texts, np.result_type(*dtypes)
    return tuple(
        (row if text and row.dtype.kind in "US" else row.astype(dtype, copy=False)).reshape(len(row), *shape)
        for row in rows
    )


def _holds(dtype: np.dtype, value: float) -> bool:
    """Whether a dtype has that value; floats have it nearly, and texts need none."""
    if dtype.kind not in "iub":
        return True
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return math.isfinite(value) and value == int(value) and low <= value <= high


def _with_spec(column: Any, spec: ArraySpec) -> Any:
    """A column without examples, with the spec of the one that it is a part of."""
    column.__dict__["spec"] = spec
    return column


def blank(like: Column, count: int) -> Column:
    """`count` rows of nothing where a column is of some examples alone: zeros, empty texts."""
    if isinstance(like, DictColumn):
        return DictColumn({name: blank(column, count) for name, column in like.columns.items()})
    if isinstance(like, TextColumn):
        return TextColumn([""] * count)
    if isinstance(like, RaggedColumn):
        return RaggedColumn([row[:0] for row in like.rows[:1] or [np.zeros((0,), np.float32)]] * count, like.fill)
    return ArrayColumn(np.repeat(empty(like.spec, 1), count, axis=0))


def stack(values: Sequence[Value]) -> Batch:
    """One batch out of single values: an array, or a dict of arrays.

    Raises:
        InputError: If they differ in size.
    """
    if isinstance(values[0], Mapping):
        return {key: stack([value[key] for value in values]) for key in values[0]}
    try:
        return np.stack(values)
    except ValueError as error:
        sizes = sorted({np.shape(value) for value in values})
        raise InputError(f"Examples of different sizes cannot be one batch: {sizes[0]} and {sizes[-1]}.") from error


def empty(spec: Spec, count: int = 0) -> Batch:
    """A batch of `count` examples that hold nothing."""
    if isinstance(spec, Mapping):
        return {name: empty(field, count) for name, field in spec.items()}
    sizes = (count, *(size or 0 for size in spec.shape))
    return np.zeros(sizes, "str" if spec.dtype == "string" else spec.dtype)
