"""Vectors for items that nobody has taken yet, by what describes them and those who took items like them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.run import Run
from tlkit.data import ratings_module
from tlkit.data.ratings import COLD, Catalogue, latest_histories, matrix_of
from tlkit.data.ratings_module import BIAS, ITEMS, queries
from tlkit.methods.item_vectors import vectors_of
from tlkit.methods.recommenders import (
    MOST_CELLS,
    alternating_least_squares,
    among,
    items_given,
    ranked,
    users_of,
)

RIDGE = 0.01  # of the fit, a user; chosen on divisions of MovieLens that benchmarks/ratings.py does not report
LIKENESS_RIDGE = 10.0  # of the fit on such vectors, of length 1; chosen on other such divisions, as that of both ways
LEAST_SLOPE = 1e-3  # of scores by what neighbours say
UNLIKE = (
    "What the neighbours of known items say of them does not go with the model's scores: new items are ranked by "
    "their neighbours all the same, which may be worth nothing; look at what describes the items."
)


def new_items(
    run: Run, catalogue: Catalogue, module: Any = "zoo:minilm-l6-v2", *, neighbours: int = 20, batch_size: int = 64
) -> Run:
    """Give items that nobody took in training vectors by the known items that are most like them.

    The module of texts or of images stays frozen. What a user would think of a new item is told in two ways, by what
    matrix factorisation says of the known items, and their mean is taken: as the mean of its neighbours, weighted by
    the cosines of what describes the items, less its mean, and 0 where they are negative; and by ridge regression on
    the same. The new item's vector and bias are the ridge regression of that on what the run's model makes of
    the users' histories, on the scale on which known items' scores go with their own neighbours'. The run's model is
    changed; its scores of known items are not computed again, as new ones hardly show among them.

    Args:
        run: Of `tasks.recommend`, as `finetune` gave it: a run opened from its folder has no training examples.
        catalogue: The items, with what describes them.
        module: What tells how like two items are: a module of texts, one of images, or None, the columns of the
            catalogue as they are; a list of these counts each alike.
        neighbours: Known items that speak for a new one, >= 1.
        batch_size: Texts or images at a time.

    Returns:
        The run; with a note alone where tables of all users and items would not fit into memory. Where test examples
        have held-out items ("cold"), with `cold_recall_at_10` and `cold_ndcg_at_10`, their ranking among the held-out
        items alone, and those of popularity, which knows nothing of them: by chance.

    Raises:
        InputError: If the catalogue is another one, or no item is new.

    Source: Gantner et al. 2010, doi:10.1109/ICDM.2010.129 (factors of new items by maps from their attributes).
    """
    k = items_given(run)
    if len(catalogue.ids) != len(run.task.labels) or neighbours < 1:
        raise InputError(
            "`new_items` needs the catalogue that the ratings were read with, and `neighbours` of 1 or more."
        )
    users = users_of(run.data.train)
    if (len(users) + len(catalogue.ids)) * len(catalogue.ids) > MOST_CELLS:
        return run.with_note(
            f"New items got no vectors: {len(users):,} users and {len(catalogue.ids):,} items by items would be tables "
            f"in memory of more than {MOST_CELLS:,} cells. Take a part of the catalogue."
        )
    taken = matrix_of([run.data.train], users, len(catalogue.ids))
    known = np.asarray(taken.any(axis=0))
    if known.all():
        raise InputError("No item of the catalogue is new: each was taken in training.")
    variables = _weights(run)
    weights = {name: np.asarray(variable.value) for name, variable in variables.items()}
    tower = queries(latest_histories(run.data.train, users), weights)
    liking = (
        alternating_least_squares(taken)[:, known]
        @ by_likeness(vectors_of(catalogue, module, batch_size), known, neighbours).T
    )
    rows, offsets = weights[ITEMS].copy(), weights[BIAS].copy()
    slope, level = _line(liking[:, known], tower @ rows[1:][known].T + offsets[known])
    rows[1:][~known], offsets[~known] = _fitted(tower, max(slope, LEAST_SLOPE) * liking[:, ~known] + level)
    variables[ITEMS].assign(rows)
    variables[BIAS].assign(offsets)
    run = run if slope > LEAST_SLOPE else run.with_note(UNLIKE)
    return _with_cold_scores(run, ~known, k) if COLD in run.data.test.columns else run


def by_likeness(described: np.ndarray, known: np.ndarray, neighbours: int) -> np.ndarray:
    """float (items, known items): how much each known item says of an item, which says nothing of itself.

    Args:
        described: float (items, width), vectors of what describes the items.
        known: bool (items,), those that were taken.
        neighbours: Known items that speak for another one.
    """
    centred = described - described[known].mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return np.asarray((_nearest(unit, known, neighbours) + _regressed(unit, known)) / 2)


def _nearest(unit: np.ndarray, known: np.ndarray, neighbours: int) -> np.ndarray:
    """Weights of sum 1: cosines with the nearest known items."""
    cosines = unit @ unit[known].T
    cosines[np.flatnonzero(known), np.arange(known.sum())] = -1
    least = np.sort(cosines, axis=1)[:, -min(neighbours, cosines.shape[1])][:, None]
    weights = np.where(cosines >= least, np.maximum(cosines, 1e-6), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _regressed(unit: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Weights of what is known in a ridge regression on the vectors, that of each known item made without itself."""
    rows = np.concatenate([unit, np.ones((len(unit), 1))], axis=1)
    penalty = LIKENESS_RIDGE * np.diag([1.0] * unit.shape[1] + [0.0])
    weights = rows @ np.linalg.solve(rows[known].T @ rows[known] + penalty, rows[known].T)
    places = np.flatnonzero(known), np.arange(known.sum())
    itself = weights[places]
    weights[places] = 0.0
    weights[known] /= np.maximum(1.0 - itself, 1e-6)[:, None]
    return np.asarray(weights)


