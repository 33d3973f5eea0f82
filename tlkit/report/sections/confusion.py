"""What is taken for what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report import charts
from tlkit.report.template import beside

TABLE_CLASSES = 20  # up to here the confusion matrix is a table with counts, above it a heat map
SHADES = 10
PAIRS = 12


def view(facts: Facts) -> dict[str, Any] | None:
    """The confusion matrix, as a table or a heat map, and the pairs that were confused most."""
    confusion = facts.detail("confusion")
    if not confusion:
        return None
    labels, counts = confusion["labels"], confusion["counts"]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    view = {"labels": labels, "size": len(labels), "pairs": _pairs(labels, counts)}
    if len(labels) > TABLE_CLASSES:
        return {**view, "rows": None, "shades": _shades(shares), "ticks": _label_ticks(labels)}
    cells = [
        [{"count": count, "share": round(share, 2)} for count, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]
    return {**view, "rows": [{"label": label, "cells": row} for label, row in zip(labels, cells, strict=True)]}


def _pairs(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    wrong = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count]
    wrong.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [
        {"true": labels[i], "predicted": labels[j], "count": count, "of": sum(counts[i])}
        for count, i, j in wrong[:PAIRS]
    ]


def _shades(shares: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Paths of the cells of each shade: right ones on the diagonal, wrong ones off it."""
    groups: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share:
                key = ("right" if i == j else "wrong", max(1, math.ceil(share * SHADES)))
                groups.setdefault(key, []).append((i, j))
    return [
        {"kind": kind, "opacity": round(0.15 + 0.85 * shade / SHADES, 2), "d": charts.cells(where)}
        for (kind, shade), where in sorted(groups.items())
    ]


def _label_ticks(labels: Sequence[str]) -> list[dict[str, Any]]:
    step = max(1, round(charts.ticks(0, len(labels), 10)[1]))
    return [{"at": i, "label": labels[i]} for i in range(0, len(labels), step)]


SECTION = Section("confusion", "Confusion matrix", view, beside(__file__), "Confusion")
