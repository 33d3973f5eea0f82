"""Who took which item when, as histories with the item that came next; and the catalogue of items.

An example's input is int32 (history,): numbers of the items that a user had before, the latest last, 0 before the
first; its target is the number of the next one less 1, its place in the catalogue. The last item of each user tests and
the one before validates, so that no example sees its future.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, RaggedColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.core.numeric import is_number, number_in
from tlkit.data import tables
from tlkit.data.catalogues import Catalogue, catalogue, of_ratings
from tlkit.data.decoding import read_noted
from tlkit.data.history_column import HistoryColumn
from tlkit.data.ratings_module import module
from tlkit.data.table_formats import Table, read_any

__all__ = ["Catalogue", "catalogue", "from_table", "module"]


def __dir__() -> list[str]:
    return sorted(__all__)


RATINGS = "ratings"  # the modality, and the step of the pipeline that says the items
USER, COLD = "user", "cold"  # columns of examples: whose they are; the user's items that are held out (numbers, from 0)
LEAST = 3  # items of a user: one as history, one to validate, one to test; more give one to train on


def from_table(
    table: str | os.PathLike[str],
    items: Catalogue | None = None,
    *,
    user: str = "user",
    item: str = "item",
    rating: str | None = "rating",
    time: str = "time",
    min_rating: float | None = None,
    history: int = 256,
    cold: float = 0.0,
    encoding: str | None = None,
    seed: int = 0,
) -> Splits:
    """Ratings, or events of any other kind, one a row.

    Args:
        table: CSV, TSV, JSONL or Parquet.
        items: The catalogue; None is the items that are rated.
        user: Column of the users.
        item: Column of the items.
        rating: Column of the ratings; a table without it holds events.
        time: Column of the times: numbers, or dates in ISO 8601; of equal ones, the earlier row comes first.
        min_rating: Ratings below it are left out; None takes each as a sign of interest.
        history: Items of a user that the model sees, the latest ones, >= 1; those it does not see it may give again.
        cold: Share of the items whose ratings are all held out, in [0, 1), to measure what new items are worth.
        encoding: Python's name of the table's encoding.
        seed: Of the items that are held out.

    Returns:
        Splits of histories; test examples have a column "cold" of the held-out items that the user took.

    Raises:
        InputError: If a column is missing, a cell cannot be read, or no user has enough items.
    """
    _check(history, cold, seed, min_rating, items)
    if len(set(map(str, (user, item, rating, time)))) < 4:
        raise InputError(f"`user`, `item`, `rating` and `time` are a column each. Received: {user=}, {item=}, {time=}.")
    rows = read_any(table, encoding)
    users, names, times = rows.texts(user, "user"), rows.texts(item, "item"), _times(rows, time)
    for column, cells in ((user, users), (item, names)):
        if "" in cells:
            raise InputError(f"Row {rows.row(cells.index(''))} of the ratings has no {column}: take it out.")
    rating = tables.usual(rows.columns, "rating", "rating") if rating == "rating" else rating
    kept_rows = _wanted(rows, rating, min_rating)
    known_items = items if items is not None else of_ratings([names[i] for i in kept_rows])
    notes = [*known_items.notes, *rows.notes, _taken_as(kept_rows, rating, min_rating)]
    number = {item_id: i for i, item_id in enumerate(known_items.ids)}
    strange = sorted({names[i] for i in kept_rows} - number.keys())
    if strange:
        notes.append(f"{len(strange):,} rated items are not in the catalogue, such as {strange[0]!r:.40}: left out.")
    if len(strange) == len({names[i] for i in kept_rows}):
        raise InputError(
            f"None of the rated items is in the catalogue: the ratings have {strange[0]!r:.40}, and the catalogue has "
            f"{known_items.ids[0]!r:.40}; give both the ids of one list, written alike."
        )
    order = sorted((i for i in kept_rows if names[i] in number), key=lambda i: (users[i], times[i]))
    notes += _ties([(users[i], times[i]) for i in order])
    if cold and not round(cold * len(known_items.ids)):
        raise InputError(
            f"`cold` of {len(known_items.ids)} items holds none out: give a larger share, or 0. Received: {cold=}."
        )
    held_out = np.random.default_rng(seed).permutation(len(known_items.ids))[: round(cold * len(known_items.ids))]
    by_user = _by_user([users[i] for i in order], [number[names[i]] for i in order])
    return _divided(by_user, known_items, set(held_out.tolist()), history, notes)


def _check(history: Any, cold: Any, seed: Any, min_rating: Any, items: Any) -> None:
    """Refuse values that no ratings can be read with."""
    whole = all(isinstance(number, Integral) and not isinstance(number, bool) for number in (history, seed))
    if not (whole and history >= 1 and is_number(cold) and 0 <= cold < 1 and seed >= 0):
        raise InputError(
            "`history` must be 1 or more, `cold` in [0, 1), and `seed` a whole number, 0 or more. "
            f"Received: {history=}, {cold=}, {seed=}."
        )
    if min_rating is not None and not is_number(min_rating):
        raise InputError(f"`min_rating` must be a number, or None. Received: {min_rating=}.")
    if items is not None and not isinstance(items, Catalogue):
        raise InputError(f"`items` is what `data.ratings.catalogue(table)` gives. Received: {items!r:.200}.")


def items_of(pipeline: Pipeline) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids and titles of the items that examples are made of; of others () and ()."""
    step = pipeline.get(RATINGS)
    return ((), ()) if step is None else (tuple(step["items"]), tuple(step["titles"]))


