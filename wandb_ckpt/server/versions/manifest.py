"""Manifests: the list of files of a version, as the client uploads it and downloads it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from wandb_ckpt.server import json_text
from wandb_ckpt.server.errors import InvalidRequestError
from wandb_ckpt.server.names import check_file_path

__all__ = ["ManifestEntry", "digest", "dump", "parse"]

_POLICY = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A file of a version.

    Attributes:
        path: The relative path.
        digest: The base64 digest of the content. A reference may have another text.
        size: Bytes. 0 if a reference does not tell.
        ref: The address of the bytes, if they are not here.
        birth_artifact_id: The id of the artifact that uploaded the content first, if it is another one.
        extra: What the client stores with a reference.
    """

    path: str
    digest: str
    size: int
    ref: str | None
    birth_artifact_id: str | None
    extra: Mapping[str, Any] | None


def parse(data: bytes) -> tuple[dict[str, Any], dict[str, ManifestEntry]]:
    """Return the fields of a manifest without the files, and the files by path.

    Raises:
        InvalidRequestError: It is not a manifest, or a path in it leads out of the folder.
    """
    try:
        document = json_text.load(data)
    except ValueError as error:
        raise InvalidRequestError(f"The manifest is not JSON: {error}.") from error
    files = document.get("contents") if isinstance(document, dict) else None
    if not isinstance(files, dict):
        raise InvalidRequestError('The manifest has no "contents": expected a JSON object with the files in it.')
    head = {key: value for key, value in document.items() if key != "contents"}
    return head, {path: _entry(path, value) for path, value in files.items()}


def _entry(path: str, value: Any) -> ManifestEntry:
    check_file_path(path)
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
        raise InvalidRequestError(f"The manifest's entry for {path!r} has no digest.")
    size, ref, birth = value.get("size") or 0, value.get("ref"), value.get("birthArtifactID")
    extra = value.get("extra")
    if (
        not isinstance(size, int)
        or not 0 <= size < 2**63
        or not isinstance(ref, str | None)
        or not isinstance(birth, str | None)
        or not isinstance(extra, dict | None)
    ):
        raise InvalidRequestError(f"The manifest's entry for {path!r} has a value of the wrong type.")
    return ManifestEntry(path, value["digest"], size, ref or None, birth or None, extra)


def digest(entries: Iterable[ManifestEntry], algorithm: str) -> str:
    """Return the digest of a version, as the client computes it."""
    hasher: Any = xxhash.xxh3_128() if algorithm == "MANIFEST_XXH128" else hashlib.md5(usedforsecurity=False)
    hasher.update(b"wandb-artifact-manifest-v1\n")
    for entry in sorted(entries, key=lambda entry: entry.path):
        hasher.update(f"{entry.path}:{entry.digest}\n".encode())
    text: str = hasher.hexdigest()
    return text


def dump(head: Mapping[str, Any], entries: Iterable[ManifestEntry]) -> bytes:
    """Return the manifest to download.

    It leaves out `local_path`, which would show folders of the uploading machine, and `skip_cache`. The client sends
    both, but reads neither (wandb 0.31).
    """
    contents = {entry.path: _dump_entry(entry) for entry in sorted(entries, key=lambda entry: entry.path)}
    return json.dumps({"version": 1, **_POLICY, **head, "contents": contents}, ensure_ascii=False).encode()


def _dump_entry(entry: ManifestEntry) -> dict[str, Any]:
    fields = {
        "digest": entry.digest,
        "birthArtifactID": entry.birth_artifact_id,
        "ref": entry.ref,
        "extra": entry.extra or None,
        "size": entry.size,
    }
    return {name: value for name, value in fields.items() if value is not None}
