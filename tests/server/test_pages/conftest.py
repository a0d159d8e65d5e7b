"""A real server with data put in through the store, and a client that is logged in to its pages."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import web

from wandb_ckpt.server.http.services import Services, open_services
from wandb_ckpt.server.server import Server
from wandb_ckpt.server.store import accounts, artifacts, collections, contents, projects, runs
from wandb_ckpt.server.store.records import Artifact, Collection, Run


class Shelf:
    """Puts versions into a server's data folder the short way: through its store, without the wandb client."""

    def __init__(self, services: Services, entity: str) -> None:
        self.services = services
        self.db = services.db
        self.entity = entity
        self.user = accounts.get_or_create_user(self.db, entity)

    def collection(self, project: str, name: str, kind: str = "model") -> Collection:
        """A sequence, made on demand."""
        found = projects.get_or_create(self.db, self.user.id, project)[0]
        known = collections.named(self.db, found.id, name)
        return known or collections.create(
            self.db, found.id, projects.get_or_create_type(self.db, found.id, kind).id, "SEQUENCE", name
        )

    def run(self, project: str, name: str, display_name: str, **changes: Any) -> Run:
        """A finished run."""
        found = projects.get_or_create(self.db, self.user.id, project)[0]
        run = runs.create(self.db, found.id, name, display_name, "finished")
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
        runs.update(self.db, run.id, texts)
        return run

    def log(
        self,
        collection: Collection,
        metadata: Mapping[str, Any] | None = None,
        aliases: Sequence[str] = (),
        files: Mapping[str, bytes] | None = None,
        description: str | None = None,
        run: Run | None = None,
        refs: Mapping[str, str] | None = None,
    ) -> int:
        """The next version of a collection. Returns its id."""
        with self.db.atomic():
            artifact = self._artifact(collection, metadata, description, run)
            entries = [self._entry(artifact, path, data) for path, data in (files or {}).items()]
            entries += [(path, "ref-digest", 0, None, ref) for path, ref in (refs or {}).items()]
            contents.add_entries(self.db, artifact.id, entries)
            artifacts.mark_committed(
                self.db,
                artifact.id,
                digest=hashlib.md5(repr(entries).encode(), usedforsecurity=False).hexdigest(),
                size=sum(entry[2] for entry in entries),
                file_count=len(entries),
                manifest_blob="",
            )
            place = collections.add_membership(self.db, collection.id, artifact.id)
            for alias in dict.fromkeys(["latest", *aliases]):
                collections.move_alias(self.db, place, alias)
            if run:
                artifacts.add_output(self.db, run.id, artifact.id)
        return artifact.id

    def _artifact(
        self, collection: Collection, metadata: Mapping[str, Any] | None, description: str | None, run: Run | None
    ) -> Artifact:
        new = artifacts.NewArtifact(
            collection_id=collection.id,
            digest="",
            digest_algorithm="MANIFEST_MD5",
            description=description,
            metadata=None if metadata is None else json.dumps(metadata),
            history_step=None,
            ttl_seconds=None,
            run_id=run.id if run else None,
            user_id=self.user.id,
            distributed_id=None,
            commit_hash="",
            wanted_aliases="[]",
        )
        return artifacts.create(self.db, new)

    def _entry(self, artifact: Artifact, path: str, data: bytes) -> contents.NewEntry:
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        stored = contents.announce_object(self.db, artifact.id, artifact.collection_id, digest, digest)
        contents.set_object_blob(self.db, stored.id, self.services.blobs.add(data).id, len(data))
        return path, digest, len(data), stored.id, None


def checkpoint(epoch: int, value: float | None, best: float | None = None, **more: Any) -> dict[str, Any]:
    """Metadata as the callback writes it."""
    return {
        "monitor": "val_loss",
        "mode": "min",
        "value": value,
        "best": best,
        "epoch": epoch,
        "batch": None,
        "step": 1000 * (epoch + 1),
        "format": "keras",
        "path": "digits.keras",
        "keras_version": "3.12.0",
        "backend": "jax",
        "saved_at": "2026-01-01T00:00:00+00:00",
        "logs": {"loss": 0.5, "val_loss": value},
        **more,
    }


@pytest.fixture(scope="session")
def pages_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the server whose pages are tested."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def pages_server(pages_data: Path) -> Iterator[Server]:
    """The server whose pages are tested."""
    with Server(pages_data) as server:
        yield server


@pytest.fixture(scope="session")
def shelf(pages_server: Server, pages_data: Path) -> Iterator[Shelf]:
    """Puts data into that server."""
    with open_services(pages_data) as services:
        yield Shelf(services, pages_server.entity)


@pytest.fixture
def stranger(pages_server: Server) -> Iterator[httpx.Client]:
    """A browser that is not logged in."""
    with web.Client(base_url=pages_server.url, headers={"Accept": "text/html"}) as client:
        yield client


@pytest.fixture
def visitor(stranger: httpx.Client, pages_server: Server) -> httpx.Client:
    """A browser that is logged in."""
    answer = stranger.post("/login", data={"key": pages_server.api_key})
    assert answer.status_code == 303
    return stranger
