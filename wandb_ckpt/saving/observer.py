"""SaveObserver stands in front of the model while the parent works: it notices saves and makes them atomic.

It owns the saves that were made and not yet collected.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from wandb_ckpt.policy.path_template import is_remote
from wandb_ckpt.saving.atomic import PrivateFolder, finish_killed_saves, give_memory_back
from wandb_ckpt.saving.lora import keeping
from wandb_ckpt.saving.saveables import Saveables

logger = logging.getLogger("wandb_ckpt")


@dataclass(frozen=True, slots=True)
class Save:
    """One save that the parent made.

    Attributes:
        path: Where it is: as the parent named it, or, where it was made later, absolute.
        folder: The private folder with the frozen bytes; `None` where none could be made, so that the
            parent's own file is all there is.
    """

    path: str
    folder: PrivateFolder | None

    @property
    def is_remote(self) -> bool:
        """Whether the save went to a remote store such as `gs://`."""
        return is_remote(self.path)

    def forget(self) -> None:
        """Removes the frozen bytes; what the parent saved stays."""
        if self.folder is not None:
            self.folder.remove()


@dataclass(frozen=True, slots=True)
class LaterSave:
    """A save that is still to be made, of what the model was when the parent asked for it.

    Attributes:
        path: The path as the parent named it.
        carry_out: Makes it, once, in whatever thread; raises what the model's save raises.
    """

    path: str
    carry_out: Callable[[], Save]


class Picture(Protocol):
    """What the model was at one moment."""

    @property
    def parts(self) -> Saveables:
        """The parts that the model had."""

    def save(self, method: str, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Saves it with the model's method of that name."""


class SaveObserver:
    """Forwards everything to a model, and carries out `save()` and `save_weights()` atomically.

    Args:
        model: The real model.
        take_picture: Returns a picture of the model as it is now, to be saved later by one of the model's methods;
            `None` to save it at once.
        warn: Says something once.
    """

    def __init__(
        self,
        model: Any,
        take_picture: Callable[[str], Picture | None] | None = None,
        warn: Callable[[str], None] = logger.warning,
    ) -> None:
        self._observed = model
        self._take_picture = take_picture
        self._warn = warn
        self._saves: list[Save | LaterSave] = []
        self._tidied: set[Path] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed, name)

    def __reduce__(self) -> tuple[type["SaveObserver"], tuple[Any, ...]]:
        return SaveObserver, (self._observed, self._take_picture, self._warn)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the whole model, as `model.save` does."""
        self._save("save", filepath, args, kwargs)

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the weights, as `model.save_weights` does."""
        self._save("save_weights", filepath, args, kwargs)

    def collect(self) -> list[Save | LaterSave]:
        """Returns the saves since the last call, and forgets them."""
        saves, self._saves = self._saves, []
        return saves

    def _save(self, method: str, filepath: Any, args: Any, kwargs: Any) -> None:
        path = os.fspath(filepath)
        # A folder in the way is for the parent to complain about, at once.
        picture = self._take_picture(method) if self._take_picture and not Path(path).is_dir() else None
        if picture is None:
            save = keeping(self._observed, getattr(self._observed, method), path)
            self._saves.append(self._made(save, path, args, kwargs))
        else:
            save = keeping(self._observed, partial(picture.save, method), path, picture.parts)
            # By then the process may be in another folder than where the parent wanted the file.
            self._saves.append(LaterSave(path, partial(self._made, save, str(place_of(path)), args, kwargs)))

    def _made(self, save: Callable[..., Any], path: str, args: Any, kwargs: Any) -> Save:
        folder, reason = (None, None) if is_remote(path) else self._private_folder(path)
        if folder is None:
            save(path, *args, **kwargs)
        else:
            give_memory_back(folder.target)  # to what replaces it
            reason = _save_atomically(save, folder, args, kwargs)
        if reason is not None:
            self._say_in_place(path, reason)
        return Save(path, folder)

    def _private_folder(self, path: str) -> tuple[PrivateFolder | None, OSError | None]:
        try:
            self._tidy(Path(os.path.realpath(path)).parent)
            return PrivateFolder(path), None
        except OSError as error:
            # The parent may still be able to write into an existing file; what is wrong is for it to say.
            return None, error

    def _say_in_place(self, path: str, reason: OSError) -> None:
        self._warn(
            f"Saves in {Path(path).absolute().parent} are not atomic, because they can only be written in place "
            f"({reason.strerror or reason}): a process that is killed in mid-save leaves a damaged file there. "
            "What is published is a copy. Save to another folder to have atomic saves."
        )

    def _tidy(self, folder: Path) -> None:
        if folder not in self._tidied:
            self._tidied.add(folder)
            finish_killed_saves(folder)


def place_of(path: str) -> Path:
    """Returns where a save to `path` goes now, absolute; a path in a remote store as it is."""
    return Path(path) if is_remote(path) else Path(path).absolute()


def _save_atomically(save: Callable[..., Any], folder: PrivateFolder, args: Any, kwargs: Any) -> OSError | None:
    try:
        save(str(folder.partial / folder.name), *args, **kwargs)
        return folder.place()
    except BaseException:
        folder.remove()
        raise
