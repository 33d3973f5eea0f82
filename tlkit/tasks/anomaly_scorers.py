"""How far features lie from those of good images: fitted in NumPy, computed by Keras layers that every format takes.

Each `fit_` function reads what the head gives of good images once, and returns a function from Keras tensors of the
same form to an anomaly map (batch, height, width, 1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.task import HeadOutputs

Scorer = Callable[[Mapping[str, Any]], Any]

SHRINKAGE = 0.01  # of the mean variance, added to each
MOST_ROWS = 100_000  # features of places that a memory bank is drawn from
SKETCH = 32  # dimensions in which a coreset is sought
DRAWS = 0  # seed of what is drawn: features, places, sketches


def fit_gaussian(good: HeadOutputs, strides: tuple[int, ...], n_features: int, shared: bool) -> Scorer:
    """Mahalanobis distance to a Gaussian at each place, or to one for all places.

    Args:
        good: Training examples.
        strides: Of the feature maps that are joined.
        n_features: Directions drawn at random that are left of the features; as many as there are, or more, leaves all.
        shared: Whether one Gaussian is for all places.

    Source: Defard et al. 2020, arXiv:2011.08785 (PaDiM); Kim et al. 2021, arXiv:2105.14737 (orthogonal directions in
    place of drawn features).
    """
    directions: np.ndarray | None = None
    sums = products = np.zeros(0)
    count = 0
    for rows in joined_maps(good, strides):
        places = rows.reshape(len(rows), -1, rows.shape[-1]).astype(np.float64)
        directions = _directions(places.shape[-1], n_features) if directions is None else directions
        cells = (places @ directions).transpose(1, 0, 2)  # (places, images, features)
        cells = cells.reshape(1, -1, cells.shape[-1]) if shared else cells
        first = not count
        sums = cells.sum(axis=1) if first else sums + cells.sum(axis=1)
        products = cells.transpose(0, 2, 1) @ cells if first else products + cells.transpose(0, 2, 1) @ cells
        count += cells.shape[1]
    mean = sums / count
    scatter = products - count * mean[:, :, None] * mean[:, None, :]
    whitening = _whitening(scatter / max(1, count - 1))
    assert directions is not None
    return functools.partial(_gaussian_map, strides, directions.astype(np.float32), mean, whitening)


def fit_memory_bank(good: HeadOutputs, strides: tuple[int, ...], ratio: float, num_neighbors: int) -> Scorer:
    """Mean distance to the nearest rows of a coreset of all places' features, which are half whitened before.

    Args:
        good: Training examples.
        strides: Of the feature maps that are joined.
        ratio: Share of the rows that the coreset keeps.
        num_neighbors: Rows whose distances are averaged.

    Source: Roth et al. 2022, arXiv:2106.08265 (PatchCore: coreset and nearest row).
    """
    rows = _drawn_rows(good, strides)
    mean, half = _half_whitening(rows)
    rows = (rows - mean) @ half
    size = min(len(rows), max(num_neighbors, round(ratio * len(rows))))
    bank = rows[coreset(rows, size)]
    return functools.partial(_bank_map, strides, mean, half, bank, num_neighbors)


def coreset(rows: np.ndarray, size: int) -> np.ndarray:
    """Positions of `size` rows that are far from each other: each is the one farthest from those taken before.

    Args:
        rows: float (n, d).
        size: 1 to n.

    Example:
        >>> sorted(coreset(np.array([[0.0], [0.1], [5.0], [9.0]]), 3).tolist())[-2:]
        [2, 3]

    Source: Sener and Savarese 2018, arXiv:1708.00489 (greedy k-centre), in a random sketch as in PatchCore.
    """
    rng = np.random.default_rng(DRAWS)
    sketch = rows
    if rows.shape[1] > SKETCH:
        sketch = rows @ rng.normal(0, SKETCH**-0.5, (rows.shape[1], SKETCH)).astype(rows.dtype)
    squares, nearest = np.square(sketch).sum(axis=1), np.full(len(rows), np.inf, rows.dtype)
    positions = [int(rng.integers(len(rows)))]
    while len(positions) < size:
        latest = sketch[positions[-1]]
        nearest = np.minimum(nearest, squares - 2 * (sketch @ latest) + latest @ latest)
        nearest[positions[-1]] = -np.inf
        positions.append(int(nearest.argmax()))
    return np.array(positions, np.int64)


# -- features


def joined_maps(outputs: HeadOutputs, strides: tuple[int, ...]) -> Iterator[np.ndarray]:
    """float32 (b, height, width, d): maps of these strides at the finest one's size, a batch at a time."""
    model: Any = None
    for _, raw in outputs.batches():
        model = model or _joining(raw, strides)
        yield np.asarray(model({str(stride): raw[str(stride)] for stride in strides}, training=False))


def _joining(raw: Mapping[str, np.ndarray], strides: tuple[int, ...]) -> Any:
    import keras

    inputs = {str(stride): keras.Input(raw[str(stride)].shape[1:], name=str(stride)) for stride in strides}
    return keras.Model(inputs, join(inputs, strides))


