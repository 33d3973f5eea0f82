"""EfficientNet-Lite0 with its own classifier: 1000 ImageNet logits, to see what a module knew before it was adapted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tlkit.zoo import efficientnet_lite0 as lite0

CLASSES = 1000
CARD = dataclasses.replace(
    lite0.CARD,
    name="efficientnet-lite0-imagenet",
    summary="EfficientNet-Lite0 trained on ImageNet-1k, logits of its 1000 classes",
    outputs="float32 (batch, 1000), classes in ImageNet's usual order",
    parameters=4_694_024,
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the classifier as a hub-format SavedModel."""
    lite0.write(lite0.network(CLASSES), files, folder, CARD)
