"""Uploads in parts: offered to who asks, continued after a restart, put together once."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
import web
from uploader import GraphQLError, Uploader

from wandb_ckpt.server import Server, collect_garbage

PARTS = [bytes([number]) * 7_000 for number in range(99)] + [b"c" * 7]
FILES = {"big": b"".join(PARTS)}
COMPLETE = """mutation ($a: ID!, $u: String!, $s: String!, $p: [UploadPartsInput!]!, $k: CompleteMultipartAction!) {
  completeMultipartUploadArtifact(input: {completeMultipartAction: $k, completedParts: $p, artifactID: $a,
  storagePath: $s, uploadID: $u}) { digest } }"""


def specs(parts: list[bytes]) -> list[dict[str, Any]]:
    """Parts as the client announces them."""
    return [{"partNumber": n, "hexMD5": hashlib.md5(data).hexdigest()} for n, data in enumerate(parts, 1)]


def complete(uploader: Uploader, artifact_id: str, node: dict[str, Any], etags: list[str], kind: str) -> str:
    """completeMultipartUploadArtifact, with the ETags as they were answered."""
    done = [{"partNumber": number, "hexMD5": etag} for number, etag in enumerate(etags, 1)]
    upload = node["uploadMultipartUrls"]["uploadID"]
    answer = uploader.send(COMPLETE, a=artifact_id, u=upload, s=node["storagePath"], p=done, k=kind)
    return answer["completeMultipartUploadArtifact"]["digest"]


def test_a_part_of_a_file_can_be_fetched(http: httpx.Client, project: str) -> None:
    """Downloads in parts: a range gives exactly its bytes, an open one the rest, one behind the end an error."""
    uploader = Uploader(http, project)
    version = uploader.log({"f": bytes(range(200))})
    query = "query ($i: ID!) { artifact(id: $i) { files { edges { node { directUrl } } } } }"
    url = uploader.send(query, i=version)["artifact"]["files"]["edges"][0]["node"]["directUrl"]
    for header, expected in (("bytes=10-19", bytes(range(10, 20))), ("bytes=190-", bytes(range(190, 200)))):
        answer = web.get(url, headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, expected)
    assert web.get(url, headers={"Range": "bytes=500-600"}).status_code == 416


def test_parts_are_offered_only_to_who_has_many(http: httpx.Client, project: str) -> None:
    """A client that announces few parts, or none, gets one address for the whole file; others one for each part."""
    uploader = Uploader(http, project)
    artifact = uploader.create(FILES)
    for few in (None, [], specs(PARTS[:99])):
        (node,) = uploader.announce(artifact["id"], FILES, uploadPartsInput=few)
        assert (node["uploadMultipartUrls"], bool(node["uploadUrl"])) == (None, True)
    (node,) = uploader.announce(artifact["id"], FILES, uploadPartsInput=specs(PARTS))
    assert [part["partNumber"] for part in node["uploadMultipartUrls"]["uploadUrlParts"]] == list(range(1, 101))


def test_parts_are_put_together_over_a_restart(tmp_path: Path, port: int) -> None:
    """Parts that were uploaded before a restart need not be sent again; completing twice is no error."""
    etags = []
    with Server(tmp_path / "data", port=port) as server:
        key = server.api_key
        with web.Client(base_url=server.url, auth=("api", key)) as http:
            uploader = Uploader(http, "p")
            artifact = uploader.create(FILES)
            (node,) = uploader.announce(artifact["id"], FILES, uploadPartsInput=specs(PARTS))
            first, *others = (each["uploadUrl"] for each in node["uploadMultipartUrls"]["uploadUrlParts"])
            etags.append(web.put(first, content=PARTS[0]).headers["etag"])
            assert web.put(others[0], content=b"wrong").status_code == 400
            with pytest.raises(GraphQLError, match="Missing parts"):
                complete(uploader, artifact["id"], node, [etags[0]] * 100, "Complete")
    with Server(tmp_path / "data", port=port) as server:
        collect_garbage(tmp_path / "data", blob_seconds=0)
        with web.Client(base_url=server.url, auth=("api", key)) as http:
            uploader = Uploader(http, "p", births=uploader.births)
            (again,) = uploader.announce(artifact["id"], FILES, uploadPartsInput=specs(PARTS))
            assert again["uploadMultipartUrls"]["uploadID"] == node["uploadMultipartUrls"]["uploadID"]
            etags += [
                http.put(url, content=data).headers["etag"] for url, data in zip(others, PARTS[1:], strict=True)
            ]
            digest = base64.b64encode(hashlib.md5(FILES["big"]).digest()).decode()
            for _ in range(2):
                assert complete(uploader, artifact["id"], node, etags, "Complete") == digest
            uploader.put_manifest(artifact["id"], uploader.manifest(FILES)).raise_for_status()
            uploader.commit(artifact["id"])
            assert uploader.versions()["v0"]["files"] == FILES
        assert collect_garbage(tmp_path / "data", blob_seconds=0).bytes >= 99 * 7_000


def test_an_upload_in_parts_can_be_given_up(tmp_path: Path) -> None:
    """After an abort the parts are gone, and the file counts as not uploaded."""
    server = Server(tmp_path / "data")
    with server, web.Client(base_url=server.start().url, auth=("api", server.api_key)) as http:
        uploader = Uploader(http, "p")
        artifact = uploader.create(FILES)
        (node,) = uploader.announce(artifact["id"], FILES, uploadPartsInput=specs(PARTS))
        complete(uploader, artifact["id"], node, [], "Abort")
        url = node["uploadMultipartUrls"]["uploadUrlParts"][0]["uploadUrl"]
        assert web.put(url, content=PARTS[0]).status_code == 404
