"""LoRA: kernels stay as they are, and a product of two thin matrices beside each is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tlkit.core.errors import InputError


def lora(backbone: Any, rank: int = 8, alpha: float | None = None) -> Any:
    """A copy of a Keras model in which only low-rank changes of its kernels train.

    A change has rank * (inputs + outputs) weights in place of inputs * outputs, so tuning needs little memory and
    overfits less; where a task is far from what the model knows, the rank is too small for it. Tune it with a phase of
    `unfrozen=1.0`; exports hold the sum, at the size of the model without it.

    Args:
        backbone: A built keras.Model with Dense, EinsumDense, Embedding or Conv layers: a handle for HubLayer as it is.
            The graph of a SavedModel has no layers to change.
        rank: Of the change, >= 1.
        alpha: The change is multiplied by alpha / rank; None is rank, which is 1.

    Returns:
        A keras.Model that computes what `backbone` does until it is trained; `backbone` stays as it is.

    Raises:
        InputError: If it is no built keras.Model that can be copied, has no such layer, has LoRA already, or an
            argument is out of its range.

    Source: Hu et al. 2021, arXiv:2106.09685, eq. 3.
    """
    if rank < 1 or (alpha is not None and not alpha > 0):
        raise InputError(f"`rank` must be 1 or more and `alpha` positive. Received: rank={rank!r}, alpha={alpha!r}.")
    _check(backbone)
    model = _copied(backbone)
    changed = [layer for layer in _layers(model) if hasattr(layer, "enable_lora")]
    for variable in model.variables:
        variable.trainable = False
    for layer in changed:
        layer.enable_lora(rank, lora_alpha=alpha)
    return model


def _check(backbone: Any) -> None:
    """Refuse what cannot be copied with its weights, or has nothing that LoRA could change."""
    import keras

    if not isinstance(backbone, keras.Model):
        raise InputError(
            f"LoRA changes layers, and the graph of a SavedModel has none: give a keras.Model, or train a share of the "
            f"module with `Phase(unfrozen=...)`. Received: {type(backbone).__name__}."
        )
    if not backbone.built:
        raise InputError(
            f"{backbone.name} is not built, so it has no kernels yet: begin it with keras.Input(...), or call it once."
        )
    layers = list(_layers(backbone))
    if any(getattr(layer, "lora_enabled", False) for layer in layers):
        raise InputError(f"{backbone.name} has LoRA in its layers already: give the model that it was made of.")
    if not any(hasattr(layer, "enable_lora") for layer in layers):
        raise InputError(f"{backbone.name} has no Dense, EinsumDense, Embedding or Conv layer that LoRA could change.")


def _copied(backbone: Any) -> Any:
    """A model of the same layers and weights."""
    import keras

    try:
        model = keras.models.clone_model(backbone)
        model.set_weights(backbone.get_weights())
    except (TypeError, ValueError, NotImplementedError) as error:  # Keras' own messages hold whole configs
        raise InputError(
            f"{backbone.name} cannot be copied with its weights, as a subclass of keras.Model cannot: give a "
            "functional model, keras.Model(inputs, outputs), or keras.Sequential, of layers that can be copied."
        ) from error
    return model


def _layers(model: Any) -> Iterator[Any]:
    """Layers of a model, of models in it, and of layers made of layers; Keras itself has no public way to all three."""
    return iter(model._flatten_layers(include_self=False))
