"""A module as a part of a larger one: named inputs in, one vector an example out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras

from tlkit.core.errors import InputError

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer


def tower(layer: HubLayer, name: str) -> keras.Model:
    """The module in inference mode, from a dict of its inputs to (batch, d), as most heads read it.

    Args:
        layer: The module.
        name: Of its input, where it takes one tensor alone; images are pixels 0..255 of its own size.

    Raises:
        InputError: If it gives no vector, or takes images and says neither their size nor their range.
    """
    from tlkit.layer.input_range import settle_range
    from tlkit.layer.lookup import is_image, own_image_size
    from tlkit.layer.reads import pooled

    module_inputs = layer.endpoint.inputs
    if isinstance(module_inputs, Mapping):
        inputs = {key: keras.Input(s.shape[1:], dtype=s.dtype.name, name=key) for key, s in module_inputs.items()}
        return keras.Model(inputs, pooled().read(layer, inputs))
    if not is_image(layer):
        raise InputError(f"{layer.handle} takes no images: choose a module of images, such as zoo:efficientnet-lite0.")
    size = own_image_size(layer)
    if size is None:
        raise InputError(f"{layer.handle} takes images of any size; say which: HubLayer(..., image_size=(224, 224)).")
    settle_range(layer)
    image = keras.Input((*size, module_inputs.shape[-1]), name=name)
    return keras.Model({name: image}, pooled().read(layer, image))
