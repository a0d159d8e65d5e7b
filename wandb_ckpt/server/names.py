"""Rules for the names of projects, runs, collections, aliases, tags and files. Pure."""

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
_NOT_IN_PROJECT = re.compile(r"[/\\#?%:\x00-\x1f\x7f]")
_NOT_IN_ALIAS = re.compile(r"[/:\x00-\x1f\x7f]")


def check_project_name(name: str) -> str:
    """Return the name of a project, if it is valid."""
    return _check(
        "project name", name, _is_project_name(name), "1 to 128 characters without / \\ # ? % : and controls"
    )


def check_run_name(name: str) -> str:
    """Return the id of a run, if it is valid."""
    return _check("run id", name, _is_project_name(name), "1 to 128 characters without / \\ # ? % : and controls")


def _is_project_name(name: str) -> bool:
    return 1 <= len(name) <= 128 and not _NOT_IN_PROJECT.search(name) and name not in {".", ".."}


def check_collection_name(name: str) -> str:
    """Return the name of an artifact, if it is valid."""
    is_valid = bool(_COLLECTION.fullmatch(name)) and name not in {".", ".."}
    return _check("artifact name", name, is_valid, "1 to 128 letters, digits, dashes, underscores and dots")


def check_type_name(name: str) -> str:
    """Return the name of an artifact type, if it is valid."""
    is_valid = 1 <= len(name) <= 128 and bool(_TYPE.fullmatch(name))
    return _check("artifact type", name, is_valid, "1 to 128 letters, digits, dashes, dots and spaces")


def check_alias(alias: str) -> str:
    """Return an alias, if it is valid."""
    is_valid = 1 <= len(alias) <= 128 and not _NOT_IN_ALIAS.search(alias)
    return _check("alias", alias, is_valid, "1 to 128 characters without slash and colon")


def check_tag(tag: str) -> str:
    """Return a tag of a version or collection, if it is valid."""
    is_valid = 1 <= len(tag) <= 128 and bool(_TAG.fullmatch(tag))
    return _check("tag", tag, is_valid, "1 to 128 letters, digits, dashes, underscores, and spaces between them")


def check_file_path(path: str) -> str:
    """Return the path of a file of an artifact or run, if it is valid: relative, and without `..`."""
    parts = re.split(r"[/\\]", path)
    is_valid = 1 <= len(path) <= 4096 and ".." not in parts and parts[0] != "" and "\x00" not in path
    return _check("file path", path, is_valid, "a relative path that stays in its folder")


def _check(kind: str, text: str, is_valid: bool, expected: str) -> str:
    if not is_valid:
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise InvalidRequestError(f"Invalid {kind} {shown!r}: expected {expected}.")
    return text


def version_number(name: str) -> int | None:
    """Return N if the name is `vN`."""
    return int(name[1:]) if _VERSION.fullmatch(name) else None
