"""The page of a version, and its files."""

from __future__ import annotations

from pathlib import PurePosixPath

from starlette.responses import RedirectResponse, Response

from wandb_ckpt.server.errors import NotFoundError
from wandb_ckpt.server.http.downloads import blob_response
from wandb_ckpt.server.pages.facts import METADATA_KEYS, facts_of
from wandb_ckpt.server.pages.login_sessions import Visit
from wandb_ckpt.server.pages.tables import paging
from wandb_ckpt.server.store import artifacts, contents, page_rows
from wandb_ckpt.server.store.page_rows import CollectionSummary, VersionSummary

__all__ = ["file_download", "version_page", "version_tab"]

_FILES = 200
# The tabs of a version in W&B that are sections of this page.
_TABS = {"files": "files", "overview": "", "metadata": "metadata", "lineage": "lineage", "usage": "use"}


def version_page(visit: Visit) -> Response:
    """Show a version."""
    collection = visit.find_collection()
    version = visit.find_version(collection, visit.named("version"))
    if collection.type != visit.named("type"):
        return RedirectResponse(_path(visit, collection, version), 303)
    rows = paging(visit.asked("files"), _FILES, version.file_count, "files")
    ordered = sorted(version.metadata.items(), key=_metadata_order)
    return visit.page(
        "version.html",
        collection=collection,
        version=version,
        facts=facts_of(version.metadata),
        ref=f"{collection.entity}/{collection.project}/{collection.name}:{version.version}",
        metadata=[(key, value) for key, value in ordered if key != "logs" or not isinstance(value, dict)],
        logs=version.metadata.get("logs"),
        files=contents.entries(visit.db, version.artifact_id, None, rows.per_page, rows.offset),
        file_paging=rows,
        used_by=page_rows.used_by(visit.db, version.artifact_id),
        links=page_rows.links(visit.db, version.artifact_id),
        neighbours=page_rows.neighbours(visit.db, collection.id, version.version_index),
        artifact=artifacts.artifact(visit.db, version.artifact_id),
        best=page_rows.find_version(visit.db, collection.id, "best"),
    )


def version_tab(visit: Visit) -> Response:
    """Redirect from the addresses of tabs in W&B."""
    collection = visit.find_collection()
    version = visit.find_version(collection, visit.named("version"))
    if visit.named("tab") not in _TABS:
        raise NotFoundError("There is no such page.")
    anchor = _TABS[visit.named("tab")]
    return RedirectResponse(_path(visit, collection, version) + (f"#{anchor}" if anchor else ""), 303)


def file_download(visit: Visit) -> Response:
    """Return the bytes of a file. A reference has none on this server."""
    version = visit.find_version(visit.find_collection(), visit.named("version"))
    file = contents.entry(visit.db, version.artifact_id, visit.named("path"))
    if file is None or file.blob is None:
        raise NotFoundError("This version has no such file on this server.")
    return blob_response(visit.services, file.blob, filename=PurePosixPath(file.path).name)


def _path(visit: Visit, collection: CollectionSummary, version: VersionSummary) -> str:
    return visit.to.version(collection.entity, collection.project, collection.type, collection.name, version.version)


def _metadata_order(item: tuple[str, object]) -> int:
    key, _ = item
    return METADATA_KEYS.index(key) if key in METADATA_KEYS else len(METADATA_KEYS)
