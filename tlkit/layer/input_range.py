"""The range that an image module expects of pixels: said, proved by its graph, measured, or asked for."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.errors import InputError
from tlkit.layer.hub_layer import SAID, HubLayer
from tlkit.layer.input_affine import PIXEL_MAX

Range = tuple[float, float]

HUB_RANGE = (0.0, 1.0)  # the convention of TF Hub's image modules
ASKED = "unknown: nothing in it says, so give input_range"
_HUB = re.compile(
    r"(https?://(www\.)?tfhub\.dev/|gs://tfhub-modules/|https?://storage\.googleapis\.com/tfhub-modules/"
    r"|(kaggle:|https?://(www\.)?kaggle\.com/(models/)?)(google|tensorflow|deepmind)/)"
)
_FITS, _BETTER = 1.0, 0.7  # standard deviations: the largest misfit of what is taken, and the least lead over the next
_SIDE, _PICTURES = 64, 8
_WORST = 8.0  # standard deviations that one channel counts at most


@dataclass(frozen=True)
class Expected:
    """What a module expects of pixels.

    Attributes:
        range: Lowest and highest value; None where nothing says.
        how: How that is known, in words.
        proved: Whether the graph proves it.
    """

    range: Range | None
    how: str
    proved: bool = False


def established_range(layer: HubLayer, images: np.ndarray | None = None) -> Expected:
    """The range that an image module expects: its card's, what its graph proves, what its BatchNorm was trained on.

    Args:
        layer: An image module.
        images: Images to measure with besides those that are made up: (n, height, width, c), pixels 0..255.
    """
    card_range = layer.card.get("input_range")
    if card_range:
        return Expected((float(card_range[0]), float(card_range[1])), "its card says so")
    module: Any = (
        layer.unformed() if hasattr(layer, "unformed") else layer
    )  # what is done to pictures in front of it proves nothing
    tapped = hasattr(layer, "form") and layer.form.tapped
    if tapped or module.endpoint.input_leaves[0].dtype.is_integer:
        return Expected((0.0, PIXEL_MAX), "it takes whole numbers")
    proof = graphs.proved_range(module.graph)
    if proof is not None:
        return Expected(proof.range, _proved_words(proof), proved=True)
    measured = _measured(layer if layer.graph.nodes else module, images)  # a loop over examples hides its BatchNorms
    if measured is not None:
        return Expected(measured, "measured: its first BatchNorm was trained on such values")
    if _is_of_the_hub(layer):
        return Expected(HUB_RANGE, "the convention of TF Hub's image modules")
    return Expected(None, ASKED)


def _is_of_the_hub(layer: HubLayer) -> bool:
    """Whether the hub's convention binds it: it came from there, or has the hub's signature for images (TF1)."""
    remote = layer.handle.startswith(("http://", "https://", "gs://", "kaggle:"))
    signed = layer.endpoint.name == "default" and layer.endpoint.input_leaves[0].name == "images"
    return signed or (remote and bool(_HUB.match(layer.handle)))


def settle_range(layer: HubLayer, images: np.ndarray | None = None, otherwise: Range | None = None) -> str:
    """Set the layer's `input_range` where it has none.

    Args:
        layer: An image module.
        images: As `established_range` has it.
        otherwise: The range where nothing says.

    Returns:
        How it is known, in words.

    Raises:
        InputError: If nothing says which it is.
    """
    if layer.input_range is not None:
        return layer.range_known_by
    expected = established_range(layer, images)
    value_range = expected.range or otherwise
    if value_range is None:
        raise InputError(
            f"Nothing says which range of pixels {layer.handle} takes: it has no card, does not scale them itself, and "
            "has no trained BatchNorm at its start. Say it by `input_range` (input_range=(0, 255) of finetune "
            "and HubLayer, or --input-range 0 255 on the command line): (0, 255) for pixels as they are, "
            "(0, 1) for pixels / 255, "
            "(-1, 1) for pixels / 127.5 - 1. It is the range of what the module was trained on."
        )
    layer.input_range = value_range
    layer.range_known_by = SAID if expected.range is None else expected.how
    return layer.range_known_by


def range_warning(layer: HubLayer, images: np.ndarray) -> str | None:
    """Doubt about the layer's `input_range`, from its graph, or from the data at its first BatchNorm.

    Args:
        layer: An image module with its `input_range`.
        images: uint8 or float (n, height, width, c), pixels 0..255.

    Returns:
        A sentence if the graph proves another range, or another one fits what the BatchNorm was trained on far better.
    """
    used = layer.input_range
    if used is None or layer.form.tapped:
        return None
    proof = graphs.proved_range(layer.unformed().graph)
    if proof is not None:
        if proof.becomes is None or _alike(proof.range, used):
            return None
        return (
            f"{layer.handle} is given pixels in {used}, and its graph expects {proof.range}, which become "
            f"{_words(proof.becomes)} in front of its first weights. Leave input_range out, or pass {proof.range}."
        )
    misfits = _misfits(layer, images, (used, *graphs.USUAL_RANGES))
    best = min(misfits, key=lambda r: misfits[r], default=used)
    if best == used or misfits[used] < 1.0 or misfits[best] > misfits[used] / 3:
        return None
    return (
        f"The data in the range {used} lies {misfits[used]:.1f} standard deviations from what {layer.handle} saw in "
        f"its pretraining; in {best} it lies {misfits[best]:.1f}. "
        f"Pass HubLayer(..., input_range={best}) if that is its range."
    )


def _alike(first: Range, second: Range) -> bool:
    return bool(np.allclose(first, second, atol=0.02 * (first[1] - first[0])))


def _proved_words(proof: graphs.Proof) -> str:
    if proof.becomes is None:
        return "its graph proves that any will do: it normalises each picture by itself"
    return f"its graph proves it: such values become {_words(proof.becomes)} in front of its first weights"


def _words(value_range: Range) -> str:
    return f"{value_range[0]:.4g} to {value_range[1]:.4g}"


# Measuring: moments at the first BatchNorm


def _measured(layer: HubLayer, images: np.ndarray | None) -> Range | None:
    """The usual range that fits the first BatchNorm's moments, where one fits and the others do not."""
    answers = {
        _choice(_misfits(layer, pictures, graphs.USUAL_RANGES, spread=True))
        for pictures in (images, _natural_pictures(layer))
        if pictures is not None
    } - {None}
    return answers.pop() if len(answers) == 1 else None


