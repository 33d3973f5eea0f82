"""Examples of each class in each split."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside


def view(facts: Facts) -> dict[str, Any] | None:
    """Examples of each class in each split."""
    rows = facts.record["data"].get("balance")
    if not rows or not any(row["train"] for row in rows):
        return None
    most = max(row["train"] + row["val"] + row["test"] for row in rows)
    return {"rows": rows, "most": most}


SECTION = Section("balance", "Class balance", view, beside(__file__), "Balance")
