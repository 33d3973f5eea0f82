"""Predicted against true values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import charts
from tlkit.report.template import beside


def view(facts: Facts) -> list[charts.Chart] | None:
    """Predicted against true values, one chart a value."""
    rows = facts.detail("residuals")
    return [_scatter(row) for row in rows] if rows else None


def _scatter(row: Mapping[str, Any]) -> charts.Chart:
    values = [value for point in row["points"] for value in point]
    ends = charts.ticks(min(values), max(values))
    corners: list[charts.Point | None] = [(ends[0], ends[0]), (ends[-1], ends[-1])]
    x, y = charts.scales([(ends[0], ends[0]), (ends[-1], ends[-1])])
    return charts.Chart(
        title=f"{row['label']}, predicted",
        x_label=f"{row['label']}, true",
        x_ticks=charts.axis(x.low, x.high, x),
        y_ticks=charts.axis(y.low, y.high, y),
        lines=(
            charts.Line("perfect", "ideal", charts.path(corners, x, y)[0]),
            charts.Line("examples", "cloud", "", tuple((x(a), y(b)) for a, b in row["points"])),
        ),
    )


SECTION = Section("residuals", "Predicted and true", view, beside(__file__), "Residuals")
