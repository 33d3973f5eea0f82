"""A Scorer out of a function that judges all examples at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tlkit.core.columns import joined
from tlkit.core.examples import Examples
from tlkit.core.task import PLACE, Decoded, Evaluation, Scorer

Evaluate = Callable[[Examples, Any], Evaluation]


def gathered(evaluate: Evaluate, of: str | None = None) -> Callable[[], Scorer]:
    """What makes a Scorer for `Task.scorer` of a function that judges all examples at once.

    It keeps the decoded outputs of all examples in memory: for outputs as large as masks write a Scorer of your own.

    Args:
        evaluate: (examples, decoded outputs) -> Evaluation, in NumPy; it need not read inputs.
        of: Name of the one decoded tensor that it takes; None gives it all of them by name.

    Example:
        >>> from tlkit import Evaluation
        >>> gathered(lambda examples, decoded: Evaluation({"count": len(examples)}, {}))().update
        ... # doctest: +ELLIPSIS
        <bound method Gathered.update ...>
    """
    return functools.partial(Gathered, evaluate, of)


class Gathered:
    """Collects what it is given; judges it in the order of the column "place"."""

    def __init__(self, evaluate: Evaluate, of: str | None) -> None:
        self.evaluate, self.of = evaluate, of
        self.parts: list[tuple[Examples, Decoded]] = []

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some examples."""
        self.parts.append((examples, decoded))

    def result(self) -> Evaluation:
        """What the function says of all examples."""
        parts = [examples for examples, _ in self.parts]
        arrays = {name: np.concatenate([decoded[name] for _, decoded in self.parts]) for name in self.parts[0][1]}
        together = parts[0] if len(parts) == 1 else _joined(parts)
        if PLACE in together.columns:
            order = np.argsort(together.columns[PLACE].take(np.arange(len(together))), kind="stable")
            if (order != np.arange(len(order))).any():
                together, arrays = (
                    together.subset(order.tolist()),
                    {name: rows[order] for name, rows in arrays.items()},
                )
        return self.evaluate(together, arrays if self.of is None else arrays[self.of])


def _joined(several: list[Examples]) -> Examples:
    """Batches of the same examples, one behind the other."""
    first = several[0]
    weights = [batch.weights for batch in several if batch.weights is not None]
    return Examples(
        ids=tuple(name for batch in several for name in batch.ids),
        inputs=joined([batch.inputs for batch in several]),
        targets=joined([batch.targets for batch in several]),
        modality=first.modality,
        pipeline=first.pipeline,
        columns={name: joined([batch.columns[name] for batch in several]) for name in first.columns},
        groups=tuple(group for batch in several for group in batch.groups),
        weights=np.concatenate(weights) if weights else None,
    )
