"""Shards: one file in pieces that follow each other. Joining them gives the file back.

They are `<file>.shards/0000-…`, `<file>.shards/0001-…`, so that `cat <file>.shards/* > <file>` joins them as well.
"""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ENDING = ".shards"


def joined_name(names: Iterable[str]) -> str | None:
    """Returns the name of the file that the shards among a version's files make up; `None` where these are no shards.

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
    """Joins shards to the file that they make up, beside their own folder.

    Args:
        folder: Where the shards' folder is.
        names: All shards, by their names in the version.
        joined: The file's name.
    """
    # In one step, for another process may be reading what is there.
    with tempfile.TemporaryDirectory(prefix=".wandb_ckpt-join-", dir=folder) as aside:
        whole = Path(aside) / "whole"
        with whole.open("wb") as file:
            for name in sorted(names):
                with (folder / name).open("rb") as shard:
                    shutil.copyfileobj(shard, file, 1 << 20)
        whole.replace(folder / joined)
