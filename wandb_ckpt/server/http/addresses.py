"""The addresses of stored bytes, as in W&B's storage layout V2, and the signatures that permit their use."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from urllib.parse import quote

from starlette.requests import Request

from wandb_ckpt.server.errors import ForbiddenError, InvalidRequestError

__all__ = [
    "MANIFEST",
    "MANIFEST_UPLOAD",
    "OBJECT",
    "PART",
    "RUN_FILE",
    "Signer",
    "Urls",
    "digest_of_hex",
    "digest_to_hex",
    "manifest_path",
    "manifest_upload_path",
    "object_path",
    "part_path",
    "run_file_path",
    "signed_path",
]

_READ_SECONDS = 6 * 3600
_WRITE_SECONDS = 24 * 3600


def object_path(user_id: int, artifact_id: int, digest: str) -> str:
    """Return the path of a file of an artifact. Its name is in the manifest only."""
    return f"wandb_artifacts/{user_id}/{artifact_id}/{digest_to_hex(digest)}"


def part_path(object_path: str, number: int) -> str:
    """Return the path to upload a part of an object to."""
    return f"{object_path}/parts/{number}"


def manifest_path(user_id: int, artifact_id: int) -> str:
    """Return the path of the manifest of a version."""
    return f"artifact_manifests/{user_id}/{artifact_id}/wandb_manifest.json"


def manifest_upload_path(manifest_id: int, name: str) -> str:
    """Return the path to upload a manifest to."""
    return f"artifact_manifests/uploads/{manifest_id}/{name}"


def run_file_path(run_id: int, name: str) -> str:
    """Return the path of a file of a run."""
    return f"runs/{run_id}/{name}"


OBJECT = re.compile(r"wandb_artifacts/(\d{1,18})/(\d{1,18})/([0-9a-f]{2,256})", re.ASCII)
PART = re.compile(rf"{OBJECT.pattern}/parts/(\d{{1,18}})", re.ASCII)
MANIFEST = re.compile(r"artifact_manifests/(\d{1,18})/(\d{1,18})/wandb_manifest\.json", re.ASCII)
MANIFEST_UPLOAD = re.compile(r"artifact_manifests/uploads/(\d{1,18})/(.+)", re.ASCII)
RUN_FILE = re.compile(r"runs/(\d{1,18})/(.+)", re.DOTALL)


def digest_to_hex(digest: str) -> str:
    """Return a base64 digest as hex digits."""
    try:
        return base64.b64decode(digest, validate=True).hex()
    except binascii.Error:
        return digest.encode().hex()


def digest_of_hex(text: str) -> str:
    """Return hex digits as a base64 digest.

    Raises:
        InvalidRequestError: The text is not hex.
    """
    try:
        return base64.b64encode(binascii.unhexlify(text)).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("The address has no digest in hex.") from error


class Urls:
    """Makes absolute addresses.

    Args:
        base: Scheme and host as the client wrote them, such as "http://127.0.0.1:8080".
        signer: Signs the addresses of storage.
    """

    def __init__(self, base: str, signer: Signer) -> None:
        self.base = base
        self._signer = signer

    def read(self, path: str) -> str:
        """Return the address to GET a storage path from. It is valid for hours."""
        return self._signed("GET", path, _READ_SECONDS)

    def write(self, path: str) -> str:
        """Return the address to PUT the bytes of a storage path to. It is valid for a day."""
        return self._signed("PUT", path, _WRITE_SECONDS)

    def _signed(self, method: str, path: str, seconds: float) -> str:
        expires, signature = self._signer.sign(method, path, seconds)
        return f"{self.base}/storage/{quote(path)}?exp={expires}&sig={signature}"


class Signer:
    """Signs texts with a secret.

    Args:
        secret: The bytes of the secret.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, purpose: str, text: str, seconds: float) -> tuple[int, str]:
        """Sign a text.

        Returns:
            The time when the signature expires, in seconds since 1970, and the signature in hex.
        """
        expires = int(time.time() + seconds)
        return expires, self._signature(purpose, text, expires)

    def is_valid(self, purpose: str, text: str, expires: str, signature: str) -> bool:
        """Return whether the signature was made here for this purpose and text and has not expired."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) < 16):
            return False
        expected = self._signature(purpose, text, int(expires))
        return hmac.compare_digest(expected.encode(), signature.encode()) and time.time() < int(expires)

    def _signature(self, purpose: str, text: str, expires: int) -> str:
        # Purpose and expires have no newlines, so two different triples never give the same message.
        message = f"{purpose}\n{expires}\n{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def signed_path(request: Request, signer: Signer, method: str) -> str:
    """Return the storage path of a request.

    Raises:
        ForbiddenError: Its signature is not valid for this method.
    """
    path: str = request.path_params["path"]
    expires, signature = request.query_params.get("exp", ""), request.query_params.get("sig", "")
    if not signer.is_valid(method, path, expires, signature):
        raise ForbiddenError(
            "This address has no valid signature for this request, or it has expired. Ask for the file again."
        )
    return path
