"""SaveObserver: takes the place of the model while the parent works, records its saves and makes them atomic.

It owns the saves that were made and not collected yet.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from wandb_ckpt.policy.path_template import is_remote
from wandb_ckpt.saving.atomic import PrivateFolder, finish_killed_saves, free_cached_pages
from wandb_ckpt.saving.lora import saving_matrices
from wandb_ckpt.saving.saveables import Saveables

logger = logging.getLogger("wandb_ckpt")


@dataclass(frozen=True, slots=True)
class Save:
    """One save that the parent made.

    Attributes:
        path: The path of the save, as the parent named it; absolute if it was saved in the background.
        folder: The private folder that holds the saved bytes; `None` if it could not be created, so that there is
            only the parent's own file.
    """

    path: str
    folder: PrivateFolder | None

    @property
    def is_remote(self) -> bool:
        """Whether the save is in a remote store such as `gs://`."""
        return is_remote(self.path)

    def forget(self) -> None:
        """Remove the private folder; the parent's file stays."""
        if self.folder is not None:
            self.folder.remove()


@dataclass(frozen=True, slots=True)
class LaterSave:
    """A save that is not made yet, of a copy of the model from when the parent saved.

    Attributes:
        path: The path as the parent named it.
        carry_out: Makes the save, in any thread. To be called once; raises what the model's save raises.
    """

    path: str
    carry_out: Callable[[], Save]


class ModelCopy(Protocol):
    """A copy of a model's variables at one moment."""

    @property
    def parts(self) -> Saveables:
        """The parts of the model at that moment."""

    def save(self, method: str, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Save the copy with the model's method of that name."""


class SaveObserver:
    """Forwards everything to a model, and makes `save()` and `save_weights()` atomic.

    Args:
        model: The real model.
        copy_model: Returns a copy of the model as it is now, to save it later with the given method; `None` if the
            model must be saved at once.
        warn: Logs a warning, each message once.
    """

    def __init__(
        self,
        model: Any,
        copy_model: Callable[[str], ModelCopy | None] | None = None,
        warn: Callable[[str], None] = logger.warning,
    ) -> None:
        self._observed = model
        self._copy_model = copy_model
        self._warn = warn
        self._saves: list[Save | LaterSave] = []
        self._cleaned: set[Path] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed, name)

    def __reduce__(self) -> tuple[type["SaveObserver"], tuple[Any, ...]]:
        return SaveObserver, (self._observed, self._copy_model, self._warn)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save the whole model, as `model.save` does."""
        self._save("save", filepath, args, kwargs)

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save the weights, as `model.save_weights` does."""
        self._save("save_weights", filepath, args, kwargs)

    def collect(self) -> list[Save | LaterSave]:
        """Return the saves since the last call, and forget them."""
        saves, self._saves = self._saves, []
        return saves

    def _save(self, method: str, filepath: Any, args: Any, kwargs: Any) -> None:
        path = os.fspath(filepath)
        # If a folder has this path, the parent must report it at once.
        copy = self._copy_model(method) if self._copy_model and not Path(path).is_dir() else None
        if copy is None:
            save = saving_matrices(self._observed, getattr(self._observed, method), path)
            self._saves.append(self._save_now(save, path, args, kwargs))
        else:
            save = saving_matrices(self._observed, partial(copy.save, method), path, copy.parts)
            # The path must be absolute: the process may change its working folder before the save is made.
            self._saves.append(LaterSave(path, partial(self._save_now, save, str(absolute_path(path)), args, kwargs)))

    def _save_now(self, save: Callable[..., Any], path: str, args: Any, kwargs: Any) -> Save:
        folder, reason = (None, None) if is_remote(path) else self._private_folder(path)
        if folder is None:
            save(path, *args, **kwargs)
        else:
            free_cached_pages(folder.target)  # the new file can use their memory
            reason = _save_atomically(save, folder, args, kwargs)
        if reason is not None:
            self._warn_not_atomic(path, reason)
        return Save(path, folder)

    def _private_folder(self, path: str) -> tuple[PrivateFolder | None, OSError | None]:
        try:
            self._clean_up(Path(os.path.realpath(path)).parent)
            return PrivateFolder(path), None
        except OSError as error:
            # The parent may still be able to write into an existing file. If not, it reports the cause.
            return None, error

    def _warn_not_atomic(self, path: str, reason: OSError) -> None:
        self._warn(
            f"Saves in {Path(path).absolute().parent} are not atomic, because they can only be written in place "
            f"({reason.strerror or reason}). If the process is killed during a save, the file there is damaged. A "
            "copy of each file is published. To have atomic saves, save to another folder."
        )

    def _clean_up(self, folder: Path) -> None:
        if folder not in self._cleaned:
            self._cleaned.add(folder)
            finish_killed_saves(folder)


def absolute_path(path: str) -> Path:
    """Return a path as an absolute path; a path in a remote store as it is."""
    return Path(path) if is_remote(path) else Path(path).absolute()


def _save_atomically(save: Callable[..., Any], folder: PrivateFolder, args: Any, kwargs: Any) -> OSError | None:
    try:
        save(str(folder.partial / folder.name), *args, **kwargs)
        return folder.place()
    except BaseException:
        folder.remove()
        raise
