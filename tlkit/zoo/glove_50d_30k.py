"""GloVe for phones: the 30,000 most frequent words of `glove-50d-ids`, a thirteenth of its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tlkit.zoo import glove_50d_ids as ids

COUNT = 30_000
CARD = dataclasses.replace(
    ids.CARD,
    name="glove-50d-30k",
    summary="GloVe 6B vectors of the 30,000 most frequent English words, mean over row numbers",
    parameters=50 * (COUNT + 1),
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the first rows of the embedding and their words."""
    ids.write(files, folder, CARD, COUNT)
