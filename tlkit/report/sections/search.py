"""The trials that a run was chosen from: the best so far, what mattered, and each trial as a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import charts
from tlkit.report.template import beside

MOST_LINES = 150  # the best of so many trials are drawn
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 300, 70, 34, 268


@dataclass(frozen=True)
class Axis:
    """A setting of the search: where it stands, its name, and what its two ends are."""

    at: float
    name: str
    ticks: tuple[charts.Tick, ...]


def view(facts: Facts) -> dict[str, Any] | None:
    """The search of a run, if it is the outcome of one."""
    search = facts.record.get("search")
    if not search:
        return None
    trials = search["trials"]
    judged = [trial for trial in trials if trial["state"] == "complete" and _finite(trial["figure"])]
    best = next((trial for trial in judged if trial["number"] == search["best"]), None)
    if best is None:
        return None
    ranked = sorted(judged, key=lambda trial: trial["figure"], reverse=not search["lower_is_better"])
    return {
        "monitor": search["monitor"],
        "best": best,
        "counts": {state: sum(t["state"] == state for t in trials) for state in ("complete", "given up", "failed")},
        "seconds": sum(trial["seconds"] or 0.0 for trial in trials),
        "chart": _best_so_far(judged, search),
        "importance": sorted(search["importance"].items(), key=lambda pair: -pair[1]),
        "parallel": _parallel(ranked[:MOST_LINES], search),
        "ranked": ranked[:10],
    }


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _best_so_far(judged: Sequence[Mapping[str, Any]], search: Mapping[str, Any]) -> charts.Chart:
    """Each trial's figure as a dot, and the best so far as a curve."""
    figures = [(trial["number"] + 1.0, trial["figure"]) for trial in judged]
    better = min if search["lower_is_better"] else max
    best = [(number, better(figure for _, figure in figures[: place + 1])) for place, (number, _) in enumerate(figures)]
    ends = min(1.0, figures[0][0]), max(2.0, figures[-1][0])
    x, y = charts.scales(figures, y_range=_shown_range([figure for _, figure in figures], search), x_range=ends)
    dots = tuple((x(a), y(min(max(b, y.low), y.high))) for a, b in figures)
    lines = (charts.Line("trials", "train", "", dots), charts.Line("the best so far", "val", *charts.path(best, x, y)))
    name = search["monitor"]
    return charts.Chart(
        name, "trial", charts.whole_axis(len(search["trials"]), x), charts.axis(y.low, y.high, y), lines
    )


def _shown_range(figures: Sequence[float], search: Mapping[str, Any]) -> charts.Point:
    """Up to the worse of the middle half and as much again: a diverged trial would flatten the rest."""
    ordered = sorted(figures, reverse=not search["lower_is_better"])
    limit = ordered[0] + 2 * (ordered[(3 * (len(ordered) - 1)) // 4] - ordered[0])
    worst = min(ordered[-1], limit) if search["lower_is_better"] else max(ordered[-1], limit)
    return min(ordered[0], worst), max(ordered[0], worst)


def _parallel(ranked: Sequence[Mapping[str, Any]], search: Mapping[str, Any]) -> dict[str, Any]:
    """Axes of all settings and of the figure, and a line a trial, the best last so that it lies on top."""
    names = [*search["space"], search["monitor"]]
    step = (WIDTH - 2 * LEFT) / max(1, len(names) - 1)
    places = [LEFT + step * number for number in range(len(names))]
    figures = [trial["figure"] for trial in ranked]
    heights = [_height(search["space"][name]) for name in search["space"]]
    low, high = _shown_range(figures, search)
    heights.append(_linear(low, high))
    ends = [_end_ticks(search["space"][name]) for name in search["space"]] + [_number_ticks(low, high)]
    lines = []
    for place, trial in reversed(list(enumerate(ranked))):
        values = [*(trial["values"][name] for name in search["space"]), trial["figure"]]
        points = [f"{x:.1f} {height(value):.1f}" for x, height, value in zip(places, heights, values, strict=True)]
        lines.append({"d": "M" + "L".join(points), "share": 1 - place / len(ranked), "number": trial["number"] + 1})
    axes = [Axis(x, name, tick) for x, name, tick in zip(places, names, ends, strict=True)]
    return {"axes": axes, "lines": lines, "width": WIDTH, "height": HEIGHT, "top": TOP, "bottom": BOTTOM}


def _linear(low: float, high: float) -> Any:
    span = (high - low) or 1.0
    return lambda value: BOTTOM - (min(max(value, low), high) - low) / span * (BOTTOM - TOP)


def _height(dimension: Any) -> Any:
    """Value of a setting -> its height in pixels."""
    if isinstance(dimension, Mapping):
        if dimension["log"]:
            inner = _linear(math.log(dimension["low"]), math.log(dimension["high"]))
            return lambda value: inner(math.log(value))
        return _linear(dimension["low"], dimension["high"])
    inner = _linear(0, max(1, len(dimension) - 1))
    return lambda value: inner(dimension.index(value))


def _end_ticks(dimension: Any) -> tuple[charts.Tick, ...]:
    if isinstance(dimension, Mapping):
        return _number_ticks(dimension["low"], dimension["high"])
    height = _height(dimension)
    return tuple(charts.Tick(height(choice), str(choice)[:14]) for choice in dimension)


def _number_ticks(low: float, high: float) -> tuple[charts.Tick, ...]:
    return charts.Tick(BOTTOM, f"{low:.3g}"), charts.Tick(TOP, f"{high:.3g}")


SECTION = Section("search", "How the settings were chosen", view, beside(__file__), "Search")
