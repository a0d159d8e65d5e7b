"""Uploads, byte by byte: bodies that come in whatever portions, stop, go on, are followed by the next request."""

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import web
from uploader import Uploader, md5

from wandb_ckpt.server import Server

MIB = 2**20
BIG = random.Random(1).randbytes(5 * MIB + 1234)


class Line:
    """A connection on which requests are written by hand."""

    def __init__(self, url: str) -> None:
        self.url = httpx.URL(url)
        self.socket = socket.create_connection((self.url.host, self.url.port))
        self.read = self.socket.makefile("rb")

    def begin(self, *headers: str) -> None:
        """The head of an upload."""
        lines = [f"PUT {self.url.raw_path.decode()} HTTP/1.1", f"Host: {self.url.host}", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())

    def answer(self) -> tuple[int, str]:
        """The status and the body of the next answer."""
        status = int(self.read.readline().split()[1])
        headers = dict(line.decode().lower().split(": ", 1) for line in iter(self.read.readline, b"\r\n"))
        return status, self.read.read(int(headers.get("content-length", 0))).decode()

    def close(self) -> None:
        """Hang up."""
        self.read.close()
        self.socket.close()

    def ask_again(self) -> tuple[int, str]:
        """Whether the connection still serves."""
        self.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return self.answer()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the test's own, which waits for running requests as long as a busy machine needs."""
    monkeypatch.setattr("wandb_ckpt.server.server._STOP_SECONDS", 250)
    with Server(tmp_path / "data") as server:
        yield server
        assert server.unhandled == ()


@pytest.fixture
def uploader(own: Server) -> Iterator[Uploader]:
    """The protocol by hand."""
    with web.Client(base_url=own.url, auth=("api", own.api_key)) as http:
        yield Uploader(http, "p")


@pytest.fixture
def announce(uploader: Uploader) -> Iterator[Callable[[bytes], Line]]:
    """Opens a connection to where the given bytes are expected."""
    with contextlib.ExitStack() as lines:

        def announce(data: bytes) -> Line:
            artifact = uploader.create({"f": data})
            url = uploader.announce(artifact["id"], {"f": data})[0]["uploadUrl"]
            return lines.enter_context(contextlib.closing(Line(url)))

        yield announce


def stored(folder: Path) -> list[bytes]:
    """The bytes of all files that are in the data folder for good, and those that are about to come."""
    found = []
    for path in (folder / "data" / "blobs").glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # what is about to come may go, or to its place, at any moment
            found.append(path.read_bytes())
    return found


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, len(BIG)])
def test_bytes_arrive_as_they_were_sent(announce: Callable[[bytes], Line], tmp_path: Path, size: int) -> None:
    """Whatever portions a body comes in, the same bytes are stored, and the connection serves the next request."""
    data, chance = BIG[:size], random.Random(size)
    line = announce(data)
    line.begin(f"Content-Length: {size}")
    cuts = sorted(chance.randrange(size) for _ in range(min(size, 6)))
    for begin, end in zip([0, *cuts], [*cuts, size], strict=True):
        line.socket.sendall(data[begin:end])
        time.sleep(chance.choice([0, 0.02]))
    assert line.answer() == (200, "")
    assert stored(tmp_path) == [data]
    assert line.ask_again() == (200, "ok")


