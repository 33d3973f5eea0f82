"""All examples of a source -> `Splits`: divided or as the source says, checked, with what is odd about them noted."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Examples, Quarantined, Splits
from tlkit.data.labelling import Labelled, alike, strata
from tlkit.data.preflight import listed
from tlkit.data.splitting import PARTS, divide

_FEW = 10  # examples; of fewer each may well be the only one of its class


def assemble(
    examples: Examples,
    labelled: Labelled,
    *,
    shares: Sequence[float],
    seed: int,
    fixed: Sequence[int] = (),
    augment: Augmenting | None = None,
    quarantine: Sequence[Quarantined] = (),
) -> Splits:
    """Divide examples into training, validation and test.

    Args:
        examples: All sound examples; their groups stay whole.
        labelled: Their targets, with the names of the classes.
        shares: Share of each part, from `splitting.checked_shares`.
        seed: Another seed gives another division.
        fixed: The part of each example where the source says so. A part that it lacks is taken out of training.
        augment: Goes with the training examples alone.
        quarantine: What was left out.

    Raises:
        InputError: If there are too few examples for the parts or for the classes.
    """
    check_classes(labelled, quarantine)
    parts = _placed(examples, labelled, shares, seed, fixed)
    _check_parts(parts, labelled, shares if not fixed else [float(part in fixed) for part in range(len(PARTS))])
    train, val, test = (
        examples.subset([i for i, assigned in enumerate(parts) if assigned == part]) for part in range(len(PARTS))
    )
    return Splits(
        train=dataclasses.replace(train, augment=augment),
        val=val,
        test=test,
        labels=labelled.names,
        quarantine=tuple(quarantine),
        duplicates=duplicates(examples.ids, examples.digests, parts),
        notes=(
            *labelled.notes,
            *(alike(labelled.names) if labelled.kind != "values" else ()),
            *_contradictions(examples, labelled),
            *_absences(labelled, parts),
            *_torn_groups(examples, parts),
        ),
    )


def check_classes(labelled: Labelled, quarantine: Sequence[Quarantined] = ()) -> None:
    """Refuse what would train without an error and learn nothing: one class, or a class without examples."""
    total = len(labelled.targets)
    if total == 0:
        raise InputError(f"There is no usable example{_blame(quarantine)}.")
    if labelled.kind != "classes":
        return
    if len(labelled.names) < 2:
        raise InputError(f"All {total} examples are of one class, {labelled.names[0]!r}: a classifier needs two.")
    if len(set(labelled.targets.tolist())) == total >= _FEW:
        raise InputError(
            f"Each of the {total} examples has a label of its own, such as {labelled.names[0]!r:.60}: classes need "
            "several examples each. Are these the labels?"
        )
    counts = np.bincount(labelled.targets, minlength=len(labelled.names))
    empty = [name for name, count in zip(labelled.names, counts, strict=True) if count == 0]
    if empty:
        few = f"{total} examples are too few for {len(labelled.names)} classes: " if total < len(labelled.names) else ""
        others = f" and {len(empty) - 1} more have" if len(empty) > 1 else " has"
        raise InputError(
            f"{few}the class {empty[0]!r}{others} no usable example{_blame(quarantine)}. "
            "Add some, or remove the class: its output would never learn."
        )


def duplicates(ids: Sequence[str], digests: Sequence[str], parts: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """Groups of ids with the same content in more than one part."""
    return tuple(tuple(ids[i] for i in members) for members in _alike(digests) if len({parts[i] for i in members}) > 1)


def _placed(
    examples: Examples, labelled: Labelled, shares: Sequence[float], seed: int, fixed: Sequence[int]
) -> tuple[int, ...]:
    labels = strata(labelled, len(set(examples.groups)) if examples.groups else None)
    if not fixed:
        return divide(examples.ids, labels, shares, seed=seed, groups=examples.groups)
    missing = [part for part in range(1, len(PARTS)) if part not in fixed and shares[part] > 0]
    train_rows = [i for i, part in enumerate(fixed) if part == 0]
    if not missing or not train_rows:
        return tuple(fixed)
    part_shares = [share if part in (0, *missing) else 0.0 for part, share in enumerate(shares)]
    inner = divide(
        [examples.ids[i] for i in train_rows],
        [labels[i] for i in train_rows],
        [share / sum(part_shares) for share in part_shares],
        seed=seed,
        groups=[examples.groups[i] for i in train_rows] if examples.groups else (),
    )
    moved = dict(zip(train_rows, inner, strict=True))
    return tuple(moved.get(i, part) for i, part in enumerate(fixed))


def _check_parts(parts: Sequence[int], labelled: Labelled, shares: Sequence[float]) -> None:
    counts = Counter(parts)
    for part, name in enumerate(PARTS):
        if (shares[part] > 0 or part == 0) and counts[part] == 0:
            raise InputError(
                f"{len(parts)} examples are too few: the {name} part would be empty. Add examples, or groups, or pass "
                "`split` with a share of 0 for a part that you can do without."
            )
    if labelled.kind == "classes":
        trained = set(labelled.targets[[i for i, part in enumerate(parts) if part == 0]].tolist())
        for number, name in enumerate(labelled.names):
            if number not in trained:
                raise InputError(f"The class {name!r} has no training example: its output would never learn.")


def _alike(digests: Sequence[str]) -> list[list[int]]:
    by_digest: dict[str, list[int]] = defaultdict(list)
    for i, digest in enumerate(digests):
        by_digest[digest].append(i)
    return [members for members in by_digest.values() if len(members) > 1]


def _contradictions(examples: Examples, labelled: Labelled) -> list[str]:
    odd = [members for members in _alike(examples.digests) if len({labelled.targets[i].tobytes() for i in members}) > 1]
    if not odd:
        return []
    first = " and ".join(repr(examples.ids[i]) for i in odd[0][:3])
    count = "One content appears" if len(odd) == 1 else f"{len(odd)} contents appear"
    return [f"{count} under different labels, so at least one label is wrong: {first}."]


def _absences(labelled: Labelled, parts: Sequence[int]) -> list[str]:
    if labelled.kind != "classes":
        return []
    notes = []
    for part in sorted(set(parts) - {0}):
        present = set(labelled.targets[[i for i, assigned in enumerate(parts) if assigned == part]].tolist())
        absent = [name for number, name in enumerate(labelled.names) if number not in present]
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            notes.append(f"The {PARTS[part]} part has no example of the class {absent[0]!r}{more}.")
    return notes


def _torn_groups(examples: Examples, parts: Sequence[int]) -> list[str]:
    places: dict[str, set[int]] = defaultdict(set)
    for group, part in zip(examples.groups, parts, strict=False):
        places[group].add(part)
    torn = sorted(group for group, group_parts in places.items() if len(group_parts) > 1)
    if not torn:
        return []
    return [f"{len(torn)} groups lie in more than one part, as the source divides them: {torn[0]!r} first."]


def _blame(quarantine: Sequence[Quarantined]) -> str:
    return f"; {len(quarantine)} were left out: {listed(quarantine)}" if quarantine else ""
