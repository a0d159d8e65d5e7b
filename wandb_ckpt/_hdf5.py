"""The weights in a checkpoint's HDF5 file, read without Keras."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np

FORMATS = ("keras", "weights.h5", "h5")


@contextmanager
def open_weights(path: Path, form: str) -> Iterator[h5py.File]:
    """Opens the HDF5 file that holds the weights.

    Args:
        path: The checkpoint.
        form: Its format, one of `FORMATS`.
    """
    if form != "keras":
        with h5py.File(path) as file:
            yield file
        return
    with ZipFile(path) as archive, archive.open("model.weights.h5") as stored, h5py.File(stored) as file:
        yield file


def variables(file: h5py.File) -> Mapping[str, h5py.Dataset]:
    """Returns every variable by its path in the file."""
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def layer_of(name: str) -> str:
    """Returns the layer that a variable belongs to, as the file names it; the optimizer is one.

    >>> layer_of("layers/dense/vars/0"), layer_of("optimizer/vars/3"), layer_of("model_weights/d/sequential/d/kernel")
    ('layers/dense', 'optimizer', 'd')
    """
    parts = name.removeprefix("model_weights/").split("/")
    if parts[0] in ("optimizer", "optimizer_weights"):
        return "optimizer"
    return "/".join(parts[: parts.index("vars")]) or "model" if "vars" in parts else parts[0]


def dtype_of(variable: h5py.Dataset) -> str:
    """Returns the type of a variable. HDF5 has no bfloat16: what has no type and two bytes is that, in Keras."""
    return "bfloat16" if variable.dtype.str == "|V2" else str(variable.dtype)


def values_of(variable: h5py.Dataset) -> "np.ndarray[Any, Any]":
    """Returns a variable's values, of a type that can be calculated with where they are numbers."""
    values: np.ndarray[Any, Any] = np.asarray(variable[()])
    if dtype_of(variable) == "bfloat16":
        return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return values
