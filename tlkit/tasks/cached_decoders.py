"""Modules whose keys and values are known: what their functions with a cache are.

A module is of a known kind where its card says so under "decoder", or it is zoo:smollm2-135m; its variables then have
the names that the zoo's builder gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlkit.core.errors import InputError
from tlkit.zoo import smollm2_135m as llama

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

KIND = "llama"


@dataclass(frozen=True, eq=False)
class CachedDecoder:
    """A causal module with its cache.

    Attributes:
        states: (ids, caches, place of the first) -> normalised states, and the caches written on.
        shapes: Capacity -> the shape of each cache: keys and values of each block in turn.
    """

    states: Callable[[Any, Sequence[Any], Any], tuple[Any, list[Any]]]
    shapes: Callable[[int], list[tuple[int, ...]]]


def cached_decoder(layer: HubLayer) -> CachedDecoder | None:
    """The module of a layer with its cache; None where its keys and values are not known."""
    sizes = _sizes(layer.card)
    if sizes is None:
        return None
    weights = _named(layer)
    if llama.TABLE not in weights or f"blk.{sizes.blocks - 1}.attn_q" not in weights:
        raise InputError(
            f"The card of {layer.handle} says that it is a decoder of {sizes.blocks} blocks of the kind {KIND!r}, and "
            "its variables have other names: leave `decoder` out of the card, and it is exported without a cache."
        )
    return CachedDecoder(
        lambda ids, caches, start: llama.cached(weights, ids, caches, start, sizes),
        lambda capacity: llama.cache_shapes(capacity, sizes),
    )


def _sizes(card: Mapping[str, Any]) -> llama.Sizes | None:
    decoder = card.get("decoder")
    if decoder is None:
        return llama.SIZES if card.get("name") == llama.CARD.name else None
    sizes = dict(decoder)
    if sizes.pop("kind", None) != KIND:
        return None
    try:
        return llama.Sizes(**sizes)
    except TypeError:
        return None


def _named(layer: HubLayer) -> dict[str, Any]:
    """The layer's variables by the names that the builder has for them."""
    names = [variable.name.split(":")[0] for variable in layer.endpoint.variables]
    inside = {name: layer.module_variables[i].value for i, name in enumerate(names) if i in layer.module_variables}
    return {name.replace("layer_", "blk.").replace("/", "."): value for name, value in inside.items()}
