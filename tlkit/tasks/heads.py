"""The head that most tasks share: dense layers on a feature vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError


def dense_stack(
    features: Any,
    *,
    outputs: int,
    hidden: Sequence[int] = (),
    dropout: float = 0.2,
    activation: str = "relu",
    l2: float = 0.0,
    normalize: bool = False,
    prefix: str = "head",
) -> Any:
    """Dropout, Dense, Dropout, Dense, ..., as fresh Keras layers; the last Dense has no activation.

    Initial weights come from Keras' global seed: whoever builds the model calls `keras.utils.set_random_seed` before.
    The last layer computes in float32 whatever the policy, as half precision is too coarse for a loss.

    Args:
        features: Keras tensor (batch, d), or (batch, height, width, d), which is averaged over height and width.
        outputs: Width of the last layer.
        hidden: Widths of the layers before it.
        dropout: Share of features dropped before each Dense, in [0, 1); 0 leaves the layer out.
        activation: Name of the hidden layers' activation.
        l2: Factor of the squared weights in the loss, >= 0.
        normalize: Whether features are brought to mean 0 and deviation 1 first, by the training examples.
        prefix: Beginning of the layers' names.

    Returns:
        Keras tensor (batch, outputs).
    """
    import keras

    x = _vector(features, prefix)
    if normalize:
        x = keras.layers.BatchNormalization(
            momentum=0.9, center=False, scale=False, dtype="float32", name=f"{prefix}_normalized"
        )(x)
    for index, width in enumerate((*hidden, outputs), start=1):
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"{prefix}_dropout_{index}")(x)
        last = index > len(hidden)
        x = keras.layers.Dense(
            width,
            activation=None if last else activation,
            kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
            dtype="float32" if last else None,
            name=f"{prefix}_outputs" if last else f"{prefix}_dense_{index}",
        )(x)
    return x


def own_head(features: Any, head: Callable[[Any], Any], outputs: int) -> Any:
    """The user's own head, its shape checked: features (batch, d) -> raw outputs (batch, outputs)."""
    raw = head(features)
    if tuple(raw.shape)[1:] != (outputs,):
        raise InputError(
            f"The head must give {outputs} raw outputs an example (logits, no softmax). "
            f"Received: shape={tuple(raw.shape)}."
        )
    return raw


def check_stack(hidden: Sequence[int], dropout: float, l2: float) -> None:
    """Refuse a stack that Keras would refuse later, or worse, would train."""
    checks = {
        "hidden": (
            all(isinstance(width, int) and width > 0 for width in hidden),
            "hold positive whole numbers",
            hidden,
        ),
        "dropout": (0 <= dropout < 1, "lie in [0, 1)", dropout),
        "l2": (l2 >= 0, "be 0 or more", l2),
    }
    check_rules(checks)


def _vector(features: Any, prefix: str) -> Any:
    import keras

    rank = len(features.shape)
    if rank == 2:
        return features
    if rank == 4:
        return keras.layers.GlobalAveragePooling2D(name=f"{prefix}_pool")(features)
    raise InputError(
        f"A dense head needs one feature vector an example: choose the module's pooled output, or pass your own "
        f"`head`. Received: shape={tuple(features.shape)}."
    )
