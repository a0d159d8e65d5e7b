"""Sorting: the column that a table is sorted by, and what the links in its head ask for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Sorting", "sorting"]


@dataclass(frozen=True, slots=True)
class Sorting:
    """The order of a table: by which column, and whether the largest comes first."""

    column: str
    downwards: bool

    def __str__(self) -> str:
        """As it is written in an address: `value`, or `-value` for downwards."""
        return f"{'-' if self.downwards else ''}{self.column}"

    def on_click(self, column: str, *, downwards: bool) -> Sorting:
        """What a click on the head of a column leads to: first in the given direction, then in the other."""
        return Sorting(column, not self.downwards if column == self.column else downwards)

    def direction(self, column: str) -> str | None:
        """In which direction a column is sorted, in the words of `aria-sort`; None if it is not."""
        if column != self.column:
            return None
        return "descending" if self.downwards else "ascending"


def sorting(asked: str, columns: Collection[str], default: Sorting) -> Sorting:
    """The order that was asked for, or the default if there is no such column.

    >>> default = Sorting("age", downwards=False)
    >>> str(sorting("-value", ["value"], default)), str(sorting("<b>", ["value"], default))
    ('-value', 'age')
    """
    column = asked.removeprefix("-")
    return Sorting(column, asked.startswith("-")) if column in columns else default
