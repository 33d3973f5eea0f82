"""A zoo module: Gabor filters, which are computed and not learned, so that nothing is downloaded for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tlkit import zoo

SIDE, ANGLES, WAVES = 7, 8, (3.0, 5.0)

CARD = zoo.Card(
    name="gabor",
    summary="Mean strength of stripes in 8 directions and 2 widths",
    modality="image",
    licence="Apache-2.0",
    credits="computed by this file",
    package=None,
    inputs="float32 (batch, height, width, 3) in [0, 1]",
    outputs=f"float32 (batch, {2 * ANGLES * len(WAVES)})",
    input_range=(0.0, 1.0),
    parameters=SIDE * SIDE * 3 * 2 * ANGLES * len(WAVES),
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the module; `files` is empty, as there is no package."""
    import keras

    filters = keras.layers.Conv2D(
        2 * ANGLES * len(WAVES), SIDE, padding="same", activation="relu", use_bias=False, name="gabor"
    )
    layers = [keras.Input((None, None, 3)), filters, keras.layers.GlobalAveragePooling2D(name="mean")]
    model = keras.Sequential(layers)
    filters.set_weights([kernels()])
    zoo.write_keras_model(model, folder, card=CARD.to_json())


def kernels() -> np.ndarray:
    """float32 (side, side, 3, filters): a wave under a bell, even and odd, each of mean 0 and length 1."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    bell = np.exp(-(x**2 + y**2) / (2 * (SIDE / 4) ** 2))
    patches = []
    for wave in WAVES:
        for angle in np.arange(ANGLES) * np.pi / ANGLES:
            phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave
            patches += [bell * np.cos(phase), bell * np.sin(phase)]
    flat = np.stack(patches, axis=-1)
    flat -= flat.mean(axis=(0, 1))
    flat /= np.sqrt((flat**2).sum(axis=(0, 1)))
    return np.repeat(flat[:, :, None, :] / 3, 3, axis=2).astype(np.float32)
