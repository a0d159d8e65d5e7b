"""Plot a monitored value: as text for a terminal, or as a PNG file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wandb_ckpt.errors import ArgumentError

# plotext could draw this, too. But version 6 removed the functions of version 5, and it is 3 MB for 40 lines of code.
# The dots of a braille character, by column and row, as bits to add to U+2800.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class Curve:
    """The values of one monitored quantity.

    Attributes:
        name: The name of the quantity.
        points: Version numbers and values, in the order of the versions; at least one.
        best: The number of the best version, or `None`.
    """

    name: str
    points: tuple[tuple[int, float], ...]
    best: int | None = None


def draw(curve: Curve, width: int, height: int, *, braille: bool = True) -> list[str]:
    """Return a curve as lines of text, with the values on the left and the versions below.

    Args:
        curve: The curve.
        width: Characters in a line, including the labels.
        height: Number of lines, without the versions below.
        braille: Whether to draw with braille characters, which have eight dots each, or with asterisks.

    >>> print("\\n".join(draw(Curve("loss", ((0, 2.0), (1, 1.0))), 12, 3, braille=False)))
    2 ┤***
      ┤   ***
    1 ┤      ***
       v0     v1
    """
    low, high = min(value for _, value in curve.points), max(value for _, value in curve.points)
    labels = [f"{high:.6g}", *[""] * (height - 2), f"{low:.6g}"]
    margin = max(map(len, labels))
    columns = max(width - margin - 2, 8)
    rows = _rows(_scaled(curve.points, low, high), columns, height, braille=braille)
    lines = [f"{label:>{margin}} ┤{row}".rstrip() for label, row in zip(labels, rows, strict=True)]
    first, last = f"v{curve.points[0][0]}", f"v{curve.points[-1][0]}"
    return [*lines, f"{'':{margin + 2}}{first}{last:>{columns - len(first)}}"]


def write_png(curve: Curve, path: Path, title: str) -> None:
    """Write a curve as a PNG file.

    Args:
        curve: The curve.
        path: The file. An existing file is overwritten.
        title: The title above the plot.

    Raises:
        ArgumentError: matplotlib is not installed.
        OSError: The file can't be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ArgumentError(
            "A PNG file needs matplotlib, which is not installed: pip install 'wandb-ckpt[plot]'"
        ) from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve.points, strict=True), marker="o", markersize=3)
    for version, value in curve.points:
        if version == curve.best:
            axes.plot(version, value, "r*", markersize=12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Not as math text: a "$" in a name would begin a formula.
    axes.set_xlabel("version")
    axes.set_ylabel(curve.name, parse_math=False)
    axes.set_title(title, parse_math=False)
    figure.savefig(path, format="png", dpi=120)


def _scaled(points: Sequence[tuple[int, float]], low: float, high: float) -> list[tuple[float, float]]:
    """Return the points with both coordinates between 0 and 1. The y axis points down."""
    first, last = points[0][0], points[-1][0]
    # With halves of the values, because the difference of two very large floats overflows.
    span = high / 2 - low / 2
    return [((x - first) / ((last - first) or 1), 0.5 if not span else (high / 2 - y / 2) / span) for x, y in points]


def _rows(points: Sequence[tuple[float, float]], columns: int, height: int, *, braille: bool) -> list[str]:
    wide, tall = (2, 4) if braille else (1, 1)
    right, bottom = columns * wide - 1, height * tall - 1
    on_grid = [(round(x * right), round(y * bottom)) for x, y in points]
    dots = {dot for pair in zip(on_grid, [*on_grid[1:], on_grid[-1]], strict=True) for dot in _line(*pair)}
    cell = _braille if braille else _asterisk
    return ["".join(cell(dots, column, row) for column in range(columns)) for row in range(height)]


def _line(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for step in range(steps + 1):
        yield tuple(round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True))  # type: ignore[misc]


def _braille(dots: set[tuple[int, int]], column: int, row: int) -> str:
    bits = sum(_DOTS[x][y] for x in range(2) for y in range(4) if (2 * column + x, 4 * row + y) in dots)
    return chr(0x2800 + bits) if bits else " "


def _asterisk(dots: set[tuple[int, int]], column: int, row: int) -> str:
    return "*" if (column, row) in dots else " "
