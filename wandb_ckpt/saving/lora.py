"""LoRA layers: Keras 3.15 merges their two small matrices into the kernel when it saves, and loads both as zeros.

No gradient gets past two matrices of zeros, and what an optimizer has of them belongs to other values. So the
callback adds the matrices to the files that it saves, and they are put back from there.
"""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import h5py
import numpy as np

from wandb_ckpt.checkpoint import format_of
from wandb_ckpt.family import is_optimizer, is_tf_keras
from wandb_ckpt.formats.hdf5 import variables
from wandb_ckpt.policy.path_template import is_remote
from wandb_ckpt.saving.saveables import Saveables, label

logger = logging.getLogger("wandb_ckpt")

Values = Mapping[str, "np.ndarray[Any, Any]"]
# In a .weights.h5 file a group, in a .keras file a file: Keras looks for neither.
_GROUP, _FILE = "wandb_ckpt_lora", "wandb_ckpt_lora.h5"


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A layer with LoRA, before a checkpoint is restored.

    Attributes:
        path: The layer's path.
        layer: The layer.
        a: The matrix that begins with random values.
        b: The matrix that begins with zeros.
        before: The values of `a`.
    """

    path: str
    layer: Any
    a: Any
    b: Any
    before: "np.ndarray[Any, Any]"


# ---- saving ----------------------------------------------------------------------------------------------------


def keeping(model: Any, save: Callable[..., Any], path: str, parts: Saveables | None = None) -> Callable[..., Any]:
    """Returns what saves a model, and adds the matrices of its layers with LoRA as they are now.

    Args:
        model: The model.
        save: The model's own method, or what stands for it.
        path: Where it is to save to.
        parts: The parts of the model, where they are known.
    """
    if format_of(path, is_folder=False) not in ("keras", "weights.h5") or is_remote(path) or is_tf_keras(model):
        return save
    found = Saveables(model) if parts is None else parts
    values = {path: _values_of(part) for path, part in found if getattr(part, "lora_enabled", False)}
    if not values:
        return save

    def save_and_add(filepath: str, *args: Any, **kwargs: Any) -> None:
        save(filepath, *args, **kwargs)
        _add(values, filepath)

    return save_and_add


def _values_of(layer: Any) -> Values:
    """Returns what a save of a layer loses: of a quantized one the kernel, too, which can't be had back."""
    return {str(index): _value(each) for index, each in enumerate(layer.variables) if _is_lost(each, layer)}


def _is_lost(variable: Any, layer: Any) -> bool:
    return variable.name.startswith("lora_") or bool(getattr(layer, "quantization_mode", None))


def _value(variable: Any) -> "np.ndarray[Any, Any]":
    import keras

    value = np.array(keras.ops.convert_to_numpy(variable))  # a copy: training goes on
    # HDF5 has no bfloat16.
    return value if value.dtype.kind in "iub" else value.astype(np.float32, copy=False)


def _add(values: Mapping[str, Values], filepath: str) -> None:
    if format_of(filepath, is_folder=False) == "weights.h5":
        with h5py.File(filepath, "a") as file:
            _write(values, file)
        return
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        _write(values, file)
    with ZipFile(filepath, "a") as archive:
        archive.writestr(_FILE, content.getvalue())


def _write(values: Mapping[str, Values], file: h5py.File) -> None:
    for path, each in values.items():
        for name, value in each.items():
            file[f"{_GROUP}/{path}/{name}"] = value


# ---- restoring -------------------------------------------------------------------------------------------------


def adapters_of(parts: Saveables) -> list[Adapter]:
    """Returns the layers with LoRA, as they are before a checkpoint is restored."""
    return list(_adapters(parts))


def _adapters(parts: Saveables) -> Iterator[Adapter]:
    for path, part in parts:
        by_name = {each.name: each for each in part.variables} if getattr(part, "lora_enabled", False) else {}
        for name in by_name:
            if name.startswith("lora_") and name.endswith("_a"):
                yield Adapter(path, part, by_name[name], by_name[f"{name[:-1]}b"], _value(by_name[name]))


