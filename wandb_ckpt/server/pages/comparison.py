"""Compares the metadata and the files of two versions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandb_ckpt.server.pages.formats import MISSING, finite, pretty, signed
from wandb_ckpt.server.store.records import Entry

__all__ = ["FileRow", "MetadataRow", "flat", "same_and_different_files", "same_and_different_metadata"]

_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """A key of the metadata, with its values as text. `delta` is the second number minus the first."""

    key: str
    a: str
    b: str
    delta: str = ""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A path in one or both versions. `change` is added, removed, changed or same."""

    path: str
    change: str
    a_size: int | None
    b_size: int | None

    @property
    def delta(self) -> int:
        """The second size minus the first, in bytes."""
        return (self.b_size or 0) - (self.a_size or 0)


def same_and_different_metadata(
    a: Mapping[str, Any], b: Mapping[str, Any]
) -> tuple[list[MetadataRow], list[MetadataRow]]:
    """Return the keys with the same value, and the keys whose values differ or that only one side has."""
    left, right = flat(a), flat(b)
    same: list[MetadataRow] = []
    different: list[MetadataRow] = []
    for key in dict.fromkeys((*left, *right)):
        row = MetadataRow(key, _text(left, key), _text(right, key), _delta(left.get(key), right.get(key)))
        is_same = key in left and key in right and pretty(left[key]) == pretty(right[key])
        (same if is_same else different).append(row)
    return same, different


def same_and_different_files(a: Sequence[Entry], b: Sequence[Entry]) -> tuple[list[FileRow], list[FileRow]]:
    """Return the paths with the same content, and the paths that were added, removed or changed from a to b."""
    left, right = ({file.path: file for file in files} for files in (a, b))
    same: list[FileRow] = []
    different: list[FileRow] = []
    for path in sorted(left.keys() | right.keys()):
        row = _file_row(path, left.get(path), right.get(path))
        (same if row.change == "same" else different).append(row)
    return same, different


def flat(metadata: Mapping[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Any]:
    """Return metadata with nested keys joined by dots.

    >>> flat({"a": 1, "logs": {"loss": 0.5}})
    {'a': 1, 'logs.loss': 0.5}
    """
    rows: dict[str, Any] = {}
    for key, value in metadata.items():
        if isinstance(value, Mapping) and value and depth < _DEEPEST:
            rows |= flat(value, f"{prefix}{key}.", depth + 1)
        else:
            rows[f"{prefix}{key}"] = value
    return rows


def _text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return MISSING
    value = values[key]
    if isinstance(value, float):
        return f"{value:.7g}"
    return value if isinstance(value, str) else pretty(value)


def _delta(a: Any, b: Any) -> str:
    left, right = finite(a), finite(b)
    return "" if left is None or right is None or left == right else signed(right - left)


def _file_row(path: str, a: Entry | None, b: Entry | None) -> FileRow:
    if a is None or b is None:
        change = "added" if a is None else "removed"
    else:
        change = "same" if (a.digest, a.ref) == (b.digest, b.ref) else "changed"
    return FileRow(path, change, a.size if a else None, b.size if b else None)
