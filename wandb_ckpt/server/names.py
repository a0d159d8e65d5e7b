"""Names: which ones projects, runs, collections, aliases, tags and files may have. All pure checks."""

from __future__ import annotations

import re

from wandb_ckpt.server.errors import InvalidRequestError

__all__ = [
    "check_alias",
    "check_collection_name",
    "check_file_path",
    "check_project_name",
    "check_run_name",
    "check_tag",
    "check_type_name",
    "version_number",
]

_COLLECTION = re.compile(r"[\w\-.]{1,128}")
_TYPE = re.compile(r"[-\w](?:[-.\w ]*[-.\w])?")
_TAG = re.compile(r"[-\w]+([ ]+[-\w]+)*")
_VERSION = re.compile(r"v(0|[1-9][0-9]{0,17})", re.ASCII)
_PROJECT_FORBIDDEN = re.compile(r"[/\\#?%:\x00-\x1f\x7f]")


def check_project_name(name: str) -> str:
    """The name, if a project may have it."""
    if not 1 <= len(name) <= 128 or _PROJECT_FORBIDDEN.search(name) or name in {".", ".."}:
        raise InvalidRequestError(
            f"Invalid project name {_short(name)}: expected 1 to 128 characters without / \\ # ? % : and controls."
        )
    return name


def check_run_name(name: str) -> str:
    """The name, if a run may have it as its id."""
    if not 1 <= len(name) <= 128 or _PROJECT_FORBIDDEN.search(name) or name in {".", ".."}:
        raise InvalidRequestError(
            f"Invalid run id {_short(name)}: expected 1 to 128 characters without / \\ # ? % : and controls."
        )
    return name


def check_collection_name(name: str) -> str:
    """The name, if an artifact may have it."""
    if not _COLLECTION.fullmatch(name) or name in {".", ".."}:
        raise InvalidRequestError(
            f"Invalid artifact name {_short(name)}: expected 1 to 128 letters, digits, dashes, underscores and dots."
        )
    return name


def check_type_name(name: str) -> str:
    """The name, if an artifact type may have it."""
    if not 1 <= len(name) <= 128 or not _TYPE.fullmatch(name):
        raise InvalidRequestError(
            f"Invalid artifact type {_short(name)}: expected 1 to 128 letters, digits, dashes, dots and spaces."
        )
    return name


def check_alias(alias: str) -> str:
    """The alias, if a version may have it."""
    if not 1 <= len(alias) <= 128 or re.search(r"[/:\x00-\x1f\x7f]", alias):
        raise InvalidRequestError(
            f"Invalid alias {_short(alias)}: expected 1 to 128 characters without slash and colon."
        )
    return alias


def check_tag(tag: str) -> str:
    """The tag, if a version or collection may have it."""
    if not 1 <= len(tag) <= 128 or not _TAG.fullmatch(tag):
        raise InvalidRequestError(
            f"Invalid tag {_short(tag)}: expected 1 to 128 letters, digits, dashes, underscores, and spaces between."
        )
    return tag


def check_file_path(path: str) -> str:
    """The path, if a file in an artifact or of a run may have it: relative, and never upwards."""
    parts = re.split(r"[/\\]", path)
    if not 1 <= len(path) <= 4096 or ".." in parts or parts[0] == "" or "\x00" in path:
        raise InvalidRequestError(
            f"Invalid file path {_short(path)}: expected a relative path that stays within the folder."
        )
    return path


def version_number(name: str) -> int | None:
    """N if the name is `vN`."""
    return int(name[1:]) if _VERSION.fullmatch(name) else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
