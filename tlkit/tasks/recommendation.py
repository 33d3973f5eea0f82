"""Recommendation: which items of a catalogue come next in a history."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.items import ITEMS, SCORES, items
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Decoded, Evaluation, Objective, Reads, Task
from tlkit.data.ratings import RATINGS, held_out_of, items_of
from tlkit.layer import reads
from tlkit.tasks import metrics, recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_training, named_splits

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

SHOWN = 12  # histories in the report
PROTOCOL = (
    "Each user's last item is to be found by the items before it, among all items of the catalogue but those in the "
    "history (leave-last-out, full ranking)."
)


def recommend(titles: Sequence[str], k: int = 10, *, scores: bool | None = None) -> Task:
    """Name the k items that are likeliest next, those of the history left out.

    The module gives a logit for each item of the catalogue, as that of `data.ratings.module` does, or a vector, from
    which a dense layer makes them; training is a softmax over all items. Targets are int32 (n,) places.

    Args:
        titles: Of the items, in the catalogue's order: `data.ratings.items_of(data.train.pipeline)[1]`, or the
            catalogue's `titles`.
        k: Items given, >= 1.
        scores: Whether the module gives the logits. None is what its card says, which `data.ratings.module` and
            `publish` write; a module without one that gives as many numbers as there are items is refused then.

    Returns:
        A task for `tlkit.data.ratings`; it gives "items" and "scores", as `answers.items` says.

    Raises:
        InputError: If `k` is below 1 or above the count of items.

    Example:
        >>> recommend(["a", "b", "c"], k=2).reads.name
        'pooled()'

    Source: Covington, Adams and Sargin 2016, doi:10.1145/2959100.2959190.
    """
    names = tuple(str(title) for title in titles)
    if not (isinstance(k, int | np.integer) and 1 <= k <= len(names)):
        raise InputError(f"`k` must be a whole number in [1, {len(names)}], the count of items. Received: k={k!r}.")
    k, pooled = int(k), reads.pooled()
    return Task(
        name="recommend",
        made_by=recording.record("tlkit.tasks.recommend", {"titles": names, "k": k, "scores": scores}),
        reads=Reads(pooled.name, _Reader(pooled, len(names), scores)),
        head=functools.partial(_head, count=len(names)),
        objective=Objective(loss=_loss, check=functools.partial(_check, names)),
        answers=(items(names, k),),
        scorer=gathered(functools.partial(evaluate_items, names, k)),
    )


def evaluate_items(names: tuple[str, ...], k: int, examples: Examples, decoded: Decoded) -> Evaluation:
    """Recall and NDCG of the item that came next, with bootstrap intervals over users, and coverage.

    Args:
        names: Of the items.
        k: Items that are given.
        examples: Their targets are int (n,).
        decoded: With "items" and "scores", float (n, k).
    """
    places = decoded[ITEMS][:, :k].astype(np.int64)
    values_by_name = by_user(places, examples.target_array)
    scores: dict[str, float] = {}
    for name, values in values_by_name.items():
        interval = metrics.bootstrap(lambda drawn, v=values: float(v[drawn].mean()), len(values))  # type: ignore[misc]
        scores |= metrics.with_interval(name, float(values.mean()), interval)
    unseen = places[decoded[SCORES][:, :k] > 0]  # of few items, those of the history fill up the k
    scores["coverage"] = coverage(unseen, len(names), held_out_of(examples.pipeline))
    details = {
        "headline": metrics.headline(f"ndcg_at_{k}", f"NDCG@{k}", "bootstrap", unit="value"),
        "recommended": {"protocol": PROTOCOL, "k": k, "rows": _rows(names, examples, places)},
        "example_scores": values_by_name[f"ndcg_at_{k}"].tolist(),
    }
    return Evaluation(metrics.finite(scores), details, np.asarray(decoded[ITEMS], np.float32))


def by_user(places: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Recall and NDCG of each user, of whom one item is to be found: the hit, and 1 / log2(rank + 1).

    Args:
        places: int (users, k), the items that are given, the best first.
        targets: int (users,), the item that came next.

    Example:
        >>> {name: values.tolist() for name, values in by_user(np.array([[7, 4, 1]]), np.array([1])).items()}
        {'recall_at_3': [1.0], 'ndcg_at_3': [0.5]}
    """
    k, hits = places.shape[1], places == targets[:, None]
    return {f"recall_at_{k}": hits.any(axis=1) * 1.0, f"ndcg_at_{k}": (hits / np.log2(np.arange(k) + 2)).sum(axis=1)}


