"""Where the time went."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside

STAGES = ("import", "module", "data", "phases", "evaluate", "export", "report")


def view(facts: Facts) -> list[dict[str, Any]] | None:
    """Stages with their share of the whole, for a bar."""
    stages = {name: value for name, value in sorted(facts.record["seconds"].items(), key=_in_order) if value}
    total = sum(stages.values())
    return [
        {"name": name, "seconds": value, "share": value / total, "colour": i % 8}
        for i, (name, value) in enumerate(stages.items())
    ] or None


def _in_order(stage: tuple[str, float]) -> int:
    return STAGES.index(stage[0]) if stage[0] in STAGES else len(STAGES)


SECTION = Section("seconds", "Time", view, beside(__file__))
