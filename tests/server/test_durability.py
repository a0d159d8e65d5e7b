"""Durability: what happens when the server is killed, the disk is full, or many write at once."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import web
from uploader import GraphQLError, Uploader

from training import stored
from wandb_ckpt.server import Server, collect_garbage
from wandb_ckpt.server.versions.blobs import Blobs

KEY = "durability" * 5
SCRIPT = """
import resource, sys
from pathlib import Path
from wandb_ckpt.server import serve
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
say = lambda info: print("ready", flush=True)
serve(Path(sys.argv[1]), port=int(sys.argv[2]), any_key=True, on_start=say)
"""


class Process:
    """A server in a process of its own, on a port that stays the same over restarts."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, largest_file: int = 0) -> None:
        """Start, and wait until it listens."""
        command = [sys.executable, "-c", SCRIPT, str(self.data_dir), str(self.port), str(largest_file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout
        with self.process.stdout as output:
            assert output.readline() == b"ready\n"

    def kill(self, how: int = signal.SIGKILL) -> int:
        """End it. Returns its exit code."""
        assert self.process
        self.process.send_signal(how)
        return self.process.wait()

    def client(self) -> httpx.Client:
        """Plain HTTP with a key."""
        return web.Client(base_url=self.url, auth=("api", KEY))


@pytest.fixture
def process(tmp_path: Path, port: int) -> Iterator[Process]:
    """A server process, ended at the end."""
    process = Process(tmp_path / "data", port)
    yield process
    if process.process and process.process.poll() is None:
        process.kill()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """A stopped and restarted server has users, keys, versions and aliases as before, on a new port too."""
    with Server(tmp_path / "data") as first:
        key = first.api_key
        with web.Client(base_url=first.url, auth=("api", key)) as http:
            Uploader(http, "p").log({"f": b"1"}, ("best",))
    with Server(tmp_path / "data") as second, web.Client(base_url=second.url, auth=("api", key)) as http:
        versions = Uploader(http, "p").versions()
    assert {name: (v["aliases"], v["files"]) for name, v in versions.items()} == {
        "v0": ({"latest", "best"}, {"f": b"1"})
    }


@pytest.mark.slow
def test_a_run_outlives_a_killed_server(process: Process, tmp_path: Path) -> None:
    """With the server killed in the middle of a run and started again, the client's retries complete everything."""
    process.start()
    script = f"""
import os, pathlib, time, wandb
with wandb.init(project="p", id="r", settings=wandb.Settings(base_url={process.url!r}, api_key={KEY!r})) as run:
    for number in range(6):
        run.log({{"n": number}})
        while True:
            artifact = wandb.Artifact("m", "model")
            with artifact.new_file("f", mode="wb") as file:
                file.write(bytes([number]) * 100_000)
            run.log_artifact(artifact, aliases=["best"])
            pathlib.Path({str(tmp_path)!r}, "step").write_text(str(number))
            try:
                artifact.wait()
                break
            except ValueError as error:  # the client does not ask again after an answer that is cut off (0.31)
                if "unexpected EOF" not in str(error):
                    raise
"""
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environ = {**inherited, "WANDB_BASE_URL": process.url, "WANDB_API_KEY": KEY, "WANDB_DIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environ) as client:
        while client.poll() is None and not (tmp_path / "step").exists():
            time.sleep(0.02)
        process.kill()
        time.sleep(1)
        process.start()
        assert client.wait() == 0
    with process.client() as http:
        uploader = Uploader(http, "p")
        versions = uploader.versions()
        rows = uploader.send('{ project(name: "p") { run(name: "r") { state history } } }')["project"]["run"]
    assert sorted(versions) == [f"v{number}" for number in range(6)]
    assert {version["files"]["f"][0] for version in versions.values()} == set(range(6))
    assert [name for name, version in versions.items() if "best" in version["aliases"]] == ["v5"]
    assert (rows["state"], len(rows["history"])) == ("finished", 6)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_versions(process: Process) -> None:
    """Killed again and again while versions are logged, the server has all acknowledged versions, no half one."""
    acknowledged: dict[str, bytes] = {}
    for attempt in range(5):
        process.start()
        is_one, ended = threading.Event(), threading.Event()
        thread = threading.Thread(target=_log_until_broken, args=(process, attempt, acknowledged, is_one, ended))
        thread.start()
        assert is_one.wait()
        time.sleep(0.06 * attempt)
        process.kill()
        ended.set()
        thread.join()
    process.start()
    collect_garbage(process.data_dir, pending_seconds=-10, blob_seconds=-10)
    with process.client() as http:
        versions = Uploader(http, "p").versions()
    found = {version["id"]: version["files"]["f"] for version in versions.values()}
    assert len(acknowledged) >= 5
    assert {key: found[key] for key in acknowledged} == acknowledged
    assert sorted(versions, key=lambda name: int(name[1:])) == [f"v{number}" for number in range(len(versions))]
    assert [name for name in versions if "latest" in versions[name]["aliases"]] == [f"v{len(versions) - 1}"]


def _log_until_broken(
    process: Process, attempt: int, acknowledged: dict[str, bytes], is_one: threading.Event, ended: threading.Event
) -> None:
    with process.client() as http:
        uploader = Uploader(http, "p")
        for number in range(1000):
            content = f"{attempt} {number} ".encode() * 5000
            try:
                acknowledged[uploader.log({"f": content})] = content
                is_one.set()
            except (httpx.HTTPError, GraphQLError, ValueError):
                assert ended.wait()
                return


def test_a_kill_in_the_middle_of_an_upload(process: Process) -> None:
    """With the server killed while a file arrives, nothing of it counts; sent again to the same address, it does."""
    process.start()
    files = {"f": os.urandom(8_000_000)}
    with process.client() as http:
        uploader = Uploader(http, "p")
        artifact = uploader.create(files)
        (node,) = uploader.announce(artifact["id"], files)
        uploader.put_manifest(artifact["id"], uploader.manifest(files)).raise_for_status()
    incoming = process.data_dir / "blobs" / "incoming"

    def half() -> Iterator[bytes]:
        yield files["f"][:5_000_000]
        while not any(path.stat().st_size for path in incoming.iterdir()):
            time.sleep(0.01)
        process.kill()
        yield files["f"][5_000_000:]

    headers = {"Content-Length": str(len(files["f"]))}
    with pytest.raises(httpx.HTTPError):
        web.put(node["uploadUrl"], content=half(), headers=headers)
    assert len(list(incoming.iterdir())) == 1
    process.start()
    with process.client() as http:
        uploader = Uploader(http, "p", births=uploader.births)
        with pytest.raises(GraphQLError, match="was not uploaded"):
            uploader.commit(artifact["id"])
        uploader.put(node, files["f"]).raise_for_status()
        uploader.commit(artifact["id"])
        assert uploader.versions()["v0"]["files"] == files


def test_a_stop_is_graceful(process: Process) -> None:
    """SIGTERM ends the server without an error, after the running requests."""
    process.start()
    with process.client() as http:
        Uploader(http, "p").log({"f": b"1"})
    assert process.kill(signal.SIGTERM) in {0, -signal.SIGTERM}


def test_a_full_disk_is_a_clear_error_and_loses_nothing(process: Process) -> None:
    """What can't be written is answered with 507 and the reason, is not counted, and can be sent again later."""
    process.start(largest_file=2_000_000)
    with process.client() as http:
        uploader = Uploader(http, "p")
        files = {"f": b"x" * 5_000_000}
        artifact = uploader.create(files)
        (node,) = uploader.announce(artifact["id"], files)
        answer = uploader.put(node, files["f"])
        assert (answer.status_code, "can't write" in answer.text) == (507, True)
        uploader.put_manifest(artifact["id"], uploader.manifest(files)).raise_for_status()
        with pytest.raises(GraphQLError, match="was not uploaded"):
            uploader.commit(artifact["id"])
    assert list((process.data_dir / "blobs" / "incoming").iterdir()) == []
    process.kill(signal.SIGTERM)
    process.start()
    with process.client() as http:
        uploader = Uploader(http, "p")
        uploader.put(node, files["f"]).raise_for_status()
        assert uploader.commit(artifact["id"])["versionIndex"] == 0


def test_a_connection_outlives_a_full_disk(process: Process) -> None:
    """A client that sends a file to its end hears then that the disk was full, and goes on with the connection."""
    process.start(largest_file=1_000_000)
    files = {"f": os.urandom(8_000_000)}
    with process.client() as client:
        uploader = Uploader(client, "p")
        (node,) = uploader.announce(uploader.create(files)["id"], files)
    line = http.client.HTTPConnection("127.0.0.1", process.port)
    with contextlib.closing(line):
        for _ in range(2):
            line.request("PUT", httpx.URL(node["uploadUrl"]).raw_path.decode(), files["f"])
            answer = line.getresponse()
            assert (answer.status, b"can't write" in answer.read(), line.sock is None) == (507, True, False)


@pytest.mark.parametrize("size", [1_000_001, 2_000_000])
def test_a_disk_that_is_full_within_the_last_piece(process: Process, size: int) -> None:
    """A write that takes only a part of what it is given is noticed: no blob is shorter than its file."""
    process.start(largest_file=1_000_000)
    with process.client() as http:
        uploader = Uploader(http, "p")
        files = {"f": b"x" * size}
        artifact = uploader.create(files)
        (node,) = uploader.announce(artifact["id"], files)
        assert uploader.put(node, files["f"]).status_code == 507
    assert list((process.data_dir / "blobs").glob("??/*")) == []


def test_a_full_disk_for_the_database(process: Process) -> None:
    """When even rows can't be written, requests fail with 507, reads go on, and nothing half is left."""
    process.start(largest_file=600_000)
    with process.client() as http:
        uploader = Uploader(http, "p")
        uploader.log({"f": b"1"})
        with pytest.raises((GraphQLError, httpx.HTTPStatusError), match="507"):
            log_until_full(uploader)
        names = sorted(uploader.versions(), key=lambda name: int(name[1:]))
        assert names == [f"v{number}" for number in range(len(names))]


def log_until_full(uploader: Uploader) -> None:
    """Log versions with much metadata, which goes into the database."""
    for number in range(1000):
        uploader.log({"f": str(number).encode()}, metadata='{"a": "%s"}' % ("x" * 30_000))


def test_threads_that_log_at_once_get_dense_versions(server: Any, project: str) -> None:
    """Many clients at once: every version has its own number without a gap, each alias is on one version."""
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            with web.Client(base_url=server.url, auth=("api", server.api_key)) as http:
                for number in range(8):
                    Uploader(http, project).log({"f": f"{worker} {number}".encode()}, ("best",))
        except BaseException as error:  # noqa: BLE001 (told to the test below)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with web.Client(base_url=server.url, auth=("api", server.api_key)) as http:
        versions = Uploader(http, project).versions()
    assert sorted(versions, key=lambda name: int(name[1:])) == [f"v{number}" for number in range(48)]
    for alias in ("best", "latest"):
        assert [name for name, version in versions.items() if alias in version["aliases"]] == ["v47"]


@pytest.mark.slow
def test_processes_that_log_at_once_get_dense_versions(server: Any, project: str, tmp_path: Path) -> None:
    """Two real clients at once: versions stay dense, aliases end on exactly one version."""
    script = f"""
import sys, wandb
with wandb.init(project={project!r}) as run:
    for number in range(5):
        artifact = wandb.Artifact("m", "model")
        with artifact.new_file("f") as file:
            file.write(sys.argv[1] + str(number))
        run.log_artifact(artifact, aliases=["best"])
"""
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    clients = [
        subprocess.Popen([sys.executable, "-c", script, name], env={**inherited, "WANDB_DIR": str(tmp_path)})
        for name in ("a", "b")
    ]
    assert [client.wait() for client in clients] == [0, 0]
    with web.Client(base_url=server.url, auth=("api", server.api_key)) as http:
        versions = Uploader(http, project).versions()
    assert sorted(versions, key=lambda name: int(name[1:])) == [f"v{number}" for number in range(10)]
    assert len({version["files"]["f"] for version in versions.values()}) == 10
    for alias in ("best", "latest"):
        assert sum(alias in version["aliases"] for version in versions.values()) == 1


def test_lost_bytes_are_told_and_mended(tmp_path: Path) -> None:
    """A blob that somebody took out of the folder is a 404 that says so; logging it again mends all versions."""
    with Server(tmp_path / "data") as server, web.Client(base_url=server.url, auth=("api", server.api_key)) as http:
        uploader = Uploader(http, "p")
        uploader.log({"f": b"precious"})
        stored(tmp_path / "data", b"precious").unlink()
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            uploader.versions()
        uploader.log({"f": b"precious", "g": b"more"})
        assert {name: version["files"]["f"] for name, version in uploader.versions().items()} == {
            "v0": b"precious",
            "v1": b"precious",
        }


def test_damaged_bytes_are_mended_by_the_next_upload(shelf: Any, tmp_path: Path) -> None:
    """A blob that the disk has damaged is replaced when the same bytes are uploaded again, under any name."""
    uploader, blobs = shelf
    uploader.log({"f": b"precious"})
    stored(tmp_path / "data", b"precious").write_bytes(b"preciouz")
    Uploader(uploader.http, "p", "other").log({"g": b"precious"})
    assert uploader.versions()["v0"]["files"] == {"f": b"precious"}
    assert blobs() == 5  # the bytes once; of either version the manifest as uploaded and as it is given


# Sweeps


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Uploader, Callable[[], int]]]:
    """A server of the test's own, and the number of blobs that it has."""
    with Server(tmp_path / "data") as server, web.Client(base_url=server.url, auth=("api", server.api_key)) as http:
        yield Uploader(http, "p"), lambda: len(list((tmp_path / "data" / "blobs").glob("??/*")))


DELETE = "mutation ($i: DeleteArtifactInput!) { deleteArtifact(input: $i) { artifact { id } } }"


def test_a_sweep_frees_what_only_deleted_versions_had(shelf: Any, tmp_path: Path) -> None:
    """Blobs of a deleted version go, those that another version has stay; young ones stay in any case."""
    uploader, blobs = shelf
    first = uploader.log({"shared": b"s" * 1000, "own": b"o" * 1000})
    uploader.log({"shared": b"s" * 1000, "other": b"x"})
    before = blobs()
    uploader.send(DELETE, i={"artifactID": first, "deleteAliases": True})
    assert collect_garbage(tmp_path / "data").blobs == 0
    freed = collect_garbage(tmp_path / "data", blob_seconds=0)
    assert freed.bytes >= 1000
    assert blobs() == before - freed.blobs
    assert uploader.versions()["v1"]["files"] == {"shared": b"s" * 1000, "other": b"x"}
    assert collect_garbage(tmp_path / "data", blob_seconds=0).blobs == 0


def test_a_sweep_does_not_take_what_an_upload_needs(shelf: Any, tmp_path: Path) -> None:
    """A file that the server said it had stays until the upload that relies on it is over, or abandoned."""
    uploader, _ = shelf
    first = uploader.log({"f": b"shared"})
    files = {"f": b"shared", "g": b"new"}
    pending = uploader.create(files)
    nodes = uploader.announce(pending["id"], files)
    assert [bool(node["uploadUrl"]) for node in nodes] == [False, True]
    uploader.send(DELETE, i={"artifactID": first, "deleteAliases": True})
    collect_garbage(tmp_path / "data", blob_seconds=0)
    uploader.put(nodes[1], b"new").raise_for_status()
    uploader.put_manifest(pending["id"], uploader.manifest(files)).raise_for_status()
    uploader.commit(pending["id"])
    assert uploader.versions()["v1"]["files"] == files


def test_bytes_that_come_again_are_young_again(tmp_path: Path) -> None:
    """Old bytes that nobody refers to stay when they were just uploaded again: their row is about to be written."""
    blobs = Blobs(tmp_path / "blobs")
    blob = blobs.add(b"shared")
    os.utime(blobs.path(blob.id), (0, 0))
    assert blobs.add(b"shared") == blob
    assert not blobs.remove(blob.id, older_than=60, unless=lambda: False)
    assert blobs.read(blob.id) == b"shared"


def test_bytes_that_come_while_they_are_swept_are_there_afterwards(tmp_path: Path) -> None:
    """An upload that meets the sweep of the same bytes waits for it, and stores them anew."""
    blobs = Blobs(tmp_path / "blobs")
    blob = blobs.add(b"shared")
    os.utime(blobs.path(blob.id), (0, 0))
    upload = threading.Thread(target=blobs.add, args=(b"shared",))

    def needed() -> bool:
        upload.start()
        upload.join(0.5)
        return False

    assert blobs.remove(blob.id, older_than=60, unless=needed)
    upload.join()
    assert blobs.read(blob.id) == b"shared"


def test_a_sweep_gives_abandoned_uploads_up(shelf: Any, tmp_path: Path) -> None:
    """An upload that was never finished goes with its files after a time; later requests for it are told so."""
    uploader, blobs = shelf
    files = {"f": b"half"}
    pending = uploader.create(files)
    uploader.put(uploader.announce(pending["id"], files)[0], b"half").raise_for_status()
    assert collect_garbage(tmp_path / "data").uploads == 0
    freed = collect_garbage(tmp_path / "data", pending_seconds=-10, blob_seconds=-10)
    assert (freed.uploads, freed.blobs, blobs()) == (1, 1, 0)
    with pytest.raises(GraphQLError, match="not found"):
        uploader.commit(pending["id"])


def test_a_sweep_deletes_expired_versions(shelf: Any, tmp_path: Path) -> None:
    """A version whose time to live is over is deleted by the next sweep."""
    uploader, _ = shelf
    uploader.log({"f": b"1"}, ttlDurationSeconds=1)
    uploader.log({"f": b"2"}, ttlDurationSeconds=1000)
    time.sleep(2.1)
    assert collect_garbage(tmp_path / "data").versions == 1
    assert list(uploader.versions()) == ["v1"]
