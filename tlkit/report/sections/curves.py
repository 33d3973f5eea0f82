"""Learning curves over all phases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import charts
from tlkit.report.template import beside

HIDDEN_CURVES = ("lr", "seconds")


def view(facts: Facts) -> dict[str, Any] | None:
    """A chart for each figure that was followed, and a row for each phase."""
    phases = facts.record["phases"]
    names = _curve_names(phases)
    if not names:
        return None
    drawn = [chart for name in names if (chart := _curve(name, phases)) is not None]
    return {"charts": drawn, "phases": phases, "kept": _kept(phases)}


def _curve_names(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = [key.removeprefix("val_") for phase in phases for key in phase["history"]]
    return [key for key in dict.fromkeys(keys) if key not in HIDDEN_CURVES]


def _curve(name: str, phases: Sequence[Mapping[str, Any]]) -> charts.Chart | None:
    series = {"train": _followed(name, phases), "val": _followed(f"val_{name}", phases)}
    points = [point for curve in series.values() for point in curve if point is not None]
    if not points:
        return None
    epochs = max(1, sum(_epochs(phase) for phase in phases))
    x, y = charts.scales(points, x_range=(1, epochs) if epochs > 1 else None)
    spoken = {"train": "training", "val": "validation"}
    lines = [charts.Line(spoken[kind], kind, *charts.path(curve, x, y)) for kind, curve in series.items() if any(curve)]
    best = _kept(phases)
    mark = series["val"][best["epoch"] - 1] if best and len(series["val"]) >= best["epoch"] else None
    return charts.Chart(
        title=name,
        x_label="epoch",
        x_ticks=charts.whole_axis(epochs, x),
        y_ticks=charts.axis(y.low, y.high, y),
        lines=tuple(lines),
        bands=_bands(phases, x) if len(phases) > 1 else (),
        mark=(x(mark[0]), y(mark[1])) if mark else None,
    )


def _followed(key: str, phases: Sequence[Mapping[str, Any]]) -> list[charts.Point | None]:
    """One figure over all phases, at epochs 1, 2, ...; None where it was not measured or not finite."""
    values = [value for phase in phases for value in (phase["history"].get(key) or [None] * _epochs(phase))]
    if all(value is None for value in values):
        return []
    return [
        (float(epoch), float(value)) if value is not None and math.isfinite(value) else None
        for epoch, value in enumerate(values, start=1)
    ]


def _epochs(phase: Mapping[str, Any]) -> int:
    return max((len(values) for values in phase["history"].values()), default=0)


def _bands(phases: Sequence[Mapping[str, Any]], x: charts.Scale) -> tuple[charts.Band, ...]:
    bands, before = [], 0
    for number, phase in enumerate(phases, start=1):
        epochs = _epochs(phase)
        if not epochs:
            continue
        ends = [min(max(x(before + offset), x.start), x.end) for offset in (0.5, epochs + 0.5)]
        bands.append(charts.Band(ends[0], ends[1], f"phase {number}"))
        before += epochs
    return tuple(bands)


def _kept(phases: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
    """Epoch (over all phases, from 1) and phase whose weights were kept."""
    before, best = 0, None
    for number, phase in enumerate(phases, start=1):
        if phase["improved"] and phase["best_epoch"]:
            best = {"phase": number, "epoch": before + phase["best_epoch"]}
        before += _epochs(phase)
    return best


SECTION = Section("curves", "Learning curves", view, beside(__file__), "Curves")
