"""Check the files of a checkpoint before any value is read: they may come from an untrusted source."""

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

# Keras does not compress values. A file compressed by another program may unpack to ten times its size, or to 8 MiB.
# A file that unpacks to more is refused: it may be a decompression bomb.
_EXPANSION, _HARMLESS = 10, 8 << 20

_SIGNATURES = {"keras": b"PK", "weights.h5": b"\x89HDF\r\n\x1a\n", "h5": b"\x89HDF\r\n\x1a\n"}


class _UnsafeError(Exception):
    """A file has something that Keras never writes. The message continues the words "the file has"."""


def check(path: Path, form: str, ref: str) -> None:
    """Check that a checkpoint's values are all in its own files, and do not unpack to far more than the files' size.

    Args:
        path: The checkpoint.
        form: The format of the checkpoint; see `Checkpoint`.
        ref: The name of the checkpoint in messages.

    Raises:
        RestoreError: The files are unsafe or damaged.
    """
    try:
        _check_hdf5_format(path, form) if form in FORMATS else _check_tf_format(path, form)
    except _UnsafeError as error:
        raise RestoreError(
            f"{ref} is refused, and nothing was read from it: {path.name} has {error}. Expected a file as Keras "
            "writes it, with all values in the file itself. Use another version, or ask the person who published "
            "this one."
        ) from error
    except Exception as error:  # h5py, zipfile and TensorFlow raise errors of many types for damaged files
        raise RestoreError(
            f"{ref} can't be read as a checkpoint of Keras: {path.name}: {error}. Expected a complete {form} file, "
            "as Keras writes it. Use another version."
        ) from error


def has_signature(path: Path, form: str) -> bool:
    """Return whether a file begins with the signature of its format."""
    signature = _SIGNATURES[form]
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def _check_hdf5_format(path: Path, form: str) -> None:
    size = path.stat().st_size
    if form == "keras":
        _check_zip(path, size)
        _check_other_files(path, size)
    with open_weights(path, form) as file:
        _check_file(file, size)


def _check_other_files(path: Path, size: int) -> None:
    """Check the other HDF5 files in a `.keras` file, which the callback adds for LoRA."""
    with ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".h5") and "/" not in name and name != WEIGHTS:
                with archive.open(name) as stored, File(stored) as file:
                    _check_file(file, size)


def _check_file(file: File, size: int) -> None:
    _check_unpacked_size(_unpacked_sizes("", h5o.open(file.id, b"/"), size, set()), size)


def _check_unpacked_size(unpacked: Iterator[tuple[str, int]], size: int) -> None:
    total = 0
    for name, amount in unpacked:
        total += amount
        if total > max(_HARMLESS, _EXPANSION * size):
            raise _UnsafeError(
                f"{size:,} bytes, but unpacks to at least {total:,} bytes with {name!r}, far more than a checkpoint "
                "needs"
            )


# ---- zip ---------------------------------------------------------------------------------------------------


def _check_zip(path: Path, size: int) -> None:
    with ZipFile(path) as archive:
        entries = archive.infolist()
        ((name, times),) = Counter(entry.filename for entry in entries).most_common(1) or [("", 0)]
        if times > 1:
            raise _UnsafeError(f"{times} entries with the name {name!r}")
        for entry in entries:
            _check_entry(archive, entry)
    _check_unpacked_size(((entry.filename, entry.file_size) for entry in entries), size)


def _check_entry(archive: ZipFile, entry: ZipInfo) -> None:
    if not _is_inside(entry.filename):
        raise _UnsafeError(f"an entry that would be unpacked outside of the folder: {entry.filename!r}")
    if entry.compress_type == ZIP_STORED and entry.compress_size != entry.file_size:
        raise _UnsafeError(f"two different sizes for the entry {entry.filename!r}")
    archive.open(entry).close()  # checks the entry's own header against the archive's list


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


# ---- HDF5 --------------------------------------------------------------------------------------------------


def _unpacked_sizes(name: str, item: Any, size: int, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Yield the name of each attribute and dataset below an object, with its size in memory in bytes.

    Only hard links are followed, and no object is visited twice.

    Raises:
        _UnsafeError: There is another kind of link, or values that are stored in another file.
    """
    address = h5o.get_info(item).addr
    if address in seen:
        raise _UnsafeError(f"two names for the same object, one of them {name!r}")
    seen.add(address)
    yield from _attributes(name, item)
    if isinstance(item, h5d.DatasetID):
        yield name, _bytes_of_data(name, item, size)
    elif isinstance(item, h5g.GroupID):
        for key in item:
            child = f"{name}/{key.decode(errors='replace')}".lstrip("/")
            if item.links.get_info(key).type != h5l.TYPE_HARD:
                raise _UnsafeError(f"a soft or external link, {child!r}, which may lead to other files")
            yield from _unpacked_sizes(child, h5o.open(item, key), size, seen)
    else:
        raise _UnsafeError(f"an object that is neither a group nor a dataset: {name!r}")


def _attributes(name: str, item: Any) -> Iterator[tuple[str, int]]:
    for index in range(h5a.get_num_attrs(item)):
        attribute = h5a.open(item, index=index)
        label = f"{name}@{attribute.name.decode(errors='replace')}"
        yield label, _bytes(label, attribute, text=0)  # Keras's names and config, which the file has uncompressed


def _bytes_of_data(name: str, data: h5d.DatasetID, size: int) -> int:
    properties = data.get_create_plist()
    layout = properties.get_layout()
    if layout == h5d.VIRTUAL:  # checked before the shape is read, which may open the other files
        raise _UnsafeError(f"the virtual dataset {name!r}, whose values are in other files")
    if properties.get_external_count():
        raise _UnsafeError(f"the dataset {name!r}, whose values are in other files (external storage)")
    # A chunk is always read whole, also if only a small part of it belongs to the dataset.
    chunk = math.prod(properties.get_chunk()) * data.dtype.itemsize if layout == h5d.CHUNKED else 0
    # Keras writes no text into datasets. In other files, each text can be as long as the file: texts can share bytes.
    return max(_bytes(name, data, text=size), chunk)


def _bytes(name: str, values: Any, text: int) -> int:
    """Return the size in memory of the values of a dataset or an attribute, in bytes.

    Args:
        name: The name of the dataset or attribute.
        values: The dataset or attribute.
        text: The size to assume for a text of variable length.
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
    unpacked = ((name, math.prod(shape) * types[name].size) for name, shape in shapes.items())
    _check_unpacked_size(unpacked, sum(file.stat().st_size for file in files))
