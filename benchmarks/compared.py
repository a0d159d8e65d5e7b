"""The callbacks that are compared, and the training that they are compared in."""

import importlib
import sys
import time
from pathlib import Path
from typing import Any

import keras

import processes

OURS = ("keras", "keras again", "wandb_ckpt", "background", "wandb")
PEERS = {"mlflow": "mlflow.tensorflow", "orbax": "orbax.checkpoint", "backup": "keras"}


def columns() -> list[str]:
    """Returns what is compared: plain Keras twice, ours, and the peers that are installed."""
    found = list(OURS)
    for name, module in PEERS.items():
        try:
            importlib.import_module(module)
        except ImportError:
            print(f"{name} is left out: {module} is not installed", file=sys.stderr)
        else:
            found.append(name)
    return found


def callback_of(name: str, suffix: str, stem: str) -> Any:
    """Makes the callback of this name. Each saves under a folder of its own."""
    folder = Path(name.replace(" ", "-"))
    folder.mkdir(exist_ok=True)
    path, weights_only = f"{folder}/{stem}{suffix}", "weights" in suffix
    if name == "none":
        return keras.callbacks.Callback()
    if name.startswith("keras"):
        return keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)
    if name in PEERS:
        return _peer_of(name, folder, weights_only)
    if name == "wandb":
        from wandb.integration.keras import WandbModelCheckpoint as Theirs

        return Theirs(path, save_weights_only=weights_only)
    from wandb_ckpt import WandbModelCheckpoint

    return WandbModelCheckpoint(path, save_weights_only=weights_only, save_on_background=name == "background")


def _peer_of(name: str, folder: Path, weights_only: bool) -> Any:
    if name == "backup":
        return keras.callbacks.BackupAndRestore(str(folder), delete_checkpoint=False)
    if name == "orbax":
        return keras.callbacks.OrbaxCheckpoint(str(folder.absolute()), save_freq="epoch", save_on_background=True)
    import mlflow
    from mlflow.tensorflow import MlflowModelCheckpointCallback

    mlflow.set_tracking_uri(f"sqlite:///{folder.absolute()}/mlflow.db")
    mlflow.start_run()
    return MlflowModelCheckpointCallback(save_freq="epoch", save_best_only=False, save_weights_only=weights_only)


class InTurns(keras.callbacks.Callback):
    """Callbacks that save `size` bytes one after the other, in another order each epoch, each on a machine at rest.

    `seconds` holds, by name, the wall and the thread CPU time of every `on_epoch_end`.
    """

    def __init__(self, callbacks: dict[str, Any], size: int) -> None:
        super().__init__()
        self._callbacks, self._size = callbacks, size
        self.seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in callbacks}

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._each("set_model", model)

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        self._each("set_params", params)

    def on_train_begin(self, logs: Any = None) -> None:
        self._each("on_train_begin", logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._each("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._each("on_epoch_begin", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._each("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._each("on_train_batch_end", batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        names = list(self._callbacks)
        first = epoch % len(names)
        for name in names[first:] + names[:first]:
            processes.wait_for_rest()
            processes.warm_memory(4 * self._size)
            wall, cpu = time.perf_counter(), time.thread_time()
            self._callbacks[name].on_epoch_end(epoch, logs)
            self.seconds[name].append((time.perf_counter() - wall, time.thread_time() - cpu))

    def _each(self, hook: str, *args: Any) -> None:
        for callback in self._callbacks.values():
            getattr(callback, hook)(*args)


def only_wait(model: Any, seconds: float) -> None:
    """Lets the steps of a model's `fit` do nothing but wait, as the training thread does for an accelerator."""

    def step(*state_and_batches: Any) -> Any:
        time.sleep(seconds)
        next(state_and_batches[-1])
        logs = {"loss": 1.0}
        return logs if len(state_and_batches) == 1 else (logs, state_and_batches[0])  # JAX hands its state through

    model.train_function = step
    model.make_train_function = lambda force=False: None  # noqa: ARG005


def changes(model: Any) -> Any:
    """A callback that changes a variable at the end of each epoch, so that no checkpoint is as the one before."""
    bias = model.layers[0].bias

    def change(epoch: int, _: Any) -> None:
        bias.assign(keras.ops.full(bias.shape, epoch, bias.dtype))

    return keras.callbacks.LambdaCallback(on_epoch_end=change)
