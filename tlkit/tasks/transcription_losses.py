"""Losses of transcripts. Imports Keras at the top: import it inside functions only."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tlkit.core.errors import InputError
from tlkit.tasks.text_scores import token_losses


@keras.saving.register_keras_serializable(package="tlkit")
class FrameLoss(keras.losses.Loss):
    """Connectionist temporal classification of numbers of units, from 1 and filled up with 0, on logits of frames.

    `keras.losses.CTC` takes what fills a target up for a part of the text, so lengths are counted here.
    """

    def __init__(self, name: str = "ctc", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,), a frame's mean, of numbers (batch, most) and logits (batch, frames, 1 + k)."""
        most, frames = y_true.shape[-1], y_pred.shape[1]
        if most is not None and frames is not None and most > frames:
            raise InputError(
                f"Texts have up to {most} units, and the module gives {frames} frames: a text needs a frame for each "
                'unit. Read the data with vocabulary="words", or take a module of finer frames.'
            )
        numbers = ops.cast(y_true, "int32")
        lengths = ops.sum(ops.cast(numbers > 0, "int32"), axis=-1)
        logits = ops.cast(y_pred, "float32")
        spans = ops.zeros_like(lengths) + ops.shape(logits)[1]
        return ops.ctc_loss(numbers, logits, lengths, spans, mask_index=0) / ops.cast(ops.shape(logits)[1], "float32")


@keras.saving.register_keras_serializable(package="tlkit")
class TokenLoss(keras.losses.Loss):
    """Cross-entropy of tokens, the mean over each text's own; a target below 0 is no token.

    Class numbers are looked up: one row of 0 and 1 a token would be as large as the logits of a vocabulary.
    """

    def __init__(self, name: str = "token_cross_entropy", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of token numbers (batch, tokens) and logits (batch, tokens, vocabulary)."""
        counted = ops.sum(ops.cast(y_true >= 0, "float32"), axis=-1)
        return ops.sum(token_losses(y_true, ops.cast(y_pred, "float32")), axis=-1) / ops.maximum(counted, 1.0)
