"""What each phase moved, and what it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import words
from tlkit.report.template import beside


def view(facts: Facts) -> list[dict[str, Any]] | None:
    """What each phase moved and what it did not."""
    rows = [_proved(number, phase) for number, phase in enumerate(facts.record["phases"], start=1)]
    return rows if any(row["facts"] or row["before"] for row in rows) else None


def _proved(number: int, phase: Mapping[str, Any]) -> dict[str, Any]:
    hashes = ("sha256_before", "sha256_after")
    before, after = (phase["proof"].get(key) for key in hashes)
    facts = {key: value for key, value in {**phase["had"], **phase["proof"]}.items() if key not in hashes}
    asked_share = phase["phase"]["unfrozen"]
    return {
        "number": number,
        "before": before,
        "after": after,
        "same": before is not None and before == after,
        "facts": {key: _fact(key, value, facts, asked_share) for key, value in facts.items() if key != "parameters_of"},
    }


def _fact(key: str, value: Any, all_facts: Mapping[str, Any], asked_share: float) -> str:
    if key == "unfrozen" and value is not None:
        actual, asked_text = words.percent(value, 0), words.percent(asked_share, 0)
        return f"{actual} of the depth" if actual == asked_text else f"{actual} of the depth, {asked_text} asked"
    if key == "parameters" and all_facts.get("parameters_of"):
        return f"{words.number(value)} of {words.number(all_facts['parameters_of'])}"
    if isinstance(value, list | tuple):
        return ", ".join(_fact("", element, {}, asked_share) for element in value)
    return words.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


SECTION = Section("proof", "What moved, and what did not", view, beside(__file__), "Proof")
