"""What a recommender is compared with: popularity, item neighbours and matrix factorisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.run import Run
from tlkit.data.ratings import RATINGS, USER, held_out_of, taken_by
from tlkit.tasks.recommendation import by_user, coverage

MOST_CELLS = 50_000_000  # of a table of users by items, or of items by items, that is held in memory
BLOCK = 5_000_000  # cells of such a table that are made at a time where it is not
TIES = 1e-7  # of the largest score: equal scores are ranked by chance, as their order would flatter one


def as_table(pairs: np.ndarray, users: int, items: int) -> np.ndarray:
    """bool (users, items) of pairs int (n, 2).

    Example:
        >>> as_table(np.array([[0, 1], [1, 0]]), users=2, items=2).tolist()
        [[False, True], [True, False]]
    """
    table = np.zeros((users, items), bool)
    table[tuple(pairs.T)] = True
    return table


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
    pairs: np.ndarray,
    users: int,
    items: int,
    width: int = 32,
    ridge: float = 10.0,
    trust: float = 10.0,
    rounds: int = 10,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Factors float64 (users, width) and (items, width), fitted in turns; what is taken counts 1 + `trust` times.

    Their products are the scores. No table of users by items is made.

    Args:
        pairs: int (n, 2), places of users and of the items that they took, each once.
        users: How many there are.
        items: How many there are.
        width: Of the factors.
        ridge: Penalty on their squares.
        trust: What an item counts more for being taken.
        rounds: Turns of both.
        seed: Of the first factors.

    Source: Hu, Koren and Volinsky 2008, doi:10.1109/ICDM.2008.22, eqs. 4 and 5.
    """
    rng = np.random.default_rng(seed)
    of_users, of_items = rng.normal(0, 0.1, (users, width)), rng.normal(0, 0.1, (items, width))
    taken, takers = _by_first(pairs, users), _by_first(pairs[:, ::-1], items)
    for _ in range(rounds):
        of_users = _solved(taken, of_items, ridge, trust)
        of_items = _solved(takers, of_users, ridge, trust)
    return of_users, of_items


def _by_first(pairs: np.ndarray, count: int) -> list[np.ndarray]:
    """The second numbers of each first one, ascending."""
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return np.split(pairs[:, 1], np.searchsorted(pairs[:, 0], np.arange(1, count)))


def _solved(taken: Sequence[np.ndarray], factors: np.ndarray, ridge: float, trust: float) -> np.ndarray:
    shared = factors.T @ factors + ridge * np.eye(factors.shape[1])
    rows = (factors[places] for places in taken)
    return np.stack(
        [np.linalg.solve(shared + trust * matrix.T @ matrix, (1 + trust) * matrix.sum(axis=0)) for matrix in rows]
    )


def ranked(scores: np.ndarray, hidden: np.ndarray, k: int, seed: int | np.random.Generator = 0) -> np.ndarray:
    """int64 (users, k): the best items that are not hidden, ties broken by chance.

    Args:
        scores: float (users, items).
        hidden: bool (users, items).
        k: How many.
        seed: Of the ties, or what they are drawn from.
    """
    noise = np.random.default_rng(seed).random(scores.shape) * TIES * max(1e-9, float(np.abs(scores).max()))
    merits = np.where(hidden, -np.inf, scores + noise)
    best = np.argpartition(-merits, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(merits, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


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
        The run with `ndcg_at_10_popularity`, `..._neighbours`, `..._factors`, and the same of recall and coverage;
        neighbours are left out, with a note, where a table of users or items by items would not fit into memory.

    Raises:
        InputError: If the run is of another task, or has no test examples.
    """
    k = items_given(run)
    data, count = run.data, len(run.task.labels)
    users = [str(data.test.columns[USER][i]) for i in range(len(data.test))]
    other_users = sorted(set(users_of(data.train)) - set(users))
    taken, others = taken_by([data.train, data.val], users), taken_by([data.train], other_users)
    everyone, shift = len(users) + len(other_users), np.array([len(users), 0])
    pairs = np.concatenate([taken, others + shift])
    popular = np.bincount(pairs[:, 1], minlength=count).astype(np.float64)
    ways: dict[str, Callable[[slice], np.ndarray]] = {
        "popularity": lambda part: np.tile(popular, (len(users[part]), 1)),
    }
    if (everyone + count) * count <= MOST_CELLS:
        near = item_neighbours(as_table(pairs, everyone, count))[: len(users)]
        ways["neighbours"] = lambda part: near[part]
    else:
        run = run.with_note(
            f"Neighbours of items do not stand beside the model: of {everyone:,} users and {count:,} items they would "
            "be a table in memory."
        )
    user_factors, item_factors = alternating_least_squares(pairs, everyone, count, seed=seed)
    ways["factors"] = lambda part: user_factors[part] @ item_factors.T
    scores: dict[str, float] = {}
    for name, scores_of in ways.items():
        best = _best(scores_of, taken, len(users), count, k, seed)
        values = by_user(best, data.test.target_array)
        scores |= {f"{key}_{name}": float(shares.mean()) for key, shares in values.items()}
        scores[f"coverage_{name}"] = coverage(best, count, held_out_of(data.test.pipeline))
    return run.with_scores(scores)


def _best(
    scores_of: Callable[[slice], np.ndarray], taken: np.ndarray, users: int, items: int, k: int, seed: int
) -> np.ndarray:
    """int64 (users, k): the best items of each user, some users at a time; the first again where too few are left."""
    size, rng = max(1, BLOCK // items), np.random.default_rng(seed)
    best = []
    for start in range(0, users, size):
        part = slice(start, min(start + size, users))
        mine = taken[slice(*np.searchsorted(taken[:, 0], [part.start, part.stop]))]
        hidden = as_table(mine - np.array([start, 0]), part.stop - start, items)
        places = ranked(scores_of(part), hidden, k, rng)
        best.append(np.where(np.take_along_axis(hidden, places, axis=1), places[:, :1], places))
    return np.concatenate(best)


def users_of(examples: Examples) -> list[str]:
    """Names of the users of some examples, sorted."""
    return sorted({str(user) for user in examples.columns[USER].take(np.arange(len(examples)))})


def items_given(run: Run) -> int:
    """How many items the run's task gives.

    Raises:
        InputError: If the run is of another task, has no test examples, or was opened from its folder.
    """
    if run.task.name != "recommend" or not len(run.data.test) or run.data.test.modality != RATINGS:
        raise InputError(f"This is for runs of `tasks.recommend` with test examples. Received: {run.task.name}.")
    if run.folder is not None and run.evaluation is None:
        raise InputError(
            "The run was opened from its folder, which keeps few of its training examples: take the run that "
            "`finetune` gave."
        )
    return int(run.task.made_by[1]["k"])
