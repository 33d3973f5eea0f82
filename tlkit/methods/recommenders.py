"""What a recommender is compared with, and vectors for items that nobody has taken yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlkit.core.columns import TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.core.run import Run
from tlkit.data.ratings import COLD, RATINGS, USER, Catalogue, matrix_of
from tlkit.data.ratings_module import BIAS, ITEMS
from tlkit.data.text_source import TEXT_MODALITY

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


def _solved(taken: np.ndarray, others: np.ndarray, ridge: float, trust: float) -> np.ndarray:
    shared = others.T @ others + ridge * np.eye(others.shape[1])
    rows = [others[own] for own in taken]
    return np.stack([np.linalg.solve(shared + trust * own.T @ own, (1 + trust) * own.sum(axis=0)) for own in rows])


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


def among(found: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall (of at most k) and NDCG of each user.

    Args:
        found: int (users, k), the best first.
        relevant: bool (users, items), one or more a user.
    """
    hits = np.take_along_axis(relevant, found, axis=1)
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
    k = _k(run)
    data, count = run.data, len(run.task.labels)
    users = [str(data.test.columns[USER][i]) for i in range(len(data.test))]
    taken = matrix_of([data.train, data.val], users, count)
    others = [user for user in _users(data.train) if user not in set(users)]
    rest = matrix_of([data.train], others, count)
    every = np.concatenate([taken, rest])
    relevant = np.zeros_like(taken)
    relevant[np.arange(len(users)), data.test.target_array] = True
    ways = {
        "popularity": popularity(every),
        "neighbours": item_neighbours(every),
        "factors": alternating_least_squares(every, seed=seed),
    }
    scores: dict[str, float] = {}
    for name, own in ways.items():
        recall, gain = among(ranked(own[: len(users)], taken, k, seed), relevant)
        scores |= {f"recall_at_{k}_{name}": float(recall.mean()), f"ndcg_at_{k}_{name}": float(gain.mean())}
    return run.with_scores(scores)


def new_items(
    run: Run, catalogue: Catalogue, module: Any = "zoo:minilm-l6-v2", *, neighbours: int = 20, batch_size: int = 64
) -> Run:
    """Give items that nobody took in training the weighted mean vector of those whose texts are nearest.

    The module of texts stays frozen, and nothing is trained: what is transferred is which items are alike. Weights are
    the cosines of the texts' vectors, less their mean, and 0 where they are negative. The run's model is changed; its
    scores of known items are not computed again, as new ones hardly show among them.

    Args:
        run: Of `tasks.recommend`.
        catalogue: The items with their texts.
        module: A module of texts.
        neighbours: Known items that a new one takes its vector from, >= 1.
        batch_size: Texts at a time.

    Returns:
        The run; where test examples have held-out items ("cold"), with `cold_recall_at_10` and `cold_ndcg_at_10`,
        their ranking among the held-out items alone, and those of popularity, which knows nothing of them: by chance.

    Raises:
        InputError: If the catalogue is another one, or no item is new.
    """
    k = _k(run)
    if len(catalogue.ids) != len(run.task.labels) or neighbours < 1:
        raise InputError(
            "`new_items` needs the catalogue that the ratings were read with, and `neighbours` of 1 or more."
        )
    known = np.zeros(len(catalogue.ids), bool)
    known[np.unique(run.data.train.target_array)] = True
    known |= matrix_of([run.data.train], _users(run.data.train), len(known)).any(axis=0)
    if known.all():
        raise InputError("No item of the catalogue is new: each was taken in training.")
    mixing = _nearest(_of_texts(catalogue, module, batch_size), known, neighbours)
    table, bias = _weights(run)
    rows, offsets = np.array(table), np.array(bias)
    rows[1:][~known] = mixing @ rows[1:][known]
    offsets[~known] = mixing @ offsets[known]
    table.assign(rows)
    bias.assign(offsets)
    return _with_cold_scores(run, ~known, k) if COLD in run.data.test.columns else run


def _nearest(texts: np.ndarray, known: np.ndarray, neighbours: int) -> np.ndarray:
    """float (new, known) weights of sum 1: cosines of the nearest known items."""
    centred = texts - texts[known].mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    cosines = unit[~known] @ unit[known].T
    least = np.sort(cosines, axis=1)[:, -min(neighbours, cosines.shape[1])][:, None]
    weights = np.where(cosines >= least, np.maximum(cosines, 1e-6), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _of_texts(catalogue: Catalogue, module: Any, batch_size: int) -> np.ndarray:
    from tlkit.features.vectors import as_taken, opened, vectors

    layer = opened(module)
    examples = Examples(
        ids=catalogue.ids,
        inputs=TextColumn(catalogue.texts),
        targets=np.zeros((len(catalogue.ids), 0), np.float32),  # type: ignore[arg-type]
        modality=TEXT_MODALITY,
        pipeline=Pipeline(),
    )
    nothing = examples.subset([])
    return vectors(layer, as_taken(Splits(examples, nothing, nothing), layer).train, batch_size)


def _with_cold_scores(run: Run, new: np.ndarray, k: int) -> Run:
    """The run with recall and NDCG among the held-out items, of users who took one or more."""
    test = run.data.test
    held: Any = test.columns[COLD]
    own = [row[row >= 0] for row in (np.asarray(held[i]) for i in range(len(test)))]
    some = np.array([i for i, row in enumerate(own) if len(row)], np.int64)
    if not len(some):
        return run.with_note("No user of the test took a held-out item: new items have no scores.")
    candidates = new & np.isin(np.arange(len(new)), np.concatenate(own))
    if candidates.sum() <= k:
        return run.with_note(
            f"Of the held-out items the test's users took {candidates.sum()}, no more than the {k} that are given: any "
            "order recalls all of them, so that new items have no scores. Hold out more items, or give fewer."
        )
    relevant = np.zeros((len(some), len(new)), bool)
    for row, i in enumerate(some):
        relevant[row, own[i]] = True
    raw = np.asarray(run.model.predict(test.inputs.take(some), batch_size=256, verbose=0))
    scores: dict[str, float] = {}
    hidden = np.tile(~candidates, (len(some), 1))
    for name, values in (("", raw), ("_popularity", np.zeros_like(raw))):
        recall, gain = among(ranked(values, hidden, k), relevant)
        scores |= {f"cold_recall_at_{k}{name}": float(recall.mean()), f"cold_ndcg_at_{k}{name}": float(gain.mean())}
    return run.with_scores(scores)


def _weights(run: Run) -> tuple[Any, Any]:
    """The item vectors and biases of the run's module."""
    from tlkit.layer.lookup import backbone_of

    layer = backbone_of(run.model)
    by_name = {} if layer is None else {variable.path: variable for variable in layer.module_variables.values()}
    chosen = [
        next((own for path, own in by_name.items() if path.endswith(name.replace("/", "."))), None)
        for name in (ITEMS, BIAS)
    ]
    if any(own is None for own in chosen):
        raise InputError("The run's module has no vectors of items: it was not made by tlkit.data.ratings.module.")
    return chosen[0], chosen[1]


def _users(examples: Examples) -> list[str]:
    return sorted({str(user) for user in examples.columns[USER].take(np.arange(len(examples)))})


def _k(run: Run) -> int:
    if run.task.name != "recommend" or not len(run.data.test) or run.data.test.modality != RATINGS:
        raise InputError(f"This is for runs of `tasks.recommend` with test examples. Received: {run.task.name}.")
    return int(run.task.made_by[1]["k"])
