"""What `transfer_check` found."""

from __future__ import annotations

import statistics
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import words
from tlkit.report.template import beside


def view(facts: Facts) -> dict[str, Any] | None:
    """What `transfer_check` found: each way of training with its mean and seeds, and the differences of pairs."""
    transfer = facts.record.get("transfer")
    if transfer is None:
        return None
    ways = [
        {"name": name, "mean": statistics.fmean(seeds), "seeds": seeds} for name, seeds in transfer["scores"].items()
    ]
    name = words.words(transfer["score"])
    return {"level": 0.95, **transfer, "label": name[:1].upper() + name[1:], "ways": ways}


SECTION = Section("transfer", "Did transfer help?", view, beside(__file__), "Transfer")