def held_out_of(pipeline: Pipeline) -> tuple[int, ...]:
    """Places in the catalogue of the items that were held out of examples to be new ones."""
    return tuple((pipeline.get(RATINGS) or {}).get("held_out", ()))


def in_history(numbers: Sequence[int], length: int) -> np.ndarray:
    """int32 (length,): the last of some numbers, 0 before the first.

    Example:
        >>> in_history([4, 7], 3).tolist(), in_history([4, 7, 1, 2], 3).tolist()
        ([0, 4, 7], [7, 1, 2])
    """
    row = np.zeros(length, np.int32)
    last = list(numbers)[-length:]
    row[length - len(last) :] = last
    return row


# -- how they are read


def _times(rows: Table, name: str) -> list[float]:
    """Seconds, or the numbers that the table has; all rows are written in one way, as no order is known between two."""
    cells = rows.texts(name, "time")
    moments = [_moment(cell, rows.row(i), name) for i, cell in enumerate(cells)]
    for i, (_, how) in enumerate(moments):
        if how != moments[0][1]:
            raise InputError(
                f"Row {rows.row(i)} of the ratings has the {name} {cells[i]!r:.40}, {how}, and row {rows.row(0)} has "
                f"{cells[0]!r:.40}, {moments[0][1]}: write all in one way."
            )
    return [value for value, _ in moments]


def _moment(cell: str, row: str, name: str) -> tuple[float, str]:
    """A time, and how it is written."""
    try:
        value, kind = (math.nan if "_" in cell else float(cell)), "a number"
    except ValueError:
        try:
            moment = datetime.datetime.fromisoformat(cell)
        except ValueError:
            raise InputError(
                f"Row {row} of the ratings has the {name} {cell!r:.40}: write numbers, or dates such as 2024-01-31."
            ) from None
        kind = "a date without a time zone" if moment.tzinfo is None else "a date with a time zone"
        value = moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
    if not np.isfinite(value):
        raise InputError(f"Row {row} of the ratings has the {name} {cell!r:.40}, which is no time.")
    return value, kind


def _wanted(rows: Table, rating: str | None, least: float | None) -> list[int]:
    """Rows that say interest."""
    if rating is None:
        if least is not None:
            raise InputError(f"`min_rating` needs a column of ratings. The table has {', '.join(rows.columns)}.")
        return list(range(len(next(iter(rows.columns.values())))))
    chosen = []
    for i, cell in enumerate(rows.texts(rating, "rating")):
        value = number_in(cell)
        if not np.isfinite(value):
            raise InputError(f"Row {rows.row(i)} of the ratings holds no number in column {rating!r}: {cell!r:.40}.")
        if least is None or value >= least:
            chosen.append(i)
    if not chosen:
        raise InputError(f"No rating reaches `min_rating`. Received: min_rating={least!r}.")
    return chosen


def _taken_as(kept_rows: Sequence[int], rating: str | None, least: float | None) -> str:
    if rating is None:
        return "No column of ratings is read: each row is taken as a sign of interest; `rating` names the column."
    if least is None:
        return "Each rating is taken as a sign of interest, whatever its value; `min_rating` leaves low ones out."
    return f"{len(kept_rows):,} ratings of {least:g} and above are taken as a sign of interest."


def _by_user(users: Sequence[str], items: Sequence[int]) -> dict[str, list[int]]:
    """Items of each user in the order of time, each the first time that it was taken."""
    by_user: dict[str, dict[int, None]] = {}
    for user, item in zip(users, items, strict=True):
        by_user.setdefault(user, {})[item] = None
    return {user: list(user_items) for user, user_items in by_user.items()}


