"""How much each place of an input counts for an output: three methods, as functions of one example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit.explaining.outputs import Scored
from tlkit.explaining.parts import Parts

COARSE, FINE, MISSING = 20, 180, 0.05  # steps of integrated gradients, and the share by which their sum may be off
AT_ONCE = 16  # copies of an example that go through the model together


def grad_cam(parts: Parts, inputs: Any, of: Scored, *, local: bool = False) -> np.ndarray:
    """Float32 heat >= 0 over the places of the tensor between the parts: (rows, columns) of a map, or (steps,).

    Args:
        parts: The model, divided at what is looked at.
        inputs: Of one example, batch of 1.
        of: Raw outputs -> the number that is explained.
        local: Whether that number is of a part of the places, as of an object or the pixels of a class: features are
            then weighed by the gradient at each place, where the mean over all places would nearly be 0.

    Source: Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and 2; Draelos and Carin 2020, arXiv:2011.08891 (by place).
    """
    tensors = parts.front(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensors[-1])
        value = of(parts.rest(tensors, inputs))
    gradient = tape.gradient(value, tensors[-1])
    middle = tuple(range(1, len(gradient.shape) - 1))
    weights = gradient if local else tf.reduce_mean(gradient, middle, keepdims=True)
    heat = np.asarray(tf.nn.relu(tf.reduce_sum(weights * tensors[-1], -1)), np.float32)
    return np.asarray(heat[0])


def integrated_gradients(
    run: Callable[[Any], Any], value: np.ndarray, baseline: np.ndarray, of: Scored, steps: int | None
) -> tuple[np.ndarray, float]:
    """(float32 attribution of each element, share of the difference of outputs that they miss).

    The integral is taken at the middles of equal parts of the way; what its sum lacks of the difference of the two
    outputs is its error. A third of a part has the part's middle as one of its own, so that finer steps keep what
    coarser ones computed.

    Args:
        run: A batch of such values -> raw outputs.
        value: Where the way ends, without batch; what is not known (NaN) has no part in it.
        baseline: Where it begins, of the same shape.
        of: Raw outputs of a batch -> the number that is explained.
        steps: >= 1; more are more exact. None takes the first of COARSE, three times as many, ... up to FINE that
            misses at most MISSING.

    Source: Sundararajan et al. 2017, arXiv:1703.01365, eq. 3 and proposition 1; section 5 asks for an error within 5 %.
    """
    way, total = value.astype(np.float32) - baseline, np.zeros(value.shape, np.float64)
    known = ~np.isnan(way)
    ends = np.asarray(of(run(tf.constant(np.stack([baseline, value]).astype(np.float32)))), np.float64)
    difference, count = ends[1] - ends[0], steps or COARSE
    shares = (np.arange(count) + 0.5) / count
    while True:
        for part in np.array_split(shares, -(-len(shares) // AT_ONCE)):
            at = tf.constant(np.stack([baseline + share * way for share in part]).astype(np.float32))
            with tf.GradientTape() as tape:
                tape.watch(at)
                output = of(run(at))
            total += np.asarray(tape.gradient(output, at)).sum(axis=0)
        attribution = np.where(known, way * total / count, 0).astype(np.float32)
        missing = abs(attribution.astype(np.float64).sum() - difference) / max(abs(difference), 1e-9)
        if steps or missing <= MISSING or count >= FINE:
            return attribution, float(missing)
        count *= 3
        shares = (np.delete(np.arange(count), slice(1, None, 3)) + 0.5) / count  # but for the middles that are summed


def occlusion(run: Callable[[Any], Any], inputs: Any, hidden: Iterator[Any], of: Scored) -> np.ndarray:
    """Float32 fall of the output with each of some parts of an example hidden; below 0 where it rises.

    Args:
        run: A batch of inputs -> raw outputs.
        inputs: The example, batch of 1.
        hidden: The example with one part hidden each, batches of 1.
        of: Raw outputs of a batch -> the number that is explained.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
    """
    before = float(of(run(inputs))[0])
    falls: list[float] = []
    for batch in _together(hidden):
        falls += [before - float(value) for value in np.asarray(of(run(batch)))]
    return np.asarray(falls, np.float32)


def _together(ones: Iterator[Any]) -> Iterator[Any]:
    """Batches of 1 as batches of many."""
    waiting: list[Any] = []
    for example in ones:
        waiting.append(example)
        if len(waiting) == AT_ONCE:
            yield tf.nest.map_structure(lambda *rows: np.concatenate(rows), *waiting)
            waiting = []
    if waiting:
        yield tf.nest.map_structure(lambda *rows: np.concatenate(rows), *waiting)
