"""Vectors for items that nobody has taken yet, by what describes them and those who took items like them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.run import Run
from tlkit.data import ratings_module
from tlkit.data.ratings import COLD, Catalogue, items_of, latest_histories, taken_by
from tlkit.data.ratings_module import BIAS, ITEMS, queries
from tlkit.methods.likeness import ItemVectors, item_vectors
from tlkit.methods.parts.linear import with_ones
from tlkit.methods.recommenders import BLOCK, alternating_least_squares, among, items_given, ranked, users_of
from tlkit.model.evaluate import evaluate
from tlkit.tasks.recommendation import coverage

RIDGE = 0.01  # of the fit, a user; chosen on divisions of MovieLens that benchmarks/ratings.py does not report
LIKENESS_RIDGE = 10.0  # of the fit on such vectors, of length 1; chosen on other such divisions, as that of both ways
LEAST_SLOPE = 1e-3  # of scores by what neighbours say
UNLIKE = (
    "What the neighbours of known items say of them does not go with the model's scores: new items are ranked by "
    "their neighbours all the same, which may be worth nothing; look at what describes the items."
)


COLD_PROTOCOL = (
    "Each user's held-out items are to be found among those held-out items that some user of the test took, and among "
    "nothing else; recall is of as many of them as are given."
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
    changed, and its scores are measured again, as new items now take part in every ranking.

    Args:
        run: Of `tasks.recommend`, as `finetune` gave it: a run opened from its folder has no training examples.
        catalogue: The items, with what describes them.
        module: What tells how like two items are, as `item_vectors` takes it, or the vectors that it gave.
        neighbours: Known items that speak for a new one, >= 1.
        batch_size: Texts or images at a time.

    Returns:
        The run; with a note alone where no item is new. Where test examples have held-out items ("cold"), with
        `cold_recall_at_10`, `cold_ndcg_at_10` and `cold_coverage`, their ranking among the held-out items alone, and
        those of popularity, which knows nothing of them: by chance.

    Raises:
        InputError: If the catalogue or its order is another one, `module` holds vectors of another one, and as
            `item_vectors`.

    Source: Gantner et al. 2010, doi:10.1109/ICDM.2010.129 (factors of new items by maps from their attributes).
    """
    k = items_given(run)
    if tuple(catalogue.ids) != items_of(run.data.test.pipeline)[0] or neighbours < 1:
        raise InputError(
            "`new_items` needs the catalogue that the ratings were read with, and `neighbours` of 1 or more."
        )
    users = users_of(run.data.train)
    pairs = taken_by([run.data.train], users)
    known = np.bincount(pairs[:, 1], minlength=len(catalogue.ids)) > 0
    if known.all():
        return run.with_note("No item of the catalogue is new, as each was taken in training: none got a vector.")
    described = module if isinstance(module, ItemVectors) else item_vectors(catalogue, module, batch_size=batch_size)
    if len(described.vectors) != len(catalogue.ids):
        raise InputError(
            f"The catalogue has {len(catalogue.ids)} items, and `module` holds {len(described.vectors)} vectors: make "
            "them with `item_vectors(catalogue)`."
        )
    variables = _weights(run)
    weights = {name: np.asarray(variable.value) for name, variable in variables.items()}
    user_factors, item_factors = alternating_least_squares(pairs, len(users), len(known))
    factors = by_likeness(described.vectors, known, item_factors[known], neighbours)
    tower = with_ones(_queries(latest_histories(run.data.train, users), weights))
    vectors = np.concatenate([weights[ITEMS][1:], weights[BIAS][:, None]], axis=1)
    slope, level = _line((user_factors, factors[known]), (tower, vectors[known]))
    vectors[~known] = _fitted(tower, user_factors, max(slope, LEAST_SLOPE) * factors[~known], level)
    variables[ITEMS].assign(np.concatenate([weights[ITEMS][:1], vectors[:, :-1]]))
    variables[BIAS].assign(vectors[:, -1])
    for note in (*described.notes, *((UNLIKE,) if slope <= LEAST_SLOPE else ())):
        run = run.with_note(note)
    run = _judged_again(run, f"ndcg_at_{k}")
    return _with_cold_scores(run, k) if COLD in run.data.test.columns else run


