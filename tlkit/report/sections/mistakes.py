"""The worst mistakes, each with its example."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.examples import shown
from tlkit.report.template import beside


def view(facts: Facts) -> list[dict[str, Any]] | None:
    """The worst mistakes, each with what its modality shows of it where it is at hand."""
    mistakes = facts.detail("mistakes")
    if not mistakes:
        return None
    return [{**mistake, **shown(facts.test, mistake), "why": facts.why(mistake["id"])} for mistake in mistakes]


SECTION = Section("mistakes", "Worst mistakes", view, beside(__file__), "Mistakes")
