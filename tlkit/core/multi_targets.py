"""Targets of several heads in one array: each head's own target of an example, and how much the example weighs in it.

The array is a structured one, (n,), with a field a head; of each field `target` is what the head's task reads, `weight`
(float32) how much the example weighs in its loss, and `known` (bool) whether it has a label of that kind at all:
methods that weigh examples give some of them 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn
from tlkit.core.examples import ArraySpec, Augment, Column, Examples, Splits
from tlkit.core.identity import identity

TARGET, WEIGHT, KNOWN = "target", "weight", "known"


@dataclass(frozen=True, repr=False)
class MovesEachHead:
    """How examples of several heads are changed: by one draw the input, and the target of each head that has one.

    Attributes:
        augment: What the data of each head have.
    """

    augment: Augment

    def __repr__(self) -> str:
        return f"MovesEachHead({identity(self.augment)})"  # by which caches tell it from others

    def draw(self, seed: int) -> Mapping[str, Any]:
        """What `augment` draws."""
        return self.augment.draw(seed)

    def inputs(self, value: Any, drawn: Mapping[str, Any]) -> Any:
        """The input, moved."""
        return self.augment.inputs(value, drawn)

    def targets(self, value: Any, drawn: Mapping[str, Any]) -> Any:
        """Targets of all heads, of which those that are known are moved."""
        moved = np.array([value])
        for head in heads_of(moved):
            if value[head][KNOWN]:
                moved[head][TARGET][0] = self.augment.targets(value[head][TARGET], drawn)
        return moved[0]


def unlabelled(targets: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Targets of `count` examples that no head knows a label of: zeros, for targets of these kinds."""
    marks = [(WEIGHT, np.float32), (KNOWN, np.bool_)]
    fields = [(name, [(TARGET, target.dtype, target.shape[1:]), *marks]) for name, target in targets.items()]
    return np.zeros(count, np.dtype(fields))


def heads_of(targets: np.ndarray) -> tuple[str, ...]:
    """Names of the heads that an array holds targets of; () where it is a plain one."""
    return targets.dtype.names or ()


def known(targets: np.ndarray, head: str) -> np.ndarray:
    """int64 indices of the examples that have a label of this kind."""
    return np.flatnonzero(targets[head][KNOWN])


def part(examples: Examples, head: str) -> Examples:
    """The examples that one head has labels of, with that head's targets and weights."""
    rows = known(examples.target_array, head)
    labelled = examples.subset(rows.tolist())
    fields = labelled.target_array[head]
    weights = np.ascontiguousarray(fields[WEIGHT])
    plain = bool((weights == 1).all())
    augment = labelled.augment
    return dataclasses.replace(
        labelled,
        targets=ArrayColumn(np.ascontiguousarray(fields[TARGET])),
        weights=None if plain else weights,
        augment=augment.augment if isinstance(augment, MovesEachHead) else augment,
    )


def of_answer(examples: Examples, name: str | None) -> tuple[np.ndarray | None, Column | None]:
    """Which examples have a target of one of a task's answers, None for all of them, and these targets.

    Args:
        examples: Of several heads, those with targets by head.
        name: Of the answer; None where the task has one.

    Returns:
        Targets are None where nothing is known: an array (n, 0).
    """
    targets = examples.targets
    if name is None:
        spec = targets.spec
        return None, None if isinstance(spec, ArraySpec) and spec.shape == (0,) else targets
    if isinstance(targets, DictColumn):
        return None, targets.columns[name]
    array = examples.target_array
    if name not in heads_of(array):
        return None, None
    rows = known(array, name)
    return rows, ArrayColumn(np.ascontiguousarray(array[name][TARGET][rows]))


def parts(data: Splits, head: str) -> Splits:
    """The same of all three splits, with the names of the head's labels."""
    return dataclasses.replace(
        data,
        train=part(data.train, head),
        val=part(data.val, head),
        test=part(data.test, head),
        labels=data.heads.get(head, ()),
        heads={},
    )


def unpacked(targets: Any) -> Any:
    """A structured array as a dict of its fields, as TensorFlow takes it; plain arrays, and dicts of them, stay so."""
    if isinstance(targets, Mapping):
        return {name: unpacked(field) for name, field in targets.items()}
    if targets.dtype.names is None:
        return np.asarray(targets)
    return {name: unpacked(targets[name]) for name in targets.dtype.names}
