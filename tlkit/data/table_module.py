"""The module of a table: columns in, a vector out, in the hub's format, by operations that TFLite has.

Made from training rows: the vocabularies, what is missing and where a number's values lie are constants; what is
trained are the embeddings and the dense layers behind them, which begin with random weights. So a first fit trains the
whole of it; its published weights are what another slice of rows starts from.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import atomic_folder, cache_dir, kept_folder, sha256_bytes

FORMAT = "table"  # what the module's card says of its inputs
ONE_HOT = 40  # known values up to which a category is one-hot; of more, each has a vector
MOST_VALUES = 1000  # known values of a category, the most frequent ones
LIMIT = 5.0  # units at which a number ends as a feature
_NARROWEST = 1e-4  # of a bin, in units
_MOST = 60_000.0  # near the largest number of float16
_VERSION = "3"  # of what is written, for the cache


@dataclass(frozen=True)
class Numbers:
    """Constants of k columns of numbers, each of which float16 holds: a file's weights may be of that type.

    A number x is brought to u = x / unit - mean, where the unit is the power of two nearest to the deviation; a mean,
    and the lower end of a bin, is the sum of two numbers of float16.

    Attributes:
        means: float64 (k,) of the training rows, in their own unit.
        medians: The same of their medians, put in where a number is missing.
        unit: float64 (k,), powers of two.
        mean: float32 (2, k), in units.
        median: float32 (k,), as u.
        left: float32 (2, k, bins), lower ends of the bins, as u.
        inverse: float32 (k, bins), one over their widths.
        used: float32 (k, bins), 0 where a column has fewer bins.
        missing: float32 (k,), 1 where training rows lack the number, so that the model knows what that means.
    """

    means: np.ndarray
    medians: np.ndarray
    unit: np.ndarray
    mean: np.ndarray
    median: np.ndarray
    left: np.ndarray
    inverse: np.ndarray
    used: np.ndarray
    missing: np.ndarray


def module(
    data: Splits,
    folder: str | os.PathLike[str] | None = None,
    *,
    hidden: Sequence[int] = (256, 128),
    dropout: float = 0.3,
    bins: int = 64,
    rare: int = 3,
    seed: int = 0,
) -> Path:
    """Write a module for rows like the training rows of `data`, with random weights, and give its folder as a handle.

    A number becomes the share of each quantile bin that it fills (Gorishniy et al. 2022), its value in deviations, and
    whether it is missing, where the median is put in. A category is one-hot, or has a vector where it has more than 40
    values; a missing one and one that is not known have rows of their own. Values of fewer than `rare` training rows
    count as not known, so that the model learns what to say then; where no training row lacks a category, one that is
    missing counts as not known too.

    Args:
        data: What `tlkit.data.table` read; its training rows alone are looked at.
        folder: Where to write; must not exist. None is a folder of the cache, which the same rows and arguments share.
        hidden: Widths of the dense layers; the last is that of the module's output.
        dropout: Share of their outputs dropped in training mode (`Phase(batch_stats="adapt")`), in [0, 1).
        bins: Quantile bins of a number, >= 1.
        rare: Training rows from which a value of a category is known, >= 1.
        seed: Of the weights.

    Returns:
        The folder: a handle for `finetune`, whose phases train the whole of it, `tlkit.Phase(..., unfrozen=1.0)`.

    Raises:
        InputError: If the data are no table, the folder exists, or an argument is out of its range.

    Source: Gorishniy, Rubachev and Babenko 2022, arXiv:2203.05556 (piecewise linear encoding, section 3.2).
    """
    from tlkit.data.table import columns_of

    columns = columns_of(data.train.pipeline)
    if not columns or not len(data.train):
        raise InputError("The module of a table is made from training rows that tlkit.data.table has read.")
    _check(hidden, dropout, bins, rare)
    write = functools.partial(_made, data, columns, tuple(hidden), dropout, bins, rare, seed)
    if folder is None:
        arguments = json.dumps([list(hidden), dropout, bins, rare, seed])
        content = sha256_bytes(_VERSION, arguments, data.train.pipeline.fingerprint, *data.train.digests)
        return kept_folder(cache_dir() / "tables" / content[:32], write)
    target = Path(folder)
    if target.exists():
        raise InputError(f"{target} exists already; write the module into a new folder.")
    with atomic_folder(target) as partial:
        write(partial)
    return target


def _made(
    data: Splits,
    columns: Sequence[Any],
    hidden: tuple[int, ...],
    dropout: float,
    bins: int,
    rare: int,
    seed: int,
    folder: Path,
) -> None:
    arrays = {column.input: data.train.inputs.columns[column.input].values[:, 0] for column in columns}  # type: ignore[attr-defined]
    names = [column.input for column in columns if column.kind == "number"]
    numbers = measured(np.stack([arrays[name] for name in names], 1), bins) if names else None
    values = {c.input: known_values(arrays[c.input], rare) for c in columns if c.kind != "number"}
    lacking = {name for name in values if (arrays[name] == "").any()}
    card = {
        "name": "table",
        "format": FORMAT,
        "modality": "table",
        "summary": f"{len(columns)} columns of a table, {hidden[-1]} features",
        "columns": [_column_card(column, numbers, names, values, lacking) for column in columns],
    }
    known = {name: ("", *own) if name in lacking else own for name, own in values.items()}
    _write(numbers, names, known, hidden, dropout, seed, folder, card)


def measured(rows: np.ndarray, bins: int) -> Numbers:
    """What the encoding of numbers needs of the training rows.

    Args:
        rows: float32 (n, k), NaN where a number is missing.
        bins: Of each column, at most.
    """
    count = rows.shape[1]
    left, (inverse, used) = np.zeros((count, bins)), np.zeros((2, count, bins), np.float32)
    facts = np.zeros((4, count))
    for column, values in enumerate(np.asarray(rows, np.float64).T):
        present = values[np.isfinite(values)]
        present = present if len(present) else np.zeros(1)
        unit = 2.0 ** round(math.log2(present.std() or 1.0))
        edges = _edges((present - present.mean()) / unit, bins)
        end = len(edges) - 1
        left[column, :end], used[column, :end] = edges[:-1], 1
        inverse[column, :end] = 1 / np.maximum(np.diff(edges), _NARROWEST)
        facts[:, column] = present.mean(), np.median(present), unit, len(present) < len(values)
    means, medians, units, missing = facts
    median = ((medians - means) / units).astype(np.float32)
    return Numbers(
        means, medians, units, _halves(means / units), median, _halves(left), inverse, used, missing.astype(np.float32)
    )


def _halves(values: np.ndarray) -> np.ndarray:
    """float32 (2, ...): numbers that float16 holds, whose sums are the values to 22 bits."""
    first = np.clip(values, -_MOST, _MOST).astype(np.float16).astype(np.float64)
    return np.stack([first, (values - first).astype(np.float16)]).astype(np.float32)


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Ends of at most `bins` bins: quantiles of the rows; where some of them are the same, half of the values' own.

    Where most rows hold one value, such as 0, quantiles of the rows alone would see nothing of the others.
    """
    rows = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if len(rows) == bins + 1:
        return rows
    rows = np.quantile(values, np.linspace(0, 1, bins // 2 + 1))
    differing = np.quantile(np.unique(values), np.linspace(0, 1, (bins + 1) // 2 + 1))
    edges = np.unique(np.concatenate([rows, differing]))[: bins + 1]
    return edges if len(edges) > 1 else np.array([edges[0] - 0.5, edges[0] + 0.5])


def known_values(values: np.ndarray, rare: int) -> tuple[str, ...]:
    """Values of a category that at least `rare` training rows have, the most frequent first; all where none is so.

    Example:
        >>> known_values(np.array(["b", "a", "b", "", "c", "a"]), rare=2)
        ('a', 'b')
    """
    counts = Counter(values.tolist())
    counts.pop("", None)
    order = sorted(counts, key=lambda value: (-counts[value], value))
    frequent = [value for value in order if counts[value] >= rare]
    return tuple((frequent or order)[:MOST_VALUES])


def _check(hidden: Sequence[int], dropout: float, bins: int, rare: int) -> None:
    rules = {
        "hidden": (bool(hidden) and all(width >= 1 for width in hidden), "hold a width or more, each above 0", hidden),
        "dropout": (0 <= dropout < 1, "lie in [0, 1)", dropout),
        "bins": (bins >= 1, "be 1 or more", bins),
        "rare": (rare >= 1, "be 1 or more", rare),
    }
    for name, (fine, rule, value) in rules.items():
        if not fine:
            raise InputError(f"`{name}` must {rule}. Received: {name}={value!r}.")


def _column_card(
    column: Any,
    numbers: Numbers | None,
    names: Sequence[str],
    values: Mapping[str, tuple[str, ...]],
    lacking: set[str],
) -> dict[str, Any]:
    """What the card says of a column: what is known, and what becomes of the rest."""
    facts = {"name": column.name, "input": column.input, "kind": column.kind}
    if column.kind != "number" or numbers is None:
        missing = "a value of its own" if column.input in lacking else "counts as unknown"
        return {**facts, "values": list(values[column.input]), '""': missing, "unknown": "counts as a rare value"}
    row = names.index(column.input)
    measures = {"mean": numbers.means, "median": numbers.medians, "unit": numbers.unit}
    missing = "the median, marked" if numbers.missing[row] else "the median"
    return {**facts, **{key: float(own[row]) for key, own in measures.items()}, "NaN": missing}


# -- the graph


def _write(
    numbers: Numbers | None,
    names: Sequence[str],
    known: Mapping[str, tuple[str, ...]],
    hidden: tuple[int, ...],
    dropout: float,
    seed: int,
    folder: Path,
    card: Mapping[str, Any],
) -> None:
    import tensorflow as tf

    from tlkit.formats import hub_module

    rng = np.random.default_rng(seed)
    vectors = {
        name: tf.Variable(_drawn(rng, len(own) + 1), name=f"{name}/embedding")
        for name, own in known.items()
        if len(own) > ONE_HOT
    }
    width = 0 if numbers is None else int(numbers.used.size + 2 * len(names))
    width += sum(vectors[name].shape[1] if name in vectors else len(own) + 1 for name, own in known.items())
    layers = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise((width, *hidden))):
        kernel = tf.Variable(_he(rng, inputs, outputs), name=f"dense_{i}/kernel")
        layers.append((kernel, tf.Variable(tf.zeros(outputs), name=f"dense_{i}/bias")))

    # called as Keras' generators are, which checkpoints hold: a fit that goes on draws what it would have drawn
    state = tf.Variable(np.array([seed % 2**31, 0], np.int32), trainable=False, name="dropout/seed_generator_state")

    def call(inputs: Mapping[str, Any], training: bool) -> Any:
        drawn = state + tf.constant([0, 1]) if training and dropout else None
        if drawn is not None:
            state.assign(drawn)
        parts = [] if numbers is None else [_encoded(tf.concat([inputs[name] for name in names], 1), numbers)]
        for name, own in known.items():
            row = _one_hot(inputs[name], own)
            parts.append(tf.matmul(row, vectors[name]) if name in vectors else row)
        x = tf.concat(parts, 1)
        for i, (kernel, bias) in enumerate(layers):
            x = tf.nn.relu(tf.matmul(x, kernel) + bias)
            if drawn is not None:
                x = tf.nn.experimental.stateless_dropout(x, dropout, drawn * len(layers) + tf.constant([0, i]))
        return x

    weights = [*vectors.values(), *(variable for layer in layers for variable in layer)]
    specs = {name: tf.TensorSpec((None, 1), tf.float32, name=name) for name in names}
    specs |= {name: tf.TensorSpec((None, 1), tf.string, name=name) for name in known}
    hub_module.write_module(call, [*weights, state], weights, specs, folder, card=card)


def _one_hot(texts: Any, known: Sequence[str]) -> Any:
    """string (batch, 1) -> float32 (batch, len(known) + 1): 1 at the value, at the last place for all others.

    Texts are compared, as TFLite does that by itself; a look-up table is a resource that two modules in one process
    may have under one name.
    """
    import tensorflow as tf

    same = tf.cast(tf.equal(texts, tf.constant([list(known)], tf.string)), tf.float32)
    return tf.concat([same, 1.0 - tf.reduce_sum(same, 1, keepdims=True)], 1)


def _encoded(rows: Any, numbers: Numbers) -> Any:
    """float32 (batch, k) -> (batch, k * (bins + 2)): shares of bins, numbers in units, what is missing."""
    import tensorflow as tf

    missing = tf.not_equal(rows, rows)
    u = _minus(_in_units(rows, numbers.unit), numbers.mean)
    u = tf.where(missing, tf.ones_like(u) * numbers.median, u)
    shares = tf.clip_by_value(_minus(u[:, :, None], numbers.left) * numbers.inverse, 0.0, 1.0) * numbers.used
    flat = tf.reshape(shares, [-1, numbers.used.size])
    return tf.concat([flat, tf.clip_by_value(u, -LIMIT, LIMIT), tf.cast(missing, tf.float32) * numbers.missing], 1)


def _in_units(rows: Any, unit: np.ndarray) -> Any:
    """rows / unit, by factors of which float16 holds each: from 2^-24 to 2^15."""
    import tensorflow as tf

    exponents = -np.log2(unit)
    while True:
        step = np.clip(exponents, -24, 15)
        rows, exponents = rows * np.exp2(step).astype(np.float32), exponents - step
        if not exponents.any():
            return rows
        rows = tf.nn.relu(rows) - tf.nn.relu(-rows)  # the same, and two factors are not made one


def _minus(values: Any, halves: np.ndarray) -> Any:
    """values - sum(halves); the bound between keeps an optimizer from adding the two up."""
    import tensorflow as tf

    return tf.clip_by_value(values - halves[0], -_MOST, _MOST) - halves[1]


def _drawn(rng: np.random.Generator, count: int) -> np.ndarray:
    """Vectors of a category with so many values; their width is fastai's rule."""
    return rng.normal(0, 0.05, (count, min(50, round(1.6 * count**0.56)))).astype(np.float32)


def _he(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    """He et al. 2015, arXiv:1502.01852, eq. 10."""
    return rng.normal(0, (2 / inputs) ** 0.5, (inputs, outputs)).astype(np.float32)