def coverage(places: np.ndarray, items: int, held_out: Sequence[int] = ()) -> float:
    """Share of the items that is given to anybody, those aside that are held out.

    Args:
        places: int, the items that are given.
        items: How many there are.
        held_out: Places of those that are to be new ones.

    Example:
        >>> coverage(np.array([[0, 1], [1, 3]]), items=4, held_out=[3])
        0.6666666666666666
    """
    return len(np.setdiff1d(places, held_out)) / (items - len(held_out))


def _rows(names: tuple[str, ...], examples: Examples, places: np.ndarray) -> list[dict[str, str]]:
    rows = []
    for i in range(min(SHOWN, len(examples)) if items_of(examples.pipeline)[0] else 0):
        history = [int(number) - 1 for number in np.asarray(examples.inputs[i]) if number][-3:]
        columns = {"history": history, "next": [int(examples.target_array[i])], "said": places[i][:3].tolist()}
        rows.append({key: ", ".join(names[place] for place in item_numbers) for key, item_numbers in columns.items()})
    return rows


@dataclass(frozen=True)
class _Reader:
    """Reads what the module gives: "scores" of the items of the catalogue, or "features".

    Attributes:
        pooled: How the module's vector is read.
        count: Of items.
        scores: Whether the vector is their scores; None is what the module's card says.
    """

    pooled: Reads
    count: int
    scores: bool | None

    def __call__(self, layer: HubLayer, inputs: Any) -> dict[str, Any]:
        """The vector by its name.

        Raises:
            InputError: If scores are of another count of items, or nothing says whether they are scores.
        """
        vector, scores, count = self.pooled.read(layer, inputs), self.scores, self.count
        width = vector.shape[-1]
        if scores is None:
            scores = True if layer.card.get("modality") == RATINGS else None if width == count else False
        if scores is None:
            raise InputError(
                f"{layer.handle} gives {width} numbers, as many as there are items: say whether they are the items' "
                "logits, recommend(..., scores=True), or features, scores=False."
            )
        if scores and width != count:
            raise InputError(
                f"{layer.handle} scores {width} items, and the catalogue has {count}: make a module of these data, "
                "tlkit.data.ratings.module(data)."
            )
        return {"scores" if scores else "features": vector}


def _head(outputs: Any, count: int) -> Any:
    """Logits: the module's scores, or a dense layer of its features, which may come alone."""
    import keras

    outputs = outputs if isinstance(outputs, Mapping) else {"features": outputs}
    if "scores" in outputs:
        return keras.layers.Activation("linear", dtype="float32", name="head_outputs")(outputs["scores"])
    return keras.layers.Dense(count, dtype="float32", name="head_outputs")(outputs["features"])


def _loss() -> keras.losses.Loss:
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _check(names: tuple[str, ...], splits: Splits) -> None:
    check_training(splits, "give ratings of users with more than three items")
    for part, examples in named_splits(splits):
        targets = examples.target_array
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise InputError(
                f"The {part} targets must be places in the catalogue, int32 (n,), as tlkit.data.ratings makes them. "
                f"Received: dtype={targets.dtype}, shape={targets.shape}."
            )
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(names):
            raise InputError(f"The task has {len(names)} items, and the {part} targets reach {int(targets.max())}.")
