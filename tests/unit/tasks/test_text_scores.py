"""Scores of a vocabulary in training: computed where texts have tokens, with the same losses and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tlkit.tasks.text_scores import TextScores, token_hits, token_losses
from tlkit.tasks.transcription_losses import TokenLoss

PAD, BEGIN = 0, 0  # some modules begin a text by the token that fills it up


@pytest.fixture
def texts():
    """States, table, ids and targets of three texts, the last of which is empty; two tokens are the prompt."""
    rng = np.random.default_rng(0)
    states, table = rng.normal(size=(3, 6, 8)).astype("f4"), rng.normal(size=(20, 8)).astype("f4")
    ids, targets = np.full((3, 6), PAD, np.int32), np.full((3, 6), -1, np.int32)
    for row, target, length in zip(ids, targets, (4, 2, 0), strict=True):
        words = rng.integers(2, 20, length)
        row[: 2 + length], target[1 : 2 + length] = [BEGIN, 1, *words], [*words, PAD]
    return tuple(map(tf.constant, (states, table, ids, targets)))


def test_targets_have_the_same_loss_and_gradients_as_of_all_places(texts):
    states, table, ids, targets = texts
    layer = TextScores(PAD)
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch([states, table])
            logits = layer([states, table, ids], training=training)
            losses = TokenLoss(reduction=None)(targets, logits)
        figures = [
            losses,
            token_hits(targets, logits),
            *map(tf.convert_to_tensor, tape.gradient(losses, [states, table])),
        ]
        if not training:
            dense = figures
    for ours, whole in zip(figures, dense, strict=True):
        np.testing.assert_allclose(ours, whole, atol=1e-5)
    np.testing.assert_array_equal(np.abs(logits).sum(-1) > 0, (ids.numpy() != PAD) | (np.arange(6) == 0))
    assert tuple(layer.compute_output_spec([states, table, ids]).shape) == (3, 6, 20)


def test_what_is_no_target_is_no_loss(texts):
    _states, _table, _ids, targets = texts
    losses = token_losses(targets, tf.zeros((3, 6, 20)))
    np.testing.assert_allclose(losses, np.where(targets >= 0, np.log(20), 0), rtol=1e-6)
    assert TokenLoss(reduction=None)(targets[:, :1], tf.zeros((3, 1, 20))).numpy().tolist() == [0, 0, 0]