def _choice(misfits: Mapping[Range, float]) -> Range | None:
    if len(misfits) < 2:
        return None
    best, second = sorted(misfits, key=lambda r: misfits[r])[:2]
    clear = misfits[second] > max(2 * misfits[best], misfits[best] + _BETTER)
    return best if misfits[best] < _FITS and clear else None


def _misfits(
    layer: HubLayer, images: np.ndarray, ranges: tuple[Range, ...], *, spread: bool = False
) -> dict[Range, float]:
    """How far the data in each range lie from the first BatchNorm's moments; {} where there is none, or it is new.

    In stored standard deviations, on average over channels; with `spread` the logarithm of how much wider or narrower
    they lie is added.
    """
    try:
        norm = next(iter(graphs.batch_norms(layer.graph)), None)
    except InputError:
        return {}
    if norm is None or len(layer.graph.inputs) != 1:
        return {}
    variables = layer.endpoint.variables
    mean, variance = (np.asarray(variables[i], np.float64) for i in (norm.mean, norm.variance))
    if not mean.any():  # as a new one has it: nothing was learned
        return {}
    deviation = np.sqrt(variance + norm.epsilon)
    misfits = {}
    for low, high in dict.fromkeys(ranges):
        values = _at_norm(layer, norm.tensor, images.astype("float32") * ((high - low) / PIXEL_MAX) + low)
        if values is None or values.shape[1] != len(mean):
            return {}
        distance = np.abs(values.mean(axis=0) - mean) / deviation
        if spread:
            distance = distance + np.abs(np.log(np.sqrt(values.var(axis=0) + norm.epsilon) / deviation))
        misfits[low, high] = float(np.minimum(distance, _WORST).mean()) if spread else float(distance.mean())
    return misfits


def _at_norm(layer: HubLayer, tensor: str, images: np.ndarray) -> np.ndarray | None:
    """(places, channels) of what enters the BatchNorm."""
    try:
        image = layer.endpoint.input_leaves[0]
        way = graphs.way_to(layer.graph, tensor)
        count = image.shape[0] or len(images)
        rows = [images[i : i + count] for i in range(0, len(images) - count + 1, count)]
        values = np.concatenate([np.asarray(way(tf.constant(row, image.dtype))[0], np.float64) for row in rows])
    except (InputError, ValueError, tf.errors.OpError):
        return None
    return values.reshape(-1, values.shape[-1])


def _natural_pictures(layer: HubLayer) -> np.ndarray:
    """Made-up pictures with the statistics of photographs, pixels 0..255, at the module's size."""
    shape = layer.endpoint.input_leaves[0].shape
    return _noise(shape[1] or _SIDE, shape[2] or _SIDE, shape[3] or 3)


@functools.lru_cache(maxsize=4)
def _noise(height: int, width: int, channels: int) -> np.ndarray:
    """Noise whose amplitude falls with frequency, as in photographs; channels go together, as colours mostly do.

    Source: Field 1987, doi:10.1364/JOSAA.4.002379 (amplitudes fall as 1/f); mean and deviation are ImageNet's.
    """
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    falling = 1 / np.maximum(frequency, 1 / max(height, width))
    white = random.normal(size=(_PICTURES, height, width, channels + 1))
    smooth = np.fft.ifft2(np.fft.fft2(white, axes=(1, 2)) * falling[None, :, :, None], axes=(1, 2)).real
    smooth /= smooth.std(axis=(0, 1, 2))
    mixed = 0.95 * smooth[..., :1] + 0.31 * smooth[..., 1:]
    return np.clip(PIXEL_MAX * (0.45 + 0.25 * mixed), 0, PIXEL_MAX)
