"""Images, at the module's size; clients of the SavedModel send any size, those of TFLite files resize themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Pipeline, Splits
from tlkit.core.modality import ORIGINAL, PLAIN, FileInfo, InputInfo, Modality, Serving, Tensors
from tlkit.data.image import resized
from tlkit.data.image_source import IMAGE as READ
from tlkit.data.image_source import read_at
from tlkit.formats.tflite_metadata import image_input
from tlkit.modalities.image_calls import CALLS
from tlkit.modalities.image_shown import show
from tlkit.modalities.parsed import also_noted, one_example

if TYPE_CHECKING:
    import keras
    from PIL.Image import Image

    from tlkit.layer.hub_layer import HubLayer

RANGE_SAMPLE = 16  # images by which the input range is checked
_WHITE = (255, 255, 255)


def _prepare(
    data: Splits,
    layer: HubLayer,
    *,
    image_size: tuple[int, int] | None = None,
    input_range: tuple[float, float] | None = None,
) -> Splits:
    """Images at the module's size; its range of pixels is settled, and doubted where the data speak against it.

    Args:
        data: Images of any size.
        layer: The module; one that takes no image gets the data as they are.
        image_size: (height, width); None is the module's own, or of one that takes any, what the data were read with.
        input_range: Range of the pixels that the module takes; None is what its card, graph or BatchNorm says.
    """
    from tlkit.layer.input_range import range_warning, settle_range
    from tlkit.layer.lookup import is_image, own_image_size

    if not is_image(layer):
        return data
    data = _resized_layer(data, layer, image_size)
    size = _size(data, layer, image_size) or own_image_size(layer)
    if input_range is not None:
        layer.input_range = input_range
    data = data if size is None else resized(data, size)
    sample = _some(data.train)
    settle_range(layer, sample)
    doubt = None if sample is None else range_warning(layer, sample)
    return dataclasses.replace(data, notes=(*data.notes, doubt)) if doubt else data


def _resized_layer(data: Splits, layer: HubLayer, size: tuple[int, int] | None) -> Splits:
    """Let a module that was exported for another size take this one; that is noted."""
    fixed = tuple(layer.endpoint.input_leaves[0].shape[1:3])
    if size is None or None in fixed or tuple(size) == fixed:
        return data
    layer.resize(size)
    note = f"{layer.handle} was exported for images of {fixed[0]}x{fixed[1]} and runs at {size[0]}x{size[1]} here."
    return dataclasses.replace(data, notes=(*data.notes, note))


def _size(data: Splits, layer: HubLayer, image_size: tuple[int, int] | None) -> tuple[int, int] | None:
    """The size asked for, or of a module that takes any size, the one that the data were read with."""
    read = read_at(data.train)
    if read is None:
        return image_size
    if image_size is not None and tuple(image_size) != read:
        raise InputError(
            f"The data were read with image_size={read}, and finetune is to take image_size={tuple(image_size)}: "
            "leave one of the two out."
        )
    return read if None in layer.endpoint.input_leaves[0].shape[1:3].as_list() else image_size


def _some(train: Examples) -> np.ndarray | None:
    """Training pictures by which a range is measured; None where there are none of one size."""
    spec = train.inputs.spec
    if not len(train) or not isinstance(spec, ArraySpec) or spec.dtype != "uint8" or None in spec.shape:
        return None
    return np.asarray(train.inputs.take(np.arange(min(RANGE_SAMPLE, len(train)))))


def _serve(model: keras.Model, _examples: Examples) -> Serving:
    import tensorflow as tf

    (tensor,) = model.inputs
    name = tensor.name

    def pixels(tensors: Tensors) -> Tensors:
        return {name: whole_pixels(tensors[name], tensor)}

    return Serving({name: tf.TensorSpec((None, None, None, 3), tf.uint8, name=name)}, pixels)


def whole_pixels(images: Any, tensor: Any) -> Any:
    """Images of any size at that of a model's input, rounded to whole pixels, as files were when it was trained."""
    import tensorflow as tf

    size = (int(tensor.shape[1]), int(tensor.shape[2]))
    resized = tf.image.resize(images, size, method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tensor.dtype)


def _describe(model: keras.Model, _examples: Examples) -> InputInfo:
    return InputInfo({tensor.name: image_input(tensor.name) for tensor in model.inputs})


def _parse(source: Any, info: FileInfo) -> Examples:
    """Decode and resize a file as the training images were."""
    from tlkit.data import pixels

    file = Path(source)
    height, width = info.shape[:2]
    image, odd = _decoded(file, info.pipeline.get(READ) or {})
    value = np.asarray(pixels.resize(image, (height, width)))[None]
    if image.size == (width, height):
        return one_example(str(file), READ, ArrayColumn(value), odd, info.pipeline)
    change = f"resized from {image.height}x{image.width} to {height}x{width} as in training"
    columns = {PLAIN: _plainly_resized(image, height, width), ORIGINAL: np.asarray(image)}
    asked = one_example(
        str(file), READ, ArrayColumn(value), change, info.pipeline,
        {name: ArrayColumn(array[None]) for name, array in columns.items()},
    )  # fmt: skip
    return also_noted(asked, odd)


def read(file: Path, height: int, width: int, pipeline: Pipeline) -> tuple[np.ndarray, str]:
    """uint8 (height, width, 3) of a file, read and resized as training images were, and what is odd about it, or "".

    Raises:
        InputError: If it cannot be read.
    """
    from tlkit.data import pixels

    image, odd = _decoded(file, pipeline.get(READ) or {})
    return np.asarray(pixels.resize(image, (height, width))), odd


def _decoded(file: Path, settings: Mapping[str, Any]) -> tuple[Image, str]:
    """The image of a file, and what is odd about its range of values, or ""."""
    from tlkit.data import pixels

    white, windows = settings.get("white"), settings.get("windows", False)
    red, green, blue = settings.get("background", _WHITE)
    background, data = (int(red), int(green), int(blue)), b""
    try:
        data = file.read_bytes()
        depth = pixels.verify(data, background, white=white)
        return pixels.decode(data, background, white, windows), pixels.brightness_note(depth, white)
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


IMAGE = Modality("image", _prepare, serve=_serve, describe=_describe, parse=_parse, show=show, calls=CALLS)
