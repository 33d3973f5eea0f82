"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.core.export_table import table

NOTHING = "  (nothing that is sure enough)"


def run_table(record: Mapping[str, Any]) -> Any:
    """Scores, exported files and the report of a run, from what run.json holds."""
    from rich.console import Group
    from rich.text import Text

    scores = record.get("scores") or {}
    parts: list[Any] = [Text(line) for line in score_lines(scores)]
    if record.get("exports"):
        head, *rows = table(record["exports"]).split("\n")
        parts += [Text(head, style="bold", no_wrap=True), *(Text(row) for row in rows)]
    if record.get("folder"):
        parts.append(Text(f"report: {record['folder']}/report.html", no_wrap=True))
    return Group(*parts)


def score_lines(scores: Mapping[str, Any]) -> list[str]:
    """Each score with its interval, where it has one: "accuracy 0.761 [0.62, 0.86]"."""
    plain = [k for k in scores if not k.endswith(("_low", "_high"))]
    width = max((len(name) for name in plain), default=0)
    return [_score(scores, name, max(16, width)) for name in plain]


def _score(scores: Mapping[str, Any], name: str, width: int) -> str:
    value, low, high = scores[name], scores.get(f"{name}_low"), scores.get(f"{name}_high")
    interval = "" if low is None or high is None else f"  [{low:.3f}, {high:.3f}] (95 %)"
    return f"{name:<{width}} {'-' if value is None else format(value, '.3f')}{interval}"


def zoo_table(cards: Mapping[str, Any]) -> Any:
    """Names, licences, sources and sizes of the zoo's modules."""
    from rich.table import Table

    modules = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("module", "what it is", "licence", "source", "download"):
        modules.add_column(title)
    for name, card in cards.items():
        modules.add_row(f"zoo:{name}", card.summary, card.licence, card.source, f"{card.download_mb:.1f} MB")
    return modules


def prediction_lines(predictions: Sequence[Any]) -> list[str]:
    """Each file with its best labels, or that it has none, as an image in which no box is sure enough."""
    lines = []
    for prediction in predictions:
        lines.append(prediction.file)
        lines += [f"  {score:7.3f}  {label}" for label, score in prediction.scores] or [NOTHING]
        lines += [f"  drawn: {file}" for file in prediction.drawn]
        if prediction.note:
            lines.append(f"  ({prediction.note})")
    return lines
