"""Who goes into training, validation and test: seeded, stratified, grouped, and the same on every machine.

The order comes from sha256 of the seed and the example's name, not from a random generator, whose stream may change
with its version. So a split depends on names, labels, seed and shares alone, and not on the order of a directory.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.files import sha256_bytes
from tlkit.core.numeric import is_number

PARTS = ("train", "val", "test")
SHARES = (0.7, 0.15, 0.15)  # of them, where nobody says otherwise
PART_NAMES = {"train": 0, "training": 0, "val": 1, "validation": 1, "valid": 1, "dev": 1, "test": 2, "testing": 2}

Groups = Callable[[str], object] | Mapping[str, object] | Sequence[object]


@dataclass(frozen=True)
class _Unit:
    """Examples that stay together."""

    name: str
    members: tuple[int, ...]
    counts: Mapping[int | None, int]  # label -> how many members carry it; None -> how many there are


@dataclass(frozen=True, eq=False)
class _Needs:
    """What each part still lacks, of each label (None is any); filled in place while units are dealt out."""

    lacking: dict[int | None, list[float]]
    given: dict[int | None, list[int]]  # units, not examples


def name_key(name: str, seed: int) -> str:
    """Sort key of a name: sha256 of seed and name, composed (NFC) so that macOS and Linux agree on accents.

    Example:
        >>> name_key("cat.png", 0)[:8]
        '86231fcb'
    """
    return sha256_bytes(str(seed), unicodedata.normalize("NFC", name))


def shares_of(split: Sequence[float] | str) -> Sequence[float]:
    """The shares in `split`; the usual ones where it is the column that names the parts."""
    return SHARES if isinstance(split, str) else split


def checked_shares(split: Sequence[float]) -> tuple[float, ...]:
    """Shares of training, validation and test that sum to 1.

    Raises:
        InputError: If there are not three numbers >= 0, of which the first is positive.

    Example:
        >>> checked_shares((8, 1, 1))
        (0.8, 0.1, 0.1)
    """
    listed = tuple(split) if isinstance(split, Sequence | np.ndarray) else ()
    shares = tuple(float(share) for share in listed if is_number(share))
    fine = len(shares) == len(listed) == len(PARTS) and min(shares) >= 0
    if not fine or not 0 < shares[0] < math.inf or not sum(shares) < math.inf:
        raise InputError(
            "`split` must be three shares for training, validation and test, none negative and the first positive, "
            f"such as (0.7, 0.15, 0.15). Received: split={split!r}."
        )
    return tuple(share / sum(shares) for share in shares)


def group_names(groups: Groups | None, ids: Sequence[str]) -> tuple[str, ...]:
    """A group's name for each id, from a function of the id, a mapping of ids, or a sequence in the order of `ids`.

    Raises:
        InputError: If an id has no group, or a sequence has another length.
    """
    if groups is None:
        return ()
    if callable(groups):
        return tuple(str(groups(name)) for name in ids)
    if isinstance(groups, Mapping):
        missing = [name for name in ids if name not in groups]
        if missing:
            raise InputError(
                f"`groups` names no group for {len(missing)} of {len(ids)} examples, {missing[0]!r} first."
            )
        return tuple(str(groups[name]) for name in ids)
    count = None if isinstance(groups, str) or not hasattr(groups, "__len__") else len(groups)
    if count != len(ids):
        raise InputError(
            f"`groups` must be a function of an example's id, a mapping from ids, or a sequence of {len(ids)} groups. "
            f"Received: {groups!r:.60}" + ("." if count is None else f" ({count} items).")
        )
    return tuple(str(group) for group in groups)


def by_id(groups: Groups | None, ids: Sequence[str]) -> Groups | None:
    """Groups that are a sequence over all images, by their ids: some may be left out."""
    if groups is None or callable(groups) or isinstance(groups, Mapping):
        return groups
    return dict(zip(ids, group_names(groups, ids), strict=True))


def checked_lengths(pairs: Mapping[int, tuple[Any, Any]], noun: str) -> None:
    """Refuse parts that are no pair of examples and targets, where these are no sequences or of other lengths.

    Raises:
        InputError: If they are.
    """
    for part, pair in pairs.items():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f"`{PARTS[part]}` must be ({noun}, targets). Received: {PARTS[part]}={pair!r:.60}.")
        examples, answers = pair
        for name, value in ((noun, examples), ("targets", answers)):
            if not hasattr(value, "__len__") or getattr(value, "ndim", 1) == 0:
                raise InputError(
                    f"The {name} for {PARTS[part]} must be a sequence, one an example. Received: {value!r:.60}."
                )
        if len(examples) != len(answers):
            raise InputError(f"There are {len(examples)} {noun} and {len(answers)} targets for {PARTS[part]}.")


def divide(
    ids: Sequence[str],
    labels: Sequence[Sequence[int]],
    shares: Sequence[float],
    *,
    seed: int = 0,
    groups: Sequence[str] = (),
) -> tuple[int, ...]:
    """The part (0, 1, ...) of each example, so that every label has its share in every part.

    Iterative stratification: the rarest label is dealt out first, each unit (an example, or a group) to the part that
    lacks that label most. A label's first unit goes to part 0, so that it can be learned; a label carried by as many
    units as there are parts, or more, reaches all of them.

    Args:
        ids: A name for each example; names decide the order, so they must differ.
        labels: The labels of each example: one for classes, any number for multi-label data.
        shares: Share of each part, summing to 1; a part of share 0 gets nothing.
        seed: Another seed gives another division.
        groups: A name for each example; examples of one group go to one part. () where there are none.

    Returns:
        One number in [0, len(shares)) for each example.

    Example:
        >>> divide(["a", "b", "c", "d"], [[0], [0], [1], [1]], (0.5, 0.5))
        (1, 0, 1, 0)

    Source: Sechidis, Tsoumakas and Vlahavas 2011, doi:10.1007/978-3-642-23808-6_10 (iterative stratification).
    """
    units = _units(ids, labels, groups, seed)
    carriers: dict[int | None, list[int]] = defaultdict(list)
    for number, unit in enumerate(units):
        unit_labels: list[int | None] = [label for label in unit.counts if label is not None]
        for label in unit_labels or [None]:
            carriers[label].append(number)
    needs = _needs(units, shares)
    part_of_unit: dict[int, int] = {}
    for label in sorted(carriers, key=lambda carried: (carried is None, len(carriers[carried]), carried or 0)):
        waiting = [number for number in carriers[label] if number not in part_of_unit]
        for dealt, number in enumerate(waiting):
            of_all, of_label = len(units) - len(part_of_unit), len(waiting) - dealt
            part = _neediest(needs, label, left={None: of_all, label: of_label}, shares=shares)
            part_of_unit[number] = part
            _give(needs, units[number], part)
    parts = {member: part_of_unit[number] for number, unit in enumerate(units) for member in unit.members}
    return tuple(parts[i] for i in range(len(ids)))


def _units(ids: Sequence[str], labels: Sequence[Sequence[int]], groups: Sequence[str], seed: int) -> list[_Unit]:
    """Units in the order in which they are dealt out: large ones first, while there is room to even them out."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(groups or ids):
        members[name].append(i)
    units = [
        _Unit(
            name, tuple(indices), Counter([*(None for _ in indices), *(label for i in indices for label in labels[i])])
        )
        for name, indices in members.items()
    ]
    return sorted(units, key=lambda unit: (-len(unit.members).bit_length(), name_key(unit.name, seed), unit.name))