def join(maps: Mapping[str, Any], strides: tuple[int, ...]) -> Any:
    """One Keras tensor of the maps of these strides, at the finest one's size."""
    from keras import layers

    finest = maps[str(min(strides))]
    height, width = finest.shape[1:3]
    parts = [finest]
    for stride in sorted(strides)[1:]:
        resize = layers.Resizing(height, width, interpolation="bilinear", dtype="float32", name=f"anomaly_up_{stride}")
        parts.append(resize(maps[str(stride)]))
    return parts[0] if len(parts) == 1 else layers.Concatenate(dtype="float32", name="anomaly_features")(parts)


def _directions(features: int, count: int) -> np.ndarray:
    """float64 (features, k) orthonormal columns; the identity where all features are wanted."""
    if count >= features:
        return np.eye(features)
    basis, _ = np.linalg.qr(np.random.default_rng(DRAWS).normal(size=(features, count)))
    return basis


def _drawn_rows(good: HeadOutputs, strides: tuple[int, ...]) -> np.ndarray:
    """float32 (n, d): features of all places, or of as many of each image as make MOST_ROWS together."""
    rng = np.random.default_rng(DRAWS)
    per_image = max(1, MOST_ROWS // max(1, len(good.examples)))
    rows = []
    for maps in joined_maps(good, strides):
        for image in maps.reshape(len(maps), -1, maps.shape[-1]):
            rows.append(image if len(image) <= per_image else image[rng.choice(len(image), per_image, replace=False)])
    return np.concatenate(rows)


# -- statistics


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """float64 (places, d, d): (f - mean) @ it has a length that is the Mahalanobis distance."""
    size = covariance.shape[-1]
    variance = float(np.trace(covariance, axis1=1, axis2=2).mean()) / size
    if not variance > 0:
        raise InputError("All training images have the same features, so nothing says how much good images differ.")
    factor = np.linalg.cholesky(covariance + SHRINKAGE * variance * np.eye(size))
    return np.linalg.inv(factor).transpose(0, 2, 1)


def _half_whitening(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and the covariance to the power of -1/4: half way to white, as white would blow up what is noise."""
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((rows - mean).T.astype(np.float64)).reshape(len(mean), len(mean)))
    floor = SHRINKAGE * max(float(values.mean()), 1e-30)
    return mean, (vectors * (np.maximum(values, 0) + floor) ** -0.25).astype(np.float32)


# -- layers


def _gaussian_map(
    strides: tuple[int, ...], directions: np.ndarray, mean: np.ndarray, whitening: np.ndarray, maps: Mapping[str, Any]
) -> Any:
    from keras import ops

    from tlkit.tasks.anomaly_layers import WhitenPlaces

    features = join(maps, strides)
    if len(mean) == 1:
        matrix = directions @ whitening[0]
        white = _pointwise(features, matrix, -mean[0] @ whitening[0], "anomaly_white")
    else:
        reduced = _pointwise(features, directions, np.zeros(directions.shape[1]), "anomaly_reduced")
        layer = WhitenPlaces(trainable=False, dtype="float32", name="anomaly_white")
        white = layer(reduced)
        layer.set_weights([mean, whitening])
    return ops.sqrt(ops.sum(ops.square(white), axis=-1, keepdims=True))


def _bank_map(
    strides: tuple[int, ...],
    mean: np.ndarray,
    half: np.ndarray,
    bank: np.ndarray,
    num_neighbors: int,
    maps: Mapping[str, Any],
) -> Any:
    """|f - b|^2 = |f|^2 - 2 f b + |b|^2, the last two of which are one convolution."""
    from keras import ops

    white = _pointwise(join(maps, strides), half, -mean @ half, "anomaly_white")
    others = _pointwise(white, -2 * bank.T, np.square(bank).sum(axis=1), "anomaly_bank")
    squares = others + ops.sum(ops.square(white), axis=-1, keepdims=True)
    if num_neighbors == 1:
        return ops.sqrt(ops.maximum(ops.min(squares, axis=-1, keepdims=True), 0.0))
    nearest = -ops.top_k(-squares, num_neighbors)[0]
    return ops.mean(ops.sqrt(ops.maximum(nearest, 0.0)), axis=-1, keepdims=True)


def _pointwise(features: Any, matrix: np.ndarray, bias: np.ndarray, name: str) -> Any:
    """features @ matrix + bias at each place, by weights that never train."""
    from keras import layers

    layer = layers.Conv2D(matrix.shape[1], 1, trainable=False, dtype="float32", name=name)
    outputs = layer(features)
    layer.set_weights([matrix[None, None].astype(np.float32), bias.astype(np.float32)])
    return outputs


def heat_map(distances: Any, size: tuple[int, int], sigma: float) -> Any:
    """Distances at the image's size, (batch, height, width, 1), blurred by a Gaussian of `sigma` pixels."""
    from keras import layers, ops

    full = layers.Resizing(*size, interpolation="bilinear", dtype="float32", name="anomaly_full")(distances)
    reach = min(round(4 * sigma), *(side - 1 for side in size))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    weights /= weights.sum()
    x = ops.pad(full, [[0, 0], [reach, reach], [reach, reach], [0, 0]], mode="reflect")
    for axis, shape in (("rows", (len(weights), 1)), ("columns", (1, len(weights)))):
        layer = layers.Conv2D(1, shape, use_bias=False, trainable=False, dtype="float32", name=f"anomaly_blur_{axis}")
        x = layer(x)
        layer.set_weights([weights.reshape(*shape, 1, 1)])
    return x
