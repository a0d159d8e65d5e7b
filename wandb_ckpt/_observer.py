"""SaveObserver stands in front of the model while the parent works: it notices saves and makes them atomic.

It owns the saves that were made and not yet collected.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb_ckpt._atomic import PrivateFolder, finish_killed_saves


@dataclass(frozen=True, slots=True)
class Save:
    """One save that the parent made.

    Attributes:
        path: The path as the parent named it.
        folder: The private folder with the frozen bytes; `None` where none could be made, so that the
            parent's own file is all there is.
    """

    path: str
    folder: PrivateFolder | None

    @property
    def is_remote(self) -> bool:
        """Whether the save went to a remote store such as `gs://`."""
        return "://" in self.path

    def forget(self) -> None:
        """Removes the frozen bytes; what the parent saved stays."""
        if self.folder is not None:
            self.folder.remove()


class SaveObserver:
    """Forwards everything to a model, and carries out `save()` and `save_weights()` atomically.

    Args:
        model: The real model.
    """

    def __init__(self, model: Any) -> None:
        self._observed = model
        self._saves: list[Save] = []
        self._tidied: set[Path] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed, name)

    def __reduce__(self) -> tuple[type["SaveObserver"], tuple[Any]]:
        return SaveObserver, (self._observed,)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the whole model, as `model.save` does."""
        self._save(self._observed.save, filepath, args, kwargs)

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the weights, as `model.save_weights` does."""
        self._save(self._observed.save_weights, filepath, args, kwargs)

    def collect(self) -> list[Save]:
        """Returns the saves since the last call, and forgets them."""
        saves, self._saves = self._saves, []
        return saves

    def _save(self, save: Callable[..., Any], filepath: Any, args: Any, kwargs: Any) -> None:
        path = os.fspath(filepath)
        folder = None if "://" in path else self._private_folder(path)
        if folder is None:
            save(filepath, *args, **kwargs)
        else:
            _save_atomically(save, folder, args, kwargs)
        self._saves.append(Save(path, folder))

    def _private_folder(self, path: str) -> PrivateFolder | None:
        try:
            self._tidy(Path(os.path.realpath(path)).parent)
            return PrivateFolder(path)
        except OSError:
            # The parent may still be able to write into an existing file; what is wrong is for it to say.
            return None

    def _tidy(self, folder: Path) -> None:
        if folder not in self._tidied:
            self._tidied.add(folder)
            finish_killed_saves(folder)


def _save_atomically(save: Callable[..., Any], folder: PrivateFolder, args: Any, kwargs: Any) -> None:
    try:
        save(str(folder.partial / folder.name), *args, **kwargs)
        folder.place()
    except BaseException:
        folder.remove()
        raise
