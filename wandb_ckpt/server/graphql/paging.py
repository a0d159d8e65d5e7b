"""Relay connections: pages of lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wandb_ckpt.server.errors import InvalidRequestError

__all__ = ["Connection", "Edge", "Listing", "PageInfo", "connect"]

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that is read in pages.

    Attributes:
        count: The length of the whole list.
        read: Returns the items of a page, given (limit, offset).
    """

    count: int
    read: Callable[[int, int], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where a page ends."""

    end_cursor: str | None
    has_next_page: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """An item of a page. The cursor is the position after it."""

    node: Any
    cursor: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A page of a list."""

    edges: Sequence[Edge]
    page_info: PageInfo
    total_count: int


def connect(items: Listing | Sequence[Any], first: int | None = None, after: str | None = None) -> Connection:
    """Return a page of a list.

    Args:
        items: The whole list.
        first: The largest number of items.
        after: The cursor after which the page starts.
    """
    listing = items if isinstance(items, Listing) else _in_memory(items)
    offset = _offset(after)
    limit = _MOST if first is None else max(0, min(first, _MOST))
    nodes = listing.read(limit, offset) if offset < listing.count else []
    edges = [Edge(node, _cursor(position)) for position, node in enumerate(nodes, offset + 1)]
    end = offset + len(edges)
    has_next_page = len(edges) > 0 and end < listing.count
    return Connection(edges, PageInfo(edges[-1].cursor if edges else after, has_next_page), listing.count)


def _in_memory(items: Sequence[Any]) -> Listing:
    return Listing(len(items), lambda limit, offset: items[offset : offset + limit])


def _cursor(position: int) -> str:
    return base64.b64encode(f"o:{position}".encode()).decode()


def _offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        kind, _, position = base64.b64decode(cursor, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        kind, position = "", ""
    if kind != "o" or not position.isdecimal() or len(position) > 18:
        raise InvalidRequestError(f"{cursor!r} is not a cursor of this server.")
    return int(position)
