"""Files that were left out, and examples that lie in several splits."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.template import beside

LISTED = 50  # rows of lists that can be as long as the data


def view(facts: Facts) -> dict[str, Any] | None:
    """Files in quarantine, and duplicates across splits."""
    data = facts.record["data"]
    quarantine, duplicates = data.get("quarantine", []), data.get("duplicates", [])
    if not quarantine and not duplicates:
        return None
    return {
        "quarantine": quarantine[:LISTED], "quarantined": len(quarantine),
        "duplicates": duplicates[:LISTED], "duplicated": len(duplicates),
    }  # fmt: skip


SECTION = Section("left_out", "Left out and repeated", view, beside(__file__), "Left out")
