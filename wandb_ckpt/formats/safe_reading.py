"""Checks the files of a checkpoint before any value is read from them: they may come from anyone."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from h5py import File, h5a, h5d, h5g, h5l, h5o, h5t

from wandb_ckpt.checkpoint import tf_prefix
from wandb_ckpt.errors import RestoreError
from wandb_ckpt.formats.hdf5 import FORMATS, WEIGHTS, open_weights

# Keras writes values as they are. A file that others have compressed may unpack to ten times its size, or to a few
# megabytes; more is a bomb.
_EXPANSION, _HARMLESS = 10, 8 << 20

_SIGNATURES = {"keras": b"PK", "weights.h5": b"\x89HDF\r\n\x1a\n", "h5": b"\x89HDF\r\n\x1a\n"}


class _UnsafeError(Exception):
    """Something in a file that no Keras writes."""


def check(path: Path, form: str, ref: str) -> None:
    """Checks that all of a checkpoint's values are in its own files, and take no more room than those allow.

    Args:
        path: The checkpoint.
        form: Its format; see `Checkpoint`.
        ref: What messages call it.

    Raises:
        RestoreError: They are not, or the files are damaged.
    """
    try:
        _check_hdf5_format(path, form) if form in FORMATS else _check_tf_format(path, form)
    except _UnsafeError as error:
        raise RestoreError(
            f"{ref} is refused, and nothing was read from it: {path.name} has {error}. Expected a file as Keras "
            "writes it, with all values in it. Take another version, or ask whoever published this one."
        ) from error
    except Exception as error:  # h5py, zipfile and TensorFlow have errors of many types for what is damaged
        raise RestoreError(
            f"{ref} can't be read as Keras saves it: {path.name}: {error}. Expected a whole {form} file, as Keras "
            "writes it. Take another version."
        ) from error


def has_signature(path: Path, form: str) -> bool:
    """Returns whether a file begins as its format does."""
    signature = _SIGNATURES[form]
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def _check_hdf5_format(path: Path, form: str) -> None:
    size = path.stat().st_size
    if form == "keras":
        _check_zip(path, size)
        _check_others(path, size)
    with open_weights(path, form) as file:
        _check_file(file, size)


def _check_others(path: Path, size: int) -> None:
    """Checks the HDF5 files that are beside the weights in an archive: what the callback adds for LoRA."""
    with ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".h5") and "/" not in name and name != WEIGHTS:
                with archive.open(name) as stored, File(stored) as file:
                    _check_file(file, size)


def _check_file(file: File, size: int) -> None:
    _check_room(_declared("", h5o.open(file.id, b"/"), size, set()), size)


def _check_room(declared: Iterator[tuple[str, int]], size: int) -> None:
    total = 0
    for name, amount in declared:
        total += amount
        if total > max(_HARMLESS, _EXPANSION * size):
            raise _UnsafeError(
                f"{size:,} bytes, and {name!r} brings what they unpack to up to {total:,}, which no such file needs"
            )


# ---- zip ---------------------------------------------------------------------------------------------------


def _check_zip(path: Path, size: int) -> None:
    with ZipFile(path) as archive:
        entries = archive.infolist()
        ((name, times),) = Counter(entry.filename for entry in entries).most_common(1) or [("", 0)]
        if times > 1:
            raise _UnsafeError(f"{times} entries of the name {name!r}")
        for entry in entries:
            _check_entry(archive, entry)
    _check_room(((entry.filename, entry.file_size) for entry in entries), size)


def _check_entry(archive: ZipFile, entry: ZipInfo) -> None:
    if not _is_inside(entry.filename):
        raise _UnsafeError(f"an entry that would be unpacked elsewhere: {entry.filename!r}")
    if entry.compress_type == ZIP_STORED and entry.compress_size != entry.file_size:
        raise _UnsafeError(f"two sizes for the entry {entry.filename!r}")
    archive.open(entry).close()  # checks the entry's own header against the archive's list


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


# ---- HDF5 --------------------------------------------------------------------------------------------------


def _declared(name: str, item: Any, size: int, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Yields every attribute and data set below an object, with the bytes that it takes when it is read.

    No link but a hard one is followed, and no object is visited twice.

    Raises:
        _UnsafeError: There is another link, or values that are kept elsewhere.
    """
    address = h5o.get_info(item).addr
    if address in seen:
        raise _UnsafeError(f"a second name for one object: {name!r}")
    seen.add(address)
    yield from _attributes(name, item)
    if isinstance(item, h5d.DatasetID):
        yield name, _bytes_of_data(name, item, size)
    elif isinstance(item, h5g.GroupID):
        for key in item:
            child = f"{name}/{key.decode(errors='replace')}".lstrip("/")
            if item.links.get_info(key).type != h5l.TYPE_HARD:
                raise _UnsafeError(f"a soft or external link, {child!r}, which may lead to other files")
            yield from _declared(child, h5o.open(item, key), size, seen)
    else:
        raise _UnsafeError(f"something that is neither a group nor a data set: {name!r}")


def _attributes(name: str, item: Any) -> Iterator[tuple[str, int]]:
    for index in range(h5a.get_num_attrs(item)):
        attribute = h5a.open(item, index=index)
        label = f"{name}@{attribute.name.decode(errors='replace')}"
        yield label, _bytes(label, attribute, text=0)  # Keras's names and configuration: as long as the file has them


def _bytes_of_data(name: str, data: h5d.DatasetID, size: int) -> int:
    made = data.get_create_plist()
    layout = made.get_layout()
    if layout == h5d.VIRTUAL:  # before its shape is asked for, which may open the other files
        raise _UnsafeError(f"the virtual data set {name!r}, whose values are in other files")
    if made.get_external_count():
        raise _UnsafeError(f"the data set {name!r}, whose values are in other files (external storage)")
    # A chunk is read whole, however small the part of it is that belongs to the data set.
    chunk = math.prod(made.get_chunk()) * data.dtype.itemsize if layout == h5d.CHUNKED else 0
    # Keras writes no text into data sets; what others write is in the file, but may be one piece many times.
    return max(_bytes(name, data, text=size), chunk)


def _bytes(name: str, values: Any, text: int) -> int:
    """Returns how many bytes the values of a data set or an attribute take in memory.

    Args:
        name: Its name.
        values: It.
        text: What a text of any length is taken for.
    """
    if values.get_type().detect_class(h5t.REFERENCE):
        raise _UnsafeError(f"references to other objects: {name!r}")
    each = text if values.dtype.hasobject else int(values.dtype.itemsize)
    return math.prod(values.shape or ()) * each


# ---- TensorFlow --------------------------------------------------------------------------------------------


def _check_tf_format(path: Path, form: str) -> None:
    import tensorflow as tf

    prefix = Path(tf_prefix(path, form))
    if prefix.is_dir():
        raise _UnsafeError(f"a folder {prefix.name!r}, whose `checkpoint` file may name other files")
    files = (file for file in prefix.parent.iterdir() if file.name.startswith(f"{prefix.name}."))
    reader = tf.train.load_checkpoint(str(prefix))
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    declared = ((name, math.prod(shape) * types[name].size) for name, shape in shapes.items())
    _check_room(declared, sum(file.stat().st_size for file in files))
