"""Images: clients of the SavedModel send any size, those of TFLite files resize themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.exporting.metadata import image_input
from tlkit.exporting.modality import Modality, Tensors
from tlkit.types import ArraySpec


def _accepts(spec: Any) -> bool:
    return isinstance(spec, ArraySpec) and len(spec.shape) == 3 and spec.shape[-1] == 3 and spec.dtype == "uint8"


def _serving(inputs: Mapping[str, Any]) -> tuple[Tensors, Callable[[Tensors], Tensors]]:
    import tensorflow as tf

    ((name, tensor),) = inputs.items()
    size = (int(tensor.shape[1]), int(tensor.shape[2]))

    def pixels(given: Tensors) -> Tensors:
        # Rounded to whole pixels, as the files were when the model was trained.
        resized = tf.image.resize(given[name], size, method="bilinear", antialias=True)
        return {name: tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tensor.dtype)}

    return {name: tf.TensorSpec((None, None, None, 3), tf.uint8, name=name)}, pixels


def _spanned(images: np.ndarray) -> np.ndarray:
    """Images with one black and one white pixel each: calibration then maps bytes 0..255 to pixels 0..255 exactly."""
    images = images.copy()
    images[:, 0, 0], images[:, 0, 1] = 0, 255
    return images


KIND = Modality("image", _accepts, _serving, image_input, spanned=_spanned, read=None)
