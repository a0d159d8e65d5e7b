"""Read the weights in a checkpoint's HDF5 file, without Keras."""

import io
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast
from zipfile import ZIP_STORED, ZipFile

import h5py
import numpy as np

FORMATS = ("keras", "weights.h5", "h5")
WEIGHTS = "model.weights.h5"  # the name of the HDF5 file in a .keras file


@contextmanager
def open_weights(path: Path, form: str) -> Iterator[h5py.File]:
    """Open the HDF5 file that has the weights.

    Args:
        path: The checkpoint.
        form: The format of the checkpoint, one of `FORMATS`.
    """
    if form != "keras":
        with h5py.File(path) as file:
            yield file
        return
    with stored_weights(path) as stored, h5py.File(stored) as file:
        yield file


@contextmanager
def stored_weights(path: Path) -> Iterator[IO[bytes]]:
    """Open the HDF5 file in a `.keras` file, as bytes.

    Raises:
        OSError: The file can't be read.
        BadZipFile: The file is not a zip file.
        KeyError: The file does not have the weights file that Keras writes.
    """
    with ZipFile(path) as archive, path.open("rb") as file:
        info = archive.getinfo(WEIGHTS)
        if info.compress_type != ZIP_STORED:  # not written by Keras
            with archive.open(info) as unpacked:
                yield unpacked
            return
        # For each backward seek, Python 3.11 reads a file in a zip again from its start. HDF5 seeks backward often.
        file.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        start = info.header_offset + 30 + name_length + extra_length
        yield cast("IO[bytes]", io.BufferedReader(_Window(file, start, info.file_size), 1 << 16))


class _Window(io.RawIOBase):
    """A part of a file, as a read-only file."""

    def __init__(self, file: io.BufferedReader, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._position)
        amount = max(0, min(len(buffer), self._size - self._position))
        read = self._file.readinto(memoryview(buffer)[:amount])
        self._position += read
        return read


def variables(file: h5py.File) -> Mapping[str, h5py.Dataset]:
    """Return all variables by their paths in the file."""
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def layer_of(name: str) -> str:
    """Return the layer that a variable belongs to, as the file names it. The optimizer counts as a layer.

    >>> layer_of("layers/dense/vars/0"), layer_of("optimizer/vars/3"), layer_of("model_weights/d/sequential/d/kernel")
    ('layers/dense', 'optimizer', 'd')
    """
    parts = name.removeprefix("model_weights/").split("/")
    if parts[0] in ("optimizer", "optimizer_weights"):
        return "optimizer"
    return "/".join(parts[: parts.index("vars")]) or "model" if "vars" in parts else parts[0]


def dtype_of(variable: h5py.Dataset) -> str:
    """Return the dtype of a variable. HDF5 has no bfloat16: Keras writes it as two bytes without a type."""
    return "bfloat16" if variable.dtype.str == "|V2" else str(variable.dtype)


def values_of(variable: h5py.Dataset, rows: Any = ()) -> "np.ndarray[Any, Any]":
    """Return a variable's values, or some of its rows. bfloat16 values are converted to float32."""
    values: np.ndarray[Any, Any] = np.asarray(variable[rows])
    if dtype_of(variable) == "bfloat16":
        return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return values
