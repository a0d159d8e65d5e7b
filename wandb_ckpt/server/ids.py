"""Ids of rows as opaque texts: "Artifact" 12 as "QXJ0aWZhY3Q6MTI=".

Always canonical, padded Base64 without a slash: the client turns artifact ids into bytes and hex and back for its
`wandb-artifact://` references, and puts them into paths.
"""

from __future__ import annotations

import base64
import binascii

from wandb_ckpt.server.errors import NotFoundError

__all__ = ["decode", "decode_any", "encode"]


def encode(kind: str, number: int) -> str:
    """Return the id of a row."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def decode(kind: str, text: str) -> int:
    """Return the row id in an id.

    Raises:
        NotFoundError: It is not an id of this kind.
    """
    found, number = decode_any(text)
    if found != kind:
        raise NotFoundError(f"{text!r} is not the id of a {kind}.")
    return number


def decode_any(text: str) -> tuple[str, int]:
    """Return the kind and the row id in an id.

    Raises:
        NotFoundError: It is not an id of this server.
    """
    try:
        kind, _, number = base64.b64decode(text, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        kind, number = "", ""
    if not (kind.isalpha() and number.isdecimal() and len(number) < 19 and encode(kind, int(number)) == text):
        raise NotFoundError(f"{text!r} is not an id of this server.")
    return kind, int(number)
