"""The table of an export as text, for terminals and error messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.core.run import caution

_HEAD = ("file", "MB", "ms", "difference", "agreement", "score", "change", "")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a file, columns aligned; below them a sentence for each that falls short, and on what they were checked.

    Args:
        rows: `Exported` records as run.json holds them.
    """
    cells = [_HEAD, *map(_cells, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEAD))]
    lines = ["  ".join(_padded(row[i], widths[i], i) for i in range(len(_HEAD))).rstrip() for row in cells]
    cautions = dict.fromkeys(filter(None, (caution(row.get("checked_on", "test")) for row in rows)))
    return "\n".join([*lines, *(_sentence(row) for row in rows if not row.get("passed")), *cautions])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    verdict = "passed" if row.get("passed") else "FAILED"
    if not row["bytes"]:
        return (row["file"], *("-",) * 6, verdict)
    latency, change = row.get("latency_ms"), row.get("score_change")
    return (
        row["file"].removesuffix(".failed"),
        f"{row['bytes'] / 1e6:.2f}",
        _number(latency, ".1f" if latency is None or latency >= 1 else ".1g"),
        _number(row.get("largest_difference"), ".1g"),
        _number(row.get("agreement"), ".3f"),
        _number(row.get("score"), ".3f"),
        _number(None if change is None else 100 * change, "+.1f"),
        verdict,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _padded(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column in (0, len(_HEAD) - 1) else cell.rjust(width)


def _sentence(row: Mapping[str, Any]) -> str:
    place = f"; kept aside as {row['file']}" if row["bytes"] else "; nothing was written"
    return f"{row['format']}: {row.get('failure')}{place}."
