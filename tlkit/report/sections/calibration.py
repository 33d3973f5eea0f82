"""Whether probabilities mean what they say."""

from __future__ import annotations

from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import charts
from tlkit.report.template import beside


def view(facts: Facts) -> dict[str, Any] | None:
    """The reliability curve."""
    calibration = facts.detail("calibration")
    if not calibration or not calibration["bins"]:
        return None
    x, y = charts.scales([(0, 0), (1, 1)])
    points: list[charts.Point | None] = [(row["confidence"], row["accuracy"]) for row in calibration["bins"]]
    most = max(row["count"] for row in calibration["bins"])
    bars = [
        {"x": x(row["low"]), "width": round(x(row["high"]) - x(row["low"]), 1),
         "height": round((y.start - y.end) * 0.25 * row["count"] / most, 1), "count": row["count"]}
        for row in calibration["bins"]
    ]  # fmt: skip
    dots = tuple((x(point[0]), y(point[1])) for point in points if point)
    chart = charts.Chart(
        title="accuracy among examples of that probability",
        x_label="probability given by the model",
        x_ticks=charts.axis(0, 1, x),
        y_ticks=charts.axis(0, 1, y),
        lines=(
            charts.Line("perfect", "ideal", charts.path([(0, 0), (1, 1)], x, y)[0]),
            charts.Line("model", "val", charts.path(points, x, y)[0], dots),
        ),
    )
    return {"chart": chart, "bars": bars, "ece": calibration["ece"]}


SECTION = Section("calibration", "Calibration", view, beside(__file__))
