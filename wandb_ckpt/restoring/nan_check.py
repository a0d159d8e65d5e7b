"""Find NaN and infinite values in a checkpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wandb_ckpt.checkpoint import tf_prefix
from wandb_ckpt.formats.hdf5 import FORMATS, dtype_of, layer_of, open_weights, values_of, variables
from wandb_ckpt.restoring.tensorflow_checkpoint import read_all

_CHUNK = 1 << 22  # values that are read at once


def find_non_finite_layer(path: Path, form: str) -> str | None:
    """Return the name of a layer with NaN or infinite values, or `None` if all values of a checkpoint are finite.

    Args:
        path: The checkpoint.
        form: The format of the checkpoint.
    """
    values = _hdf5_values(path, form) if form in FORMATS else read_all(tf_prefix(path, form))
    return next((name for name, each in values if not np.isfinite(each).all()), None)


def _hdf5_values(path: Path, form: str) -> Iterator[tuple[str, Any]]:
    with open_weights(path, form) as file:
        for name, variable in variables(file).items():
            if "float" in dtype_of(variable):
                yield from ((layer_of(name), values) for values in _chunks(variable))


def _chunks(variable: h5py.Dataset) -> Iterator[Any]:
    if not variable.shape:
        yield values_of(variable)
        return
    rows = max(1, _CHUNK * variable.shape[0] // max(1, variable.size))
    for start in range(0, variable.shape[0], rows):
        yield values_of(variable, slice(start, start + rows))