def _line(liking: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Slope and level of the line from what neighbours say of the known items to the model's scores of them."""
    slope, level = np.polyfit(liking.ravel(), scores.ravel(), 1)
    return float(slope), float(level)


def _fitted(tower: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (new, width) and biases (new,) by ridge regression of scores (users, new) on tower (users, width)."""
    rows = np.concatenate([tower, np.ones((len(tower), 1))], axis=1)
    penalty = RIDGE * len(tower) * np.diag([1.0] * tower.shape[1] + [0.0])
    solution = np.linalg.solve(rows.T @ rows + penalty, rows.T @ scores)
    return solution[:-1].T, solution[-1]


def _with_cold_scores(run: Run, new: np.ndarray, k: int) -> Run:
    """The run with recall and NDCG among the held-out items, of users who took one or more."""
    test = run.data.test
    takers, relevant = takers_of(test, len(new))
    if not len(takers):
        return run.with_note("No user of the test took a held-out item: new items have no scores.")
    if (candidates := int((new & relevant.any(axis=0)).sum())) <= k:
        return run.with_note(
            f"Of the held-out items the test's users took {candidates}, no more than the {k} that are given: any "
            "order recalls all of them, so that new items have no scores. Hold out more items, or give fewer."
        )
    raw = np.asarray(run.model.predict(test.inputs.take(takers), batch_size=256, verbose=0))
    scores: dict[str, float] = {}
    for name, values in (("", raw), ("_popularity", np.zeros_like(raw))):
        recall, gain = cold_figures(values, relevant, new, k)
        scores |= {f"cold_recall_at_{k}{name}": recall, f"cold_ndcg_at_{k}{name}": gain}
    return run.with_scores(scores)


def takers_of(test: Examples, items: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the test examples whose user took held-out items, and bool (takers, items), which."""
    cold: Any = test.columns[COLD]
    taken = [row[row >= 0] for row in (np.asarray(cold[i]) for i in range(len(test)))]
    takers = np.array([i for i, places in enumerate(taken) if len(places)], np.int64)
    relevant = np.zeros((len(takers), items), bool)
    for row, i in enumerate(takers):
        relevant[row, taken[i]] = True
    return takers, relevant


def cold_figures(scores: np.ndarray, relevant: np.ndarray, new: np.ndarray, k: int) -> tuple[float, float]:
    """Recall and NDCG of scores (takers, items) among those new items alone that somebody took."""
    hidden = np.tile(~(new & relevant.any(axis=0)), (len(scores), 1))
    recall, gain = among(ranked(scores, hidden, k), relevant)
    return float(recall.mean()), float(gain.mean())


def _weights(run: Run) -> Mapping[str, Any]:
    """The variables of the run's module by their names."""
    from tlkit.layer.lookup import backbone_of

    layer = backbone_of(run.model)
    return ratings_module.weights_of([] if layer is None else layer.module_variables.values())
