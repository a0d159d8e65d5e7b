"""Join shards, the consecutive pieces of one file, to the file.

The shards are `<file>.shards/0000-…`, `<file>.shards/0001-…`, so `cat <file>.shards/* > <file>` joins them, too.
"""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ENDING = ".shards"


def joined_name(names: Iterable[str]) -> str | None:
    """Return the name of the file that a version's shards make up, or `None` if its files are not shards.

    >>> joined_name(["model.keras.shards/0000-config.json", "model.keras.shards/0001-end"])
    'model.keras'
    >>> joined_name(["model.keras"]), joined_name([]), joined_name(["...shards/0000-x"])
    (None, None, None)
    """
    folders = {PurePosixPath(name).parent.as_posix() for name in names}
    folder = folders.pop() if len(folders) == 1 else ""
    name = folder.removesuffix(ENDING)
    return name if folder.endswith(ENDING) and "/" not in folder and name not in ("", ".", "..") else None


def join(folder: Path, names: Iterable[str], joined: str) -> None:
    """Join shards to a file, which is created beside the folder of the shards.

    Args:
        folder: The folder that has the folder of the shards.
        names: The names of all shards in the version.
        joined: The name of the file.
    """
    # The file is replaced in one step, because another process may be reading the old one.
    with tempfile.TemporaryDirectory(prefix=".wandb_ckpt-join-", dir=folder) as temporary:
        whole = Path(temporary) / "whole"
        with whole.open("wb") as file:
            for name in sorted(names):
                with (folder / name).open("rb") as shard:
                    shutil.copyfileobj(shard, file, 1 << 20)
        whole.replace(folder / joined)
