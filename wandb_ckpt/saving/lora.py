"""Save and restore the matrices of LoRA layers, which Keras 3.15 does not save.

Keras merges the two small matrices into the kernel when it saves, and sets both to zeros when it loads. Such a layer
can't train: the gradients of two zero matrices are zero. The optimizer's state belongs to the old values, too. So the
callback adds the matrices to the files that it saves, and restores them from there.
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
# A group in a .weights.h5 file, a file in a .keras file. Keras ignores both.
_GROUP, _FILE = "wandb_ckpt_lora", "wandb_ckpt_lora.h5"


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A layer with LoRA, before a checkpoint is restored.

    Attributes:
        path: The layer's path.
        layer: The layer.
        a: The matrix with random initial values.
        b: The matrix that is initially zero.
        before: The values of `a` before the restore.
    """

    path: str
    layer: Any
    a: Any
    b: Any
    before: "np.ndarray[Any, Any]"


# ---- saving ----------------------------------------------------------------------------------------------------


def saving_matrices(
    model: Any, save: Callable[..., Any], path: str, parts: Saveables | None = None
) -> Callable[..., Any]:
    """Return a function that calls `save`, and adds the current matrices of LoRA layers to the saved file.

    Args:
        model: The model.
        save: The model's own method, or a function with the same arguments.
        path: Where the model is saved.
        parts: The parts of the model, if they are known.
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
    """Return the values that a save of a layer loses. For a quantized layer this includes the kernel."""
    return {str(index): _value(each) for index, each in enumerate(layer.variables) if _is_lost(each, layer)}


def _is_lost(variable: Any, layer: Any) -> bool:
    return variable.name.startswith("lora_") or bool(getattr(layer, "quantization_mode", None))


def _value(variable: Any) -> "np.ndarray[Any, Any]":
    import keras

    value = np.array(keras.ops.convert_to_numpy(variable))  # a copy, because training continues
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
    """Return the layers with LoRA. To be called before a checkpoint is restored."""
    return list(_adapters(parts))


def _adapters(parts: Saveables) -> Iterator[Adapter]:
    for path, part in parts:
        by_name = {each.name: each for each in part.variables} if getattr(part, "lora_enabled", False) else {}
        for name in by_name:
            if name.startswith("lora_") and name.endswith("_a"):
                yield Adapter(path, part, by_name[name], by_name[f"{name[:-1]}b"], _value(by_name[name]))


def restore_matrices(adapters: Sequence[Adapter], checkpoint: Path, parts: Saveables, *, optimizer: bool) -> None:
    """Restore the matrices of LoRA layers, after Keras has restored a checkpoint.

    Layers whose matrices are not in the checkpoint get new ones.

    Args:
        adapters: The LoRA layers of the model.
        checkpoint: A `.keras` or `.weights.h5` file.
        parts: The parts of the model.
        optimizer: Whether the state of optimizers was restored.
    """
    stored = _stored_in(checkpoint, adapters) if adapters else {}
    for each in adapters:
        if each.path in stored:
            _unmerge(each, stored[each.path])
    if missing := [each for each in adapters if each.path not in stored]:
        _reset(missing, parts, optimizer=optimizer)


def _stored_in(checkpoint: Path, adapters: Sequence[Adapter]) -> dict[str, Values]:
    """Return the values in a checkpoint, by the paths of the layers that they fit."""
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
    fitting: dict[str, Values] = {}
    for adapter in adapters:
        lost = {
            str(index): each for index, each in enumerate(adapter.layer.variables) if _is_lost(each, adapter.layer)
        }
        if all(_fits(each, found.get(f"{adapter.path}/{index}")) for index, each in lost.items()):
            fitting[adapter.path] = {index: found[f"{adapter.path}/{index}"][()] for index in lost}
    return fitting


def _fits(variable: Any, stored: h5py.Dataset | None) -> bool:
    return stored is not None and stored.shape == tuple(variable.shape)


def _unmerge(adapter: Adapter, values: Values) -> None:
    """Restore the matrices, and subtract their product from the kernel."""
    layer, merged = adapter.layer, _kernel_with_lora(adapter.layer)
    for index, value in values.items():
        layer.variables[int(index)].assign(value)
    if not getattr(layer, "quantization_mode", None):
        (kernel,) = [variable for variable in layer.variables if variable.name in ("kernel", "embeddings")]
        kernel.assign(merged - (_kernel_with_lora(layer) - merged))


def _kernel_with_lora(layer: Any) -> "np.ndarray[Any, Any]":
    return _value(layer.embeddings if hasattr(layer, "embeddings") else layer.kernel)


def _reset(adapters: Sequence[Adapter], parts: Saveables, *, optimizer: bool) -> None:
    """Initialize the matrices of layers, so that they can train. One stays zero, so predictions do not change."""
    for adapter in adapters:
        adapter.a.assign(adapter.before if adapter.before.any() else _random(adapter.a))
        if optimizer:
            _reset_slots([adapter.a, adapter.b], parts)
    logger.warning(
        "The checkpoint has the LoRA weights merged into the kernel, without the two matrices of %s. Predictions are "
        "those of the checkpoint. Training continues with new LoRA matrices: the first as the model was built, the "
        "second zero, both without optimizer state.",
        ", ".join(label(adapter.path, adapter.layer.name) for adapter in adapters),
    )


def _random(variable: Any) -> Any:
    import keras

    return keras.initializers.HeUniform()(variable.shape, dtype=variable.dtype)  # Keras's own choice


def _reset_slots(variables: Sequence[Any], parts: Saveables) -> None:
    """Set the optimizers' variables that belong to some variables of the model to their initial values."""
    for _, optimizer in parts:
        if not is_optimizer(optimizer) or not optimizer.built:
            continue
        fresh = type(optimizer).from_config(optimizer.get_config())
        fresh.build(list(variables))
        initial = {variable.name: variable for variable in fresh.variables if tuple(variable.shape)}
        for slot in optimizer.variables:
            if slot.name in initial and slot.shape == initial[slot.name].shape:
                slot.assign(initial[slot.name])
