"""What a report shows of forecasts: methods side by side, plots with bands, and the error by step ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.core.section import Facts, Section

WIDTH, HEIGHT = 440, 180
METHODS_TABLE = """
<p class="lead">{{ view.says }}</p>
<div class="scroll"><table>
<thead><tr><th>Method</th><th>MASE</th><th>95 % interval</th><th>WQL</th><th>Forecasts</th></tr></thead><tbody>
{% for row in view.rows %}
<tr><td class="name">{{ row.method }}</td><td>{{ row.mase }}</td><td>{{ row.interval }}</td><td>{{ row.wql }}</td>
<td>{{ row.count }}</td></tr>
{% endfor %}
</tbody></table></div>
"""
PLOTS = """
<p class="lead">Black is what was measured, the line is the median, the band lies between the outer quantiles
({{ view.band }}); the dotted line is the seasonal naive forecast. The worst ones come first.</p>
<div class="two">
{% for one in view.plots %}
<figure><svg viewBox="0 0 {{ view.width }} {{ view.height }}" role="img" aria-label="forecast of {{ one.id }}">
<polygon points="{{ one.band }}" fill="#3b82c4" opacity=".25"/>
<polyline points="{{ one.naive }}" fill="none" stroke="currentColor" stroke-dasharray="2 4" opacity=".6"/>
<polyline points="{{ one.median }}" fill="none" stroke="#3b82c4" stroke-width="2"/>
<polyline points="{{ one.past }}" fill="none" stroke="currentColor"/>
<polyline points="{{ one.truth }}" fill="none" stroke="currentColor"/>
</svg><figcaption>{{ one.id }}, MASE {{ one.mase }}; {{ one.low }} to {{ one.high }}</figcaption></figure>
{% endfor %}
</div>
"""
STEPS = """
<div class="scroll tall"><table>
<thead><tr><th>Steps ahead</th><th>Mean absolute error</th><th>of the seasonal naive forecast</th><th>Inside</th></tr>
</thead><tbody>
{% for row in view %}
<tr><td>{{ row.step }}</td><td>{{ "%.4g"|format(row.error) }}</td><td>{{ row.naive }}</td>
<td>{{ row.inside|percent }}</td></tr>
{% endfor %}
</tbody></table></div>
"""


def _methods(facts: Facts) -> dict[str, Any] | None:
    methods = facts.detail("methods")
    if not methods:
        return None
    says = " ".join([facts.detail("verdict") or "", *(facts.detail("absent") or ())])
    return {"says": says, "rows": [_row(row) for row in methods]}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": row["method"],
        "mase": f"{row['mase']:.3f}",
        "interval": f"{row['low']:.3f} to {row['high']:.3f}",
        "wql": "-" if row["wql"] is None else f"{row['wql']:.3f}",
        "count": row["count"],
    }


def _plots(facts: Facts) -> dict[str, Any] | None:
    forecasts = facts.detail("forecasts")
    if not forecasts:
        return None
    plots = [_plot(row) for row in forecasts["rows"]]
    return {"band": forecasts["band"], "plots": plots, "width": WIDTH, "height": HEIGHT}


def _plot(row: Mapping[str, Any]) -> dict[str, Any]:
    """The curves of one forecast, in the pixels of the drawing."""
    past, ahead = row["past"], len(row["median"])
    values = [value for name in ("past", "truth", "low", "high", "median", "naive") for value in row[name] or ()]
    present = [value for value in values if value is not None]
    bottom, top = min(present), max(present)
    wide, high = WIDTH / max(1, len(past) + ahead - 1), (HEIGHT - 8) / ((top - bottom) or 1.0)

    def points(values: Sequence[float | None], first: int) -> list[str]:
        return [
            f"{(first + i) * wide:.1f},{HEIGHT - 4 - (value - bottom) * high:.1f}"
            for i, value in enumerate(values)
            if value is not None
        ]

    start = len(past)
    curves = {name: " ".join(points(row[name] or (), start)) for name in ("median", "truth", "naive")}
    band = [*points(row["high"], start), *reversed(points(row["low"], start))]
    ends = {"low": f"{bottom:.4g}", "high": f"{top:.4g}"}
    return {"id": row["id"], "mase": f"{row['mase']:.2f}", "past": " ".join(points(past, 0)),
            "band": " ".join(band), **curves, **ends}  # fmt: skip


METHODS = Section("methods", "Beside other methods", _methods, METHODS_TABLE, "Methods")
FORECASTS = Section("forecasts", "Forecasts", _plots, PLOTS)
HORIZON = Section("steps_ahead", "Error by step ahead", lambda facts: facts.detail("steps_ahead"), STEPS, "Steps ahead")
