"""One vector an example, from a frozen module: what methods weigh, what rankings compare, what collections keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit import graph as graphs
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.data.pairs import SIDES
from tlkit.features.extract import extract
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.input_affine import checked_range
from tlkit.layer.input_range import settle_range
from tlkit.layer.lookup import is_image
from tlkit.layer.reads import check_features, choose_output
from tlkit.model.build import BACKBONE


def opened(backbone: Any, input_range: tuple[float, float] | None = None, spec: Any = None) -> HubLayer:
    """A module as a layer that gives one output and takes pixels in 0..255.

    Args:
        backbone: A HubLayer, or what HubLayer takes as handle.
        input_range: Range of the pixels that it takes, where nothing else says.
        spec: the spec of inputs of what it is to take, which tells what the module leaves open.
    """
    layer = backbone if isinstance(backbone, HubLayer) else HubLayer(backbone, name=BACKBONE)
    layer.shaped(spec)
    if is_image(layer):
        settle_range(layer, otherwise=checked_range(input_range))
    if layer.output_key is None:
        choose_output(layer, layer.endpoint.inference.structured_outputs)
    outputs = layer.endpoint.inference.structured_outputs
    features = outputs if layer.output_key is None else graphs.output_at(outputs, layer.output_key)
    check_features(features)
    if features.shape.rank is not None and features.shape.rank < 2:
        raise InputError(f"The module gives one number for each example, of shape {tuple(features.shape)}, no vector.")
    return layer


def vectors(layer: HubLayer, examples: Examples, batch_size: int = 32) -> np.ndarray:
    """float32 (n, d): the module's cached features, averaged over steps or space.

    Args:
        layer: The module.
        examples: As the module takes them.
        batch_size: Examples at a time.

    Raises:
        InputError: If the examples are pairs.
    """
    check_single(examples)
    return averaged(np.asarray(extract(layer, examples, batch_size=batch_size)))


def check_single(examples: Examples) -> None:
    """Refuse pairs, which have two vectors each."""
    sides = (
        {name.partition("_")[0] for name in examples.inputs.spec}
        if isinstance(examples.inputs.spec, Mapping)
        else set()
    )
    if sides == set(SIDES):
        raise InputError("Examples are compared by one vector each, and pairs have two. Give single texts instead.")


def averaged(features: np.ndarray) -> np.ndarray:
    """Features (n, ..., d) as (n, d)."""
    flat: np.ndarray = features.reshape(len(features), -1, features.shape[-1]).mean(axis=1)
    return flat
