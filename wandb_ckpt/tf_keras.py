"""WandbModelCheckpoint for legacy tf_keras: SavedModel, TF-format weights, `options`, `period`."""

from collections.abc import Callable
from typing import Any

from wandb_ckpt.callback.mixin import PublishingMixin
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.family import import_family
from wandb_ckpt.saving.background import CannotCopyError, ModelCopier, SaverThread

__all__ = ["WandbModelCheckpoint"]

tf_keras = import_family("tf_keras")


class _LegacyKeras:
    """The part of the callback that is specific to tf_keras."""

    def extra_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        # tf_keras 2.21 accepts any keyword argument, and ignores those that it does not know.
        if unknown := sorted(set(kwargs) - {"options", "period", "load_weights_on_restart"}):
            raise TypeError(f"WandbModelCheckpoint got unexpected keyword arguments: {', '.join(unknown)}")
        if getattr(kwargs.get("options"), "experimental_enable_async_checkpoint", False):
            raise ArgumentError(
                "options has experimental_enable_async_checkpoint=True, so TensorFlow would still write the files "
                "while they are published. Remove it: checkpoints are published in the background anyway."
            )
        return kwargs

    def is_chief(self, model: Any) -> bool:
        strategy = getattr(model, "distribute_strategy", None)
        return strategy is None or bool(strategy.extended.should_checkpoint)

    def version_and_backend(self) -> tuple[str, str]:
        return tf_keras.__version__, "tensorflow"

    def model_copier(self, _model: Any, _saver: SaverThread) -> ModelCopier:
        raise CannotCopyError("tf_keras can't save a copy of the variables; Keras 3 can")

    def comparison(self, callback: Any) -> Callable[[Any, Any], Any] | None:
        return callback.monitor_op  # type: ignore[no-any-return]  # tf_keras sets it in `__init__`


class WandbModelCheckpoint(PublishingMixin, tf_keras.callbacks.ModelCheckpoint):  # type: ignore[misc,name-defined]
    """Saves the model or its weights as `tf_keras.callbacks.ModelCheckpoint` does, and publishes each save to W&B.

    It works as `wandb_ckpt.keras.WandbModelCheckpoint` does, except for what differs in tf_keras itself:

    - A path without `.keras`, `.h5` or `.weights.h5` is a SavedModel folder, or a TF-format prefix when
      `save_weights_only=True`.
    - If the monitored value is missing, `save_best_only` skips the save.
    - With `mode="auto"`, higher is better for a monitor with `acc` in its name, and lower for any other.
    - With several workers, all of them save, and the chief publishes.

    Args:
        filepath: String or `PathLike`, where to save.
        monitor: As in Keras 3.
        verbose: As in Keras 3.
        save_best_only: As in Keras 3.
        save_weights_only: As in Keras 3.
        mode: As in Keras 3.
        save_freq: As in Keras 3.
        initial_value_threshold: As in Keras 3.
        run: As in `wandb_ckpt.keras.WandbModelCheckpoint`, like all arguments below.
        artifact_name: As in Keras 3.
        aliases: As in Keras 3.
        metadata: As in Keras 3.
        on_error: As in Keras 3.
        policy: As in Keras 3.
        max_versions: As in Keras 3.
        keep_best: As in Keras 3.
        ttl: As in Keras 3.
        max_to_keep: As in Keras 3.
        link_to: As in Keras 3.
        link_aliases: As in Keras 3.
        link_threshold: As in Keras 3.
        save_on_background: Has no effect here, and a warning says so: tf_keras can't save a copy of the variables.
        shard: As in Keras 3, for `.keras`, `.h5` and `.weights.h5`.
        **kwargs: `options` (`tf.train.CheckpointOptions` for weights, `tf.saved_model.SaveOptions` for a
            SavedModel), `period` (number of epochs between two saves) and `load_weights_on_restart`.

    Raises:
        ArgumentError: An argument is invalid. It is also a `ValueError`.
        NoActiveRunError: Training begins and there is no W&B run.
    """

    _family = _LegacyKeras()