def _needs(units: Sequence[_Unit], shares: Sequence[float]) -> _Needs:
    totals: Counter[int | None] = Counter()
    for unit in units:
        totals.update(unit.counts)
    return _Needs(
        lacking={label: [share * total for share in shares] for label, total in totals.items()},
        given={label: [0 for _ in shares] for label in totals},
    )


def _neediest(needs: _Needs, label: int | None, *, left: Mapping[int | None, int], shares: Sequence[float]) -> int:
    """The part that lacks `label` most; but one without any units, or any of the label, when only so many are left."""
    if label is not None and needs.given[label][0] == 0:
        return 0
    choice = [part for part, share in enumerate(shares) if share > 0]
    for scope, units in left.items():
        without = [part for part in choice if needs.given[scope][part] == 0]
        if without and units <= len(without):
            choice = without
    # rounded, so that sums of floats in another order cannot tip a tie
    return max(choice, key=lambda p: (round(needs.lacking[label][p], 6), round(needs.lacking[None][p], 6), -p))


def _give(needs: _Needs, unit: _Unit, part: int) -> None:
    for label, count in unit.counts.items():
        needs.lacking[label][part] -= count
        needs.given[label][part] += 1


def spread(targets: np.ndarray, count: int, seed: int = 0) -> tuple[int, ...]:
    """Indices of at most `count` examples, taken from all classes in turn; the same for the same seed.

    Args:
        targets: int (n,) class numbers; of any other targets the examples are drawn without regard to them.
        count: How many, > 0.
        seed: Of the draw.

    Example:
        >>> sorted(np.array([0, 0, 0, 0, 1])[list(spread(np.array([0, 0, 0, 0, 1]), 2))].tolist())
        [0, 1]
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        return tuple(int(i) for i in order[:count])
    turn = np.zeros(len(targets), np.int64)  # how many of its class come before it
    for label in np.unique(targets):
        of_label = targets[order] == label
        turn[of_label] = np.arange(of_label.sum())
    return tuple(int(i) for i in order[np.argsort(turn, kind="stable")][:count])


def joined_by(keys: Sequence[Sequence[str]]) -> list[str]:
    """A name for each example, the same for all that share a key, be it over others.

    Args:
        keys: Of each example, one or more.

    Example:
        >>> joined_by([("a", "x"), ("b", "x"), ("b", "y"), ("c", "z")])
        ['b', 'b', 'b', 'c']
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for first, *other_keys in keys:
        for key in other_keys:
            parent[root(key)] = root(first)
    return [root(example_keys[0]) for example_keys in keys]


def plainly(text: str) -> str:
    """A text without case and marks, with single blanks: what repeats another is seen by it.

    Example:
        >>> plainly("  Hello, World! ")
        'hello world'
    """
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
