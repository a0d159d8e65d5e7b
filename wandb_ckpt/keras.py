"""WandbModelCheckpoint for Keras 3, on TensorFlow, JAX and torch."""

import sys
from collections.abc import Callable
from typing import Any

import keras

from wandb_ckpt.callback.mixin import PublishingMixin
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.saving.background import ModelCopier, SaverThread

__all__ = ["WandbModelCheckpoint"]

_LEGACY_ARGUMENTS = ("options", "period", "load_weights_on_restart")


class _Keras3:
    """The part of the callback that is specific to Keras 3."""

    def extra_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        for name in _LEGACY_ARGUMENTS:  # scripts for older Keras pass them, mostly with their defaults
            if kwargs.get(name):
                raise ArgumentError(
                    f"{name}={kwargs[name]!r} is an argument of legacy tf_keras, and Keras {keras.__version__} does "
                    "not have it. Remove it, or use `from wandb_ckpt.tf_keras import WandbModelCheckpoint`."
                )
        return {name: value for name, value in kwargs.items() if name not in _LEGACY_ARGUMENTS}

    def is_chief(self, _: Any) -> bool:
        return _process_index() == 0

    def version_and_backend(self) -> tuple[str, str]:
        return keras.__version__, keras.backend.backend()

    def model_copier(self, model: Any, saver: SaverThread) -> ModelCopier:
        from wandb_ckpt.saving.model_copy import Keras3ModelCopier

        return Keras3ModelCopier(model, saver)

    def comparison(self, callback: Any) -> Callable[[Any, Any], Any] | None:
        # Keras has no public function for this. So a temporary parent that never saves infers it in its public hook.
        probe = keras.callbacks.ModelCheckpoint(
            "probe.keras", monitor=callback.monitor, mode=callback.mode, save_freq=sys.maxsize
        )
        probe.set_model(callback._given_model)
        try:
            probe.on_epoch_end(0, {})
        except ValueError:  # Keras can't tell; with save_best_only the parent itself says so
            return None
        return probe.monitor_op  # type: ignore[no-any-return]


class WandbModelCheckpoint(PublishingMixin, keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Saves the model or its weights as `keras.callbacks.ModelCheckpoint` does, and publishes each save to W&B.

    `ModelCheckpoint` decides when and what to save, with the same arguments. Each save becomes a version of a W&B
    artifact of type `model`. It is uploaded in the background; `fit` waits for the uploads only at its end. Each
    version has the aliases `latest` and `epoch_N` (`epoch_N_batch_M` for saves within an epoch; zero-based, as in
    wandb's own callback). The version with the best monitored value has the alias `best`. The metadata and the
    description of a version have the monitored value, the epoch and the logs. The run's summary has
    `best_<monitor>` and `best_epoch`.

    Saves are atomic: if the process is killed during a save, the previous file stays complete. A failure of W&B or
    the network never ends `fit`, unless `on_error="raise"`.

    Args:
        filepath: String or `PathLike`, where to save. May contain `{epoch}`, `{batch}` and any key of the logs;
            these are one-based, as in Keras. Ends with `.keras` or `.h5`, or with `.weights.h5` when
            `save_weights_only=True`.
        monitor: Name of the quantity to monitor. Defaults to `"val_loss"`.
        verbose: 0 or 1: whether Keras prints a message for each save. Defaults to 0.
        save_best_only: Save only when the monitored value is the best so far. NaN is never the best. Defaults to
            `False`.
        save_weights_only: Save the weights, not the whole model. Defaults to `False`.
        mode: `"min"`, `"max"` or `"auto"` (the default): which values are better. With `"auto"`, Keras infers it
            from the metric.
        save_freq: `"epoch"` (the default), or a number of batches.
        initial_value_threshold: The value that the first save must improve on when `save_best_only=True`. In a
            resumed run it defaults to the value of the version with the alias `best`.
        run: The W&B run that the checkpoints belong to. Defaults to the run that is active when a checkpoint is
            saved.
        artifact_name: Name of the artifact. Defaults to `run_<run id>_model`. A second callback in the same run, with
            another path or monitor, adds the name of its file (`run_<run id>_model-<name>`).
        aliases: Additional aliases for every version.
        metadata: Additional metadata for every version: a dict of JSON values.
        on_error: `"warn"` (the default) or `"raise"`: what to do when a checkpoint can't be published. `"raise"`
            raises a `PublishError` in the next hook.
        policy: `"immutable"` (the default) publishes the saved file itself, through a hard link. `"mutable"` copies
            the file at once. Use it if another program writes to the file in place.
        max_versions: How many of this run's newest versions to keep in W&B, in addition to `best`. Older versions are
            deleted after a newer one is committed. A version is never deleted if it is linked, if another run logged
            it, or if it has an alias that the callback did not set. Defaults to `None`: keep all.
        keep_best: How many versions with the best monitored values to keep in addition. Without `max_versions`, these
            and the newest are kept.
        ttl: A `datetime.timedelta`. Versions that would be deleted get it as their W&B time to live (TTL) instead.
            W&B counts it from the time when the version was logged. Without `max_versions` and `keep_best`, all
            versions but `best` and the newest get it.
        max_to_keep: How many of the newest files of this callback to keep on this disk, in addition to the best (and
            the `keep_best` best). Older files are deleted when W&B has them, unless another program changed them.
        link_to: Collection to link each version into when it becomes the best, such as
            `"wandb-registry-model/digits"`. A linked version is never deleted.
        link_aliases: The aliases of the version in that collection.
        link_threshold: Link a version only if its monitored value is better than this one.
        save_on_background: Continue training while a checkpoint is written. The training thread only copies the
            variables, and Keras saves the copy in another thread. The restored model is the same, bit for bit. This
            takes memory for a copy of the variables, including those of the optimizer. A model that can't be saved
            this way is saved as usual, and a warning says why: for example a model with its own `save` method, with a
            layer that saves files, or with variables on several devices. Defaults to `False`.
        shard: `"layer"` publishes each checkpoint in pieces, and uploads only the pieces of layers (and of optimizer
            state) that have changed. Frozen layers are uploaded once. `restore`, `load_model`, `download` and
            `wandb-ckpt get` join the pieces. After `wandb artifact get`, run
            `cat model.keras.shards/* > model.keras`. The joined file always has this name, and has no save time, so
            that the same model saved twice is one version. Until they are published, the pieces take the disk space
            of a second file. Defaults to `None`: publish the file as it is.

    Raises:
        ArgumentError: An argument is invalid. It is also a `ValueError`.
        NoActiveRunError: Training begins and there is no W&B run.

    Example:

    ```python
    with wandb.init(project="digits"):
        model.fit(
            x, y, validation_split=0.2, epochs=5,
            callbacks=[WandbModelCheckpoint("model-{epoch:02d}.keras", save_best_only=True)],
        )
    ```
    """

    _family = _Keras3()


def _process_index() -> int:
    """Return the index of this process in its group; 0 if it is the only one."""
    if keras.backend.backend() == "jax":
        import jax

        return int(jax.process_index())
    if keras.backend.backend() == "torch":
        import torch.distributed

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return int(torch.distributed.get_rank())
    return 0
