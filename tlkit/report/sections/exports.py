"""Exported files, and how each agrees with the model."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside


def view(facts: Facts) -> Any:
    """One row an exported file, and the splits that they were checked on."""
    rows = facts.record["exports"]
    if not rows:
        return None
    spoken = {"test": "test", "val": "validation", "train": "training"}
    splits = dict.fromkeys(spoken[row.get("checked_on", "test")] for row in rows)
    return {"rows": rows, "checked_on": " and ".join(splits)}


SECTION = Section("exports", "Exported files", view, beside(__file__), "Exports")
