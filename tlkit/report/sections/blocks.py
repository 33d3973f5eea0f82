"""The module's blocks, and the phases that trained each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside

HAIR = 1e-6  # shares of depth are rounded in the record


def view(facts: Facts) -> dict[str, Any] | None:
    """The module's blocks, input side first, and the phases that trained each."""
    blocks = (facts.record.get("module") or {}).get("blocks")
    if not blocks:
        return None
    trained = [phase["had"].get("unfrozen") or 0.0 for phase in facts.record["phases"]]
    rows, before = [], 0.0
    for block in blocks:
        phases = [number for number, share in enumerate(trained, start=1) if before >= 1 - share - HAIR]
        rows.append({**block, "shape": _shape(block["shape"]), "phases": phases})
        before = block["depth"]
    return {"rows": rows, "most": max(block["cost"] for block in blocks) or 1.0}


def _shape(shape: Sequence[int | None] | None) -> str:
    return "" if shape is None else " × ".join("any" if size is None else str(size) for size in shape[1:])


SECTION = Section("blocks", "Inside the module", view, beside(__file__), "Module")
