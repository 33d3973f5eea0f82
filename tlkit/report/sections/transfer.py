"""What `transfer_check` found."""

from __future__ import annotations

import statistics
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import words
from tlkit.report.template import beside


def view(facts: Facts) -> dict[str, Any] | None:
    """What `transfer_check` found: each way of training with its mean and seeds, and the differences of pairs."""
    found = facts.record.get("transfer")
    if found is None:
        return None
    ways = [{"name": name, "mean": statistics.fmean(own), "seeds": own} for name, own in found["scores"].items()]
    name = words.words(found["score"])
    return {"level": 0.95, **found, "label": name[:1].upper() + name[1:], "ways": ways}


SECTION = Section("transfer", "Did transfer help?", view, beside(__file__), "Transfer")
