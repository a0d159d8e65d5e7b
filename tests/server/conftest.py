"""The real client in many hands: helpers that log, fetch and look at the embedded server."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import web


@pytest.fixture
def api(server: Any) -> Any:
    """The public API of the client, pointed at the server."""
    import wandb

    return wandb.Api(overrides={"base_url": server.url}, api_key=server.api_key)


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Any]:
    """Logs a version with the given files (name to bytes) through a run, and waits for it."""
    import wandb

    def log(
        run: Any, name: str, files: dict[str, bytes], aliases: Any = (), kind: str = "model", **facts: Any
    ) -> Any:
        artifact = wandb.Artifact(name, kind, **facts)
        for path, content in files.items():
            with artifact.new_file(path, mode="wb") as file:
                file.write(content)
        return run.log_artifact(artifact, aliases=list(aliases)).wait()

    return log


@pytest.fixture
def http(server: Any) -> Iterator[httpx.Client]:
    """Plain HTTP with the key of the default user."""
    with web.Client(base_url=server.url, auth=("api", server.api_key)) as client:
        yield client


@pytest.fixture
def graphql(http: httpx.Client) -> Callable[..., Any]:
    """Sends one GraphQL document; returns its data, or raises with the messages of its errors."""

    def send(query: str, **variables: Any) -> Any:
        answer = http.post("/graphql", json={"query": query, "variables": variables}).json()
        if answer.get("errors"):
            raise ValueError("; ".join(error["message"] for error in answer["errors"]))
        return answer["data"]

    return send


@pytest.fixture(scope="session")
def any_key_server(wandb_home: Path) -> Iterator[Any]:
    """A server that lets any key in."""
    from wandb_ckpt.server import Server

    with Server(any_key=True) as server:
        yield server


@pytest.fixture
def new_key() -> str:
    """A key that nobody has used."""
    return uuid.uuid4().hex + uuid.uuid4().hex[:16]
