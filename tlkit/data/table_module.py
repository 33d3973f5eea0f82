"""The module of a table: columns in, a vector out, in the hub's format, by operations that TFLite has.

Made from training rows: the vocabularies, what is missing and where a number's values lie are constants; what is
trained are the embeddings and the dense layers behind them, which begin with random weights. So a first fit trains the
whole of it; its published weights are what another slice of rows starts from.

Where texts or images come in through pretrained modules, these are all that it has of weights, and the head has the
dense layers: so it freezes, is cached and thaws from the top as any pretrained module does.
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
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import atomic_folder, cache_dir, kept_folder, sha256_bytes
from tlkit.data.table_columns import CATEGORY, ENCODED, IMAGE, NUMBER, TEXT
from tlkit.tokenizing.wordpiece import INPUTS

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

FORMAT = "table"  # what the module's card says of its inputs
ONE_HOT = 40  # known values up to which a category is one-hot; of more, each has a vector
MOST_VALUES = 1000  # known values of a category, the most frequent ones
LIMIT = 5.0  # units at which a number ends as a feature
_NARROWEST = 1e-4  # of a bin, in units
_SMALL = 1e-6  # beside a mean square
_MOST = 60_000.0  # near the largest number of float16
_FARTHEST = _MOST / 2  # deviations of a column between 0 and its mean
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


@dataclass(frozen=True, eq=False)
class Encoder:
    """What is known of the columns that are encoded.

    Attributes:
        numbers: Constants of the columns of numbers; None without any.
        names: Inputs of those.
        known: Values of each category by its input, "" first where training rows lack it.
    """

    numbers: Numbers | None
    names: Sequence[str]
    known: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Tower:
    """A pretrained module inside that of a table.

    Attributes:
        layer: The module.
        model: From its inputs to a vector, `HubLayer.tower`.
    """

    layer: HubLayer
    model: keras.Model


def module(
    data: Splits,
    folder: str | os.PathLike[str] | None = None,
    *,
    texts: HubLayer | None = None,
    images: HubLayer | None = None,
    hidden: Sequence[int] | None = None,
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
    missing counts as not known too. Texts and images become the vectors of their modules, of a mean square of 1.

    Args:
        data: What `tlkit.data.table` read; its training rows alone are looked at.
        folder: Where to write; must not exist. None is a folder of the cache, which the same rows and arguments share.
        texts: The module of word pieces for columns of texts, such as HubLayer("zoo:minilm-l6-v2").
        images: The module for the column of images, such as HubLayer("zoo:efficientnet-lite0").
        hidden: Widths of the dense layers; the last is that of the module's output. None is (256, 128), and none beside
            `texts` or `images`: there the head has them, tasks.classify(..., hidden=(256, 128)).
        dropout: Share of their outputs dropped in training mode (`Phase(batch_stats="adapt")`), in [0, 1).
        bins: Quantile bins of a number, >= 1.
        rare: Training rows from which a value of a category is known, >= 1.
        seed: Of the weights.

    Returns:
        The folder: a handle for `finetune`, whose phases train the whole of it, `tlkit.Phase(..., unfrozen=1.0)`; with
        `texts` or `images` it is pretrained, and `plans.two_phase` is for it.

    Raises:
        InputError: If the data are no table, the folder exists, an argument is out of its range, or numbers lie
            so far from 0 that the model could not tell them apart.

    Source: Gorishniy, Rubachev and Babenko 2022, arXiv:2203.05556 (piecewise linear encoding, section 3.2).
    """
    from tlkit.data.table import columns_of

    columns = columns_of(data.train.pipeline)
    if not columns or not len(data.train):
        raise InputError("The module of a table is made from training rows that tlkit.data.table has read.")
    towers = _towers(columns, texts, images)
    widths = tuple(hidden) if hidden is not None else () if towers else (256, 128)
    _check(widths, dropout, bins, rare, bool(towers))
    _check_spread(data, columns)
    write = functools.partial(_made, data, columns, towers, widths, dropout, bins, rare, seed)
    if folder is None:
        arguments = json.dumps([list(widths), dropout, bins, rare, seed])
        inside = [sha256_bytes(kind, tower.layer.packed_graph(), *_weights(tower)) for kind, tower in towers.items()]
        content = sha256_bytes(_VERSION, arguments, data.train.pipeline.fingerprint, *data.train.digests, *inside)
        return kept_folder(cache_dir() / "tables" / content[:32], write)
    target = Path(folder)
    if target.exists():
        raise InputError(f"{target} exists already; write the module into a new folder.")
    with atomic_folder(target) as partial:
        write(partial)
    return target


def _check_spread(data: Splits, columns: Sequence[Any]) -> None:
    """Refuse numbers that lie so far from 0 that all rows of their column would be one number to the model."""
    for column in (column for column in columns if column.kind == NUMBER):
        cells = np.asarray(data.train.inputs.columns[column.input].values[:, 0], np.float64)  # type: ignore[attr-defined]
        values = cells[np.isfinite(cells)]
        if len(np.unique(values)) > 1 and abs(values.mean()) > _FARTHEST * values.std():
            raise InputError(
                f"The column {column.name!r} varies by {values.std():.3g} around {values.mean():.10g}, which the model "
                f"could not tell apart: subtract {values.min():.10g} from it, or leave it out, "
                f"leave_out=[{column.name!r}]."
            )


