"""Restore what layers keep outside of their variables, such as vocabularies. `load_weights` does not restore it."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

from wandb_ckpt.errors import RestoreError
from wandb_ckpt.restoring.download import Fetched
from wandb_ckpt.saving.saveables import Saveables, label

logger = logging.getLogger("wandb_ckpt")

_FOLDER = "assets/"  # in a .keras file


@dataclass(frozen=True, slots=True)
class Assets:
    """The state of a layer outside of its variables, as a checkpoint has it.

    Attributes:
        path: The layer's path.
        layer: The layer.
        saved: The content of files by name, or the bin boundaries of a `Discretization` layer.
    """

    path: str
    layer: Any
    saved: Any

    @property
    def label(self) -> str:
        """The words for the layer in a message."""
        return label(self.path, getattr(self.layer, "name", None))


def differing_assets(parts: Saveables, fetched: Fetched, form: str) -> list[Assets]:
    """Return the layers whose state outside of their variables differs from that in a checkpoint.

    A warning names the layers whose state the checkpoint does not have.

    Args:
        parts: The parts of the model.
        fetched: The checkpoint.
        form: The format of the checkpoint. Only `"keras"` has such state.

    Raises:
        RestoreError: A layer was created with a different vocabulary, so it can't take another one.
    """
    layers = {path: part for path, part in parts if _has_assets(part)}
    saved = dict(_saved_in(fetched.path, parts) if form == "keras" and layers else ())
    if unknown := [path for path, part in layers.items() if path not in saved and _written(part)]:
        logger.warning(
            "%s does not have the state of %s outside of the weights (a vocabulary, bin boundaries): expected the "
            "same state as when the checkpoint was saved, or predictions are wrong. To have it in the checkpoint, "
            "save as '.keras'.",
            fetched.ref,
            ", ".join(label(path, getattr(layers[path], "name", None)) for path in unknown),
        )
    found = [Assets(path, layers[path], saved[path]) for path in layers if path in saved]
    differing = [each for each in found if _state_of(each.layer) != each.saved]
    for each in differing:
        if hasattr(each.layer, "get_vocabulary") and not _written(each.layer):
            raise RestoreError(
                f"{fetched.ref} has another vocabulary for the layer {each.label} than the one that the layer was "
                "created with; nothing was restored. Create the layer without vocabulary=, so that it takes that of "
                "the checkpoint."
            )
    return differing


def restore_assets(model: Any, assets: Sequence[Assets], fetched: Fetched) -> None:
    """Restore the state of layers outside of their variables.

    Raises:
        RestoreError: A layer did not take the state.
    """
    for each in assets:
        _load(each.layer, each.saved)
        if _state_of(each.layer) != each.saved:
            raise RestoreError(
                f"The layer {each.label} did not restore its state outside of the weights from {fetched.ref}: "
                "expected that its load_assets() reads what its save_assets() writes. The weights were restored. "
                "Correct these methods, then restore again."
            )
    if assets:
        for name in ("train_function", "test_function", "predict_function"):
            setattr(model, name, None)  # they were traced with the old state; compile() resets them in this way, too


# ---- the layers ----------------------------------------------------------------------------------------------


def _has_assets(part: Any) -> bool:
    return _is_adapted_discretization(part) or (hasattr(part, "save_assets") and hasattr(part, "load_assets"))


def _is_adapted_discretization(part: Any) -> bool:
    # In tf_keras this layer has a variable instead.
    is_one = type(part).__name__ == "Discretization" and type(part).__module__.startswith("keras.")
    return is_one and part.num_bins is not None


def _state_of(part: Any) -> Any:
    written = _written(part)
    if written or not hasattr(part, "get_vocabulary"):
        return written
    return {"vocabulary.txt": "\n".join(map(str, part.get_vocabulary())).encode()}


def _written(part: Any) -> Any:
    """Return what a save of a layer would write; empty for a layer that was created with its vocabulary."""
    if _is_adapted_discretization(part):
        return part.bin_boundaries or []
    with TemporaryDirectory() as folder:
        try:
            part.save_assets(folder)
        except Exception:
            # A layer that is not adapted yet may raise any error.
            logger.debug("%s can't save its assets", part, exc_info=True)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in Path(folder).rglob("*")
            if path.is_file()
        }


def _load(part: Any, saved: Any) -> None:
    if _is_adapted_discretization(part):
        part.bin_boundaries = saved
        return
    with TemporaryDirectory() as folder:
        for name, content in saved.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        part.load_assets(folder)


# ---- the .keras file -------------------------------------------------------------------------------------------


def _saved_in(path: Path, parts: Saveables) -> Iterator[tuple[str, Any]]:
    paths = {id(part): path for path, part in parts if _has_assets(part)}
    with ZipFile(path) as archive:
        by_layer: dict[str, dict[str, bytes]] = {}
        for name in archive.namelist():
            inner = PurePosixPath(name.removeprefix(_FOLDER))
            if not name.startswith(_FOLDER) or name.endswith("/") or ".." in inner.parts or inner.is_absolute():
                continue
            owner = next((above for above in inner.parents if id(parts.at(_text(above))) in paths), None)
            if owner is not None:
                files = by_layer.setdefault(paths[id(parts.at(_text(owner)))], {})
                files[inner.relative_to(owner).as_posix()] = archive.read(name)
        yield from by_layer.items()
        yield from _boundaries_in(archive, parts)


def _text(path: PurePosixPath) -> str:
    return "" if path == PurePosixPath() else path.as_posix()


def _boundaries_in(archive: ZipFile, parts: Saveables) -> Iterator[tuple[str, list[float]]]:
    """Yield the bin boundaries in a model's config, which are in the order of its layers."""
    layers = [(path, part) for path, part in parts if type(part).__name__ == "Discretization"]
    in_order = all(name == "layers" for path, _ in layers for name in path.split("/")[::2])
    saved = list(_configs(json.loads(archive.read("config.json")), "Discretization")) if layers else []
    if in_order and len(saved) == len(layers):
        for (path, part), config in zip(layers, saved, strict=True):
            if _is_adapted_discretization(part):
                yield path, config.get("bin_boundaries") or []


def _configs(config: Any, name: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(config, Mapping) and config.get("class_name") == name:
        yield config["config"]
    elif isinstance(config, Mapping | list):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from _configs(value, name)
