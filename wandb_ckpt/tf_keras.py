"""WandbModelCheckpoint for legacy tf_keras: SavedModel, TF-format weights, `options`, `period`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wandb_ckpt.callback.mixin import PublishingMixin
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.family import import_family
from wandb_ckpt.saving.background import CannotPictureError, Pictures, SaverThread

if TYPE_CHECKING:
    pass

__all__ = ["WandbModelCheckpoint"]

tf_keras = import_family("tf_keras")


class _LegacyKeras:
    """What only tf_keras knows."""

    def further_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        # tf_keras 2.21 takes any keyword, and drops those that it does not know.
        if unknown := sorted(set(kwargs) - {"options", "period", "load_weights_on_restart"}):
            raise TypeError(f"WandbModelCheckpoint got unexpected keyword arguments: {', '.join(unknown)}")
        if getattr(kwargs.get("options"), "experimental_enable_async_checkpoint", False):
            raise ArgumentError(
                "options has experimental_enable_async_checkpoint=True: TensorFlow would still be writing the files "
                "when they are published. Leave it out; publishing is in the background anyway."
            )
        return kwargs

    def is_chief(self, model: Any) -> bool:
        strategy = getattr(model, "distribute_strategy", None)
        return strategy is None or bool(strategy.extended.should_checkpoint)

    def facts(self) -> tuple[str, str]:
        return tf_keras.__version__, "tensorflow"

    def pictures(self, _model: Any, _saver: SaverThread) -> Pictures:
        raise CannotPictureError("tf_keras can't save a picture of a model; Keras 3 can")

    def comparison(self, callback: Any) -> Callable[[Any, Any], Any] | None:
        return callback.monitor_op  # type: ignore[no-any-return]  # tf_keras sets it when it is made


class WandbModelCheckpoint(PublishingMixin, tf_keras.callbacks.ModelCheckpoint):  # type: ignore[misc,name-defined]
    """Saves the model or its weights as `tf_keras.callbacks.ModelCheckpoint` does, and publishes every save on W&B.

    Everything that `wandb_ckpt.keras.WandbModelCheckpoint` says holds here too, with these differences, which are
    tf_keras's own: a path without `.keras`, `.h5` or `.weights.h5` is a SavedModel folder, or a TF-format
    prefix when `save_weights_only=True`; a missing monitored value means that `save_best_only` skips the save;
    in `mode="auto"` a monitor with `acc` in its name is better when higher, any other when lower. With several
    workers all of them save, and the chief publishes.

    Args:
        filepath: String or `PathLike`, where to save.
        monitor: As in Keras 3.
        verbose: As in Keras 3.
        save_best_only: As in Keras 3.
        save_weights_only: As in Keras 3.
        mode: As in Keras 3.
        save_freq: As in Keras 3.
        initial_value_threshold: As in Keras 3.
        run: As in `wandb_ckpt.keras.WandbModelCheckpoint`, like all that follow.
        artifact_name: See there.
        aliases: See there.
        metadata: See there.
        on_error: See there.
        policy: See there.
        max_versions: See there.
        keep_best: See there.
        ttl: See there.
        max_to_keep: See there.
        link_to: See there.
        link_aliases: See there.
        link_threshold: See there.
        save_on_background: Has no effect here but a warning: tf_keras can't save a picture of a model.
        shard: As in Keras 3, for `.keras`, `.h5` and `.weights.h5`.
        **kwargs: `options` (`tf.train.CheckpointOptions` for weights, `tf.saved_model.SaveOptions` for a
            SavedModel), `period` (save every so many epochs) and `load_weights_on_restart`.

    Raises:
        ArgumentError: An argument can't work; also a `ValueError`.
        NoActiveRunError: Training begins and there is no W&B run.
    """

    _family = _LegacyKeras()
