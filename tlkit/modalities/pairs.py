"""Pairs of texts: both pass the module one by one, and signatures are the model's own inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.modality import Modality
from tlkit.data import pairs
from tlkit.modalities.text import TEXT
from tlkit.modalities.text_shown import show

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer


def _prepare(data: Splits, layer: HubLayer, *, length: int | None = None) -> Splits:
    """Both texts of each pair as the module takes them; pairs that are so already pass.

    Args:
        data: Pairs of texts.
        layer: The module.
        length: Word pieces of a text, as texts have it.
    """
    if data.train.inputs.spec == pairs.PAIRS:
        return pairs.together(TEXT.prepare(pairs.apart(data), layer, length=length), data)
    if length is not None:
        raise InputError("`length` is for pairs of texts, and these are numbers already; leave it out.")
    return data


PAIRS = Modality("pairs", _prepare, show=show)
