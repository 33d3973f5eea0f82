"""Images: clients of the SavedModel send any size, those of TFLite files resize themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples
from tlkit.data.image_source import IMAGE
from tlkit.exporting.modality import About, Inside, Modality, Reading, Serving, Tensors
from tlkit.formats.tflite_metadata import image_input

if TYPE_CHECKING:
    import keras
    from PIL.Image import Image

_WHITE = (255, 255, 255)


def _accepts(examples: Examples) -> bool:
    spec = examples.inputs.spec
    return isinstance(spec, ArraySpec) and len(spec.shape) == 3 and spec.shape[-1] == 3 and spec.dtype == "uint8"


def _serving(model: keras.Model, _examples: Examples) -> Serving:
    import tensorflow as tf

    (tensor,) = model.inputs
    name = tensor.name
    size = (int(tensor.shape[1]), int(tensor.shape[2]))

    def pixels(given: Tensors) -> Tensors:
        # Rounded to whole pixels, as the files were when the model was trained.
        resized = tf.image.resize(given[name], size, method="bilinear", antialias=True)
        return {name: tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tensor.dtype)}

    return Serving({name: tf.TensorSpec((None, None, None, 3), tf.uint8, name=name)}, pixels)


def _about(model: keras.Model, _examples: Examples) -> About:
    return About({tensor.name: image_input(tensor.name) for tensor in model.inputs})


def _read(file: Path, inside: Inside) -> Reading:
    """Decode and resize a file as the training images were."""
    from tlkit.data import pixels

    height, width = inside.shape[:2]
    image = _decoded(file, inside.pipeline.get(IMAGE) or {})
    value = np.asarray(pixels.resize(image, (height, width)))[None]
    if image.size == (width, height):
        return Reading(value)
    change = f"resized from {image.height}x{image.width} to {height}x{width} as in training"
    return Reading(value, _plainly_resized(image, height, width)[None], change)


def _decoded(file: Path, settings: Mapping[str, Any]) -> Image:
    from tlkit.data import pixels

    white = settings.get("white")
    red, green, blue = settings.get("background", _WHITE)
    background, data = (int(red), int(green), int(blue)), b""
    try:
        data = file.read_bytes()
        pixels.verify(data, background, white=white)
        return pixels.decode(data, background, white)
    except OSError as error:
        reason = pixels.explain(error, data[:512]) if data else error.strerror or "it is empty"
    except Exception as error:  # Pillow raises anything for broken data
        reason = pixels.explain(error, data[:512])
    raise InputError(f"{str(file)!r} cannot be read as an image: {reason}.")


def _plainly_resized(image: Image, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation between the nearest four pixels without antialiasing, as mobile clients resize."""
    from PIL.Image import Resampling, Transform

    box = (0, 0, image.width, image.height)
    return np.asarray(image.transform((width, height), Transform.EXTENT, box, Resampling.BILINEAR))


KIND = Modality("image", _accepts, _serving, _about, read=_read)