def test_a_request_right_behind_a_body_is_answered(announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """What is sent along with the end of a body is the next request, upload or not, and is answered in turn."""
    line = announce(BIG)
    line.begin(f"Content-Length: {len(BIG)}")
    line.socket.sendall(BIG + b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    line.begin(f"Content-Length: {len(BIG)}")
    line.socket.sendall(BIG)
    assert [line.answer(), line.answer(), line.answer()] == [(200, ""), (200, "ok"), (200, "")]
    assert stored(tmp_path) == [BIG]


def test_a_connection_ends_where_the_client_wants_it(announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """After `Connection: close` the answer is the last thing on the connection."""
    line = announce(BIG)
    line.begin(f"Content-Length: {len(BIG)}", "Connection: close")
    line.socket.sendall(BIG)
    assert (line.answer(), line.read.read(), stored(tmp_path)) == ((200, ""), b"", [BIG])


def test_other_bytes_are_refused(announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """A body whose MD5 is another is refused and gone; on the same connection the right one is taken."""
    line = announce(BIG)
    wrong = BIG[:-1] + bytes([BIG[-1] ^ 1])
    line.begin(f"Content-Length: {len(wrong)}")
    line.socket.sendall(wrong)
    status, text = line.answer()
    assert (status, md5(wrong) in text, stored(tmp_path)) == (400, True, [])
    line.begin(f"Content-Length: {len(BIG)}")
    line.socket.sendall(BIG)
    assert line.answer() == (200, "")


def test_an_address_without_permission_takes_no_body(announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """An upload that is not signed, or under a foreign host name, is refused before its bytes; they go nowhere."""
    for wrong in ({"host": "evil.example"}, {"params": {"exp": "9999999999", "sig": "0" * 64}}):
        line = announce(BIG)
        line.url = line.url.copy_with(**wrong)
        line.begin(f"Content-Length: {len(BIG)}", "Expect: 100-continue")
        assert line.answer()[0] == 403
    assert stored(tmp_path) == []


def test_a_client_may_wait_for_permission(announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """`Expect: 100-continue` is answered with 100, once, before the body is sent."""
    line = announce(BIG)
    line.begin(f"Content-Length: {len(BIG)}", "Expect: 100-continue")
    assert line.answer() == (100, "")
    line.socket.sendall(BIG)
    assert (line.answer(), stored(tmp_path), line.ask_again()) == ((200, ""), [BIG], (200, "ok"))


@pytest.mark.parametrize("beside", [[], ["Content-Length: 3000000"]])
def test_a_body_in_chunks_is_taken(announce: Callable[[bytes], Line], tmp_path: Path, beside: list[str]) -> None:
    """A body in chunks needs no length; one beside it, though a wrong one, is void."""
    line = announce(BIG)
    line.begin("Transfer-Encoding: chunked", *beside)
    for place in range(0, len(BIG), 700_000):
        piece = BIG[place : place + 700_000]
        line.socket.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    line.socket.sendall(b"0\r\n\r\n")
    assert (line.answer(), stored(tmp_path), line.ask_again()) == ((200, ""), [BIG], (200, "ok"))


def test_a_client_that_goes_leaves_nothing(announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """Connections that end in the middle of a body, orderly or not, leave no bytes and count for nothing."""
    for linger in (b"\0" * 8, b"\1\0\0\0" + b"\0" * 4):
        line = announce(BIG)
        line.begin(f"Content-Length: {len(BIG)}")
        line.socket.sendall(BIG[: 3 * MIB])
        _wait_until(lambda: any(len(data) >= MIB for data in stored(tmp_path)))
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        line.close()
        _wait_until(lambda: not stored(tmp_path))


def test_slow_clients_hold_nobody_up(announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """While fifty uploads stand still in the middle, others are taken; the slow ones are complete when they go on."""
    data = BIG[: MIB + MIB // 2]
    slow = [announce(data) for _ in range(50)]
    for line in slow:
        line.begin(f"Content-Length: {len(data)}")
        line.socket.sendall(data[: MIB + 5])
    quick = announce(BIG)
    quick.begin(f"Content-Length: {len(BIG)}")
    quick.socket.sendall(BIG)
    assert quick.answer() == (200, "")
    for line in slow:
        line.socket.sendall(data[MIB + 5 :])
        assert line.answer() == (200, "")
    assert sorted(stored(tmp_path)) == sorted([BIG, data])


def test_a_stop_waits_for_a_running_upload(own: Server, announce: Callable[[bytes], Line], tmp_path: Path) -> None:
    """A server that is stopped in the middle of a body takes the rest, answers, and only then is gone."""
    line = announce(BIG)
    line.begin(f"Content-Length: {len(BIG)}")
    line.socket.sendall(BIG[: 2 * MIB])
    _wait_until(lambda: any(stored(tmp_path)))
    stop = threading.Thread(target=own.stop)
    stop.start()
    _wait_until(lambda: not _listens(own))
    line.socket.sendall(BIG[2 * MIB :])
    assert (line.answer(), line.read.read()) == ((200, ""), b"")
    stop.join()
    assert stored(tmp_path) == [BIG]


def test_a_big_file_of_the_client_arrives(log: Any, start_run: Any, api: Any, tmp_path: Path) -> None:
    """A file of many pieces, logged with wandb, comes back the same."""
    data = os.urandom(30 * MIB + 7)
    with start_run() as run:
        logged = log(run, "m", {"f": data})
    path = api.artifact(logged.qualified_name).download(root=str(tmp_path / "back"))
    assert Path(path, "f").read_bytes() == data


def _listens(server: Server) -> bool:
    url = httpx.URL(server.url)
    with contextlib.suppress(OSError), socket.create_connection((url.host, url.port)):
        return True
    return False


def _wait_until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.05)
