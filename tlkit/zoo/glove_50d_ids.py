"""GloVe from row numbers: what `glove-50d` gives, without strings, so that it converts to TFLite."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tlkit.zoo import glove_50d as glove
from tlkit.zoo.card import Card

CARD = dataclasses.replace(
    glove.CARD,
    name="glove-50d-ids",
    summary="GloVe 6B vectors of 400,000 English words, mean over row numbers",
    inputs="int32 (batch, words), line numbers of the asset `vocab_file` from 0; 0 is padding and counts for nothing",
    outputs="float32 (batch, 50); zeros where all are 0",
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the embedding, its words attached as TF Hub's BERTs have theirs."""
    write(files, folder, CARD)


def write(files: Mapping[str, Path], folder: Path, card: Card, count: int | None = None) -> None:
    """Write padding and the `count` most frequent words; None is all of them."""
    import tensorflow as tf

    embedding = glove.variable(files[glove.VECTORS], count)
    with tempfile.TemporaryDirectory(prefix="tlkit-glove-") as scratch:
        glove.write(
            lambda ids: glove.mean(embedding, ids),
            embedding,
            tf.TensorSpec((None, None), tf.int32, name="ids"),
            folder,
            card,
            {"vocab_file": tf.saved_model.Asset(glove.write_vocabulary(files[glove.INDEX], Path(scratch), count))},
        )
