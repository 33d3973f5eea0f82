"""Plans: phases as pure functions of plain facts; and the range test that finds a rate for one."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

from tlkit.core.errors import InputError
from tlkit.core.numeric import is_number
from tlkit.core.run import Phase

if TYPE_CHECKING:
    from tlkit.training.lr_range import find_lr

__all__ = ["feature_extraction", "find_lr", "gradual", "recommend", "two_phase", "whole"]


def __dir__() -> list[str]:
    return sorted(__all__)


MOST_STAGES = 100  # no module has more blocks to thaw one by one


def __getattr__(name: str) -> Any:
    if name == "find_lr":  # it runs a model, so it has a file of its own, and TensorFlow comes when it is asked for
        from tlkit.training.lr_range import find_lr

        return find_lr
    raise AttributeError(f"module 'tlkit.plans' has no attribute {name!r}")


def feature_extraction(epochs: int = 20, lr: float = 1e-3) -> tuple[Phase, ...]:
    """The module stays frozen; only the head is trained.

    Args:
        epochs: Passes over the training examples, >= 0.
        lr: Learning rate of the head.

    Example:
        >>> feature_extraction(epochs=3)[0].unfrozen
        0.0
    """
    return (Phase(epochs=epochs, lr=lr),)


def two_phase(
    epochs: tuple[int, int] = (10, 5),
    lr: tuple[float, float] = (3e-3, 3e-4),
    unfrozen: float = 0.25,
    lr_decay: float = 1.0,
    patience: int | None = None,
) -> tuple[Phase, ...]:
    """Train the head on the frozen module, then the top of the module with it at a low rate.

    The second phase warms up and then decays along a cosine: fresh Adam moments make the first steps rough.

    Args:
        epochs: Of the frozen and of the unfrozen phase; a phase of 0 epochs is left out.
        lr: Peak rates of the two.
        unfrozen: Share of the module's depth that trains in the second phase, in (0, 1]; 1 is the whole module.
        lr_decay: Factor on the second phase's rate per block towards the input, in (0, 1].
        patience: Epochs without improvement that end a phase; None trains all.

    Example:
        >>> [p.unfrozen for p in two_phase(epochs=(10, 5))]
        [0.0, 0.25]
    """
    if not (_are_two(epochs) and _are_two(lr)):
        raise InputError(f"`epochs` and `lr` hold two numbers each. Received: epochs={epochs!r}, lr={lr!r}.")
    frozen = Phase(epochs=epochs[0], lr=lr[0], patience=patience)
    tuned = Phase(
        epochs=epochs[1],
        lr=lr[1],
        unfrozen=unfrozen,
        lr_decay=lr_decay,
        warmup=0.1,
        cosine=True,
        patience=patience,
    )
    return tuple(p for p in (frozen, tuned) if p.epochs)


def gradual(
    stages: int = 4,
    epochs: int = 3,
    lr: tuple[float, float] = (3e-3, 3e-4),
    unfrozen: float = 1.0,
    lr_decay: float = 0.9,
    patience: int | None = None,
) -> tuple[Phase, ...]:
    """Thaw the module from the head down, one part more a phase, at falling rates.

    The layers next to the head are the most particular to the old data, so they adapt first; what lies deeper moves
    later and less, and forgets less.

    Args:
        stages: Phases, 2 to 100: the first trains the head alone, each later one an equal share of the depth more.
        epochs: Of each phase, >= 1.
        lr: Peak rates of the first and of the last phase; those between lie evenly on a logarithmic scale.
        unfrozen: Share of the module's depth that trains in the last phase, in (0, 1].
        lr_decay: Factor on a phase's rate per block towards the input, in (0, 1].
        patience: Epochs without improvement that end a phase; None trains all.

    Raises:
        InputError: If an argument lies outside its range, or the rates do not fall.

    Example:
        >>> [(p.unfrozen, round(p.lr, 4)) for p in gradual(stages=3, lr=(1e-2, 1e-4))]
        [(0.0, 0.01), (0.5, 0.001), (1.0, 0.0001)]

    Source: Howard and Ruder 2018, arXiv:1801.06146 (gradual unfreezing).
    """
    whole = isinstance(stages, Integral) and isinstance(epochs, Integral)
    if not (whole and 2 <= stages <= MOST_STAGES and epochs >= 1):
        raise InputError(
            f"`stages` must be 2 to {MOST_STAGES} and `epochs` 1 or more; to train the head alone take "
            f"feature_extraction(). Received: stages={stages!r}, epochs={epochs!r}."
        )
    if not (is_number(unfrozen) and 0 < unfrozen <= 1):
        raise InputError(f"`unfrozen` must lie in (0, 1]. Received: unfrozen={unfrozen!r}.")
    if not (_are_two(lr) and lr[0] >= lr[1] > 0):
        raise InputError(f"`lr` holds two positive rates, the second no higher than the first. Received: lr={lr!r}.")
    head = Phase(epochs=epochs, lr=lr[0], patience=patience)
    last = stages - 1
    return (
        head,
        *(
            Phase(
                epochs=epochs,
                lr=lr[0] * (lr[1] / lr[0]) ** (stage / last),
                unfrozen=unfrozen * stage / last,
                lr_decay=lr_decay,
                warmup=0.1,
                cosine=True,
                patience=patience,
            )
            for stage in range(1, stages)
        ),
    )


def whole(epochs: int = 12, lr: float = 2e-3, weight_decay: float = 1e-4) -> tuple[Phase, ...]:
    """All of a module that begins with random weights, in training mode, with its dropout.

    Such is the module that `tlkit.data.table.module` makes. A pretrained one is better served by `two_phase`.

    Args:
        epochs: Passes over the training examples, >= 0.
        lr: Peak rate; it warms up, and falls along a cosine.
        weight_decay: Of AdamW, >= 0.

    Example:
        >>> whole(epochs=3)[0].unfrozen
        1.0
    """
    return (
        Phase(
            epochs=epochs,
            lr=lr,
            unfrozen=1.0,
            warmup=0.05,
            cosine=True,
            weight_decay=weight_decay,
            batch_stats="adapt",
        ),
    )


def recommend(num_examples: int, num_classes: int = 2) -> tuple[Phase, ...]:
    """Phases for so much data: the more examples, the more of the module can move without overfitting.

    Args:
        num_examples: Training examples, >= 1.
        num_classes: Outputs of the head, >= 1.

    Returns:
        Two phases. The head always gets at least about 100 steps of 32 examples.

    Example:
        >>> [p.unfrozen for p in recommend(200, 10)]
        [0.0, 0.25]
        >>> [p.unfrozen for p in recommend(50_000, 10)]
        [0.0, 1.0]
    """
    if not all(is_number(count) and count >= 1 for count in (num_examples, num_classes)):
        raise InputError(
            "`num_examples` and `num_classes` must be 1 or more. "
            f"Received: num_examples={num_examples!r}, num_classes={num_classes!r}."
        )
    head_epochs = max(5, min(30, -(-3200 // num_examples)))
    if num_examples < 2_000:
        return two_phase(epochs=(head_epochs, 5), unfrozen=0.25, patience=5)
    if num_examples < 20_000:
        return two_phase(epochs=(head_epochs, 5), unfrozen=0.5, lr=(1e-3, 2e-4), patience=3)
    return two_phase(epochs=(head_epochs, 3), unfrozen=1.0, lr=(1e-3, 1e-4), lr_decay=0.9, patience=3)


def _are_two(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) == 2 and all(map(is_number, values))
