"""Splits a checkpoint's file into shards of which those of unchanged layers are the same bytes in every checkpoint.

W&B stores content that an earlier version of the artifact has only once, and is not sent it again.
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

# Fewer and larger shards would mix what changes with what does not; more of them are more requests.
_MOST, _SMALLEST = 512, 4096
_BLOCK = 1 << 20
# The least that a zip can say; Keras's editor of files (3.15) wants some date.
_NO_TIME, _NO_DATE = (1980, 1, 1, 0, 0, 0), "1980-01-01@00:00:00"
_ID = re.compile(rb'"shared_object_id": (\d+)')


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of an HDF5 file, from `start` to `stop`, named after the layer that it begins with."""

    name: str
    start: int
    stop: int


class _Shards:
    """What is written to it goes to one file after the other.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._file: IO[bytes] | None = None

    def begin(self, name: str) -> None:
        """Lets the next shard begin here, named after what is in it."""
        self.close()
        # A name of any alphabet, on any disk, in any order of sorting.
        name = re.sub(r"[^A-Za-z0-9_.]+", "-", name)[:60]
        self._file = (self._folder / f"{self._number:04}-{name}").open("wb")
        self._number += 1

    def write(self, data: Any) -> int:
        """Writes to the shard of now, as a file does."""
        assert self._file is not None
        return self._file.write(data)

    def flush(self) -> None:
        """Does nothing; a zip file asks for it."""

    def close(self) -> None:
        """Ends the last shard."""
        if self._file is not None:
            self._file.close()


def split(path: Path, folder: Path) -> list[str]:
    """Splits a file into shards in `folder`, and returns their names there.

    Joined, they are the file; a `.keras` file without the time of saving, and with ids in `config.json` that do not
    depend on the process, so that the same model makes the same shards.

    Args:
        path: A `.keras`, `.weights.h5` or `.h5` file.
        folder: Where to; what is there, such as what a killed process left, goes.

    Raises:
        OSError: The file can't be read as HDF5, or the shards can't be written.
        BadZipFile: It is no `.keras` file.
        KeyError: It is a `.keras` file without the weights that Keras writes.
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
        # The weights are last: in a zip, what follows them tells of their checksum.
        others = sorted(name for name in archive.namelist() if name != WEIGHTS)
        for name in others:
            shards.begin(name)
            with archive.open(name) as source, target.open(_timeless(archive.getinfo(name)), "w") as entry:
                if name in _NEUTRAL:
                    entry.write(_NEUTRAL[name](source.read()))
                else:
                    shutil.copyfileobj(source, entry, _BLOCK)
        shards.begin(WEIGHTS)
        with stored_weights(path) as source, target.open(_timeless(archive.getinfo(WEIGHTS)), "w") as entry:
            _write_pieces(source, entry, shards)
            shards.begin("end")


def _timeless(info: ZipInfo) -> ZipInfo:
    timeless = ZipInfo(info.filename, _NO_TIME)
    timeless.compress_type, timeless.file_size = ZIP_STORED, info.file_size
    return timeless


def _without_date(metadata: bytes) -> bytes:
    return json.dumps({**json.loads(metadata), "date_saved": _NO_DATE}).encode()


def _with_small_ids(config: bytes) -> bytes:
    """Numbers shared objects in their order; Keras 3.15 writes their addresses in memory."""
    numbers: dict[bytes, int] = {}
    return _ID.sub(lambda match: b'"shared_object_id": %d' % numbers.setdefault(match[1], len(numbers)), config)


_NEUTRAL = {"metadata.json": _without_date, "config.json": _with_small_ids}


def _write_pieces(source: IO[bytes], target: Any, shards: _Shards) -> None:
    for piece in _pieces(source):
        shards.begin(piece.name)
        source.seek(piece.start)
        for position in range(piece.start, piece.stop, _BLOCK):
            target.write(source.read(min(_BLOCK, piece.stop - position)))


def _pieces(source: IO[bytes]) -> list[_Piece]:
    """Returns the pieces that an HDF5 file is cut into: every large variable begins one, and ends it."""
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
    """Yields where each variable is in the file, its length and its name."""
    for name, variable in variables(file).items():
        start = variable.id.get_offset()
        if start is not None:  # an empty one is nowhere
            yield start, variable.nbytes, name
