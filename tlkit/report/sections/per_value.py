"""Scores of each value."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside


def view(facts: Facts) -> Any:
    """One row a regressed value."""
    return facts.detail("per_value")


SECTION = Section("per_value", "Values", view, beside(__file__))
