"""The paths of the pages. They are the same as on W&B."""

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
        root: The prefix of all paths if the server runs below one, for example "/wandb".
    """

    root: str = ""

    def home(self) -> str:
        """Return the path of the first page."""
        return f"{self.root}/"

    def entity(self, entity: str) -> str:
        """Return the path of the projects of an entity."""
        return self._join(entity)

    def project(self, entity: str, project: str) -> str:
        """Return the path of a project."""
        return self._join(entity, project)

    def run(self, entity: str, project: str, run: str) -> str:
        """Return the path of a run."""
        return self._join(entity, project, "runs", run)

    def model(self, entity: str, project: str, kind: str, name: str) -> str:
        """Return the path of a collection."""
        return self._join(entity, project, "artifacts", kind, name)

    def version(self, entity: str, project: str, kind: str, name: str, version: str) -> str:
        """Return the path of a version, by `vN` or alias."""
        return self._join(entity, project, "artifacts", kind, name, version)

    def file(self, entity: str, project: str, kind: str, name: str, version: str, path: str) -> str:
        """Return the path to download a file of a version."""
        return f"{self.version(entity, project, kind, name, version)}/files/{quote(path)}"

    def compare(self, entity: str, project: str, kind: str, name: str, a: str, b: str) -> str:
        """Return the path of the comparison of two versions."""
        return f"{self._join(entity, project, 'artifacts', kind, name, 'compare')}?{urlencode({'a': a, 'b': b})}"

    def login(self) -> str:
        """Return the path of the login form."""
        return f"{self.root}/login"

    def logout(self) -> str:
        """Return the path of the logout button."""
        return f"{self.root}/logout"

    def static(self, name: str, digest: str) -> str:
        """Return the path of a stylesheet, script or icon. A new digest makes browsers fetch it again."""
        return f"{self.root}/static/{name}?v={digest}"

    def _join(self, *segments: str) -> str:
        return "/".join((self.root, *(quote(segment, safe="") for segment in segments)))


def local_path(text: str, default: str) -> str:
    r"""Return the text if it is the path of a page of this server, else the default.

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
    """Return the command that downloads a version."""
    return f"wandb artifact get {shlex.quote(ref)}"


def restore_line(ref: str) -> str:
    """Return the Python line that loads a version into a model."""
    # A JSON string is also a Python string.
    return f"wandb_ckpt.restore(model, {json.dumps(ref, ensure_ascii=False)})"
