"""One real server for all tests of the client, and the real wandb client pointed at it."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from proxy import Proxy
from servers import OwnServer

# The machine that tests run on may be busy: nothing is asserted of time.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.update(WANDB_ERROR_REPORTING="false", WANDB_CONSOLE="off", WANDB_SILENT="true")
os.environ.update(WANDB_INIT_TIMEOUT="250", WANDB_X_SERVICE_WAIT="250")


def pytest_configure(config: pytest.Config) -> None:
    """Gives each of several processes few tests at a time: they take from milliseconds to minutes."""
    if hasattr(config.option, "maxschedchunk"):
        config.option.maxschedchunk = 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, so that no process works alone on it in the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def wandb_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps everything that wandb writes out of the home folder."""
    home = tmp_path_factory.mktemp("wandb_home")
    for name in ("CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        os.environ[f"WANDB_{name}"] = str(home / name.lower())
    os.environ["NETRC"] = str(home / "netrc")
    return home


@pytest.fixture(scope="session")
def server(wandb_home: Path) -> Iterator[Any]:
    """The embedded server, and the environment that points wandb at it."""
    from wandb_ckpt.server import Server

    with Server() as server:
        os.environ.update(server.environ)
        yield server
        import wandb

        wandb.teardown()


@pytest.fixture
def project(server: Any) -> Iterator[str]:
    """A project of the test's own; an operation that the server does not know fails the test."""
    server.clear_unhandled()
    yield f"p{uuid.uuid4().hex[:10]}"
    assert server.unhandled == ()


@pytest.fixture
def start_run(project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Starts runs in the test's project, and finishes what the test leaves open; `fit` ends when all is published."""
    import wandb

    from wandb_ckpt.publishing import publisher, retention

    monkeypatch.setattr(publisher, "UPLOAD_PATIENCE", 250.0)
    monkeypatch.setattr(retention, "PATIENCE", 250.0)

    def start(**settings: Any) -> Any:
        return wandb.init(**{"project": project, "dir": tmp_path, **settings})

    yield start
    if wandb.run is not None:
        wandb.run.finish()


@pytest.fixture
def proxy(server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the server that can refuse what it is told to; this process's wandb goes through it."""
    import wandb

    with Proxy(server.url) as proxy:
        wandb.teardown()
        monkeypatch.setenv("WANDB_BASE_URL", proxy.url)
        yield proxy
        wandb.teardown()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths of a test end in its own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def port() -> Iterator[int]:
    """A port for a server that comes and goes: nothing answers there meanwhile, and nobody else is given it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server's own socket has
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def own_server(wandb_home: Path, tmp_path: Path, port: int) -> Iterator[OwnServer]:
    """A server that a test may kill."""
    server = OwnServer(tmp_path / "server-data", port)
    yield server
    server.kill()
