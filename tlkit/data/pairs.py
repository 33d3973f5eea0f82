"""Pairs of texts with a score, or with a label that says whether they are the same.

An input is the two strs in an object array (2,). For a module, `apart` makes single texts of them, and `together`
pairs again of what the module takes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, ReadColumn, TextColumn, joined
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Column, Examples, Pipeline, Splits
from tlkit.core.files import sha256_bytes
from tlkit.data import labelling
from tlkit.data.labelling import Labelled
from tlkit.data.listing import noted
from tlkit.data.preflight import Checked
from tlkit.data.sourcing import Division, Unchecked, checked_splits
from tlkit.data.splitting import SHARES, Groups, shares_of
from tlkit.data.table_formats import read_any
from tlkit.data.text_source import TEXT, TEXT_MODALITY, Options, TextReader, check_text, sha256_of

__all__ = ["from_arrays", "from_table"]


def __dir__() -> list[str]:
    return sorted(__all__)


SIDES = ("first", "second")
PAIRS = ArraySpec((2,), "string")
_INPUT = "inputs"  # what a model calls the only input of its module

Source = Callable[[int], tuple[str, str]]


@dataclass(frozen=True, eq=False)
class PairReader:
    """What reads pairs."""

    source: Source

    def __call__(self, i: int) -> np.ndarray:
        """Both texts of pair i: an object array (2,)."""
        return np.array(self.source(i), dtype=object)


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Pairs as a model takes them: the inputs of both sides, their names behind "first_" and "second_"."""

    sides: Column
    count: int

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        """The inputs of pair i."""
        return _named(self.sides[i], self.sides[self.count + i])


def from_arrays(
    pairs: Sequence[tuple[str, str]],
    targets: Any,
    *,
    labels: Sequence[str] | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
) -> Splits:
    """Pairs of texts in memory.

    Args:
        pairs: (first, second), strs.
        targets: Float scores (n,), or whole numbers (n,): 1 where the two are the same, else 0.
        labels: Names of 0 and 1.
        split: Shares of training, validation and test; 0 leaves a part empty.
        seed: Another seed gives another division.
        groups: What must stay on one side, a group for each pair; texts that occur in several pairs belong together.
        strict: Raise where a pair would be left out because one of its texts is empty.

    Returns:
        Splits of float32 (n, 1) scores, or int32 (n,) labels.

    Raises:
        InputError: If lengths differ, or something is no pair of texts; it is named by its position.
    """
    if len(pairs) != len(targets):
        raise InputError(f"There are {len(pairs)} pairs and {len(targets)} targets.")
    checked = [_checked(pair, i) for i, pair in enumerate(pairs)]
    labelled = labelling.from_values(targets, labels)
    return _splits([str(i) for i in range(len(checked))], checked, labelled, (), Division(split, seed, groups, strict))


def from_table(
    table: str | os.PathLike[str],
    *,
    first: str = "first",
    second: str = "second",
    score: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    split: Sequence[float] | str = SHARES,
    seed: int = 0,
    groups: Groups | str | None = None,
    strict: bool = False,
) -> Splits:
    """Pairs of texts in a table: CSV or TSV with a header, JSON Lines, or Parquet (extra `text`).

    Args:
        table: The file.
        first: Column of the first texts.
        second: Column of the second texts.
        score: Column of the scores; or leave it out and give `label`.
        label: Column that holds 0 (different) and 1 (same), or names of which the one that sorts last means the same.
        encoding, separator: As in `data.text.from_table`.
        split: Shares, or the column that holds train, val or test.
        seed, strict: As in `from_arrays`.
        groups: As in `from_arrays`, of ids such as "row 17", as an editor counts; or the column that names the groups.

    Raises:
        InputError: If the table cannot be read, a column or a cell is missing, or not exactly one of `score` and
            `label` is given.
    """
    if (score is None) == (label is None):
        raise InputError(f"Give one of `score` and `label`. Received: score={score!r}, label={label!r}.")
    Division(shares_of(split), seed, None)
    rows = read_any(table, encoding, separator)
    fixed, division = rows.parts(split), Division(shares_of(split), seed, rows.owners(groups), strict)
    pairs = list(zip(rows.texts(first, "first"), rows.texts(second, "second"), strict=True))
    ids = [f"row {number}" for number in range(rows.first, rows.first + len(pairs))]
    labelled = rows.labelled((score,) if score is not None else str(label))
    return noted(_splits(ids, pairs, labelled, fixed, division), rows.notes)