def by_likeness(described: np.ndarray, known: np.ndarray, factors: np.ndarray, neighbours: int) -> np.ndarray:
    """float (items, width): the factors of each item by those of the known ones; no item tells its own.

    Args:
        described: float (items, any width), vectors of what describes the items.
        known: bool (items,), those that were taken.
        factors: float (known items, width).
        neighbours: Known items that speak for another one.
    """
    centred = described - described[known].mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return np.asarray((_nearest(unit, known, factors, neighbours) + _regressed(unit, known, factors)) / 2)


def _nearest(unit: np.ndarray, known: np.ndarray, factors: np.ndarray, neighbours: int) -> np.ndarray:
    """Means of the factors of the nearest known items, weighted by cosines; some items at a time."""
    others, place = unit[known], np.where(known, np.cumsum(known) - 1, -1)
    size, nearest = max(1, BLOCK // len(others)), min(neighbours, len(others))
    means = []
    for start in range(0, len(unit), size):
        cosines, itself = unit[start : start + size] @ others.T, place[start : start + size]
        cosines[np.flatnonzero(itself >= 0), itself[itself >= 0]] = -1
        least = np.partition(cosines, -nearest, axis=1)[:, -nearest][:, None]
        weights = np.where(cosines >= least, np.maximum(cosines, 1e-6), 0.0)
        means.append(weights / weights.sum(axis=1, keepdims=True) @ factors)
    return np.concatenate(means)


def _regressed(unit: np.ndarray, known: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Ridge regression of the factors on the vectors; those of each known item by a fit without it."""
    rows = with_ones(unit)
    penalty = LIKENESS_RIDGE * np.diag([1.0] * unit.shape[1] + [0.0])
    solution = np.linalg.solve(rows[known].T @ rows[known] + penalty, rows[known].T)
    told, itself = rows @ (solution @ factors), (rows[known] * solution.T).sum(axis=1)[:, None]
    told[known] = (told[known] - itself * factors) / np.maximum(1.0 - itself, 1e-6)
    return np.asarray(told)


def _queries(histories: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """`queries`, some users at a time, as the vectors of their items are gathered."""
    size = max(1, BLOCK // weights[ITEMS].shape[1] // histories.shape[1])
    return np.concatenate([queries(histories[i : i + size], weights) for i in range(0, len(histories), size)])


def _line(told: tuple[np.ndarray, np.ndarray], scores: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Slope and level of the line from one table of users by items to another; each is given as its two factors.

    Sums over a table's cells are made of its factors: the table of what neighbours say has users by items.
    """
    (users, items), (towers, vectors) = told, scores
    cells = len(users) * len(items)
    mean = float(users.sum(axis=0) @ items.sum(axis=0)) / cells
    level = float(towers.sum(axis=0) @ vectors.sum(axis=0)) / cells
    square = float(((users.T @ users) * (items.T @ items)).sum()) / cells - mean**2
    product = float(((users.T @ towers) * (items.T @ vectors)).sum()) / cells - mean * level
    slope = product / square if square > 0 else 0.0
    return slope, level - slope * mean


def _fitted(tower: np.ndarray, users: np.ndarray, told: np.ndarray, level: float) -> np.ndarray:
    """Vectors with their biases (new, width + 1): ridge regression of users @ told.T + level on the tower with ones."""
    width = tower.shape[1] - 1
    penalty = RIDGE * len(tower) * np.diag([1.0] * width + [0.0])
    targets = (tower.T @ users) @ told.T + level * tower.sum(axis=0)[:, None]
    return np.asarray(np.linalg.solve(tower.T @ tower + penalty, targets).T)


def _judged_again(run: Run, name: str) -> Run:
    """The run with the scores of its model as it is now, in which new items take part, and a note on what they cost."""
    again, before = evaluate(run.model, run.task, run.data.test), run.evaluation
    details = {**({} if before is None else before.details), **again.details}
    after, earlier = again.scores[name], run.scores.get(name, again.scores[name])
    again = dataclasses.replace(again, scores={**run.scores, **again.scores}, details=details)
    return dataclasses.replace(run, evaluation=again).with_note(
        f"New items take part in the ranking of known ones now: {name} is {after:.3f}, and was {earlier:.3f} before."
    )


def _with_cold_scores(run: Run, k: int) -> Run:
    """The run with recall, NDCG and coverage among the held-out items, of users who took one or more."""
    takers, taken = takers_of(run.data.test)
    if not len(takers):
        return run.with_note("No user of the test took a held-out item: new items have no scores.")
    candidates, count = np.unique(np.concatenate(taken)), len(run.task.labels)
    if len(candidates) <= k:
        return run.with_note(
            f"Of the held-out items the test's users took {len(candidates)}, no more than the {k} that are given: any "
            "order recalls all of them, so that new items have no scores. Hold out more items, or give fewer."
        )

    def scored(part: slice) -> np.ndarray:
        histories = run.data.test.inputs.take(takers[part])
        return np.asarray(run.model.predict(histories, batch_size=256, verbose=0))[:, candidates]

    def nothing(part: slice) -> np.ndarray:
        return np.zeros((len(takers[part]), len(candidates)))

    scores: dict[str, float] = {}
    for name, scores_of in (("", scored), ("_popularity", nothing)):
        for key, value in cold_figures(scores_of, taken, candidates, count, k).items():
            scores[f"cold_{key}{name}"] = value
    assert run.evaluation is not None
    recommended = {**run.evaluation.details["recommended"], "cold_protocol": COLD_PROTOCOL}
    evaluation = dataclasses.replace(run.evaluation, details={**run.evaluation.details, "recommended": recommended})
    return dataclasses.replace(run, evaluation=evaluation).with_scores(scores)


def takers_of(test: Examples) -> tuple[np.ndarray, list[np.ndarray]]:
    """Places of the test examples whose user took held-out items, and the places of these items."""
    cold: Any = test.columns[COLD]
    taken = [row[row >= 0] for row in (np.asarray(cold[i]) for i in range(len(test)))]
    takers = [i for i, places in enumerate(taken) if len(places)]
    return np.array(takers, np.int64), [taken[i] for i in takers]


def cold_figures(
    scores_of: Callable[[slice], np.ndarray], taken: Sequence[np.ndarray], candidates: np.ndarray, items: int, k: int
) -> dict[str, float]:
    """Recall, NDCG and coverage of scores among some new items alone; some users at a time.

    Args:
        scores_of: Some users -> float (users, candidates).
        taken: Places of the new items that each user took.
        candidates: int, ascending: places of the items that are ranked.
        items: Of the catalogue, which a pass of the model scores all.
        k: Items given.
    """
    size, rng = max(1, BLOCK // items), np.random.default_rng(0)
    recalls: list[np.ndarray] = []
    gains: list[np.ndarray] = []
    given: list[np.ndarray] = []
    for start in range(0, len(taken), size):
        part = slice(start, start + size)
        relevant = np.stack([np.isin(candidates, places) for places in taken[part]])
        best = ranked(scores_of(part), np.zeros_like(relevant), k, rng)
        recall, gain = among(best, relevant)
        for rows, values in ((recalls, recall), (gains, gain), (given, best)):
            rows.append(values)
    shares = {f"recall_at_{k}": np.concatenate(recalls), f"ndcg_at_{k}": np.concatenate(gains)}
    figures = {name: float(values.mean()) for name, values in shares.items()}
    return {**figures, "coverage": coverage(np.concatenate(given), len(candidates))}


def _weights(run: Run) -> Mapping[str, Any]:
    """The variables of the run's module by their names."""
    from tlkit.layer.lookup import backbone_of

    layer = backbone_of(run.model)
    return ratings_module.weights_of([] if layer is None else layer.module_variables.values())
