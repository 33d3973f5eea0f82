"""Boosted trees on the same rows: what a table's model is to be compared with, as trees are hard to beat there."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tlkit.core.columns import DictColumn, MergedColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.run import Run
from tlkit.core.task import Evaluation, Task
from tlkit.data.table import columns_of
from tlkit.data.table_columns import ENCODED, NUMBER
from tlkit.tasks import metrics

TASKS = ("classify", "regress")
MOST_VALUES = 250  # of a category, as scikit-learn's trees take 255 at most
RESAMPLES = 200  # of the interval of a difference

Figure = Callable[[np.ndarray, np.ndarray], float]


def trees(data: Splits, task: Task, *, source: Splits | None = None, seed: int = 0) -> Evaluation:
    """Scores on the test rows of scikit-learn's HistGradientBoosting, trained on the training rows (extra `methods`).

    Its settings are its own defaults; categories are given as such. It is no run: trees have no TFLite.

    Args:
        data: What `tlkit.data.table` read.
        task: `tasks.classify`, or `tasks.regress` of one value.
        source: Data of another slice, read with `like=`: its training rows are learned from too ("trees on both"),
            those of `data` weighing as much in all as those of `source`.
        seed: Of the trees.

    Returns:
        What the task's own scorer says of them.

    Raises:
        InputError: If scikit-learn is not installed, or the data or the task are others.

    Source: Ke et al. 2017, "LightGBM" (NIPS 30), after which scikit-learn's trees are made.
    """
    parts = [data.train] if source is None else [source.train, data.train]
    _check(data, task, parts)
    known_values = {column.input: _values(parts, column.input) for column in _columns(data) if column.kind != NUMBER}
    rows = np.concatenate([_matrix(examples, known_values) for examples in parts])
    targets = np.concatenate([examples.target_array.reshape(len(examples), -1)[:, 0] for examples in parts])
    weights = np.concatenate([np.full(len(examples), 1 / len(examples)) for examples in parts]) * len(rows) / len(parts)
    with warnings.catch_warnings():  # of many labels scikit-learn doubts that they are labels
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        fitted = _model(task, [column.kind != NUMBER for column in _columns(data)], seed).fit(rows, targets, weights)
    scorer = task.scorer()
    scorer.update(data.test, {task.answers[0].name: _outputs(fitted, task, _matrix(data.test, known_values))})
    return scorer.result()


def beside_trees(run: Run, beside: Evaluation | None = None, *, seed: int = 0) -> Run:
    """The run with the scores of `trees` on its rows beside its own, and a note on which is better.

    Args:
        run: Of a table, as `finetune` gave it: a run opened from its folder has no training rows.
        beside: What `trees` said of the same data; None asks it now. Asked before training, it refuses before training.
        seed: Of the trees.

    Returns:
        The run with scores such as `auc_trees`; they stand in its report once it is exported or saved.

    Raises:
        InputError: As `trees`, or if the run was not evaluated.
    """
    if run.evaluation is None or run.evaluation.outputs is None:
        raise InputError("Trees are compared on test rows that the run was evaluated on, and it was not.")
    beside = beside or trees(run.data, run.task, seed=seed)
    name, figure = _figure(run)
    scores = {f"{key}_trees": value for key, value in beside.scores.items() if key in {name, "accuracy", "r2", "mae"}}
    return run.with_scores(scores).with_note(_verdict(name, figure, run, beside))


def _verdict(name: str, figure: Figure, run: Run, beside: Evaluation) -> str:
    """Which is better by one score, with the interval of their difference over the same test rows."""
    assert run.evaluation is not None
    truth, model_outputs, tree_outputs = run.data.test.target_array, run.evaluation.outputs, beside.outputs
    truth = truth.reshape(len(truth), -1)[:, 0]

    def difference(drawn: np.ndarray) -> float:
        return figure(truth[drawn], tree_outputs[drawn]) - figure(truth[drawn], model_outputs[drawn])

    low, high = metrics.bootstrap(difference, len(truth), resamples=RESAMPLES)
    values = (
        f"{name} {beside.scores[name]:.3f} against {run.scores[name]:.3f}, a difference in [{low:+.3f}, {high:+.3f}]"
    )
    aside = [c.name for c in columns_of(run.data.test.pipeline) if c.kind not in ENCODED]
    blind = f" Trees did not read {', '.join(aside)}." if aside else ""
    if low > 0:
        return f"Trees (HistGradientBoosting) are better on these rows: {values}; they do not export to TFLite.{blind}"
    better = "The model is better than trees" if high < 0 else "Neither the model nor trees are better"
    return f"{better} (HistGradientBoosting) on these rows: {values}.{blind}"


def _figure(run: Run) -> tuple[str, Figure]:
    if run.task.name == "regress":
        return "r2", lambda truth, values: metrics.r2(truth[:, None], values)
    if "auc" in run.scores:
        return "auc", lambda truth, shares: metrics.roc_auc(truth, shares[:, 1])
    return "accuracy", lambda truth, shares: float((shares.argmax(1) == truth).mean())


# -- rows as scikit-learn takes them


def _check(data: Splits, task: Task, parts: list[Examples]) -> None:
    if task.name not in TASKS or any(
        examples.target_array.reshape(len(examples), -1).shape[1] != 1 for examples in parts
    ):
        raise InputError(f"Trees learn `classify` of one label, or `regress` of one value. Received: {task.name}.")
    kinds = [[(c.input, c.kind) for c in columns_of(examples.pipeline)] for examples in parts]
    if not kinds[-1] or kinds[0] != kinds[-1]:
        raise InputError("Trees take tables: read both with tlkit.data.table, the one with `like=` the other.")
    if not _columns(data):
        raise InputError("Trees read numbers and categories, and the table has none.")
    if not all(map(len, parts)):
        raise InputError("Trees learn from training rows, and there are none: give `split` a share for them.")
    if not len(data.test):
        raise InputError("Trees are compared on test rows, and there are none: give `split` a share for the test.")


def _columns(data: Splits) -> tuple[Any, ...]:
    return tuple(column for column in columns_of(data.train.pipeline) if column.kind in ENCODED)


def _cells(examples: Examples, name: str) -> np.ndarray:
    assert isinstance(examples.inputs, DictColumn | MergedColumn)
    return np.asarray(examples.inputs.columns[name].take(np.arange(len(examples))))[:, 0]


def _values(parts: list[Examples], name: str) -> np.ndarray:
    """Values of a category in training, the most frequent ones."""
    values, counts = np.unique(np.concatenate([_cells(examples, name) for examples in parts]), return_counts=True)
    return np.asarray(np.sort(values[np.argsort(-counts, kind="stable")[:MOST_VALUES]]))


def _matrix(examples: Examples, known_values: Mapping[str, np.ndarray]) -> np.ndarray:
    """float64 (n, columns): numbers, and codes of categories; NaN is missing or unknown."""
    columns = []
    for column in (c for c in columns_of(examples.pipeline) if c.kind in ENCODED):
        cells = _cells(examples, column.input)
        if column.kind != NUMBER:
            values = known_values[column.input]
            codes = np.clip(np.searchsorted(values, cells), 0, len(values) - 1)
            cells = np.where((values[codes] == cells) & (cells != ""), codes, np.nan)
        columns.append(cells.astype(np.float64))
    return np.stack(columns, axis=1)


def _model(task: Task, categorical: list[bool], seed: int) -> Any:
    try:
        from sklearn import ensemble  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError('Trees need scikit-learn: run `pip install "tlkit[methods]"`.') from error
    kinds = {"classify": ensemble.HistGradientBoostingClassifier, "regress": ensemble.HistGradientBoostingRegressor}
    make = functools.partial(kinds[task.name], categorical_features=categorical, random_state=seed)
    return make()


def _outputs(fitted: Any, task: Task, rows: np.ndarray) -> np.ndarray:
    """What the task's scorer takes: (n, k) shares of the labels, 0 of one that training lacks; or (n, 1) values."""
    if task.name == "regress":
        return np.asarray(fitted.predict(rows), np.float32)[:, None]
    shares = np.zeros((len(rows), len(task.labels)), np.float32)
    shares[:, fitted.classes_.astype(int)] = fitted.predict_proba(rows)
    return shares
