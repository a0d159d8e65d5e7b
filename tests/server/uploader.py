"""A client of our own that speaks the protocol step by step, to stop, repeat and break it at any step."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import web

CREATE = """mutation ($i: CreateArtifactInput!) { createArtifact(input: $i) {
  artifact { id state artifactSequence { latestArtifact { id } } } } }"""
FILES = """mutation ($i: CreateArtifactFilesInput!) { createArtifactFiles(input: $i) { files { edges { node {
  storagePath uploadUrl uploadHeaders artifact { id }
  uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }"""
MANIFEST = """mutation ($i: CreateArtifactManifestInput!) { createArtifactManifest(input: $i) {
  artifactManifest { id file { uploadUrl uploadHeaders } } } }"""
COMMIT = (
    "mutation ($i: CommitArtifactInput!) { commitArtifact(input: $i) { artifact { id digest state versionIndex } } }"
)
VERSIONS = """query ($p: String!, $n: String!) { project(name: $p) { artifactCollection(name: $n) {
  artifacts { edges { version node { id digest size aliases { alias } currentManifest { file { directUrl } }
  files { edges { node { name directUrl } } } } } } } } }"""


def md5(data: bytes) -> str:
    """MD5 as W&B writes it."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def digest(files: dict[str, bytes]) -> str:
    """The digest of a version."""
    hasher = hashlib.md5(b"wandb-artifact-manifest-v1\n")
    for path in sorted(files):
        hasher.update(f"{path}:{md5(files[path])}\n".encode())
    return hasher.hexdigest()


class GraphQLError(Exception):
    """What the server answered instead."""


@dataclass
class Uploader:
    """Logs versions of one artifact by hand."""

    http: httpx.Client
    project: str
    name: str = "m"
    births: dict[str, str] = field(default_factory=dict)

    def send(self, query: str, **variables: Any) -> Any:
        """One GraphQL request."""
        response = self.http.post("/graphql", json={"query": query, "variables": variables})
        answer = response.json()
        if answer.get("errors"):
            raise GraphQLError(f"{response.status_code}: " + "; ".join(each["message"] for each in answer["errors"]))
        return answer["data"]

    def create(self, files: dict[str, bytes], aliases: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
        """createArtifact."""
        return self.send(
            CREATE,
            i={
                "artifactTypeName": "model",
                "artifactCollectionName": self.name,
                "projectName": self.project,
                "digest": digest(files),
                "enableDigestDeduplication": True,
                "aliases": [{"alias": each, "artifactCollectionName": self.name} for each in aliases],
                **more,
            },
        )["createArtifact"]["artifact"]

    def announce(self, artifact_id: str, files: dict[str, bytes], **more: Any) -> list[dict[str, Any]]:
        """createArtifactFiles."""
        specs = [
            {"artifactID": artifact_id, "name": path, "md5": md5(data), "digest": md5(data), **more}
            for path, data in files.items()
        ]
        edges = self.send(FILES, i={"artifactFiles": specs, "storageLayout": "V2"})["createArtifactFiles"]["files"]
        nodes = [edge["node"] for edge in edges["edges"]]
        self.births.update({path: node["artifact"]["id"] for path, node in zip(files, nodes, strict=True)})
        return nodes

    def put(self, node: dict[str, Any], data: bytes) -> httpx.Response:
        """Upload to a signed address, without a key."""
        headers = dict(header.split(":", 1) for header in node["uploadHeaders"] or [])
        return web.put(node["uploadUrl"], content=data, headers=headers)

    def manifest(self, files: dict[str, bytes]) -> bytes:
        """The manifest of a version."""
        contents = {
            path: {
                "digest": md5(data),
                "size": len(data),
                **({"birthArtifactID": self.births[path]} if path in self.births else {}),
            }
            for path, data in files.items()
        }
        return json.dumps(
            {
                "version": 1,
                "storagePolicy": "wandb-storage-policy-v1",
                "storagePolicyConfig": {"storageLayout": "V2"},
                "contents": contents,
            }
        ).encode()

    def put_manifest(self, artifact_id: str, document: bytes) -> httpx.Response:
        """createArtifactManifest and its upload."""
        made = self.send(
            MANIFEST,
            i={"artifactID": artifact_id, "name": "wandb_manifest.json", "digest": md5(document), "type": "FULL"},
        )
        return self.put(made["createArtifactManifest"]["artifactManifest"]["file"], document)

    def commit(self, artifact_id: str) -> dict[str, Any]:
        """commitArtifact."""
        return self.send(COMMIT, i={"artifactID": artifact_id})["commitArtifact"]["artifact"]

    def log(self, files: dict[str, bytes], aliases: tuple[str, ...] = (), **more: Any) -> str:
        """All steps. Returns the id of the version."""
        artifact = self.create(files, aliases, **more)
        if artifact["state"] == "COMMITTED":
            return artifact["id"]
        for node, data in zip(self.announce(artifact["id"], files), files.values(), strict=True):
            if node["uploadUrl"]:
                self.put(node, data).raise_for_status()
        self.put_manifest(artifact["id"], self.manifest(files)).raise_for_status()
        return self.commit(artifact["id"])["id"]

    def versions(self) -> dict[str, dict[str, Any]]:
        """All versions by name, with the bytes of their files."""
        collection = self.send(VERSIONS, p=self.project, n=self.name)["project"]["artifactCollection"]
        found = {}
        for edge in collection["artifacts"]["edges"]:
            node = edge["node"]
            urls = {each["node"]["name"]: each["node"]["directUrl"] for each in node["files"]["edges"]}
            found[edge["version"]] = {
                "id": node["id"],
                "digest": node["digest"],
                "aliases": {alias["alias"] for alias in node["aliases"]},
                "files": {path: web.get(url).raise_for_status().content for path, url in urls.items()},
            }
        return found
