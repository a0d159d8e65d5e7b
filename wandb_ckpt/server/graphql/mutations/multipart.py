"""Mutations: uploads in parts. The client cuts files of 2 GiB and more; of a failed part it sends that one again.

Here parts are written twice and hashed twice, for only the whole file has the digest that it is kept by. So they are
offered only for what one would not like to send again as a whole; the client then sends the others in one piece.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import InvalidRequestError, NotFoundError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.version_changes import Input
from wandb_ckpt.server.store import contents, parts
from wandb_ckpt.server.store.records import Part, StoredObject

__all__ = ["MUTATIONS", "offer_parts", "part_path"]

_HEX_MD5 = re.compile(r"[0-9a-fA-F]{32}")
# The client's parts are of 100 MiB.
_FEWEST_PARTS = 100
_MOST_PARTS = 10_000
_CHUNK = 2**20


def part_path(object_path: str, number: int) -> str:
    """Where a part is uploaded to."""
    return f"{object_path}/parts/{number}"


def offer_parts(
    context: Context, known: StoredObject, object_path: str, wanted: Sequence[Input]
) -> dict[str, Any] | None:
    """Addresses for all parts, None for few. The client wants one for each, also for those that are here already."""
    if len(wanted) < _FEWEST_PARTS:
        return None
    if len(wanted) > _MOST_PARTS:
        raise InvalidRequestError(f"Too many parts: {len(wanted)}, allowed are {_MOST_PARTS}.")
    parts.announce(context.db, known.id, [(each["part_number"], _md5(each["hex_md5"])) for each in wanted])
    urls = [
        {
            "part_number": each["part_number"],
            "upload_url": context.urls.write(part_path(object_path, each["part_number"])),
        }
        for each in wanted
    ]
    return {"upload_id": ids.encode("Upload", known.id), "upload_url_parts": urls}


def _md5(hex_md5: str) -> str:
    text = hex_md5.strip('"')
    if not _HEX_MD5.fullmatch(text):
        raise InvalidRequestError(f"{hex_md5!r} is not an MD5 in hex.")
    return base64.b64encode(binascii.unhexlify(text)).decode()


def complete_multipart_upload_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Put the parts together. It may take longer than the client waits; it then asks again and finds it done."""
    known = _object(context, data)
    if data["complete_multipart_action"] == "Abort":
        parts.forget(context.db, known.id)
    else:
        # Two requests for the same file must not write it twice, and disks are fastest with one large file at a time.
        with context.services.assembly:
            _assemble(context, known.id, data["completed_parts"])
    return {"digest": known.digest}


def _object(context: Context, data: Input) -> StoredObject:
    known = contents.find_object(context.db, ids.decode("Upload", data["upload_id"]))
    if known is None or ids.encode("Artifact", known.artifact_id) != data["artifact_id"]:
        raise NotFoundError("The upload in parts was not found: announce the file again.")
    context.artifact(data["artifact_id"])
    return known


def _assemble(context: Context, object_id: int, completed: Sequence[Input]) -> None:
    known = contents.find_object(context.db, object_id)
    if known is None or known.blob is not None:
        return
    stored = parts.of_object(context.db, object_id)
    _check(stored, {each["part_number"]: _md5(each["hex_md5"]) for each in completed})
    with context.blobs.writer() as writer:
        for part in stored:
            assert part.blob is not None
            with context.blobs.path(part.blob).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    writer.write(chunk)
        blob = writer.finish(md5=known.md5)
        with context.db.atomic():
            contents.set_object_blob(context.db, object_id, blob.id, blob.size)
            parts.forget(context.db, object_id)


def _check(stored: Sequence[Part], completed: dict[int, str]) -> None:
    missing = [part.number for part in stored if part.blob is None]
    if missing or {part.number: part.md5 for part in stored} != completed:
        raise InvalidRequestError(
            f"The parts do not make up the file: missing are {missing or 'none'}, some may differ. Upload them again."
        )


MUTATIONS = {"completeMultipartUploadArtifact": complete_multipart_upload_artifact}
