"""How fast the embedded server takes and gives bytes and lists versions, beside `cp` and a static-file server.

Run it as a script: `python benchmarks/server_throughput.py [--mib 400] [--rounds 5] [--versions 10000]`. Compare the
ratios, not the numbers, and those only at the same load. Each thing is done in every round, with new bytes and after
a pause, and the median is told: some virtual machines take freed memory back within a second, and a copy or an upload
that gets it anew waits longer for memory than for the disk.

Two virtual cores, calm (load 0.8), 400 MiB, medians of five rounds in MiB/s: MD5 alone 657, `cp` and fsync 1204;
PUT 401, which is about the time of these two one after the other, and the client's upload, which hashes once more,
285. The first GET after an upload has to read the disk, 377 (a cold `read` of the file 410 and more), the next ones
1319, as a static-file server's 1239. A page of 1000 of 10,000 versions takes 0.33 s. Before uploads went past the
parser (`server/http/direct.py`), PUT took half of what it takes now, at the same load. A file of 2200 MiB, which the
client offers in parts, took 28 and 33 s in parts, 8 and 10 s in one.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

_CHUNK = 2**20
_PAUSE = 3
_CLIENT = """
import sys, time, wandb
with wandb.init(project="bench") as run:
    artifact = wandb.Artifact("c", "model")
    artifact.add_file(sys.argv[1], policy="immutable", skip_cache=True)
    begin = time.perf_counter()
    run.log_artifact(artifact).wait()
    print(time.perf_counter() - begin)
"""
_CREATE = """mutation ($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id } } }"""
_FILES = """mutation ($i: CreateArtifactFilesInput!) { createArtifactFiles(input: $i) {
  files { edges { node { uploadUrl uploadHeaders } } } } }"""
_MANIFEST = """mutation ($i: CreateArtifactManifestInput!) { createArtifactManifest(input: $i) {
  artifactManifest { file { uploadUrl } } } }"""
_COMMIT = """mutation ($i: CommitArtifactInput!) { commitArtifact(input: $i) { artifact {
  files { edges { node { directUrl } } } } } }"""
_LIST = """query ($after: String, $first: Int) { project(name: "bench") { artifactCollection(name: "m") {
  artifacts(first: $first, after: $after) { totalCount pageInfo { endCursor hasNextPage } edges { version node {
    id versionIndex description metadata size digest fileCount createdAt tags { id name } artifactType { name }
    artifactSequence { name project { id name entity { name } } }
    aliases { id alias artifactCollection { name project { id name entity { name } } } } } } } } } }"""


def main() -> None:
    """Measure, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mib", type=int, default=400, help="size of the file")
    arguments.add_argument("--rounds", type=int, default=5, help="how often all is done")
    arguments.add_argument(
        "--versions", type=int, default=10_000, help="length of the collection to list; 0 for none"
    )
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_DIR")) as folder:
        _bytes(Path(folder), options.mib, options.rounds)
        if options.versions:
            _listing(Path(folder), options.versions)


# Bytes


def _bytes(folder: Path, mib: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {}
    with _static_server(folder) as static, _server(folder / "data") as (url, key):
        for _ in range(rounds):
            for what, taken in _round(folder, mib, static, url, key):
                seconds.setdefault(what, []).append(taken)
    for what, taken in seconds.items():
        _report(what, mib, statistics.median(taken))
    print(f"load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _round(folder: Path, mib: int, static: str, url: str, key: str) -> Iterator[tuple[str, float]]:
    source = folder / "source"
    _fill_file(source, mib)
    yield "md5 of the file in one thread", _cold(lambda: _md5(source))
    yield "cp and fsync", _cold(lambda: _copy(source, folder / "copy"))
    (folder / "copy").unlink()
    yield "static-file server: GET", _cold(lambda: _get(f"{static}/source"))
    send = _sender(url, key)
    artifact = send(_CREATE, i=_artifact(_version_digest({"f": source})))["createArtifact"]["artifact"]["id"]
    upload = _announce(send, artifact, source)
    yield "embedded server: PUT", _cold(lambda: _put(upload, source))
    direct = _commit(send, artifact, {"f": source})
    yield "embedded server: first GET, from the disk", _cold(lambda: _get(direct))
    yield "embedded server: GET", _cold(lambda: _get(direct))
    _fill_file(source, mib)
    yield "embedded server: the client's upload", _logged(source, url, key)


def _fill_file(path: Path, mib: int) -> None:
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(_CHUNK))
        os.fsync(file.fileno())


def _logged(source: Path, url: str, key: str) -> float:
    """From log_artifact() to the end of wait(): the client hashed the file before, in add_file()."""
    environ = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environ |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": key, "WANDB_DIR": str(source.parent)}
    environ |= {"WANDB_CACHE_DIR": str(source.parent), "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-c", _CLIENT, str(source)]
    return float(subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _cold(action: Callable[[], object]) -> float:
    time.sleep(_PAUSE)
    return _seconds(action)


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _best(action: Callable[[], object]) -> float:
    return min(_seconds(action) for _ in range(3))


def _report(what: str, mib: int, seconds: float) -> None:
    print(f"{what:42} {mib / seconds:9.0f} MiB/s   {seconds:7.2f} s")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _get(url: str) -> None:
    with urlopen(url) as answer:
        buffer = bytearray(_CHUNK)
        while answer.readinto(buffer):
            pass


def _put(url: str, source: Path) -> None:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, blocksize=_CHUNK)
    with source.open("rb") as file:
        headers = {"Content-Length": str(source.stat().st_size)}
        connection.request("PUT", f"{place.path}?{place.query}", file, headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urlopen(url).close()
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} does not answer")


@contextmanager
def _static_server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), "8917"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for("http://127.0.0.1:8917")
            yield "http://127.0.0.1:8917"
        finally:
            process.terminate()


