"""Paging: Relay connections over lists that know their length."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wandb_ckpt.server.errors import InvalidRequestError

__all__ = ["Connection", "Edge", "PageInfo", "connect", "connect_all"]

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where a page ends."""

    end_cursor: str | None
    has_next_page: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """One thing on a page, and the cursor behind it. `version` is set in lists of versions."""

    node: Any
    cursor: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """One page of a list."""

    edges: Sequence[Edge]
    page_info: PageInfo
    total_count: int


def connect(
    count: Callable[[], int],
    window: Callable[[int, int], Sequence[Any]],
    *,
    first: int | None = None,
    after: str | None = None,
    version: Callable[[Any], str] | None = None,
) -> Connection:
    """A page of a list.

    Args:
        count: The length of the whole list.
        window: The things from (limit, offset) on.
        first: How many at most.
        after: The cursor that the page starts behind.
        version: How to name the version of a thing, in lists of versions.
    """
    offset = _offset(after)
    limit = _MOST if first is None else max(0, min(first, _MOST))
    total = count()
    nodes = window(limit, offset) if offset < total else []
    edges = [
        Edge(node, _cursor(offset + place + 1), version(node) if version else None)
        for place, node in enumerate(nodes)
    ]
    end = offset + len(edges)
    return Connection(edges, PageInfo(_cursor(end) if edges else after, len(edges) > 0 and end < total), total)


def connect_all(nodes: Sequence[Any], *, first: int | None = None, after: str | None = None) -> Connection:
    """A page of a list that is already in memory."""
    return connect(lambda: len(nodes), lambda limit, offset: nodes[offset : offset + limit], first=first, after=after)


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
