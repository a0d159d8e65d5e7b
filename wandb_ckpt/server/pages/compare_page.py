"""The page that shows two versions side by side."""

from __future__ import annotations

from starlette.responses import Response

from wandb_ckpt.server.pages.comparison import same_and_different_files, same_and_different_metadata
from wandb_ckpt.server.pages.facts import facts_of
from wandb_ckpt.server.pages.login_sessions import Visit
from wandb_ckpt.server.store import contents, page_rows

__all__ = ["compare_page"]

_SHOWN_ROWS = 500
_CHOICES = 200


def compare_page(visit: Visit) -> Response:
    """Show the versions `a` and `b`. The defaults are the last two versions."""
    collection = visit.find_collection()
    b = visit.find_version(collection, visit.asked("b") or "latest")
    a = visit.find_version(collection, visit.asked("a") or _before(visit, collection.id, b.version_index))
    same, different = same_and_different_metadata(a.metadata, b.metadata)
    same_files, different_files = same_and_different_files(
        contents.entries(visit.db, a.artifact_id), contents.entries(visit.db, b.artifact_id)
    )
    return visit.page(
        "compare.html",
        collection=collection,
        sides=(("a", a, facts_of(a.metadata)), ("b", b, facts_of(b.metadata))),
        different=different,
        same=same,
        different_files=different_files,
        same_files=same_files,
        shown=_SHOWN_ROWS,
        choices=page_rows.version_names(visit.db, collection.id, _CHOICES),
    )


def _before(visit: Visit, collection_id: int, version: int) -> str:
    before = page_rows.neighbours(visit.db, collection_id, version)[0]
    return f"v{version if before is None else before}"
