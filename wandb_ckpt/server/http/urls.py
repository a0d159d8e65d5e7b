"""Urls: the absolute addresses that the server hands out. Those of storage carry their own permission."""

from __future__ import annotations

from urllib.parse import quote

from wandb_ckpt.server.http.signing import Signer

__all__ = ["Urls", "object_path"]

_READ_SECONDS = 6 * 3600
_WRITE_SECONDS = 24 * 3600


def object_path(user_id: int, artifact_id: int, hex_digest: str) -> str:
    """Where an artifact file is in W&B's storage layout V2; file names live only in the manifest."""
    return f"wandb_artifacts/{user_id}/{artifact_id}/{hex_digest}"


class Urls:
    """Addresses under one base, such as "http://127.0.0.1:8080".

    Args:
        base: Scheme and host as the client wrote them: a proxy in between may know only some of our paths.
        signer: Proves that a storage address was handed out here.
    """

    def __init__(self, base: str, signer: Signer) -> None:
        self.base = base
        self._signer = signer

    def read(self, path: str) -> str:
        """The address to GET a storage path from; holds for some hours."""
        return self._signed("GET", path, _READ_SECONDS)

    def write(self, path: str) -> str:
        """The address to PUT the bytes of a storage path to; holds for a day."""
        return self._signed("PUT", path, _WRITE_SECONDS)

    def _signed(self, method: str, path: str, seconds: float) -> str:
        expires, signature = self._signer.sign(method, path, seconds)
        return f"{self.base}/storage/{quote(path)}?exp={expires}&sig={signature}"
