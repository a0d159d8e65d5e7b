"""What the tests train, and what they see on the server afterwards."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

X = np.linspace(0, 1, 64 * 4, dtype="float32").reshape(64, 4)
Y = X.sum(axis=1, keepdims=True)


def model_of(keras: Any) -> Any:
    """A small compiled model of one Keras family, the same every time."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    return model


def vandal(keras: Any, callback: Any, paths: Mapping[int, str]) -> Any:
    """A callback that writes to files right after they were saved, by their epochs, before the publisher looks."""
    lock = callback._session.publisher._lock

    class Vandal(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            lock.acquire()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch in paths:
                with Path(paths[epoch]).open("r+b") as file:
                    file.write(b"vandal")
            lock.release()

    return Vandal()


def fit(keras: Any, callbacks: Iterable[Any], **kwargs: Any) -> Any:
    """Trains for two epochs of four batches, with validation."""
    kwargs = {"epochs": 2, "batch_size": 8, "validation_split": 0.5, "verbose": 0, **kwargs}
    return model_of(keras).fit(X, Y, callbacks=list(callbacks), **kwargs)


def logs_of(keras: Any, values: Iterable[float], name: str = "val_loss") -> Any:
    """A callback that sets a log to the given values, one an epoch, before callbacks that come after it."""
    values = list(values)

    class SetLogs(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        _supports_tf_logs = True

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch < len(values):
                logs[name] = values[epoch]

    return SetLogs()


def contents(folder: Path) -> dict[str, str]:
    """The files under a folder and their digests, hidden ones left out, and those that go while one looks."""
    found = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(root, name) for name in names if not name.startswith(".")):
            with suppress(FileNotFoundError):
                found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return dict(sorted(found.items()))


def witness_of(keras: Any, folder: Path) -> Any:
    """A callback that notes what is in a folder after every hook of the callbacks before it."""

    class Witness(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.states: list[dict[str, str]] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self._note()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self._note()

        def _note(self) -> None:
            state = contents(folder)
            if state and (not self.states or self.states[-1] != state):
                self.states.append(state)

        @property
        def new_files(self) -> list[dict[str, str]]:
            """For each change, the files that are new or changed."""
            before: dict[str, str] = {}
            changes = []
            for state in self.states:
                changes.append({name: digest for name, digest in state.items() if before.get(name) != digest})
                before = state
            return changes

    return Witness()


def stored(data_dir: Path, content: bytes) -> Path:
    """The file in which an embedded server has these bytes."""
    paths = (data_dir / "blobs").glob("??/*")  # all else in there may be gone before one has looked
    (found,) = [path for path in paths if path.read_bytes() == content]
    return found


@dataclass(frozen=True)
class Seen:
    """One version as a reader of the server sees it."""

    version: str
    aliases: frozenset[str]
    metadata: dict[str, Any]
    description: str
    files: dict[str, str]


def versions(path: str, root: Path, name: str | None = None) -> list[Seen]:
    """Every version of a run's model artifact, oldest first, fetched back by a client of its own.

    Args:
        path: `entity/project/run_id`.
        root: Where to download to.
        name: The artifact's name; defaults to the run's `run_<id>_model`.
    """
    import wandb

    entity, project, run_id = path.split("/")
    ref = f"{entity}/{project}/{name or f'run_{run_id}_model'}"
    api = wandb.Api()
    if not api.artifact_collection_exists(ref, "model"):
        return []
    found = sorted(api.artifacts("model", ref), key=lambda artifact: int(artifact.version[1:]))
    return [_seen(artifact, root / f"{artifact.name.replace(':', '-')}") for artifact in found]


def _seen(artifact: Any, root: Path) -> Seen:
    files = contents(Path(artifact.download(root=str(root))))
    aliases = frozenset(artifact.aliases) - {artifact.version}
    return Seen(artifact.version, aliases, artifact.metadata, artifact.description, files)
