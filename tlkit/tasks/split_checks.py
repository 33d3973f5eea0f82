"""What tasks check of the data's three splits, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits


def named_splits(splits: Splits) -> tuple[tuple[str, Examples], ...]:
    """The splits, with the names that messages give them."""
    return ("training", splits.train), ("validation", splits.val), ("test", splits.test)


def check_training(splits: Splits, advice: str = "give more examples, or a larger share of them to it") -> None:
    """Refuse data without a training example."""
    if not len(splits.train):
        raise InputError(f"The training split is empty: {advice}.")


def check_labels(labels: tuple[str, ...], splits: Splits, function: str) -> None:
    """Refuse data whose labels are others, or in another order.

    Args:
        labels: Of the task.
        splits: The data.
        function: That makes the task of them, for the message.
    """
    if splits.labels and splits.labels != labels:
        raise InputError(
            f"The task's labels are not the data's, in the same order: make it of them, `{function}(data.labels)`. "
            f"Received: {listed(labels)}, and the data has {listed(splits.labels)}."
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a message, of many the first.

    Example:
        >>> listed(["cat", "dog", "fox"], most=2)
        '`cat`, `dog` and 1 more'
    """
    quoted = ", ".join(f"`{name}`" for name in names[:most])
    return quoted if len(names) <= most else f"{quoted} and {len(names) - most} more"
