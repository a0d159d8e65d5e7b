"""What differs between two versions: metadata, files, and the weights of which layers."""

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
    """One name that has another value, or that only one side has (`None` on the other)."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two versions.

    Attributes:
        old: The first version.
        new: The second version.
        metadata: Metadata that differs, nested names written with a dot.
        files: Files that differ: `File` records.
        layers: What became of each layer; empty when that was not looked at.
        why_no_layers: Why not.
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
    """Return what differs between the versions that two refs name. Downloads them only if their files differ.

    Raises:
        RestoreError: A file is damaged, or unsafe to read.
        Exception: What `wandb_ckpt.download` raises.
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
            return (), f"{version.ref} is no .keras, .weights.h5 or .h5 file: only such are compared layer by layer"
    with TemporaryDirectory(prefix="wandb_ckpt-diff-") as folder:
        fetched = [fetch(version.ref, Path(folder) / side) for side, (version, _) in zip("ab", sides, strict=True)]
        for each in fetched:
            form = format_of(each.path.name, is_folder=False)
            if not has_signature(each.path, form):
                return (), f"the files can't be read as Keras saves them: {each.ref} is no {form} file"
            check(each.path, form, each.ref)
        return _compare_files(*(each.path for each in fetched)), ""


def _compare_files(old: Path, new: Path) -> tuple[LayerChange, ...]:
    first, second = (open_weights(path, format_of(path.name, is_folder=False)) for path in (old, new))
    with first as old_file, second as new_file:
        return compare_layers(old_file, new_file)
