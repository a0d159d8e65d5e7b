"""Signer: proofs that this server itself handed something out (storage URLs, page sessions)."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

__all__ = ["Signer"]


class Signer:
    """Signs texts with a secret that never leaves the data folder.

    Args:
        secret: The secret's bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of_folder(cls, path: Path) -> Signer:
        """The signer whose secret is in the file `path`, made on first use, readable by its owner only."""
        if not path.exists():
            _create(path, secrets.token_bytes(32))
        return cls(path.read_bytes())

    def sign(self, purpose: str, text: str, seconds: float) -> tuple[int, str]:
        """A proof for the text that holds for so many seconds.

        Returns:
            When it ends, as seconds since 1970, and the signature in hex.
        """
        expires = int(time.time() + seconds)
        return expires, self._signature(purpose, text, expires)

    def holds(self, purpose: str, text: str, expires: str, signature: str) -> bool:
        """Whether the proof was made here for exactly this text, and has not ended."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) < 16):
            return False
        expected = self._signature(purpose, text, int(expires))
        return hmac.compare_digest(expected.encode(), signature.encode()) and time.time() < int(expires)

    def _signature(self, purpose: str, text: str, expires: int) -> str:
        # Newlines can't be in purpose or expires, so no two different triples give one message.
        message = f"{purpose}\n{expires}\n{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def _create(path: Path, content: bytes) -> None:
    # Written aside and linked: it appears whole or not at all, and the first of two processes wins.
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.close(descriptor)
        aside.unlink()