# The embedded server, in a process of its own


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, str]]:
    script = (
        "import sys, pathlib, wandb_ckpt.server as s;"
        "s.serve(pathlib.Path(sys.argv[1]), port=0, any_key=True, on_start=lambda i: print(i.url, flush=True))"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), "benchmark" * 6
        finally:
            process.terminate()


def _sender(url: str, key: str) -> Callable[..., dict[str, dict[str, dict[str, str]]]]:
    token = base64.b64encode(f"api:{key}".encode()).decode()

    def send(query: str, **variables: object) -> dict[str, dict[str, dict[str, str]]]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        with urlopen(Request(f"{url}/graphql", body, {"Authorization": f"Basic {token}"})) as answer:
            found = json.load(answer)
        assert not found.get("errors"), found
        return found["data"]

    return send


def _artifact(digest: str) -> dict[str, object]:
    return {
        "artifactTypeName": "model",
        "artifactCollectionName": "m",
        "projectName": "bench",
        "digest": digest,
        "metadata": '{"val_loss": 0.5, "epoch": 3}',
    }


def _version_digest(files: dict[str, Path]) -> str:
    hasher = hashlib.md5(b"wandb-artifact-manifest-v1\n")
    for path in sorted(files):
        hasher.update(f"{path}:{_md5(files[path])}\n".encode())
    return hasher.hexdigest()


def _announce(send: Callable[..., dict], artifact: str, source: Path) -> str:
    file = {"artifactID": artifact, "name": "f", "md5": _md5(source)}
    return send(_FILES, i={"artifactFiles": [file]})["createArtifactFiles"]["files"]["edges"][0]["node"]["uploadUrl"]


def _commit(send: Callable[..., dict], artifact: str, files: dict[str, Path]) -> str:
    contents = {path: {"digest": _md5(file), "size": file.stat().st_size} for path, file in files.items()}
    document = json.dumps({"version": 1, "contents": contents}).encode()
    digest = base64.b64encode(hashlib.md5(document).digest()).decode()
    made = send(_MANIFEST, i={"artifactID": artifact, "name": "wandb_manifest.json", "digest": digest})
    url = made["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
    with urlopen(Request(url, document, method="PUT")):
        pass
    committed = send(_COMMIT, i={"artifactID": artifact})["commitArtifact"]["artifact"]
    return committed["files"]["edges"][0]["node"]["directUrl"]


# Listing


def _listing(folder: Path, versions: int) -> None:
    _fill(folder / "listing", versions)
    with _server(folder / "listing") as (url, key):
        send = _sender(url, key)
        for first in (50, 1000):
            send(_LIST, first=first)
            print(f"first page of {first} of {versions} versions {_best(lambda: send(_LIST, first=first)):14.3f} s")  # noqa: B023
        print(f"all {versions} versions in pages of 1000 {_seconds(lambda: _all(send)):14.3f} s")


def _fill(folder: Path, versions: int) -> None:
    """Put versions in through the store: over the protocol it would be the benchmark of another thing."""
    from wandb_ckpt.server.http.services import open_services
    from wandb_ckpt.server.store import accounts, artifacts, collections, projects

    with open_services(folder, any_key=True) as services, services.db.atomic():
        user = accounts.get_or_create_user(services.db, "benchmark" * 6)
        project = projects.get_or_create(services.db, user.id, "bench")[0]
        kind = projects.get_or_create_type(services.db, project.id, "model")
        sequence = collections.create(services.db, project.id, kind.id, "SEQUENCE", "m")
        for number in range(versions):
            new = artifacts.NewArtifact(
                sequence.id, str(number), "MANIFEST_MD5", "d", '{"val_loss": 0.5}', None, None, None, user.id, None,
                "0" * 40, "[]",
            )  # fmt: skip
            made = artifacts.create(services.db, new)
            artifacts.mark_committed(
                services.db, made.id, digest=str(number), size=1, file_count=1, manifest_blob="0" * 64
            )
            place = collections.add_membership(services.db, sequence.id, made.id)
            for alias in ("latest", "best", f"epoch_{number}"):
                collections.move_alias(services.db, place, alias)


def _all(send: Callable[..., dict]) -> None:
    after = None
    while True:
        page = send(_LIST, first=1000, after=after)["project"]["artifactCollection"]["artifacts"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return


if __name__ == "__main__":
    main()
