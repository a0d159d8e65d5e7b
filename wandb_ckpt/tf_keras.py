"""WandbModelCheckpoint for legacy tf_keras: SavedModel, TF-format weights, `options`, `period`."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal

from wandb_ckpt.callback.mixin import PublishingMixin
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.family import import_family
from wandb_ckpt.policy.keeping import Keeping
from wandb_ckpt.saving.background import CannotPictureError, Pictures, SaverThread

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

__all__ = ["WandbModelCheckpoint"]

tf_keras = import_family("tf_keras")


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
        options: `tf.train.CheckpointOptions` for weights, `tf.saved_model.SaveOptions` for a SavedModel.
        initial_value_threshold: As in Keras 3.
        run: As in `wandb_ckpt.keras.WandbModelCheckpoint`, like all that follow.
        artifact_name: See there.
        aliases: See there.
        metadata: See there.
        on_error: See there.
        policy: See there.
        max_to_keep: See there.
        keep_best: See there.
        ttl: See there.
        max_to_keep_local: See there.
        link_to: See there.
        link_aliases: See there.
        link_threshold: See there.
        save_on_background: Has no effect here but a warning: tf_keras can't save a picture of a model.
        shard: As in Keras 3, for `.keras`, `.h5` and `.weights.h5`.
        **kwargs: `period` (save every so many epochs) and `load_weights_on_restart`.

    Raises:
        ArgumentError: An argument can't work; also a `ValueError`.
        NoActiveRunError: Training begins and there is no W&B run.
    """

    def __init__(
        self,
        filepath: str | PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: Literal["auto", "min", "max"] = "auto",
        save_freq: Literal["epoch"] | int = "epoch",
        initial_value_threshold: float | None = None,
        *,
        options: Any = None,
        run: "Run | None" = None,
        artifact_name: str | None = None,
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        policy: Literal["immutable", "mutable"] = "immutable",
        max_to_keep: int | None = None,
        keep_best: int | None = None,
        ttl: timedelta | None = None,
        max_to_keep_local: int | None = None,
        link_to: str | None = None,
        link_aliases: Iterable[str] = (),
        link_threshold: float | None = None,
        save_on_background: bool = False,
        shard: Literal["layer"] | None = None,
        **kwargs: Any,
    ) -> None:
        _check_names(kwargs)
        super().__init__(
            fspath(filepath),  # tf_keras 2.21 calls .endswith() on it
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            options=_check_options(options),
            initial_value_threshold=initial_value_threshold,
            **kwargs,
        )
        self._init_publishing(
            run=run,
            artifact_name=artifact_name,
            aliases=aliases,
            metadata=metadata,
            on_error=on_error,
            policy=policy,
            keeping=Keeping(
                max_to_keep=max_to_keep,
                keep_best=keep_best,
                ttl=ttl,
                max_to_keep_local=max_to_keep_local,
                link_to=link_to,
                link_aliases=link_aliases,
                link_threshold=link_threshold,
            ),
            save_on_background=save_on_background,
            shard=shard,
        )

    def _family_is_chief(self) -> bool:
        strategy = getattr(self.model, "distribute_strategy", None)
        return strategy is None or bool(strategy.extended.should_checkpoint)

    def _family_facts(self) -> tuple[str, str]:
        return tf_keras.__version__, "tensorflow"

    def _family_pictures(self, _: SaverThread) -> Pictures:
        raise CannotPictureError("tf_keras can't save a picture of a model; Keras 3 can")

    def _family_monitor_op(self) -> Callable[[Any, Any], Any] | None:
        return self.monitor_op  # tf_keras sets it when it is made


def _check_names(kwargs: Mapping[str, Any]) -> None:
    # tf_keras 2.21 takes any keyword, and drops those that it does not know.
    if unknown := sorted(set(kwargs) - {"period", "load_weights_on_restart"}):
        raise TypeError(f"WandbModelCheckpoint got unexpected keyword arguments: {', '.join(unknown)}")


def _check_options(options: Any) -> Any:
    if getattr(options, "experimental_enable_async_checkpoint", False):
        raise ArgumentError(
            "options has experimental_enable_async_checkpoint=True: TensorFlow would still be writing the files "
            "when they are published. Leave it out; publishing is in the background anyway."
        )
    return options
