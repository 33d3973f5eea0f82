"""Geometry of the report's charts as pure functions: numbers in, SVG path data out. Colours are left to CSS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 36


@dataclass(frozen=True)
class Tick:
    """Where an axis is labelled, in pixels, and with what."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve: `kind` picks its colour in CSS, `d` is its path; `dots` are its single points."""

    name: str
    kind: str
    d: str
    dots: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Band:
    """A stretch of the x axis with a name over it, such as a phase."""

    left: float
    right: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A drawing: everything is in the pixels of a WIDTH x HEIGHT view box."""

    title: str
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    mark: Point | None = None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Scale:
    """A linear map from data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where `value` lies."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that cover [low, high], at most about `most` of them.

    Args:
        low: Smallest value.
        high: Largest value, >= low.
        most: Wanted count of steps.

    Returns:
        Ascending numbers, the first <= low and the last >= high.

    Example:
        >>> ticks(0.13, 0.87)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high - low <= 1e-12 * abs(low):
        spread = abs(low) * 0.5 or 1.0
        low, high = low - spread / 2, low + spread / 2
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.15g}") for i in range(first, last + 1)]


def scales(points: Iterable[Point], y_range: Point | None = None, x_range: Point | None = None) -> tuple[Scale, Scale]:
    """Scales of x and y that hold all points; y ends on round numbers."""
    xs, ys = zip(*points, strict=True)
    y_ends = ticks(*(y_range or (min(ys), max(ys))))
    left, right = x_range or (min(xs), max(xs))
    if left == right:
        left, right = left - 0.5, right + 0.5
    return Scale(left, right, LEFT, WIDTH - RIGHT), Scale(y_ends[0], y_ends[-1], HEIGHT - BOTTOM, TOP)


def path(points: Sequence[Point | None], x: Scale, y: Scale) -> tuple[str, tuple[Point, ...]]:
    """SVG path of a curve and the dots of points that stand alone; None breaks the curve."""
    pieces, dots = [], []
    for piece in _pieces(points):
        pixels = [(x(a), y(b)) for a, b in piece]
        if len(pixels) == 1:
            dots.append(pixels[0])
        else:
            pieces.append("M" + "L".join(f"{a:g} {b:g}" for a, b in pixels))
    return "".join(pieces), tuple(dots)


def axis(low: float, high: float, scale: Scale, most: int = 5) -> tuple[Tick, ...]:
    """Labelled round numbers within [low, high]."""
    slack = 1e-9 * (high - low)
    inside = [value for value in ticks(low, high, most) if low - slack <= value <= high + slack]
    return tuple(Tick(scale(value), f"{value:g}") for value in inside)


def whole_axis(count: int, scale: Scale) -> tuple[Tick, ...]:
    """Labelled whole numbers from 1 to `count`."""
    step = max(1, round(ticks(0, count, 8)[1]))
    return tuple(Tick(scale(i), str(i)) for i in sorted({1, *range(step, count + 1, step)}))


def cells(chosen: Iterable[tuple[int, int]]) -> str:
    """SVG path of unit squares at (row, column)."""
    return "".join(f"M{column} {row}h1v1h-1z" for row, column in chosen)


def _pieces(points: Sequence[Point | None]) -> list[list[Point]]:
    pieces: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(point)
    return [piece for piece in pieces if piece]
