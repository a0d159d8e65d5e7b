"""The plot of a monitored value: the geometry, which a template draws as SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from wandb_ckpt.server.pages.formats import number

__all__ = ["NARROW", "WIDE", "Dot", "Frame", "Plot", "Point", "Tick", "best_of", "plot", "thinned", "ticks"]


# In floating point, a smaller range can't be divided into pixels.
_SMALLEST_RANGE = 1e-290


@dataclass(frozen=True, slots=True)
class Point:
    """The value of a version, or None."""

    version: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a plot in pixels, and its number of columns for points."""

    width: int
    height: int
    columns: int
    left: int = 60
    right: int = 16
    top: int = 16
    bottom: int = 30


WIDE = Frame(960, 260, 180)
NARROW = Frame(340, 220, 60)


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of an axis: its position and label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A version in the plot."""

    x: float
    y: float
    version: int
    label: str
    is_best: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that is ready to be drawn. `line` is the `d` of an SVG path, with gaps where values are missing."""

    frame: Frame
    line: str
    dots: tuple[Dot, ...]
    best: Dot | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    is_thinned: bool


def plot(points: Sequence[Point], best: int | None, frame: Frame = WIDE) -> Plot | None:
    """Return the plot of points, which are ordered by version. None if there is no value.

    Args:
        points: One point for each version.
        best: The version to highlight.
        frame: The size of the plot.
    """
    known = [point.value for point in points if point.value is not None]
    if not known:
        return None
    across = _Scale(points[0].version, points[-1].version, frame.left, frame.width - frame.right)
    up = _Scale(min(known), max(known), frame.height - frame.bottom, frame.top)
    kept = thinned(points, frame.columns, best)
    dots = tuple(_dot(point, across, up, best) for point in kept if point.value is not None)
    return Plot(
        frame=frame,
        line=_line(kept, across, up),
        dots=dots,
        best=next((dot for dot in dots if dot.is_best), None),
        x_ticks=_version_ticks(points, across),
        y_ticks=tuple(Tick(up.at(v), number(v)) for v in ticks(min(known), max(known), 5)),
        is_thinned=len(kept) < len(points),
    )


def best_of(points: Sequence[Point], mode: Any) -> int | None:
    """Return the version with the best value, the first of equals. None if there is no value or no mode.

    Args:
        points: One point for each version.
        mode: "min" or "max". Anything else is no mode.
    """
    known = [point for point in points if point.value is not None]
    if not known or mode not in ("min", "max"):
        return None
    return (min if mode == "min" else max)(known, key=_value).version


def thinned(points: Sequence[Point], columns: int, keep: int | None = None) -> list[Point]:
    """Leave out points that are too close to see, but no peak and no dip.

    The points are divided into columns. Each column keeps its smallest and its largest value, or its first point if
    it has no value. The first point, the last point and the version `keep` always stay.
    """
    if len(points) <= 2 * columns:
        return list(points)
    width = math.ceil(len(points) / columns)
    chosen = {0, len(points) - 1}
    for start in range(0, len(points), width):
        column = range(start, min(start + width, len(points)))
        known = sorted((i for i in column if points[i].value is not None), key=lambda i: _value(points[i]))
        chosen |= {known[0], known[-1]} if known else {start}
    chosen |= {i for i, point in enumerate(points) if point.version == keep}
    return [points[i] for i in sorted(chosen)]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from low to high, about `most` of them.

    >>> ticks(0.0, 1.0, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high - low < _SMALLEST_RANGE:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded, because 3 * 0.1 is 0.30000000000000004.
    return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1)]


class _Scale:
    """Maps values to pixels. A single value lies in the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high - low < _SMALLEST_RANGE:
            half = max(abs(low) * 0.1, 0.5)
            low, high = low - half, high + half
        self._low, self._start, self._per_unit = low, start, (end - start) / (high - low)

    def at(self, value: float) -> float:
        return round(self._start + (value - self._low) * self._per_unit, 1)


def _version_ticks(points: Sequence[Point], across: _Scale) -> tuple[Tick, ...]:
    found = ticks(points[0].version, points[-1].version, 8)
    return tuple(Tick(across.at(version), f"v{version:.0f}") for version in found if version % 1 == 0)


def _value(point: Point) -> float:
    return 0.0 if point.value is None else point.value


def _dot(point: Point, across: _Scale, up: _Scale, best: int | None) -> Dot:
    return Dot(
        x=across.at(point.version),
        y=up.at(_value(point)),
        version=point.version,
        label=number(point.value),
        is_best=point.version == best,
    )


def _line(points: Sequence[Point], across: _Scale, up: _Scale) -> str:
    pieces = []
    for is_known, piece in groupby(points, key=lambda point: point.value is not None):
        if is_known:
            pieces.append("L".join(f"{across.at(p.version)},{up.at(_value(p))}" for p in piece))
    return "".join(f"M{piece}" for piece in pieces)