def _ties(user_times: Sequence[tuple[str, float]]) -> list[str]:
    """A note where times do not tell which of a user's items came first."""
    counts = Counter(user_times)
    tied = sum(count for count in counts.values() if count > 1)
    if not tied:
        return []
    return [
        f"{tied:,} of {len(user_times):,} ratings have the time of another one of their user, and are taken in the "
        "order of the table's rows."
    ]


def _divided(
    by_user: dict[str, list[int]], known_items: Catalogue, cold: set[int], length: int, notes: Sequence[str]
) -> Splits:
    warm = {user: [i for i in history if i not in cold] for user, history in by_user.items()}
    enough = {user: history for user, history in warm.items() if len(history) > LEAST}
    if not enough:
        raise InputError(
            f"No user took more than {LEAST} items, so that there is nothing to learn what comes next from."
        )
    pipeline = Pipeline().then(
        RATINGS, items=list(known_items.ids), titles=list(known_items.titles), history=length, held_out=sorted(cold)
    )
    parts: tuple[list[tuple[str, int]], ...] = ([], [], [])
    for user, user_history in warm.items():
        last = len(user_history) - (2 if user in enough else 0)
        parts[0].extend((user, i) for i in range(1, last))
        if user in enough:
            parts[1].append((user, last))
            parts[2].append((user, last + 1))
    train, val, test = (_examples(part, warm, length, pipeline) for part in parts)
    unseen = RaggedColumn([np.array([i for i in by_user[u] if i in cold], np.int32) for u, _ in parts[2]], fill=-1)
    rated = {i for history in warm.values() for i in history}
    facts = [
        f"{sum(map(len, by_user.values())):,} ratings of {len(by_user):,} users; of each with more than {LEAST} items "
        "the last tests and the one before validates.",
        f"{len(known_items.ids):,} items, {len(known_items.ids) - len(rated):,} of them without a rating"
        + (f", {len(cold):,} held out as new ones." if cold else "."),
    ]
    return Splits(train, val, dataclasses.replace(test, columns={**test.columns, COLD: unseen}), notes=(*notes, *facts))


def _examples(
    pairs: Sequence[tuple[str, int]], by_user: dict[str, list[int]], length: int, pipeline: Pipeline
) -> Examples:
    numbers = np.array([i + 1 for items in by_user.values() for i in items], np.int32)
    first = dict(zip(by_user, np.cumsum([0, *map(len, by_user.values())]).tolist(), strict=False))
    starts = np.array([first[user] for user, _ in pairs], np.int64)
    ends = starts + np.array([place for _, place in pairs], np.int64)
    targets = np.array([by_user[user][place] for user, place in pairs], np.int32)
    return Examples(
        ids=tuple(f"{user}@{place}" for user, place in pairs),
        inputs=HistoryColumn(numbers, starts, ends, length),
        targets=ArrayColumn(targets),
        modality=RATINGS,
        pipeline=pipeline,
        columns={USER: TextColumn([user for user, _ in pairs])},
    )


def taken_by(examples: Sequence[Examples], users: Sequence[str]) -> np.ndarray:
    """int64 (n, 2), each once: places of users and of items that some examples say that these took, targets included.

    Each item of a user is the last of a history, or a target.
    """
    row = {user: i for i, user in enumerate(users)}
    pairs = [np.zeros((0, 2), np.int64)]
    for part in examples:
        every = np.arange(len(part))
        owners = np.array([row.get(str(user), -1) for user in part.columns[USER].take(every)], np.int64)
        history = part.inputs
        latest = history.latest if isinstance(history, HistoryColumn) else np.asarray(history.take(every))[:, -1]
        pairs += [np.stack([owners, items], axis=1) for items in (latest.astype(np.int64) - 1, part.target_array)]
    joined = np.concatenate(pairs)
    return np.unique(joined[(joined >= 0).all(axis=1)], axis=0)


def latest_histories(examples: Examples, users: Sequence[str]) -> np.ndarray:
    """int32 (users, history): the longest history that some examples have of each user, its target behind it."""
    last = {str(examples.columns[USER][i]): i for i in range(len(examples))}  # a user's examples are in order of time
    places = np.array([last[user] for user in users], np.int64)
    histories = np.asarray(examples.inputs.take(places))
    return np.concatenate([histories[:, 1:], examples.target_array[places][:, None] + 1], axis=1).astype(np.int32)


def read_items(file: Path) -> tuple[list[str], tuple[str, ...]]:
    """Ids or titles of items, one a line, or the column `item` of a table; and notes on how the file was read."""
    if file.suffix.lower() == ".txt":
        text, notes = read_noted(file)
        return [line.strip() for line in text.split("\n") if line.strip()], notes
    rows = read_any(file)
    return rows.texts("item"), rows.notes
