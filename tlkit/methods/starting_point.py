"""L2-SP: a module that is held near the weights that it came with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkit.core.checks import check_positive
from tlkit.core.run import Phase


def l2_sp(phases: Sequence[Phase], strength: float = 0.01) -> tuple[Phase, ...]:
    """The phases with a penalty on how far the module's weights move from those that the fit began with.

    Plain weight decay pulls towards 0, where a pretrained module has nothing to look for. It helps where there are few
    examples and a large share of the module trains; frozen phases are left as they are.

    Args:
        phases: Of a plan.
        strength: Factor of half the squared distance in the loss, > 0.

    Raises:
        InputError: If `strength` is not positive.

    Example:
        >>> from tlkit import plans
        >>> [p.l2_sp for p in l2_sp(plans.two_phase(), strength=0.1)]
        [0.0, 0.1]

    Source: Li, Grandvalet and Davoine 2018, arXiv:1802.01483, eq. 3; beta, on the head, is `classify(l2=...)`.
    """
    check_positive(strength=strength)
    return tuple(dataclasses.replace(p, l2_sp=strength) if p.unfrozen > 0 else p for p in phases)
