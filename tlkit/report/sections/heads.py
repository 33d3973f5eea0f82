"""The heads of a run that has several."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside


def view(facts: Facts) -> Any:
    """One row a head of several, with a link to its own report where the run is saved with it."""
    return facts.detail("heads")


SECTION = Section("heads", "Heads", view, beside(__file__))
