"""Keras checkpoints as versions of Weights & Biases artifacts.

`from wandb_ckpt import WandbModelCheckpoint` gives the callback for the Keras that `tensorflow.keras` is:
Keras 3, or legacy tf_keras where `TF_USE_LEGACY_KERAS=1` is set. `wandb_ckpt.keras` and
`wandb_ckpt.tf_keras` name one of them explicitly. Nothing heavy is imported before a name is used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wandb_ckpt.errors import (
    ArgumentError,
    CheckpointNotFoundError,
    DamagedCheckpointError,
    NoActiveRunError,
    PublishError,
    RestoreError,
    WandbCkptError,
)
from wandb_ckpt.family import default_family

if sys.platform == "win32":
    # Before anything asks whether a process lives: there, os.kill(pid, 0) ends it.
    raise ImportError(
        "wandb_ckpt runs on Linux and macOS, not on Windows itself. Install it in WSL, the Linux within Windows "
        "(`wsl --install`, https://learn.microsoft.com/windows/wsl/install), and train there."
    )

if TYPE_CHECKING:
    from wandb_ckpt.checkpoint import Checkpoint
    from wandb_ckpt.keras import WandbModelCheckpoint
    from wandb_ckpt.publishing.outcome import Outcome
    from wandb_ckpt.restoring.restore import download, load_model, restore

__all__ = [
    "ArgumentError",
    "Checkpoint",
    "CheckpointNotFoundError",
    "DamagedCheckpointError",
    "NoActiveRunError",
    "Outcome",
    "PublishError",
    "RestoreError",
    "WandbCkptError",
    "WandbModelCheckpoint",
    "download",
    "load_model",
    "restore",
]

_HOMES = {
    "Checkpoint": "checkpoint",
    "Outcome": "publishing.outcome",
    "download": "restoring.restore",
    "load_model": "restoring.restore",
    "restore": "restoring.restore",
}


def _home(name: str) -> str | None:
    return default_family() if name == "WandbModelCheckpoint" else _HOMES.get(name)


def __getattr__(name: str) -> Any:
    home = _home(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
