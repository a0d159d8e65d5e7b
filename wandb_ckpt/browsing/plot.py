"""Curves of a monitored value: as lines of text for a terminal, and as a PNG file. Pure but for the file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wandb_ckpt.errors import ArgumentError

# plotext would draw this, too, but the functions of its version 5 are gone in 6, and it is 3 MB for 40 lines.
# The dots of a braille character, by column and row, as bits behind U+2800.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class Curve:
    """The values of one monitored quantity.

    Attributes:
        name: The quantity.
        points: Version number and value, in the order of the versions; at least one.
        best: The number of the version that is best, if any.
    """

    name: str
    points: tuple[tuple[int, float], ...]
    best: int | None = None


def draw(curve: Curve, width: int, height: int, *, braille: bool = True) -> list[str]:
    """Returns a curve as lines of text: the values at the left, the versions below.

    Args:
        curve: What to draw.
        width: Characters of a line, labels included.
        height: Lines, without the one below.
        braille: Whether to draw with braille dots, eight to a character; else with asterisks.

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
    """Writes a curve as a PNG file.

    Args:
        curve: What to draw.
        path: The file; overwritten where there is one.
        title: What stands above it.

    Raises:
        ArgumentError: matplotlib is not installed.
        OSError: The file can't be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ArgumentError("A PNG needs matplotlib: pip install 'wandb-ckpt[plot]'") from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve.points, strict=True), marker="o", markersize=3)
    for version, value in curve.points:
        if version == curve.best:
            axes.plot(version, value, "r*", markersize=12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # A "$" in a name would begin a formula.
    axes.set_xlabel("version")
    axes.set_ylabel(curve.name, parse_math=False)
    axes.set_title(title, parse_math=False)
    figure.savefig(path, format="png", dpi=120)


def _scaled(points: Sequence[tuple[int, float]], low: float, high: float) -> list[tuple[float, float]]:
    """Returns the points with both coordinates between 0 and 1, y downwards."""
    first, last = points[0][0], points[-1][0]
    # Halves, for the difference of two large values is beyond any float.
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
