"""Paging: which part of a long list a page shows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Paging", "paging"]


@dataclass(frozen=True, slots=True)
class Paging:
    """One part of a list. Pages count from 1; `param` is their name in the URL."""

    page: int
    per_page: int
    total: int
    param: str = "page"

    @property
    def pages(self) -> int:
        """How many there are, at least one."""
        return max(1, -(-self.total // self.per_page))

    @property
    def offset(self) -> int:
        """How many items come before this page."""
        return (self.page - 1) * self.per_page

    @property
    def last_item(self) -> int:
        """The number of the last item on this page."""
        return min(self.offset + self.per_page, self.total)


def paging(asked: str, per_page: int, total: int, param: str = "page") -> Paging:
    """The page that was asked for, or the nearest one that there is.

    >>> paging("3", 10, 25).offset, paging("999", 10, 25).page, paging("<b>", 10, 25).page
    (20, 3, 1)
    """
    wanted = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 1
    first = Paging(1, per_page, total, param)
    return Paging(min(max(wanted, 1), first.pages), per_page, total, param)
