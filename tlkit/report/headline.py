"""The head of the report: the main score with its interval, the others, and what needs attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.core.run import caution
from tlkit.core.section import Facts
from tlkit.report.words import plural

Record = Mapping[str, Any]

NOT_CHIPS = ("_low", "_high")


def headline(facts: Facts) -> dict[str, Any]:
    """Title, the main score with its interval, the other scores, and sentences on what needs attention."""
    record = facts.record
    return {
        "task": record["task"]["name"],
        "outputs": _outputs(record),
        "unit": _unit(record),
        "module": module_name(record),
        "score": _score(record),
        "chips": _chips(record),
        "counts": {name: record["data"].get(name) for name in ("train", "val", "test")},
        "exports": _export_verdict(record["exports"]),
        "warnings": warnings(record),
        "seconds": total_seconds(record),
    }


def _outputs(record: Record) -> str:
    """ "10 labels", "1 value" or "2 heads"."""
    heads = record["details"].get("heads")
    if heads:
        return plural(len(heads), "head")
    return plural(len(record["task"]["labels"]), "label" if _unit(record) == "share" else "value")


def _unit(record: Record) -> str:
    return str((record["details"].get("headline") or {}).get("unit", "share"))


def module_name(record: Record) -> str:
    """Handle of the module, or ""."""
    module = record.get("module") or {}
    return str(module.get("handle", "") if isinstance(module, Mapping) else module)


def warnings(record: Record) -> list[str]:
    """Sentences on what a reader must not overlook."""
    return [
        *_phase_warnings(record["phases"]),
        *[f"{row['file']} was kept aside: {row['failure']}" for row in record["exports"] if row["failure"]],
        *_data_warnings(record["data"]),
        *dict.fromkeys(filter(None, (caution(row.get("checked_on", "test")) for row in record["exports"]))),
    ]


def total_seconds(record: Record) -> float:
    """Wall-clock seconds of all stages."""
    return float(sum(value or 0.0 for value in record["seconds"].values()))


def _score(record: Record) -> dict[str, Any] | None:
    entry, scores = record["details"].get("headline"), record["scores"]
    if not entry or scores.get(entry["name"]) is None:
        return None
    name = entry["name"]
    low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
    bar = [min(1.0, max(0.0, value)) if value is not None else None for value in (scores[name], low, high)]
    tested = record["data"].get("test", 0)
    right = round(scores[name] * tested) if entry["interval"] == "Wilson" else None
    return {**entry, "value": scores[name], "low": low, "high": high, "bar": bar, "right": right, "tested": tested}


def _chips(record: Record) -> list[dict[str, Any]]:
    main = (record["details"].get("headline") or {}).get("name")
    return [
        {"name": name, "value": value, "low": record["scores"].get(f"{name}_low"),
         "high": record["scores"].get(f"{name}_high")}
        for name, value in record["scores"].items()
        if name != main and not name.endswith(NOT_CHIPS)
    ]  # fmt: skip


def _export_verdict(exports: Sequence[Record]) -> dict[str, int] | None:
    return {"passed": sum(bool(row["passed"]) for row in exports), "all": len(exports)} if exports else None


def _phase_warnings(phases: Sequence[Record]) -> list[str]:
    return [
        f"Phase {number} did not better what came before; the earlier weights were kept."
        for number, phase in enumerate(phases, start=1)
        if not phase["improved"] and phase["phase"]["epochs"] and number > 1
    ]


def _data_warnings(data: Record) -> list[str]:
    notes = [str(note) for note in data.get("notes", [])]
    unseen = [row["label"] for row in data.get("balance", []) if row["train"] and not row["test"]]
    if unseen and data.get("test"):
        names = ", ".join(unseen[:5]) + (" and more" if len(unseen) > 5 else "")
        notes.append(f"The test split has no example of {names}: the scores say nothing about it.")
    if data.get("quarantine"):
        notes.append(f"{plural(len(data['quarantine']), 'file')} could not be used and were left out.")
    if data.get("duplicates"):
        count = plural(len(data["duplicates"]), "group")
        notes.append(f"{count} of identical examples lie in more than one split, which flatters the scores.")
    return notes