def _towers(columns: Sequence[Any], texts: HubLayer | None, images: HubLayer | None) -> dict[str, Tower]:
    """The modules of columns that the encoder does not read, by kind."""
    towers = {}
    for kind, argument, layer in ((IMAGE, "images", images), (TEXT, "texts", texts)):
        names = [column.name for column in columns if column.kind == kind]
        if layer is None and names:
            raise InputError(
                f"The column {names[0]!r} holds {argument}: say which module reads them, "
                f"tlkit.data.table.module(data, {argument}=tlkit.HubLayer(...))."
            )
        if layer is None:
            continue
        if not hasattr(layer, "tower"):
            raise InputError(f"`{argument}` must be a tlkit.HubLayer: {argument}=tlkit.HubLayer({layer!r:.80}).")
        if not names:
            raise InputError(
                f"No column of the data holds {argument}: read them with {argument}=[...], or leave out the module."
            )
        inputs = layer.endpoint.inputs
        if kind == TEXT and not (isinstance(inputs, Mapping) and set(inputs) == set(INPUTS) and layer.tokenizer):
            raise InputError(
                f"{layer.handle} cannot read the texts of a table: it must take word pieces and bring their "
                "vocabulary, as zoo:minilm-l6-v2 does."
            )
        towers[kind] = Tower(layer, layer.tower(next(column.input for column in columns if column.kind == kind)))
    return towers


def _weights(tower: Tower) -> list[bytes]:
    return [np.ascontiguousarray(variable).tobytes() for variable in tower.model.variables]


def _made(
    data: Splits,
    columns: Sequence[Any],
    towers: Mapping[str, Tower],
    hidden: tuple[int, ...],
    dropout: float,
    bins: int,
    rare: int,
    seed: int,
    folder: Path,
) -> None:
    encoded = [column for column in columns if column.kind in ENCODED]
    arrays = {column.input: data.train.inputs.columns[column.input].values[:, 0] for column in encoded}  # type: ignore[attr-defined]
    names = [column.input for column in encoded if column.kind == NUMBER]
    numbers = measured(np.stack([arrays[name] for name in names], 1), bins) if names else None
    values = {c.input: known_values(arrays[c.input], rare) for c in encoded if c.kind == CATEGORY}
    lacking = {name for name in values if (arrays[name] == "").any()}
    with_missing = {name: ("", *texts) if name in lacking else texts for name, texts in values.items()}
    card = {
        "name": "table",
        "format": FORMAT,
        "modality": "table",
        "summary": f"{len(columns)} columns of a table{f', {hidden[-1]} features' if hidden else ''}",
        "columns": [_column_card(column, numbers, names, values, lacking) for column in columns],
        **{f"module_of_{kind}s": tower.layer.handle for kind, tower in towers.items()},
    }
    _write(Encoder(numbers, names, with_missing), towers, hidden, dropout, seed, folder, card)


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


def _check(hidden: Sequence[int], dropout: float, bins: int, rare: int, towers: bool) -> None:
    rules = {
        "hidden": (
            bool(hidden) != towers and all(width >= 1 for width in hidden),
            "be left out beside texts and images" if towers else "hold a width or more, each above 0",
            hidden,
        ),
        "dropout": (0 <= dropout < 1, "lie in [0, 1)", dropout),
        "bins": (bins >= 1, "be 1 or more", bins),
        "rare": (rare >= 1, "be 1 or more", rare),
    }
    for name, (fine, rule, value) in rules.items():
        if not fine:
            raise InputError(f"`{name}` must {rule}. Received: {name}={value!r}.")


def _column_card(
    column: Any, numbers: Numbers | None, names: Sequence[str], values: Mapping[str, tuple[str, ...]], lacking: set[str]
) -> dict[str, Any]:
    """What the card says of a column: what is known, and what becomes of the rest."""
    facts = {"name": column.name, "input": column.input, "kind": column.kind}
    if column.kind not in ENCODED:
        return facts
    if column.kind != "number" or numbers is None:
        missing = "a value of its own" if column.input in lacking else "counts as unknown"
        return {**facts, "values": list(values[column.input]), '""': missing, "unknown": "counts as a rare value"}
    row = names.index(column.input)
    measures = {"mean": numbers.means, "median": numbers.medians, "unit": numbers.unit}
    missing = "the median, marked" if numbers.missing[row] else "the median"
    return {**facts, **{key: float(measure[row]) for key, measure in measures.items()}, "NaN": missing}


# -- the graph


