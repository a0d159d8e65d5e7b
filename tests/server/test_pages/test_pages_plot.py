"""The plot's geometry: pure, so tried with all kinds of values."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wandb_ckpt.server.pages.formats import finite
from wandb_ckpt.server.pages.plot import NARROW, WIDE, Point, best_of, plot, thinned, ticks

values = st.none() | st.floats(allow_nan=False, allow_infinity=False).map(finite)
rows = st.lists(values, min_size=1, max_size=400).map(lambda row: [Point(i, v) for i, v in enumerate(row)])


@given(rows, st.sampled_from([WIDE, NARROW]))
def test_everything_drawn_is_inside_the_frame(points: list[Point], frame: object) -> None:
    """Whatever the values, each point and tick has a place within the picture."""
    drawn = plot(points, 0, frame)  # type: ignore[arg-type]
    if drawn is None:
        assert all(point.value is None for point in points)
        return
    assert all(math.isfinite(dot.x) and math.isfinite(dot.y) for dot in drawn.dots)
    assert all(0 <= dot.x <= drawn.frame.width and 0 <= dot.y <= drawn.frame.height for dot in drawn.dots)
    assert all(-1 <= tick.at <= drawn.frame.height + 1 for tick in drawn.y_ticks)
    assert 1 <= len(drawn.x_ticks) <= 10


@given(rows, st.integers(1, 40))
def test_thinning_keeps_ends_peaks_and_dips(points: list[Point], columns: int) -> None:
    """The extreme values survive, the order stays, and what is left is bounded."""
    kept = thinned(points, columns, keep=points[len(points) // 2].version)
    assert len(kept) <= 2 * columns + 3
    assert [point.version for point in kept] == sorted({point.version for point in kept})
    assert {points[0], points[-1], points[len(points) // 2]} <= set(kept)
    known = [point.value for point in points if point.value is not None]
    if known:
        left = [point.value for point in kept if point.value is not None]
        assert (min(left), max(left)) == (min(known), max(known))


def test_thinning_keeps_a_long_gap() -> None:
    """Where many values in a row are missing, the line still ends and begins again."""
    points = [Point(i, None if 400 <= i < 600 else 1.0) for i in range(1000)]
    drawn = plot(points, None, NARROW)
    assert drawn is not None
    assert drawn.is_thinned
    assert drawn.line.count("M") == 2


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12), st.integers(2, 12))
def test_ticks_are_few_and_in_range(low: float, span: float, most: int) -> None:
    """They lie within the range (but for rounding) and do not crowd it."""
    found = ticks(low, low + span, most)
    assert len(found) <= most + 1
    slack = span * 1e-6 + abs(low) * 1e-9
    assert all(low - slack <= tick <= low + span + slack for tick in found)


def test_the_best_is_the_earliest_of_equals_in_the_given_direction() -> None:
    """Without a direction nobody can tell; missing values never win."""
    points = [Point(3, 0.5), Point(4, None), Point(5, 0.2), Point(7, 0.2), Point(8, 0.9)]
    assert (best_of(points, "min"), best_of(points, "max")) == (5, 8)
    assert best_of(points, None) is None
    assert best_of([Point(0, None)], "min") is None


def test_deleted_versions_do_not_break_the_line() -> None:
    """Versions that are gone leave no gap: only a missing value does."""
    drawn = plot([Point(0, 1.0), Point(5, 2.0), Point(90, 3.0)], None)
    assert drawn is not None
    assert drawn.line.count("M") == 1
    assert plot([Point(0, None)], None) is None
