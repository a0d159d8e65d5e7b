"""Which page of a table is shown, and in which order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Paging", "Sorting", "paging", "sorting"]


@dataclass(frozen=True, slots=True)
class Paging:
    """A page of a table. Pages count from 1. `param` is the parameter in the URL."""

    page: int
    per_page: int
    total: int
    param: str = "page"

    @property
    def pages(self) -> int:
        """The number of pages, at least one."""
        return max(1, -(-self.total // self.per_page))

    @property
    def offset(self) -> int:
        """The number of items before this page."""
        return (self.page - 1) * self.per_page

    @property
    def last_item(self) -> int:
        """The position of the last item on this page."""
        return min(self.offset + self.per_page, self.total)


def paging(asked: str, per_page: int, total: int, param: str = "page") -> Paging:
    """Return the requested page, or the nearest one.

    >>> paging("3", 10, 25).offset, paging("999", 10, 25).page, paging("<b>", 10, 25).page
    (20, 3, 1)
    """
    wanted = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 1
    first = Paging(1, per_page, total, param)
    return Paging(min(max(wanted, 1), first.pages), per_page, total, param)


@dataclass(frozen=True, slots=True)
class Sorting:
    """The order of a table: its column, and whether the largest value comes first."""

    column: str
    downwards: bool

    def __str__(self) -> str:
        """Return the order as it stands in a URL: `value`, or `-value` for downwards."""
        return f"{'-' if self.downwards else ''}{self.column}"

    def on_click(self, column: str, *, downwards: bool) -> Sorting:
        """Return the order after a click on the head of a column: the given direction first, then the other."""
        return Sorting(column, not self.downwards if column == self.column else downwards)

    def direction(self, column: str) -> str | None:
        """Return the direction of a column in the words of `aria-sort`. None if the table is not sorted by it."""
        if column != self.column:
            return None
        return "descending" if self.downwards else "ascending"


def sorting(asked: str, columns: Collection[str], default: Sorting) -> Sorting:
    """Return the requested order, or the default if there is no such column.

    >>> default = Sorting("age", downwards=False)
    >>> str(sorting("-value", ["value"], default)), str(sorting("<b>", ["value"], default))
    ('-value', 'age')
    """
    column = asked.removeprefix("-")
    return Sorting(column, asked.startswith("-")) if column in columns else default
