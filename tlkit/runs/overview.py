"""What a run was given and will do, in a few lines before the work: a wrong label is cheaper to see here than later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tlkit.core.examples import Splits
from tlkit.core.run import Phase
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import is_image

SHOWN = 20  # labels that get a line each
PARTS = ("train", "val", "test")


def lines(data: Splits) -> list[str]:
    """The examples of each part and the labels with their counts, all that is known before the module is opened."""
    sizes = " / ".join(str(len(getattr(data, part))) for part in PARTS)
    return [f"data    {sizes} examples (train / val / test)", *_labels(data)]


def _labels(data: Splits) -> Iterator[str]:
    for head, names in data.heads.items():
        yield f"head    {head}: {_listed(names)}"
    counts = data.counts
    if not counts and data.labels:
        yield f"labels  {len(data.labels)}: {_listed(data.labels)}"
    if not counts:
        return
    yield f"labels  {len(counts)}, each with its examples (train / val / test)"
    width = min(40, max(len(label) for label in counts))
    for label in list(counts)[:SHOWN]:
        yield f"        {label:<{width}}  {' / '.join(str(n) for n in counts[label])}"
    if len(counts) > SHOWN:
        fewest = sorted(counts, key=lambda label: counts[label])[0]
        yield f"        and {len(counts) - SHOWN} more; fewest: {fewest}, {counts[fewest][0]} in training"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def module_lines(layer: HubLayer, shape: Any = None) -> list[str]:
    """The module and, of one for images, its size and its range of pixels.

    Args:
        layer: The module.
        shape: Of what the model takes, the batch included.
    """
    count = sum(math.prod(v.shape) for v in layer.module_variables.values())
    random = ", which are RANDOM: nothing was learned in them" if layer.card.get("weights") == "random" else ""
    described = [f"module  {layer.handle}, {count:,} weights{random}"]
    if is_image(layer) and layer.input_range is not None:
        low, high = layer.input_range
        described += [f"images  {shape[1]} x {shape[2]}, pixels as {low:g} to {high:g}: {layer.range_known_by}"]
    return described


def plan_lines(phases: Sequence[Phase]) -> list[str]:
    """One line a phase: "plan    1. module frozen: up to 10 epochs at 0.003"; of no phase that nothing is trained."""
    if not phases:
        return ["plan    the module is frozen, and the head is computed in closed form"]
    return [f"{'plan' if number == 1 else '':<8}{number}. {_phase(phase)}" for number, phase in enumerate(phases, 1)]


def _phase(phase: Phase) -> str:
    words = [
        f"{_trained(phase.unfrozen)}: {phase.epochs} epoch{'s' * (phase.epochs != 1)} at {phase.lr:g}",
        "warm-up" if phase.warmup else "",
        "then falling along a cosine" if phase.cosine else "",
        f"ends after {phase.patience} without improvement" if phase.patience else "",
        f"{phase.start_share:.0%} of the first weights kept" if phase.start_share else "",
    ]
    return ", ".join(filter(None, words))


def _trained(unfrozen: float) -> str:
    if not unfrozen:
        return "the head alone"
    return "the whole module" if unfrozen == 1 else f"the top {unfrozen:.0%} of the module"
