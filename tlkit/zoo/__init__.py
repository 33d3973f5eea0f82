"""Modules that pip can install: hub-format SavedModels built from weights that registry packages carry.

One file a module, named like it, with its `CARD` and a `build(files, folder)`; one line here. A module of your own is
such a file too, anywhere: `zoo:pets.rocket` is pets/rocket.py, once it was imported.
"""

from tlkit.core.packages import Package
from tlkit.formats.hub_module import write_keras_model, write_module
from tlkit.zoo.card import Card
from tlkit.zoo.store import build, cards, folder
from tlkit.zoo.transformer import Sizes, write_transformer

NAMES = (
    "efficientnet-lite0",
    "efficientnet-lite0-imagenet",
    "minilm-l6-v2",
    "speech-embedding",
    "glove-50d",
    "glove-50d-ids",
    "glove-50d-30k",
    "speaker-encoder",
    "musicnn",
    "smollm2-135m",
    "whisper-tiny-en",
    "g2p-en",
    "textgenrnn",
    "centernet-coco",
    "ssd-mobilenet-v2-oid",
    "selfie-segmentation",
    "pupil-unet",
    "forecaster",
    "rocket",
    "log-spectrum",
    "series-values",
)

__all__ = [
    "NAMES",
    "Card",
    "Package",
    "Sizes",
    "build",
    "cards",
    "folder",
    "write_keras_model",
    "write_module",
    "write_transformer",
]


def __dir__() -> list[str]:
    return sorted(__all__)
