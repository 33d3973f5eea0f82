"""A head fitted to convergence before the module thaws."""

from __future__ import annotations

from tlkit.core.errors import InputError
from tlkit.core.run import Phase


def linear_then_tune(
    epochs: tuple[int, int] = (100, 5),
    lr: tuple[float, float] = (3e-3, 1e-4),
    patience: int = 10,
    unfrozen: float = 1.0,
    lr_decay: float = 1.0,
) -> tuple[Phase, ...]:
    """Fit the head until validation says that it has converged, then tune the module with it at a low rate.

    A head that is still random sends large gradients into the module and spoils what it knows, most of all for inputs
    unlike the training examples. The frozen phase reads features that were computed once, so its many epochs cost
    little. It needs validation examples and a task that monitors them, or all `epochs` are run: with the methods of
    domain adaptation, which do not, give as few as the head is to have.

    Args:
        epochs: Most epochs of the head, and epochs of tuning, each >= 1.
        lr: Peak rates of the two.
        patience: Epochs without improvement after which the head has converged, >= 1.
        unfrozen: Share of the module's depth that is tuned, in (0, 1].
        lr_decay: Factor on the rate of tuning per block towards the input, in (0, 1].

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> [(p.patience, p.unfrozen) for p in linear_then_tune()]
        [(10, 0.0), (None, 1.0)]

    Source: Kumar et al. 2022, arXiv:2202.10054 (LP-FT).
    """
    if len(epochs) != 2 or min(epochs) < 1:
        raise InputError(f"`epochs` holds two numbers of 1 or more. Received: epochs={epochs!r}.")
    if len(lr) != 2:
        raise InputError(f"`lr` holds two rates. Received: lr={lr!r}.")
    if not 0 < unfrozen <= 1:
        raise InputError(f"`unfrozen` must lie in (0, 1]. Received: unfrozen={unfrozen!r}.")
    tuned = Phase(epochs=epochs[1], lr=lr[1], unfrozen=unfrozen, lr_decay=lr_decay, warmup=0.1, cosine=True)
    return Phase(epochs=epochs[0], lr=lr[0], patience=patience), tuned