def apart(splits: Splits) -> Splits:
    """Twice as many single texts: first those on the first side, then those on the second."""
    train, val, test = (_apart(examples) for examples in (splits.train, splits.val, splits.test))
    return dataclasses.replace(splits, train=train, val=val, test=test)


def together(fed: Splits, pairs: Splits) -> Splits:
    """What `apart` made, as some module takes it, as pairs again."""
    train, val, test = (
        _together(sides, pair_examples)
        for sides, pair_examples in ((fed.train, pairs.train), (fed.val, pairs.val), (fed.test, pairs.test))
    )
    return dataclasses.replace(fed, train=train, val=val, test=test)


def _apart(examples: Examples) -> Examples:
    texts = [str(examples.inputs[i][side]) for side in range(len(SIDES)) for i in range(len(examples))]
    return Examples(
        ids=tuple(f"{name}/{side}" for side in SIDES for name in examples.ids),
        inputs=ReadColumn(TextReader(texts.__getitem__), TEXT, tuple(map(sha256_of, texts))),
        targets=joined([examples.targets, examples.targets]),
        modality=TEXT_MODALITY,
        pipeline=examples.pipeline,
    )


def _together(sides: Examples, pairs: Examples) -> Examples:
    n = len(pairs)
    spec, lengths = sides.inputs.spec, sides.lengths
    columns: dict[str, Column] = {"text": TextColumn([" | ".join(map(str, pairs.inputs[i])) for i in range(n)])}
    if lengths is not None:
        columns["length"] = ArrayColumn(np.maximum(lengths[:n], lengths[n:]))
    return dataclasses.replace(
        pairs,
        inputs=ReadColumn(SideBySide(sides.inputs, n), _named(spec, spec), pairs.digests),
        pipeline=sides.pipeline.then("side_by_side"),
        columns={**pairs.columns, **columns},
    )


def _named(first: Any, second: Any) -> dict[str, Any]:
    by_side = zip(SIDES, (first, second), strict=True)
    return {
        f"{side}_{name}": value
        for side, inputs in by_side
        for name, value in (inputs if isinstance(inputs, Mapping) else {_INPUT: inputs}).items()
    }


def _splits(
    ids: Sequence[str], pairs: Sequence[tuple[str, str]], labelled: Labelled, fixed: Sequence[int], division: Division
) -> Splits:
    options = Options(division)

    def check(i: int) -> Checked:
        checks = [check_text(text, options) for text in pairs[i]]
        for side, checked in zip(SIDES, checks, strict=True):
            if not checked.digest:
                return Checked(reason=f"its {side} text: {checked.reason}")
        return Checked(digest=sha256_bytes(*(checked.digest for checked in checks)))

    reader = PairReader(pairs.__getitem__)
    splits = checked_splits(
        Unchecked(ids, labelled, reader, check, PAIRS, "pairs", Pipeline().then("pairs", version=1), "pairs", fixed),
        division,
    )
    return dataclasses.replace(splits, notes=(*splits.notes, *_shared(splits)))


def _shared(splits: Splits) -> list[str]:
    """A note on pairs of validation and test with a text that occurs in training."""
    train = {text for i in range(len(splits.train)) for text in splits.train.inputs[i]}
    held_out = [examples.inputs[i] for examples in (splits.val, splits.test) for i in range(len(examples))]
    count = sum(any(text in train for text in pair) for pair in held_out)
    if not count:
        return []
    return [
        f"{count:,} of {len(held_out):,} pairs of val and test hold a text that training has too; `groups` "
        "separates them."
    ]


def _checked(pair: Any, i: int) -> tuple[str, str]:
    match pair:
        case (str(first), str(second)) | [str(first), str(second)]:
            return first, second
    raise InputError(f"Pair {i} must be two texts (str, str). Received: {pair!r:.60}.")
