"""Paths: where each page is, the same as on W&B's own site."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

__all__ = ["Paths", "get_command", "local_path", "restore_line"]


@dataclass(frozen=True, slots=True)
class Paths:
    """Makes the paths of pages.

    Attributes:
        root: What comes before each path when the server runs below a prefix, for example "/wandb".
    """

    root: str = ""

    def home(self) -> str:
        """The first page."""
        return f"{self.root}/"

    def entity(self, entity: str) -> str:
        """All projects of an entity."""
        return self._join(entity)

    def project(self, entity: str, project: str) -> str:
        """The models and runs of a project."""
        return self._join(entity, project)

    def run(self, entity: str, project: str, run: str) -> str:
        """One run by its id."""
        return self._join(entity, project, "runs", run)

    def model(self, entity: str, project: str, kind: str, name: str) -> str:
        """All versions of one collection."""
        return self._join(entity, project, "artifacts", kind, name)

    def version(self, entity: str, project: str, kind: str, name: str, version: str) -> str:
        """One version, by `vN` or alias."""
        return self._join(entity, project, "artifacts", kind, name, version)

    def file(self, entity: str, project: str, kind: str, name: str, version: str, path: str) -> str:
        """The bytes of one file of a version."""
        return f"{self.version(entity, project, kind, name, version)}/files/{quote(path)}"

    def compare(self, entity: str, project: str, kind: str, name: str, a: str, b: str) -> str:
        """Two versions side by side."""
        return f"{self._join(entity, project, 'artifacts', kind, name, 'compare')}?{urlencode({'a': a, 'b': b})}"

    def login(self) -> str:
        """Where the login form is sent."""
        return f"{self.root}/login"

    def logout(self) -> str:
        """Where the logout button is sent."""
        return f"{self.root}/logout"

    def static(self, name: str, digest: str) -> str:
        """A stylesheet, script or icon; the digest makes it a new address when its content changes."""
        return f"{self.root}/static/{name}?v={digest}"

    def _join(self, *segments: str) -> str:
        return "/".join((self.root, *(quote(segment, safe="") for segment in segments)))


def local_path(text: str, default: str) -> str:
    r"""The text if it leads to a page of this server, else the default.

    >>> local_path("/a/b?c=1", "/"), local_path("//evil.example", "/"), local_path("/\\evil.example", "/")
    ('/a/b?c=1', '/', '/')
    """
    plain = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    if not plain:
        return default
    try:
        parts = urlsplit(text)
    except ValueError:
        return default
    return default if parts.scheme or parts.netloc else text


def get_command(ref: str) -> str:
    """The line that fetches a version with the wandb command line."""
    return f"wandb artifact get {shlex.quote(ref)}"


def restore_line(ref: str) -> str:
    """The line that loads a version into a model."""
    # A JSON string is a Python string too.
    return f"wandb_ckpt.restore(model, {json.dumps(ref, ensure_ascii=False)})"
