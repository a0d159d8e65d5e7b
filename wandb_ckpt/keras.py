"""WandbModelCheckpoint for Keras 3, on TensorFlow, JAX and torch."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from wandb_ckpt.callback.mixin import PublishingMixin
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.saving.background import Pictures, SaverThread

if TYPE_CHECKING:
    pass

__all__ = ["WandbModelCheckpoint"]

_LEGACY_ARGUMENTS = ("options", "period", "load_weights_on_restart")


class _Keras3:
    """What only Keras 3 knows."""

    def further_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        for name in _LEGACY_ARGUMENTS:  # scripts for older Keras pass them, mostly with their defaults
            if kwargs.get(name):
                raise ArgumentError(
                    f"{name}={kwargs[name]!r} is an argument of legacy tf_keras, which Keras {keras.__version__} "
                    "does not have. Drop it, or use `from wandb_ckpt.tf_keras import WandbModelCheckpoint`."
                )
        return {name: value for name, value in kwargs.items() if name not in _LEGACY_ARGUMENTS}

    def is_chief(self, _: Any) -> bool:
        return _process_index() == 0

    def facts(self) -> tuple[str, str]:
        return keras.__version__, keras.backend.backend()

    def pictures(self, model: Any, saver: SaverThread) -> Pictures:
        from wandb_ckpt.saving.model_copy import ModelPictures

        return ModelPictures(model, saver)

    def comparison(self, callback: Any) -> Callable[[Any, Any], Any] | None:
        # Keras keeps its inference private; a throw-away parent that never saves is asked through its public hook.
        probe = keras.callbacks.ModelCheckpoint(
            "probe.keras", monitor=callback.monitor, mode=callback.mode, save_freq=sys.maxsize
        )
        probe.set_model(callback._given_model)
        try:
            probe.on_epoch_end(0, {})
        except ValueError:  # it can't tell; with save_best_only the parent itself will say so
            return None
        return probe.monitor_op  # type: ignore[no-any-return]


class WandbModelCheckpoint(PublishingMixin, keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Saves the model or its weights as `keras.callbacks.ModelCheckpoint` does, and publishes every save on W&B.

    When and what to save is `ModelCheckpoint`'s decision, with the same arguments. Each save becomes a version
    of a W&B artifact of type `model`, uploaded in the background; `fit` waits for the uploads only at its end.
    Each version has the aliases `latest`, `epoch_N` (`epoch_N_batch_M` for saves within an epoch; zero-based,
    as in wandb's own callback) and, while it has the best monitored value so far, `best`. Its metadata and
    description have the monitored value and the facts around it, and the run's summary gets `best_<monitor>`
    and `best_epoch`.

    Saves are atomic: a process killed in mid-save leaves the previous file whole. Nothing that W&B or the network
    does ends `fit`, unless `on_error="raise"`.

    Args:
        filepath: String or `PathLike`, where to save. May contain `{epoch}`, `{batch}` and any key of the logs;
            these are one-based, as in Keras. Ends with `.keras` or `.h5`, or with `.weights.h5` when
            `save_weights_only=True`.
        monitor: Name of the quantity to monitor. Defaults to `"val_loss"`.
        verbose: 0 or 1: whether the parent prints what it does. Defaults to 0.
        save_best_only: Save only when the monitored value is the best so far. NaN never is. Defaults to `False`.
        save_weights_only: Save the weights, not the whole model. Defaults to `False`.
        mode: `"min"`, `"max"` or `"auto"` (the default): which values are better. In `"auto"`, Keras infers it
            from the metric.
        save_freq: `"epoch"` (the default), or a number of batches.
        initial_value_threshold: The value that the first save must be better than when `save_best_only=True`.
            In a resumed run it defaults to the value of the version that is `best`.
        run: The W&B run that gets the checkpoints. Defaults to the run that is active when one is saved.
        artifact_name: Name of the artifact. Defaults to `run_<run id>_model`; a second callback in one run, with
            another path or monitor, gets its file's name behind it (`run_<run id>_model-<name>`).
        aliases: Further aliases for every version.
        metadata: Further metadata for every version: a dict of JSON values.
        on_error: `"warn"` (the default) or `"raise"`: what happens when a checkpoint can't be published.
            `"raise"` raises a `PublishError` in the next hook.
        policy: `"immutable"` (the default) publishes the very file that was saved, through a hard link.
            `"mutable"` copies it at once, for files that something else writes to in place.
        max_versions: How many of this run's newest versions stay in W&B, besides `best`. The others are deleted once
            a newer one is committed; never one that has an alias that the callback did not give, is linked, or was
            logged by another run. Defaults to `None`: all stay.
        keep_best: How many of the versions with the best monitored values stay as well. Without `max_versions`, these
            and the newest stay.
        ttl: A `datetime.timedelta`: versions that would be deleted get it as their W&B time to live instead. W&B
            counts it from when a version was logged. Without `max_versions` and `keep_best`, all but `best` and the
            newest get it.
        max_to_keep: How many of the newest files that this callback wrote stay on this disk, besides the best
            (and the `keep_best` best). The others are deleted once W&B has them, unless something else changed them.
        link_to: Collection that each version is linked into when it becomes the best, such as
            `"wandb-registry-model/digits"`. A linked version is never deleted.
        link_aliases: The aliases that it gets there.
        link_threshold: The value that the monitored one must be better than for a version to be linked.
        save_on_background: Let training go on while a checkpoint is written: only a picture of the variables is
            taken at once, and Keras saves it in another thread. What is restored from it is the same, bit by bit.
            It takes memory for a copy of the variables, those of the optimizer included. Defaults to `False`. A model
            that can't be saved this way (with a `save` of its own, a layer that saves files, or spread over devices)
            is saved as usual, and a warning says why.
        shard: `"layer"` publishes each checkpoint in pieces, so that W&B is sent only those of layers (and of
            optimizer state) that have changed: what is frozen is sent once. `restore`, `load_model`, `download` and
            `wandb-ckpt get` join them; after `wandb artifact get`, `cat model.keras.shards/* > model.keras` does. The
            file has that name whatever `filepath` is, and no time of saving, so that the same model twice is one
            version. Until they are published, the pieces take the disk space of a second file. Defaults to `None`:
            the file as it is.

    Raises:
        ArgumentError: An argument can't work; also a `ValueError`.
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
    """Returns the number of this process within its group; 0 alone."""
    if keras.backend.backend() == "jax":
        import jax

        return int(jax.process_index())
    if keras.backend.backend() == "torch":
        import torch.distributed

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return int(torch.distributed.get_rank())
    return 0
