"""Stands before the server as a company's proxy or a missing permission does: refuses what it is told to."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import httpx

_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "accept-encoding", "date", "server"}


class Proxy:
    """Forwards everything to a server but the GraphQL operations in `refused`, which are answered as W&B does: 403.

    What an operation has in `once` is called once, and says what becomes of the next answer to it: `"refused"`, or
    `"cut"` off midway. What is in `before_download` is called once, before the next file is handed out. With a
    `status`, everything is answered with that. With a `pace`, each kB of an upload takes so many seconds; `uploading`
    is set when one of an artifact begins. `uploads` has the path and the size of everything that was uploaded.

    Args:
        target: The URL of the server.
    """

    def __init__(self, target: str) -> None:
        self.refused: set[str] = set()
        self.once: dict[str, Callable[[], Literal["refused", "cut"]]] = {}
        self.before_download: list[Callable[[], None]] = []
        self.status: int | None = None
        self.pace = 0.0
        self.uploading = threading.Event()
        self.uploads: list[tuple[str, int]] = []
        self._client = httpx.Client(base_url=target, timeout=None)
        proxy = self

        class Forward(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                body = self._body(int(self.headers.get("Content-Length") or 0))
                once = [proxy.once.pop(name)() for name in [*proxy.once] if f"{name}(".encode() in body]
                if proxy.status is not None:
                    self._answer(proxy.status, {"Content-Type": "application/json"}, b"{}")
                elif "refused" in once or any(f"{name}(".encode() in body for name in proxy.refused):
                    self._answer(
                        403, {"Content-Type": "application/json"}, b'{"errors":[{"message":"permission denied"}]}'
                    )
                else:
                    if self.command == "PUT":
                        proxy.uploads.append((self.path, len(body)))
                    while proxy.before_download and self.command == "GET":
                        proxy.before_download.pop()()
                    sent = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                    answer = proxy._client.request(self.command, self.path, headers=sent, content=body)
                    self._answer(answer.status_code, dict(answer.headers), answer.content, is_cut="cut" in once)

            def _body(self, length: int) -> bytes:
                if self.command != "PUT" or not proxy.pace:
                    return self.rfile.read(length)
                if "wandb_artifacts" in self.path:
                    proxy.uploading.set()
                pieces = []
                for start in range(0, length, 1000):
                    time.sleep(proxy.pace)
                    pieces.append(self.rfile.read(min(1000, length - start)))
                return b"".join(pieces)

            do_GET = do_POST = do_PUT = do_HEAD = _forward  # noqa: N815 - http.server's names

            def _answer(self, status: int, headers: dict[str, str], body: bytes, *, is_cut: bool = False) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if is_cut else body)
                self.close_connection |= is_cut

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()
