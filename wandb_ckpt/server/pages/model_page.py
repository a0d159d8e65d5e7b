"""The page of a collection: its versions and the curve of the monitored value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import RedirectResponse, Response

from wandb_ckpt.server.errors import NotFoundError
from wandb_ckpt.server.pages.facts import facts_of
from wandb_ckpt.server.pages.formats import finite
from wandb_ckpt.server.pages.login_sessions import Visit
from wandb_ckpt.server.pages.plot import NARROW, WIDE, Plot, Point, best_of, plot
from wandb_ckpt.server.pages.tables import Sorting, paging, sorting
from wandb_ckpt.server.store import page_rows
from wandb_ckpt.server.store.page_rows import CollectionSummary, MonitoredValue

__all__ = ["model_page", "registry_entry"]

_VERSIONS = 50
_NEWEST_FIRST = Sorting("version", downwards=True)


def model_page(visit: Visit) -> Response:
    """Show the versions of a collection, as a table and a plot."""
    collection = visit.find_collection()
    if collection.type != visit.named("type"):
        return RedirectResponse(_model_path(visit, collection), 303)
    rows = paging(visit.asked("page"), _VERSIONS, collection.version_count)
    order = sorting(visit.asked("sort"), page_rows.VERSION_ORDERS, _NEWEST_FIRST)
    versions = page_rows.versions(
        visit.db, collection.id, rows.per_page, rows.offset, order.column, downwards=order.downwards
    )
    best = page_rows.find_version(visit.db, collection.id, "best")
    values = page_rows.monitored_values(visit.db, collection.id)
    monitor, mode = _watched(values)
    points = [Point(row.version_index, finite(row.value) if row.monitor == monitor else None) for row in values]
    marked = best.version_index if best else best_of(points, mode)
    return visit.page(
        "model.html",
        collection=collection,
        ref=f"{collection.entity}/{collection.project}/{collection.name}",
        versions=[(version, facts_of(version.metadata)) for version in versions],
        paging=rows,
        order=order,
        kept={} if order == _NEWEST_FIRST else {"sort": str(order)},
        best=best,
        best_facts=best and facts_of(best.metadata),
        latest_facts=collection.latest and facts_of(collection.latest.metadata),
        monitor=monitor,
        mode=mode,
        plots=_plots(points, marked) if monitor else [],
        marked=marked,
    )


def registry_entry(visit: Visit) -> Response:
    """Redirect from the address of a linked version in W&B, which has `selectionPath` and `version`."""
    parts = visit.asked("selectionPath").split("/")
    if len(parts) != 3:
        raise NotFoundError("There is no such page. The selectionPath must be entity/project/name.")
    visit.request.path_params.update(zip(("entity", "project", "name"), parts, strict=True))
    collection, version = visit.find_collection(), visit.asked("version")
    path = _model_path(visit, collection)
    if version:
        version = visit.find_version(collection, version).version
        path = visit.to.version(collection.entity, collection.project, collection.type, collection.name, version)
    return RedirectResponse(path, 303)


def _model_path(visit: Visit, collection: CollectionSummary) -> str:
    return visit.to.model(collection.entity, collection.project, collection.type, collection.name)


def _watched(values: Sequence[MonitoredValue]) -> tuple[str | None, Any]:
    # Versions may have different monitored values. The newest decides. The others are gaps in the plot.
    for row in reversed(values):
        if isinstance(row.monitor, str) and row.monitor and finite(row.value) is not None:
            return row.monitor, row.mode
    return None, None


def _plots(points: Sequence[Point], best: int | None) -> list[tuple[str, Plot]]:
    drawn = (("wide", plot(points, best, WIDE)), ("narrow", plot(points, best, NARROW)))
    return [(name, found) for name, found in drawn if found]
