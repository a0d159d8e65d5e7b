"""PublishingMixin: the hooks of the callback, for both Keras families."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from wandb_ckpt.callback import preemption
from wandb_ckpt.callback import resume as callback_resume
from wandb_ckpt.callback.failed_fit import call_after_fit
from wandb_ckpt.callback.keras_family import Family
from wandb_ckpt.callback.parent_fixes import ParentFixesMixin, for_path, step_of
from wandb_ckpt.checkpoint import Checkpoint, finite_scalar, finite_scalars, format_of, is_scalar
from wandb_ckpt.errors import NoActiveRunError
from wandb_ckpt.policy.best import is_better
from wandb_ckpt.policy.settings import Settings
from wandb_ckpt.publishing.artifact_target import Target
from wandb_ckpt.publishing.callback_session import Plan, Session
from wandb_ckpt.publishing.outcome import Outcome
from wandb_ckpt.restoring.restore import check_model
from wandb_ckpt.saving import seeds
from wandb_ckpt.saving.atomic import finish_killed_saves
from wandb_ckpt.saving.background import BackgroundSaves, ModelCopier, SaverThread
from wandb_ckpt.saving.save_observer import LaterSave, Save, SaveObserver
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import message_of
from wandb_ckpt.wandb_api.run import active_run, is_disabled

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

logger = logging.getLogger("wandb_ckpt")


class PublishingMixin(ParentFixesMixin):
    """Publishes each save of the `ModelCheckpoint` behind it in the class's bases.

    Attributes:
        _family: What only the class's Keras family knows.
    """

    _family: ClassVar[Family]

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
        run: "Run | None" = None,
        artifact_name: str | None = None,
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        policy: Literal["immutable", "mutable"] = "immutable",
        max_versions: int | None = None,
        keep_best: int | None = None,
        ttl: timedelta | None = None,
        max_to_keep: int | None = None,
        link_to: str | None = None,
        link_aliases: Iterable[str] = (),
        link_threshold: float | None = None,
        save_on_background: bool = False,
        shard: Literal["layer"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            fspath(filepath),  # tf_keras 2.21 calls .endswith() on it
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
            **self._family.extra_arguments(kwargs),
        )
        self._settings = Settings(
            filepath=self.filepath,
            run=run,
            artifact_name=artifact_name,
            aliases=aliases,
            metadata=metadata,
            on_error=on_error,
            policy=policy,
            max_versions=max_versions,
            keep_best=keep_best,
            ttl=ttl,
            max_to_keep=max_to_keep,
            link_to=link_to,
            link_aliases=link_aliases,
            link_threshold=link_threshold,
            save_on_background=save_on_background,
            shard=shard,
        )
        self._init_fixes()
        self._given_model: Any = None
        self._observer: SaveObserver | None = None
        self._session = Session(self._settings)
        self._background = BackgroundSaves(self._model_copier, self._warn_once) if save_on_background else None
        self._epoch = 0
        self._left: Any = None
        self._warned: set[str] = set()

    @property
    def checkpoints(self) -> tuple[Outcome, ...]:
        """The outcome of every checkpoint so far: pending, committed as vN, offline, or failed and why."""
        return self._session.publisher.outcomes

    def resume(self, model: Any) -> int:
        """Restore the run's latest checkpoint, and return the next epoch: 0 in a new run.

        Use it when a run is started again with its id, on this machine or another one, after a crash, a kill, or on
        purpose. The latest checkpoint that this callback saved in the run, on W&B or on this disk, is restored into
        the model: the weights, the optimizer state (with the learning rate) and the states of the seed generators.
        `best` continues from the value of that time. Checkpoints that a killed process could not publish are
        published when training begins. What was trained after the checkpoint is trained again. With
        `save_best_only=True`, the latest checkpoint is the best one.

        After a checkpoint within an epoch (`save_freq` as a number), training continues at the start of that epoch,
        so the model sees the earlier batches of that epoch twice.

        Not restored: the order of shuffled data, and the state of other callbacks (`EarlyStopping`).

        Args:
            model: The model that `fit` is called on, built and compiled as it was.

        Returns:
            What to pass `fit` as `initial_epoch`.

        Raises:
            NoActiveRunError: There is no active W&B run.
            ArgumentError: `model` is no Keras model, or not built.
            RestoreError: W&B can't be asked, or the checkpoint does not fit the model or its optimizer.
            DamagedCheckpointError: A file is not what the manifest says.

        Example:

        ```python
        checkpoint = WandbModelCheckpoint("model-{epoch:02d}.keras")
        with wandb.init(project="digits", id="digits-1", resume="allow"):
            model.fit(x, y, epochs=10, initial_epoch=checkpoint.resume(model), callbacks=[checkpoint])
        ```
        """
        check_model(model)
        run = self._require_run()
        target = self._find_target(run)
        if target is None:  # a disabled run
            return 0
        _finish_killed_saves_at(self._settings.template.folder)
        checkpoint = callback_resume.restore_newest(model, run, target, Path(self.filepath).parent)
        if checkpoint is None:
            return 0
        self._continue_best(target.values[0])
        self._continue_from(checkpoint)
        if run.offline and checkpoint.monitor == self.monitor:  # else W&B says what it has
            target.add(checkpoint.best)
            target.save_best(checkpoint.mode)
        epoch = callback_resume.epoch_after(checkpoint)
        say(f"restored epoch {checkpoint.epoch} of run {run.id}; continue with epoch {epoch}")
        return epoch

    # ---- the hooks -------------------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Set the model, as in every Keras callback."""
        super().set_model(model)  # type: ignore[misc]
        self._given_model = model
        self._forget_undecided()
        # `self.model` is the real one: Keras unwraps torch's DistributedDataParallel there.
        self._observer = SaveObserver(
            self.model, self._background.copy if self._background else None, self._warn_once
        )

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Find the run, and finish what a killed process left.

        Raises:
            NoActiveRunError: There is no active W&B run.
        """
        self._end_training()
        self._left = call_after_fit(self._let_go)
        if self._family.is_chief(self.model):
            run = self._require_run()
            if target := self._find_target(run):
                self._publish_leftovers(run, target)
            self._say_what_is_for_online(run)
            if not is_disabled(run):
                preemption.register(self._publish_pending, self._session.holds_lock, run)
        _finish_killed_saves_at(self._settings.template.folder)
        super().on_train_begin(logs)  # type: ignore[misc]

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Let Keras save, and publish what it saved."""
        self._last_batch = batch
        if self._background:
            self._background.prepare()
        if self.save_freq == "epoch":  # the parent can't save here: keep the hook free
            super().on_train_batch_end(batch, logs)  # type: ignore[misc]
            return
        with self._publishing(batch, logs or {}):
            super().on_train_batch_end(batch, for_path(logs))  # type: ignore[misc]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch
        self._begin_epoch()
        super().on_epoch_begin(epoch, logs)  # type: ignore[misc]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Let Keras save, and publish what it saved."""
        self._epoch = epoch
        with self._publishing(None, logs or {}):
            super().on_epoch_end(epoch, self._with_batch(for_path(logs)))  # type: ignore[misc]

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wait until every checkpoint is saved and published, and print a summary.

        It waits at most 60 seconds without progress for wandb to take what is pending, 10 seconds for an upload, and
        30 seconds for old versions to be deleted. What is not done by then continues in the background.

        Raises:
            PublishError: With `on_error="raise"`, a checkpoint could not be published.
        """
        super().on_train_end(logs)  # type: ignore[misc]
        if self._background:
            self._background.flush()
            self._background.close()
        self._restore_parents_best()
        is_done = self._session.publisher.flush()
        self._end_training()  # from here on, SIGTERM has nothing to save
        self._session.sum_up(is_done=is_done)
        self._session.raise_failure()

    def _publish_pending(self) -> None:
        """Save and publish what is pending. Called from another thread when the process is about to end."""
        if self._background:
            self._background.flush()
        self._session.publisher.flush()

    def _end_training(self) -> None:
        """Free the memory and handlers of a training. Nothing that is pending is lost."""
        if self._left is not None:
            self._left.detach()
        self._let_go()

    def _let_go(self) -> None:
        """Free the memory and handlers of a training. Called in any thread when `fit` ends by an exception."""
        if self._background:
            self._background.close()
        preemption.unregister(self._publish_pending)

    def _model_copier(self, saver: SaverThread) -> ModelCopier:
        return self._family.model_copier(self.model, saver)

    # ---- one save --------------------------------------------------------------------------------------

    @contextmanager
    def _publishing(self, batch: int | None, logs: Mapping[str, Any]) -> Iterator[None]:
        """Put the observer in front of the model while Keras saves, then publish the saves."""
        self._session.raise_failure()
        self._restore_parents_best()
        if self._background:
            self._background.prepare()  # where the parent wants no batch hooks
        self._prepare_monitor_op(self._settings.keep_best)
        best = self.best
        self._hide_nan(logs)
        super().set_model(self._observer)  # type: ignore[misc]
        try:
            yield
        finally:
            super().set_model(self._given_model)  # type: ignore[misc]
            saves = self._observer.collect() if self._observer else []
            if not saves:
                self.best = best  # the parent sets it before it saves: a save that failed must not count
            for save in saves:
                self._take(save, batch, logs, best)

    def _take(self, save: Save | LaterSave, batch: int | None, logs: Mapping[str, Any], parents_best: Any) -> None:
        """Publish a save, now or once it is made in the background. No error may end training."""
        try:
            plan = self._plan(save, batch, logs, parents_best)
        except Exception as error:
            logger.debug("Publishing %s failed", save.path, exc_info=True)
            checkpoint = Checkpoint(path=save.path, format="", epoch=self._epoch, batch=batch, monitor=self.monitor)
            self._session.note_failure(checkpoint, f"it could not be kept for publishing: {message_of(error)}")
            plan = None
        if isinstance(save, LaterSave) and self._background:
            self._background.submit(partial(self._session.publish_later, save, plan))
        elif isinstance(save, Save):
            self._session.publish(save, plan)

    def _plan(
        self, save: Save | LaterSave, batch: int | None, logs: Mapping[str, Any], parents_best: Any
    ) -> Plan | None:
        """Return how a save is published, or `None` when it is not."""
        if not self._family.is_chief(self.model):  # another worker's, which that worker's parent removes again
            return None
        run = active_run(self._settings.run)
        if run is None:
            raise NoActiveRunError("no W&B run is active any more; keep the run open until training ends")
        target = self._find_target(run)
        if target is None:  # a disabled run
            return None
        return self._session.plan(self._checkpoint(save, batch, logs), run, target, parents_best)

    def _restore_parents_best(self) -> None:
        """Give Keras its earlier best value back after a save that failed in the background."""
        for plan in self._session.take_unsaved():
            if self.best == plan.checkpoint.value:
                self.best = plan.parents_best

    def _checkpoint(self, save: Save | LaterSave, batch: int | None, logs: Mapping[str, Any]) -> Checkpoint:
        self._check_monitor(logs)
        keras_version, backend = self._family.version_and_backend()
        return Checkpoint(
            path=save.path,
            format=format_of(save.path, is_folder=Path(save.path).is_dir()),
            epoch=self._epoch,
            batch=batch,
            step=step_of(self.model),
            monitor=self.monitor,
            mode=self._direction(),
            value=finite_scalar(logs.get(self.monitor)),
            logs=finite_scalars(logs),
            seeds=seeds.states_of(self.model),
            keras_version=keras_version,
            backend=backend,
        )

    def _check_monitor(self, logs: Mapping[str, Any]) -> None:
        """Warn of a monitored value that can't be compared. With `save_best_only`, Keras itself warns."""
        value = logs.get(self.monitor)
        if self.save_best_only or is_scalar(value):
            return
        what = f"no {self.monitor!r}" if value is None else f"no single number as {self.monitor!r}"
        self._warn_once(
            f"The logs have {what}, so this checkpoint can't be 'best'. Expected in monitor one of the numbers that "
            f"are logged at this moment: {', '.join(finite_scalars(logs)) or 'there are none'}."
        )

    # ---- the run ---------------------------------------------------------------------------------------

    def _require_run(self) -> "Run":
        run = active_run(self._settings.run)
        if run is None:
            raise NoActiveRunError(
                f"{type(self).__name__} has no W&B run to publish checkpoints to: expected an active run when "
                "training begins. Call wandb.init() before fit(), or pass run=."
            )
        return run

    def _find_target(self, run: "Run") -> Target | None:
        """Return where checkpoints go in `run`, or `None` for a disabled run."""
        known = self._session.target
        target = self._session.target_in(run, self.filepath, self.monitor)
        if target is not None and target is not known and target.continues:
            self._continue_best(target.values[0])
        return target

    def _publish_leftovers(self, run: "Run", target: Target) -> None:
        """Publish what a killed process of this run could not."""
        for checkpoint in self._session.publish_leftovers(run, target, self.monitor):
            if target.continues:
                self._continue_best(checkpoint.best)

    def _continue_best(self, best: float | None) -> None:
        """Give Keras the best value of the resumed run, unless it has one."""
        if best is not None and self._has_no_best():
            self.best = best

    def _continue_from(self, checkpoint: Checkpoint) -> None:
        """Give Keras the best value of the restored checkpoint if it is better than the threshold."""
        best, mode = checkpoint.best, checkpoint.mode
        if best is None or mode is None or checkpoint.monitor != self.monitor:
            return
        if self._has_no_best() or is_better(best, self.best, mode):
            self.best = best

    # ---- what is said ----------------------------------------------------------------------------------

    def _say_what_is_for_online(self, run: "Run") -> None:
        if (names := self._settings.online_only) and run.offline and not is_disabled(run):
            self._warn_once(
                f"An offline run can't delete or link versions: {', '.join(names)} have no effect here. Run "
                "`wandb-ckpt prune` after `wandb sync`."
            )

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)


def _finish_killed_saves_at(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        finish_killed_saves(folder)
    except OSError as error:
        logger.warning("Unfinished saves of a killed process in %s could not be cleaned up: %s", folder, error)