def put_back(adapters: Sequence[Adapter], checkpoint: Path, parts: Saveables, *, optimizer: bool) -> None:
    """Gives layers their matrices back, after Keras has restored a checkpoint; those without any begin anew.

    Args:
        adapters: Those of the model.
        checkpoint: A `.keras` or `.weights.h5` file.
        parts: The model's.
        optimizer: Whether the state of optimizers was restored.
    """
    kept = _kept_in(checkpoint, adapters) if adapters else {}
    for each in adapters:
        if each.path in kept:
            _unmerge(each, kept[each.path])
    if anew := [each for each in adapters if each.path not in kept]:
        _begin_anew(anew, parts, optimizer=optimizer)


def _kept_in(checkpoint: Path, adapters: Sequence[Adapter]) -> dict[str, Values]:
    """Returns what a checkpoint has of the layers that it fits."""
    if format_of(checkpoint.name, is_folder=False) == "weights.h5":
        with h5py.File(checkpoint) as file:
            return _read(file, adapters)
    with ZipFile(checkpoint) as archive:
        if _FILE not in archive.namelist() or archive.getinfo(_FILE).compress_type != ZIP_STORED:
            return {}
        with archive.open(_FILE) as stored, h5py.File(stored) as file:
            return _read(file, adapters)


def _read(file: h5py.File, adapters: Sequence[Adapter]) -> dict[str, Values]:
    found = {
        name.removeprefix(f"{_GROUP}/"): item for name, item in variables(file).items() if name.startswith(_GROUP)
    }
    kept: dict[str, Values] = {}
    for adapter in adapters:
        lost = {
            str(index): each for index, each in enumerate(adapter.layer.variables) if _is_lost(each, adapter.layer)
        }
        if all(_fits(each, found.get(f"{adapter.path}/{index}")) for index, each in lost.items()):
            kept[adapter.path] = {index: found[f"{adapter.path}/{index}"][()] for index in lost}
    return kept


def _fits(variable: Any, kept: h5py.Dataset | None) -> bool:
    return kept is not None and kept.shape == tuple(variable.shape)


def _unmerge(adapter: Adapter, values: Values) -> None:
    """Puts the matrices back, and takes their product out of the kernel again."""
    layer, merged = adapter.layer, _kernel_with_lora(adapter.layer)
    for index, value in values.items():
        layer.variables[int(index)].assign(value)
    if not getattr(layer, "quantization_mode", None):
        (kernel,) = [variable for variable in layer.variables if variable.name in ("kernel", "embeddings")]
        kernel.assign(merged - (_kernel_with_lora(layer) - merged))


def _kernel_with_lora(layer: Any) -> "np.ndarray[Any, Any]":
    return _value(layer.embeddings if hasattr(layer, "embeddings") else layer.kernel)


def _begin_anew(adapters: Sequence[Adapter], parts: Saveables, *, optimizer: bool) -> None:
    """Lets layers learn again, from the predictions of the checkpoint: of their two matrices one stays zero."""
    for adapter in adapters:
        adapter.a.assign(adapter.before if adapter.before.any() else _random(adapter.a))
        if optimizer:
            _forget_slots([adapter.a, adapter.b], parts)
    logger.warning(
        "The checkpoint has what LoRA has learnt merged into the kernel, and not the two matrices of %s: predictions "
        "are those of the checkpoint, and training goes on with the first matrix as the model was built, the second "
        "one zero, and no momentum for both.",
        ", ".join(label(adapter.path, adapter.layer.name) for adapter in adapters),
    )


def _random(variable: Any) -> Any:
    import keras

    return keras.initializers.HeUniform()(variable.shape, dtype=variable.dtype)  # Keras's own choice


def _forget_slots(variables: Sequence[Any], parts: Saveables) -> None:
    """Gives the variables that optimizers keep for some of a model's the values that they begin with."""
    for _, optimizer in parts:
        if not is_optimizer(optimizer) or not optimizer.built:
            continue
        fresh = type(optimizer).from_config(optimizer.get_config())
        fresh.build(list(variables))
        begun = {variable.name: variable for variable in fresh.variables if tuple(variable.shape)}
        for slot in optimizer.variables:
            if slot.name in begun and slot.shape == begun[slot.name].shape:
                slot.assign(begun[slot.name])
