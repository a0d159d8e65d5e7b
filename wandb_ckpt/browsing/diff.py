"""Compare two versions: metadata, files and the weights of each layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wandb_ckpt.browsing.listing import File, Version, files_of, flattened, version_of
from wandb_ckpt.checkpoint import format_of
from wandb_ckpt.formats.hdf5 import FORMATS, open_weights
from wandb_ckpt.formats.layer_changes import LayerChange, compare_layers
from wandb_ckpt.formats.safe_reading import check, has_signature
from wandb_ckpt.restoring.download import checkpoint_name, fetch
from wandb_ckpt.wandb_api.refs import find


@dataclass(frozen=True, slots=True)
class Change:
    """A name whose values differ in two versions. The value is `None` in a version that does not have the name."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The differences between two versions.

    Attributes:
        old: The first version.
        new: The second version.
        metadata: Metadata that differs. Nested names are written with a dot.
        files: Files that differ, as `File` records.
        layers: The difference of each layer; empty if the weights were not compared.
        why_no_layers: Why the weights were not compared.
    """

    old: Version
    new: Version
    metadata: tuple[Change, ...]
    files: tuple[Change, ...]
    layers: tuple[LayerChange, ...] = ()
    why_no_layers: str = ""

    def __bool__(self) -> bool:
        return bool(self.metadata or self.files)


def compare(old_ref: str, new_ref: str) -> Difference:
    """Return the differences between two versions. They are downloaded only if their files differ.

    Args:
        old_ref: The ref of the first version.
        new_ref: The ref of the second version.

    Raises:
        RestoreError: A file is damaged, or unsafe to read.
        Exception: All errors of `wandb_ckpt.download`.
    """
    artifacts = find(old_ref), find(new_ref)
    old, new = map(version_of, artifacts)
    old_files, new_files = ({file.name: file for file in files_of(artifact)} for artifact in artifacts)
    files = _changes(old_files, new_files)
    layers, why_no_layers = _layers((old, old_files), (new, new_files)) if files else ((), "the files are the same")
    return Difference(
        old=old,
        new=new,
        metadata=_changes(flattened(old.metadata), flattened(new.metadata)),
        files=files,
        layers=layers,
        why_no_layers=why_no_layers,
    )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    names = [*old, *(name for name in new if name not in old)]
    changes = (Change(name, old.get(name), new.get(name)) for name in names)
    return tuple(change for change in changes if change.old != change.new)


def _layers(*sides: tuple[Version, Mapping[str, File]]) -> tuple[tuple[LayerChange, ...], str]:
    for version, files in sides:
        if format_of(checkpoint_name(files), is_folder=False) not in FORMATS:
            return (), f"not compared, because {version.ref} is not a .keras, .weights.h5 or .h5 file"
    with TemporaryDirectory(prefix="wandb_ckpt-diff-") as folder:
        fetched = [fetch(version.ref, Path(folder) / side) for side, (version, _) in zip("ab", sides, strict=True)]
        for each in fetched:
            form = format_of(each.path.name, is_folder=False)
            if not has_signature(each.path, form):
                return (), f"not compared, because {each.ref} is not a valid {form} file"
            check(each.path, form, each.ref)
        return _compare_files(*(each.path for each in fetched)), ""


def _compare_files(old: Path, new: Path) -> tuple[LayerChange, ...]:
    first, second = (open_weights(path, format_of(path.name, is_folder=False)) for path in (old, new))
    with first as old_file, second as new_file:
        return compare_layers(old_file, new_file)
