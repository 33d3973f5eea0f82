"""What a recommender is compared with: popularity, item neighbours and matrix factorisation."""

from __future__ import annotations

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.run import Run
from tlkit.data.ratings import RATINGS, USER, matrix_of, taken_by

MOST_CELLS = 50_000_000  # of a table of users by items, or of items by items, that is held in memory
TIES = 1e-7  # of the largest score: equal scores are ranked by chance, as their order would flatter one


def popularity(taken: np.ndarray) -> np.ndarray:
    """float64 (users, items): how many users took an item, for each user the same.

    Example:
        >>> popularity(np.array([[True, False], [True, True]])).tolist()
        [[2.0, 1.0], [2.0, 1.0]]
    """
    return np.tile(taken.sum(axis=0).astype(np.float64), (len(taken), 1))


def item_neighbours(taken: np.ndarray, neighbours: int = 50) -> np.ndarray:
    """float64 (users, items): sum of the cosines of an item with those taken, of each item's nearest alone.

    Source: Sarwar et al. 2001, doi:10.1145/371920.372071.
    """
    unit = taken / np.maximum(np.sqrt(taken.sum(axis=0)), 1e-9)
    cosines = unit.T @ unit
    np.fill_diagonal(cosines, 0)
    least = np.sort(cosines, axis=1)[:, -min(neighbours, len(cosines))][:, None]
    return np.asarray(taken.astype(np.float64) @ np.where(cosines >= least, cosines, 0).T)


def alternating_least_squares(
    taken: np.ndarray, width: int = 32, ridge: float = 10.0, trust: float = 10.0, rounds: int = 10, seed: int = 0
) -> np.ndarray:
    """float64 (users, items): products of factors, fitted in turns; what is taken counts 1 + `trust` times.

    Source: Hu, Koren and Volinsky 2008, doi:10.1109/ICDM.2008.22, eqs. 4 and 5.
    """
    rng = np.random.default_rng(seed)
    users, items = rng.normal(0, 0.1, (len(taken), width)), rng.normal(0, 0.1, (taken.shape[1], width))
    for _ in range(rounds):
        users = _solved(taken, items, ridge, trust)
        items = _solved(taken.T, users, ridge, trust)
    return np.asarray(users @ items.T)


def _solved(taken: np.ndarray, factors: np.ndarray, ridge: float, trust: float) -> np.ndarray:
    shared = factors.T @ factors + ridge * np.eye(factors.shape[1])
    rows = [factors[chosen] for chosen in taken]
    return np.stack(
        [np.linalg.solve(shared + trust * matrix.T @ matrix, (1 + trust) * matrix.sum(axis=0)) for matrix in rows]
    )


def ranked(scores: np.ndarray, hidden: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """int64 (users, k): the best items that are not hidden, ties broken by chance.

    Args:
        scores: float (users, items).
        hidden: bool (users, items).
        k: How many.
        seed: Of the ties.
    """
    noise = np.random.default_rng(seed).random(scores.shape) * TIES * max(1e-9, float(np.abs(scores).max()))
    return np.argsort(-np.where(hidden, -np.inf, scores + noise), axis=1, kind="stable")[:, :k]


def among(ranked_items: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall (of at most k) and NDCG of each user.

    Args:
        ranked_items: int (users, k), the best first.
        relevant: bool (users, items), one or more a user.
    """
    hits = np.take_along_axis(relevant, ranked_items, axis=1)
    weights = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    count = np.minimum(relevant.sum(axis=1), hits.shape[1])
    return hits.sum(axis=1) / count, (hits * weights).sum(axis=1) / np.cumsum(weights)[count - 1]


def beside_popularity(run: Run, *, seed: int = 0) -> Run:
    """The run with the scores of popularity, item neighbours and matrix factorisation on the same test beside its own.

    They see what the model's histories hold, the validation item too; items of the history are hidden.

    Args:
        run: Of `tasks.recommend`, as `finetune` gave it: a run opened from its folder has no training examples.
        seed: Of ties and factors.

    Returns:
        The run with `ndcg_at_10_popularity`, `..._neighbours`, `..._factors`, and the same of recall.

    Raises:
        InputError: If the run is of another task, or has no test examples.
    """
    k = items_given(run)
    data, count = run.data, len(run.task.labels)
    users = [str(data.test.columns[USER][i]) for i in range(len(data.test))]
    other_users = sorted(set(users_of(data.train)) - set(users))
    parts = ([data.train, data.val], users), ([data.train], other_users)
    if (len(users) + len(other_users) + count) * count > MOST_CELLS:
        taken, others = (taken_by(examples, owners) for examples, owners in parts)
        run = run.with_note(
            f"Of {len(users) + len(other_users):,} users and {count:,} items popularity alone stands beside the model: "
            "neighbours of items and factors would be tables of all of them in memory."
        )
        return run.with_scores(
            _named(k, "popularity", *_popular(taken, others, data.test.target_array, count, k, seed))
        )
    taken, others = (matrix_of(examples, owners, count) for examples, owners in parts)
    all_rows = np.concatenate([taken, others])
    relevant = np.zeros_like(taken)
    relevant[np.arange(len(users)), data.test.target_array] = True
    ways = {
        "popularity": popularity(all_rows),
        "neighbours": item_neighbours(all_rows),
        "factors": alternating_least_squares(all_rows, seed=seed),
    }
    scores: dict[str, float] = {}
    for name, way_scores in ways.items():
        scores |= _named(k, name, *among(ranked(way_scores[: len(users)], taken, k, seed), relevant))
    return run.with_scores(scores)


def _named(k: int, way: str, recall: np.ndarray, gain: np.ndarray) -> dict[str, float]:
    return {f"recall_at_{k}_{way}": float(recall.mean()), f"ndcg_at_{k}_{way}": float(gain.mean())}


def _popular(
    taken: np.ndarray, others: np.ndarray, targets: np.ndarray, items: int, k: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and NDCG of popularity, of pairs of users and items: those items alone that can be among the best."""
    counts = np.bincount(np.concatenate([taken[:, 1], others[:, 1]]), minlength=items)
    most = int(np.bincount(taken[:, 0], minlength=len(targets)).max())
    leaders = np.flatnonzero(counts >= np.sort(counts)[-min(k + most, items)])
    place = np.full(items, -1)
    place[leaders] = np.arange(len(leaders))
    hidden = np.zeros((len(targets), len(leaders) + 1), bool)
    hidden[taken[:, 0], place[taken[:, 1]]] = True  # what is no leader falls into the last column
    rows = np.tile(counts[leaders].astype(np.float64), (len(targets), 1))
    hits = leaders[ranked(rows, hidden[:, :-1], k, seed)] == targets[:, None]
    return hits.any(axis=1) * 1.0, (hits / np.log2(np.arange(hits.shape[1]) + 2)).sum(axis=1)


def users_of(examples: Examples) -> list[str]:
    """Names of the users of some examples, sorted."""
    return sorted({str(user) for user in examples.columns[USER].take(np.arange(len(examples)))})


def items_given(run: Run) -> int:
    """How many items the run's task gives.

    Raises:
        InputError: If the run is of another task, or has no test examples.
    """
    if run.task.name != "recommend" or not len(run.data.test) or run.data.test.modality != RATINGS:
        raise InputError(f"This is for runs of `tasks.recommend` with test examples. Received: {run.task.name}.")
    return int(run.task.made_by[1]["k"])
