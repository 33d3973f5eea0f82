"""The table of an export as text, for terminals and error messages."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.core.run import Exported, caution
from tlkit.exporting.placing import ASIDE

_HEAD = ("file", "MB", "ms", "difference", "agreement", "score", "change", "")


def text(exports: Sequence[Exported]) -> str:
    """One line a file, columns aligned; below them a sentence for each that falls short, and on what they were checked.

    Args:
        exports: What `export` found.
    """
    rows = [_HEAD, *map(_row, exports)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = ["  ".join(_padded(row[i], widths[i], i) for i in range(len(_HEAD))).rstrip() for row in rows]
    cautions = dict.fromkeys(filter(None, (caution(e.checked_on) for e in exports)))
    return "\n".join([*lines, *(_sentence(e) for e in exports if not e.passed), *cautions])


def _row(e: Exported) -> tuple[str, ...]:
    verdict = "passed" if e.passed else "FAILED"
    if not e.bytes:
        return (e.file, *("-",) * 6, verdict)
    return (
        e.file.removesuffix(ASIDE),
        f"{e.bytes / 1e6:.2f}",
        f"{e.latency_ms:.1f}" if e.latency_ms >= 1 else f"{e.latency_ms:.1g}",
        f"{e.largest_difference:.1g}",
        f"{e.agreement:.3f}",
        f"{e.score:.3f}",
        f"{100 * e.score_change:+.1f}",
        verdict,
    )


def _padded(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column in (0, len(_HEAD) - 1) else cell.rjust(width)


def _sentence(e: Exported) -> str:
    kept = f"; kept aside as {e.file}" if e.bytes else "; nothing was written"
    return f"{e.format}: {e.failure}{kept}."
