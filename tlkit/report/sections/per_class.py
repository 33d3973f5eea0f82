"""Scores of each class."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside


def view(facts: Facts) -> dict[str, Any] | None:
    """One row a class."""
    rows = facts.detail("per_class")
    return {"rows": rows, "precise": "average_precision" in rows[0]} if rows else None


SECTION = Section("per_class", "Classes", view, beside(__file__))
