"""Split a checkpoint's file into shards. Shards of unchanged layers have the same bytes in every checkpoint.

W&B stores equal files of an artifact's versions only once, and they are not uploaded again.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import h5py

from wandb_ckpt.checkpoint import format_of
from wandb_ckpt.formats.hdf5 import WEIGHTS, layer_of, stored_weights, variables
from wandb_ckpt.formats.join_shards import ENDING

# At most 512 shards, each of 4 KiB or more. Fewer, larger shards would mix changed layers with unchanged ones; more
# shards need more requests.
_MOST, _SMALLEST = 512, 4096
_BLOCK = 1 << 20
# The earliest time that a zip file can have. `keras.saving.KerasFileEditor` (3.15) needs a date.
_NO_TIME, _NO_DATE = (1980, 1, 1, 0, 0, 0), "1980-01-01@00:00:00"
_ID = re.compile(rb'"shared_object_id": (\d+)')


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of an HDF5 file, from `start` to `stop`, named after the first layer in it."""

    name: str
    start: int
    stop: int


class _Shards:
    """A writable file whose content is split into several files.

    Args:
        folder: An empty folder for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._file: IO[bytes] | None = None

    def begin(self, name: str) -> None:
        """Begin the next shard.

        Args:
            name: The name of its content, for the file name.
        """
        self.close()
        # Layers can have names in any alphabet. Only ASCII file names work, and sort equally, everywhere.
        name = re.sub(r"[^A-Za-z0-9_.]+", "-", name)[:60]
        self._file = (self._folder / f"{self._number:04}-{name}").open("wb")
        self._number += 1

    def write(self, data: Any) -> int:
        """Write to the current shard."""
        assert self._file is not None
        return self._file.write(data)

    def flush(self) -> None:
        """Do nothing. `ZipFile` calls this."""

    def close(self) -> None:
        """End the last shard."""
        if self._file is not None:
            self._file.close()


def split(path: Path, folder: Path) -> list[str]:
    """Split a file into shards in `folder`, and return their names there.

    Joined, the shards are the file again. In a `.keras` file, the save time and the process-specific ids in
    `config.json` are replaced by fixed ones, so that the same model always gives the same shards.

    Args:
        path: A `.keras`, `.weights.h5` or `.h5` file.
        folder: The folder for the shards. Its old content, for example of a killed process, is removed.

    Raises:
        OSError: The file can't be read as HDF5, or the shards can't be written.
        BadZipFile: The file has the extension `.keras`, but is not a zip file.
        KeyError: It is a `.keras` file without the weights file that Keras writes.
    """
    form = format_of(path.name, is_folder=False)
    target = folder / f"model.{form}{ENDING}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        target.mkdir(parents=True)
        _write(path, form, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return [f"{target.name}/{shard.name}" for shard in sorted(target.iterdir())]


def _write(path: Path, form: str, folder: Path) -> None:
    shards = _Shards(folder)
    try:
        if form == "keras":
            _write_archive(path, shards)
        else:
            with path.open("rb") as file:
                _write_pieces(file, shards, shards)
    finally:
        shards.close()


def _write_archive(path: Path, shards: _Shards) -> None:
    with ZipFile(path) as archive, ZipFile(shards, "w") as target:
        # The weights come last: what follows them in a zip file has their checksum, so it changes with them.
        others = sorted(name for name in archive.namelist() if name != WEIGHTS)
        for name in others:
            shards.begin(name)
            with archive.open(name) as source, target.open(_without_time(archive.getinfo(name)), "w") as entry:
                if name in _NORMALIZED:
                    entry.write(_NORMALIZED[name](source.read()))
                else:
                    shutil.copyfileobj(source, entry, _BLOCK)
        shards.begin(WEIGHTS)
        with stored_weights(path) as source, target.open(_without_time(archive.getinfo(WEIGHTS)), "w") as entry:
            _write_pieces(source, entry, shards)
            shards.begin("end")


def _without_time(info: ZipInfo) -> ZipInfo:
    copy = ZipInfo(info.filename, _NO_TIME)
    copy.compress_type, copy.file_size = ZIP_STORED, info.file_size
    return copy


def _without_date(metadata: bytes) -> bytes:
    return json.dumps({**json.loads(metadata), "date_saved": _NO_DATE}).encode()


def _with_small_ids(config: bytes) -> bytes:
    """Number shared objects in their order. Keras 3.15 writes their memory addresses as ids."""
    numbers: dict[bytes, int] = {}
    return _ID.sub(lambda match: b'"shared_object_id": %d' % numbers.setdefault(match[1], len(numbers)), config)


_NORMALIZED = {"metadata.json": _without_date, "config.json": _with_small_ids}


def _write_pieces(source: IO[bytes], target: Any, shards: _Shards) -> None:
    for piece in _pieces(source):
        shards.begin(piece.name)
        source.seek(piece.start)
        for position in range(piece.start, piece.stop, _BLOCK):
            target.write(source.read(min(_BLOCK, piece.stop - position)))


def _pieces(source: IO[bytes]) -> list[_Piece]:
    """Return the pieces of an HDF5 file. Every large variable is a piece; small ones share pieces."""
    with h5py.File(source, "r") as file:
        found = sorted(_places(file))
    size = source.seek(0, 2)
    cuts, smallest, was_large = [(0, "begin")], max(_SMALLEST, size // _MOST), False
    for start, length, name in found:
        is_large = length >= smallest
        if is_large or was_large or start - cuts[-1][0] >= smallest:
            cuts.append((start, layer_of(name)))
        was_large = is_large
    stops = [start for start, _ in cuts[1:]] + [size]
    return [_Piece(name, start, stop) for (start, name), stop in zip(cuts, stops, strict=True)]


def _places(file: h5py.File) -> Iterator[tuple[int, int, str]]:
    """Yield the position of each variable in the file, its length and its name."""
    for name, variable in variables(file).items():
        start = variable.id.get_offset()
        if start is not None:  # an empty variable has no position
            yield start, variable.nbytes, name