def _write(
    encoder: Encoder,
    towers: Mapping[str, Tower],
    hidden: tuple[int, ...],
    dropout: float,
    seed: int,
    folder: Path,
    card: Mapping[str, Any],
) -> None:
    import tensorflow as tf

    from tlkit.formats import hub_module

    rng = np.random.default_rng(seed)
    wide = {name: len(values) + 1 for name, values in encoder.known.items() if hidden and len(values) > ONE_HOT}
    vectors = {name: tf.Variable(_drawn(rng, count), name=f"{name}/embedding") for name, count in wide.items()}
    layers = _dense(rng, _width(encoder, vectors), hidden)
    # called as Keras' generators are, which checkpoints hold: a fit that goes on draws what it would have drawn
    state = tf.Variable(np.array([seed % 2**31, 0], np.int32), trainable=False, name="dropout/seed_generator_state")

    def call(inputs: Mapping[str, Any], training: bool) -> Any:
        drawn = state + tf.constant([0, 1]) if training and dropout and hidden else None
        if drawn is not None:
            state.assign(drawn)
        x = tf.concat([*_read(towers, inputs), *_parts(encoder, vectors, inputs)], 1)
        for i, (kernel, bias) in enumerate(layers):
            x = tf.nn.relu(tf.matmul(x, kernel) + bias)
            if drawn is not None:
                x = tf.nn.experimental.stateless_dropout(x, dropout, drawn * len(layers) + tf.constant([0, i]))
        return x

    trained = [*vectors.values(), *(variable for layer in layers for variable in layer)]
    inside = [variable for tower in towers.values() for variable in tower.layer.endpoint.variables]
    thawing = [variable for tower in towers.values() for variable in tower.layer.endpoint.trainable]
    hub_module.write_module(
        call, [*trained, *inside, *([state] if hidden else [])], [*trained, *thawing], _specs(encoder, towers), folder,
        card=card, attachments=_attachments(towers),
    )  # fmt: skip


def _width(encoder: Encoder, vectors: Mapping[str, Any]) -> int:
    """Of what the dense layers take."""
    width = 0 if encoder.numbers is None else int(encoder.numbers.used.size + 2 * len(encoder.names))
    return width + sum(
        vectors[name].shape[1] if name in vectors else len(values) + 1 for name, values in encoder.known.items()
    )


def _dense(rng: np.random.Generator, width: int, hidden: tuple[int, ...]) -> list[tuple[Any, Any]]:
    """Kernel and bias of each dense layer."""
    import tensorflow as tf

    layers = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise((width, *hidden))):
        kernel = tf.Variable(_he(rng, inputs, outputs), name=f"dense_{i}/kernel")
        layers.append((kernel, tf.Variable(tf.zeros(outputs), name=f"dense_{i}/bias")))
    return layers


def _specs(encoder: Encoder, towers: Mapping[str, Tower]) -> dict[str, Any]:
    """`tf.TensorSpec` of each input by name."""
    import tensorflow as tf

    specs = {name: tf.TensorSpec((None, 1), tf.float32, name=name) for name in encoder.names}
    specs |= {name: tf.TensorSpec((None, 1), tf.string, name=name) for name in encoder.known}
    tensors = [tensor for tower in towers.values() for tensor in tower.model.inputs]
    return specs | {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in tensors}


def _attachments(towers: Mapping[str, Tower]) -> dict[str, Any]:
    """The modules themselves, with tables that they look things up in; the vocabulary under its usual name."""
    attached = {f"{kind}_module": tower.layer.resolved_object for kind, tower in towers.items()}
    if TEXT not in towers:
        return attached
    texts = attached[f"{TEXT}_module"]
    return attached | {name: getattr(texts, name) for name in ("vocab_file", "do_lower_case") if hasattr(texts, name)}


def _read(towers: Mapping[str, Tower], inputs: Mapping[str, Any]) -> list[Any]:
    """The vector of each pretrained module, float32 (batch, d), of a mean square of 1."""
    import tensorflow as tf

    vectors = []
    for tower in towers.values():
        tower_inputs = {tensor.name: inputs[tensor.name] for tensor in tower.model.inputs}
        vector = tower.model(tower_inputs, training=False)
        vectors.append(vector * tf.math.rsqrt(tf.reduce_mean(vector * vector, 1, keepdims=True) + _SMALL))
    return vectors


def _parts(encoder: Encoder, vectors: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[Any]:
    """What columns of numbers, and each category, become: float32 (batch, width)."""
    import tensorflow as tf

    parts = []
    if encoder.numbers is not None:
        parts.append(_encoded(tf.concat([inputs[name] for name in encoder.names], 1), encoder.numbers))
    for name, values in encoder.known.items():
        row = _one_hot(inputs[name], values)
        parts.append(tf.matmul(row, vectors[name]) if name in vectors else row)
    return parts


def _one_hot(texts: Any, values: Sequence[str]) -> Any:
    """string (batch, 1) -> float32 (batch, len(values) + 1): 1 at the value, at the last place for all others.

    Texts are compared, as TFLite does that by itself; a look-up table is a resource that two modules in one process
    may have under one name.
    """
    import tensorflow as tf

    same = tf.cast(tf.equal(texts, tf.constant([list(values)], tf.string)), tf.float32)
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
