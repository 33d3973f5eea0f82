"""The head of a language model: what it says of targets, whatever fills up the shorter answers of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tlkit.tasks.generation_layers import TokenScores


def said(states, table, targets):
    """Log-probabilities, hits and counts, by NumPy, of all places alike."""
    scores = states @ table.T
    shares = scores - scores.max(-1, keepdims=True)
    shares -= np.log(np.exp(shares).sum(-1, keepdims=True))
    known = targets >= 0
    wanted = np.maximum(targets, 0)
    likelihood = np.take_along_axis(shares, wanted[..., None], -1)[..., 0]
    return np.stack([likelihood * known, (scores.argmax(-1) == wanted) * known, known], -1)


@pytest.mark.parametrize("lengths", [(4, 1, 3), (4, 4, 4), (0, 0, 0)])
def test_targets_are_judged_and_padding_is_nothing(lengths):
    rng = np.random.default_rng(0)
    states, table = rng.normal(size=(3, 4, 8)).astype("f4"), rng.normal(size=(20, 8)).astype("f4")
    targets = rng.integers(0, 20, (3, 4)).astype("i4")
    for row, length in zip(targets, lengths, strict=True):
        row[length:] = -1
    layer, given = TokenScores(name="head"), tf.constant(states)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = layer([given, tf.constant(table), tf.constant(targets)])
        loss = -tf.reduce_sum(found[..., 0])
    np.testing.assert_allclose(found, said(states, table, targets), atol=1e-5)
    moved = np.abs(tape.gradient(loss, given).numpy()).sum(-1) > 0
    np.testing.assert_array_equal(moved, targets >= 0)
