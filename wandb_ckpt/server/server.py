"""Starts and stops the server: in a thread for tests and notebooks, in the foreground for the command line."""

from __future__ import annotations

import contextlib
import errno
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import uvicorn

from wandb_ckpt.server.app import create_app
from wandb_ckpt.server.errors import PortInUseError, ServerError
from wandb_ckpt.server.http.keys import DEFAULT_USER
from wandb_ckpt.server.http.services import Services, UnhandledRequest, open_services
from wandb_ckpt.server.http.upload_receiver import DirectProtocol
from wandb_ckpt.server.versions.sweep import sweeping

__all__ = ["Server", "ServerInfo", "serve"]

_STOP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What `serve` reports when the server has started.

    Attributes:
        url: The address, for example "http://127.0.0.1:8080".
        data_dir: The folder with all its data.
        entity: The default user, which is also the default entity.
        new_api_key: The API key of the default user, on the first start on this folder. It can't be shown again.
        any_key: Whether any well-formed key is accepted, as a user with that name.
    """

    url: str
    data_dir: Path
    entity: str
    new_api_key: str | None
    any_key: bool


class Server:
    """An embedded W&B server for tests and notebooks: `with Server() as server`.

    Args:
        data_dir: The folder for all data. By default a temporary folder that is removed at the end.
        host: The address to listen on.
        port: The port to listen on. 0 takes a free one.
        any_key: Accept any API key of 40 or more characters, as a user with that name. For tests.

    Example:
        >>> with Server() as server:
        ...     print(server.url.startswith("http://127.0.0.1:"), len(server.api_key) >= 40)
        True True
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        any_key: bool = False,
    ) -> None:
        self._wanted_dir = None if data_dir is None else Path(data_dir).absolute()
        self._host = host
        self._port = port
        self._any_key = any_key
        self._running: contextlib.ExitStack | None = None
        self._services: Services | None = None
        self._url = ""
        self._api_key = ""

    def start(self) -> Server:
        """Start, and return when the server accepts connections. Does nothing if it is started.

        Raises:
            PortInUseError: The port is in use.
            DataFolderError: The folder can't be used.
        """
        if self._running is None:
            with contextlib.ExitStack() as stack:
                self._start(stack)
                self._running = stack.pop_all()
        return self

    def _start(self, stack: contextlib.ExitStack) -> None:
        listener = stack.enter_context(listen(self._host, self._port))
        # After a restart, clients find the server at the same address.
        self._port = listener.getsockname()[1]
        self._url = url_of(self._host, self._port)
        data_dir = self._wanted_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="wandb-ckpt-"))
        self._services = stack.enter_context(open_services(Path(data_dir), any_key=self._any_key))
        # Only digests of keys are stored. So an older key can't be shown, and each start creates one.
        self._api_key = self._services.keys.create("made by Server()")
        stack.enter_context(sweeping(self._services.db, self._services.blobs))
        stack.enter_context(_running_in_thread(self._services, self._host, listener))

    def stop(self) -> None:
        """Stop when the running requests are finished. Does nothing if the server is stopped."""
        if self._running is not None:
            running, self._running = self._running, None
            running.close()

    def __enter__(self) -> Server:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """The address, with the real port."""
        return self._url

    @property
    def api_key(self) -> str:
        """An API key of the default user."""
        return self._api_key

    @property
    def entity(self) -> str:
        """The entity of the default user."""
        return DEFAULT_USER

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that point wandb at this server."""
        return {"WANDB_BASE_URL": self._url, "WANDB_API_KEY": self._api_key}

    @property
    def unhandled(self) -> tuple[UnhandledRequest, ...]:
        """The requests that the server did not know, oldest first. In tests it should be empty."""
        return self._services.unhandled.all() if self._services else ()

    def clear_unhandled(self) -> None:
        """Clear `unhandled`."""
        if self._services:
            self._services.unhandled.clear()


def serve(
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    any_key: bool = False,
    on_start: Callable[[ServerInfo], None] | None = None,
) -> None:
    """Serve in the foreground until SIGINT or SIGTERM. Running requests are finished first.

    Args:
        data_dir: The folder for all data. It is created if need be.
        host: The address to listen on.
        port: The port to listen on. 0 takes a free one.
        any_key: Accept any API key of 40 or more characters, as a user with that name. For tests.
        on_start: Called once when the server listens.

    Raises:
        PortInUseError: The port is in use.
        DataFolderError: The folder can't be used.
    """
    with listen(host, port) as listener, open_services(data_dir, any_key=any_key) as services:
        key = services.keys.first()
        if on_start:
            url = url_of(host, listener.getsockname()[1])
            on_start(ServerInfo(url, data_dir, DEFAULT_USER, key, any_key))
        with sweeping(services.db, services.blobs):
            _uvicorn(services, host).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        PortInUseError: The port is in use, or this machine does not have the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Without this option, old connections block the port for a minute after a stop.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        why = "is in use already" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        raise PortInUseError(f"{host}:{port} {why}. Choose another port, or 0 for a free one.") from error
    return listener


def url_of(host: str, port: int) -> str:
    """Return the address for clients on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 (translated away)
    return f"http://[{shown}]:{port}" if ":" in shown and not shown.startswith("[") else f"http://{shown}:{port}"


def _uvicorn(services: Services, host: str) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(services, host),
        # A library leaves the logging of the process as it is.
        log_config=None,
        access_log=False,
        lifespan="off",
        # Based on h11. uvicorn's default, httptools, is a little faster, but accepts endless headers.
        http=DirectProtocol,
        ws="none",
        # Addresses in answers follow the Host header. A forwarding header must not change them.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        # wandb-core keeps connections for minutes. A connection that is closed at the moment of reuse costs a retry.
        timeout_keep_alive=90,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def _running_in_thread(services: Services, host: str, listener: socket.socket) -> Iterator[None]:
    server = _uvicorn(services, host)
    # The socket listens already, so an early client waits and is not refused.
    thread = threading.Thread(target=server.run, args=([listener],), name="wandb-ckpt-server", daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield
    finally:
        server.should_exit = True
        thread.join()


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    while not server.started:
        if not thread.is_alive():
            raise ServerError("The thread of the server ended at its start. See the log.")
        time.sleep(0.005)
