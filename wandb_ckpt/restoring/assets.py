"""State that layers keep outside of their variables, such as vocabularies: `load_weights` restores none of it."""

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
    """What a checkpoint has of a layer's state outside of its variables.

    Attributes:
        path: The layer's path.
        layer: The layer.
        saved: Files by their names, or the bin boundaries of a `Discretization`.
    """

    path: str
    layer: Any
    saved: Any

    @property
    def label(self) -> str:
        """What to call the layer in a message."""
        return label(self.path, getattr(self.layer, "name", None))


def differing_assets(parts: Saveables, fetched: Fetched, form: str) -> list[Assets]:
    """Returns the layers that have another state outside of their variables than when the checkpoint was saved.

    Warns of those of which the checkpoint can't tell.

    Args:
        parts: The model's.
        fetched: The checkpoint.
        form: Its format; of all, only `"keras"` has such state.

    Raises:
        RestoreError: A layer was given another vocabulary when it was made, so that it takes none.
    """
    holders = {path: part for path, part in parts if _holds_state(part)}
    saved = dict(_saved_in(fetched.path, parts) if form == "keras" and holders else ())
    if unknown := [path for path, part in holders.items() if path not in saved and _written(part)]:
        logger.warning(
            "%s does not say what %s learnt outside of its variables (a vocabulary, bin boundaries): expected as it "
            "was when the checkpoint was saved, or predictions are wrong. A '.keras' file keeps it.",
            fetched.ref,
            ", ".join(label(path, getattr(holders[path], "name", None)) for path in unknown),
        )
    found = [Assets(path, holders[path], saved[path]) for path in holders if path in saved]
    differing = [each for each in found if _state_of(each.layer) != each.saved]
    for each in differing:
        if hasattr(each.layer, "get_vocabulary") and not _written(each.layer):
            raise RestoreError(
                f"{fetched.ref} has another vocabulary for the layer {each.label} than it was made with; "
                "nothing was restored. Make the layer without vocabulary=, so that it takes the checkpoint's."
            )
    return differing


def put_back(model: Any, assets: Sequence[Assets], fetched: Fetched) -> None:
    """Gives layers the state that a checkpoint has for them.

    Raises:
        RestoreError: A layer does not take it.
    """
    for each in assets:
        _load(each.layer, each.saved)
        if _state_of(each.layer) != each.saved:
            raise RestoreError(
                f"The layer {each.label} did not take the state that {fetched.ref} has for it: expected that its "
                "load_assets() reads what its save_assets() writes. The weights were restored."
            )
    if assets:
        for name in ("train_function", "test_function", "predict_function"):
            setattr(model, name, None)  # traced with the old state; compile() makes them anew in this way, too


# ---- what a layer has ----------------------------------------------------------------------------------------


def _holds_state(part: Any) -> bool:
    return _is_adapted_discretization(part) or (hasattr(part, "save_assets") and hasattr(part, "load_assets"))


def _is_adapted_discretization(part: Any) -> bool:
    # Of tf_keras, it has a variable.
    is_one = type(part).__name__ == "Discretization" and type(part).__module__.startswith("keras.")
    return is_one and part.num_bins is not None


def _state_of(part: Any) -> Any:
    written = _written(part)
    if written or not hasattr(part, "get_vocabulary"):
        return written
    return {"vocabulary.txt": "\n".join(map(str, part.get_vocabulary())).encode()}


def _written(part: Any) -> Any:
    """Returns what a save of a layer would write; nothing of one that was given its vocabulary when it was made."""
    if _is_adapted_discretization(part):
        return part.bin_boundaries or []
    with TemporaryDirectory() as folder:
        try:
            part.save_assets(folder)
        except Exception:
            # One that is not adapted yet raises errors of every kind.
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


# ---- what a .keras file has ------------------------------------------------------------------------------------


def _saved_in(path: Path, parts: Saveables) -> Iterator[tuple[str, Any]]:
    paths = {id(part): path for path, part in parts if _holds_state(part)}
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
    """Yields the boundaries that a model's config has, which are its layers' in their order."""
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
