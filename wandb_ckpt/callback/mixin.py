"""The half of the callback that all Keras families share: hooks → checkpoints → the publisher."""

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
from wandb_ckpt.callback.family_protocol import Family
from wandb_ckpt.callback.interrupted import call_after_fit
from wandb_ckpt.callback.parent_fixes import ParentFixesMixin, for_path, step_of
from wandb_ckpt.checkpoint import Checkpoint, finite_scalar, finite_scalars, format_of, is_scalar
from wandb_ckpt.errors import NoActiveRunError, PublishError
from wandb_ckpt.policy.best import aliases_for, is_better
from wandb_ckpt.policy.settings import Settings
from wandb_ckpt.publishing.leftovers import sweep_in_background
from wandb_ckpt.publishing.orders import Order, Orders
from wandb_ckpt.publishing.publisher import Outcome, Publisher
from wandb_ckpt.publishing.retention import Upkeep
from wandb_ckpt.publishing.target import Destination, find_destination
from wandb_ckpt.restoring.restore import check_model
from wandb_ckpt.saving import seeds
from wandb_ckpt.saving.atomic import finish_killed_saves
from wandb_ckpt.saving.background import BackgroundSaves, ModelCopier, SaverThread
from wandb_ckpt.saving.observer import LaterSave, Save, SaveObserver, absolute_path
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import words
from wandb_ckpt.wandb_api.run import active_run, is_disabled

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

logger = logging.getLogger("wandb_ckpt")


class PublishingMixin(ParentFixesMixin):
    """Publishes each save of a `ModelCheckpoint` that stands behind it in the class's bases.

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
        self._upkeep = Upkeep(self._settings)
        self._publisher = Publisher(self._upkeep)
        self._background = BackgroundSaves(self._model_copier, self._warn_once) if save_on_background else None
        self._orders = Orders(self._publisher, self._settings)
        self._destination: Destination | None = None
        self._epoch = 0
        self._left: Any = None
        self._warned: set[str] = set()

    @property
    def checkpoints(self) -> tuple[Outcome, ...]:
        """What became of every checkpoint so far: pending, committed as vN, or failed and why."""
        return self._publisher.outcomes

    def resume(self, model: Any) -> int:
        """Takes the run's training up where it stopped, and returns the epoch to go on with, 0 in a new run.

        For a run that is started again with its id, here or on another machine, after a crash, a kill, or on purpose.
        The newest checkpoint that this callback saved in the run, on W&B or on this disk, is put into the model: its
        weights, optimizer state (with the learning rate) and the states of its seed generators; and `best` goes on
        from its value then. What a killed process could not publish is published when training begins; what was
        trained after the checkpoint is trained again. With `save_best_only=True` the newest one is the best one.

        A checkpoint from within an epoch (`save_freq` as a number) is gone on with at the beginning of that epoch, so
        the batches before it are seen twice.

        Not restored: the order of shuffled data, and what other callbacks remember (`EarlyStopping`).

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
        destination = self._find_destination(run)
        if destination is None:  # a disabled run
            return 0
        _finish_killed_saves_at(self._settings.template.folder)
        checkpoint = callback_resume.restore_newest(model, run, destination, Path(self.filepath).parent)
        if checkpoint is None:
            return 0
        self._remember(checkpoint, destination)
        self._continue_best(destination.tracker.best)
        self._continue_from(checkpoint)
        epoch = callback_resume.epoch_after(checkpoint)
        say(f"the model is as epoch {checkpoint.epoch} of run {run.id} saved it; epoch {epoch} is the next")
        return epoch

    # ---- the hooks -------------------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Takes the model, as every Keras callback does."""
        super().set_model(model)  # type: ignore[misc]
        self._given_model = model
        self._forget_undecided()
        # `self.model` is the real one: Keras unwraps torch's DistributedDataParallel there.
        self._observer = SaveObserver(
            self.model, self._background.copy if self._background else None, self._warn_once
        )

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the run, and finishes what a killed process left half done.

        Raises:
            NoActiveRunError: There is no active W&B run.
        """
        self._is_over()
        self._left = call_after_fit(self._let_go)
        if self._family.is_chief(self.model):
            run = self._require_run()
            if destination := self._find_destination(run):
                self._publish_left(run, destination)
            self._say_what_is_for_online(run)
            if not is_disabled(run):
                preemption.register(self._wind_up, self._holds_lock, run)
        _finish_killed_saves_at(self._settings.template.folder)
        super().on_train_begin(logs)  # type: ignore[misc]

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Lets the parent save, and publishes what it saved."""
        self._last_batch = batch
        if self._background:
            self._background.prepare()
        if self.save_freq == "epoch":  # the parent can't save here: keep the hook free
            super().on_train_batch_end(batch, logs)  # type: ignore[misc]
            return
        with self._publishing(batch, logs or {}):
            super().on_train_batch_end(batch, for_path(logs))  # type: ignore[misc]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes the epoch, for saves within it."""
        self._epoch = epoch
        self._begin_epoch()
        super().on_epoch_begin(epoch, logs)  # type: ignore[misc]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Lets the parent save, and publishes what it saved."""
        self._epoch = epoch
        with self._publishing(None, logs or {}):
            super().on_epoch_end(epoch, self._with_batch(for_path(logs)))  # type: ignore[misc]

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Waits until every checkpoint is saved and published, and sums up.

        For publishing it waits at most 60 seconds without progress for wandb to take what is pending, and 10 for an
        upload; what is not done by then goes on in the background. So it is with versions that are to be deleted, for
        which it waits at most 30 seconds.

        Raises:
            PublishError: With `on_error="raise"`, a checkpoint could not be published.
        """
        super().on_train_end(logs)  # type: ignore[misc]
        if self._background:
            self._background.flush()
            self._background.close()
        self._forget_lost()
        done = self._publisher.flush()
        self._is_over()
        self._sum_up(done)
        self._upkeep.flush()
        self._raise_failure()

    def _wind_up(self) -> None:
        """Saves and publishes what is pending; called when the process is to end, from another thread."""
        if self._background:
            self._background.flush()
        self._publisher.flush()

    def _holds_lock(self) -> bool:
        """Returns whether this thread holds a lock that `_wind_up`, in another thread, would wait for."""
        return self._publisher.holds_lock() or self._upkeep.holds_lock()

    def _is_over(self) -> None:
        """Frees what a training has had; nothing that is pending is lost."""
        if self._left is not None:
            self._left.detach()
        self._let_go()

    def _let_go(self) -> None:
        """Frees what a training has had; called in whatever thread when it is left without a word."""
        if self._background:
            self._background.close()
        preemption.unregister(self._wind_up)

    def _model_copier(self, saver: SaverThread) -> ModelCopier:
        return self._family.model_copier(self.model, saver)

    # ---- one save --------------------------------------------------------------------------------------

    @contextmanager
    def _publishing(self, batch: int | None, logs: Mapping[str, Any]) -> Iterator[None]:
        """Stands the observer in front of the model while the parent works, then publishes what it saved."""
        self._raise_failure()
        self._forget_lost()
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
        """Publishes a save, now or once it is made; nothing that goes wrong with that may end training."""
        try:
            order = self._order(save, batch, logs, parents_best)
        except Exception as error:
            logger.debug("Publishing %s failed", save.path, exc_info=True)
            self._record_failure(save, batch, f"it could not be kept for publishing: {words(error)}")
            order = None
        if isinstance(save, LaterSave) and self._background:
            self._background.submit(partial(self._orders.carry_out_later, save, order))
        elif isinstance(save, Save):
            self._orders.carry_out(save, order)

    def _order(
        self, save: Save | LaterSave, batch: int | None, logs: Mapping[str, Any], parents_best: Any
    ) -> Order | None:
        """Returns how a save is to be published; `None` where it is not."""
        if not self._family.is_chief(self.model):  # another worker's, which that worker's parent removes again
            return None
        run = active_run(self._settings.run)
        if run is None:
            raise NoActiveRunError("no W&B run is active any more; keep the run open until training ends")
        destination = self._find_destination(run)
        if destination is None:  # a disabled run
            return None
        best = destination.tracker.best
        checkpoint = self._checkpoint(save, destination, batch, logs)
        aliases = aliases_for(checkpoint, self._settings.aliases)
        place = absolute_path(save.path)
        index = self._publisher.announce(checkpoint, place, destination.name, aliases)
        return Order(index, run, destination, checkpoint, place, aliases, best, parents_best)

    def _forget_lost(self) -> None:
        """Takes back what was best in a save that has failed in the background, so that a later one can be it."""
        for lost in self._orders.take_lost():
            if self._destination is not None:
                self._destination.tracker.forget(lost.checkpoint, lost.best)
            if self.best == lost.checkpoint.value:
                self.best = lost.parents_best

    def _record_failure(self, save: Save | LaterSave, batch: int | None, reason: str) -> None:
        checkpoint = Checkpoint(path=save.path, format="", epoch=self._epoch, batch=batch, monitor=self.monitor)
        name = self._settings.artifact_name or (self._destination.name if self._destination else "checkpoint")
        self._publisher.fail(self._publisher.announce(checkpoint, absolute_path(save.path), name, ()), reason)

    def _checkpoint(
        self, save: Save | LaterSave, destination: Destination, batch: int | None, logs: Mapping[str, Any]
    ) -> Checkpoint:
        self._check_monitor(logs)
        value, mode, tracker = finite_scalar(logs.get(self.monitor)), self._direction(), destination.tracker
        tracker.observe(destination.earlier.known, mode)
        is_best = tracker.observe(value, mode)
        keras_version, backend = self._family.version_and_backend()
        return Checkpoint(
            path=save.path,
            format=format_of(save.path, is_folder=Path(save.path).is_dir()),
            epoch=self._epoch,
            batch=batch,
            step=step_of(self.model),
            monitor=self.monitor,
            mode=mode,
            value=value,
            best=tracker.best,
            is_best=is_best,
            logs=finite_scalars(logs),
            seeds=seeds.states_of(self.model),
            keras_version=keras_version,
            backend=backend,
        )

    def _check_monitor(self, logs: Mapping[str, Any]) -> None:
        """Warns of a monitored value that can't be compared; with `save_best_only` the parent says so."""
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

    def _find_destination(self, run: "Run") -> Destination | None:
        """Returns where checkpoints go in `run`; `None` where that is nowhere, for a disabled run."""
        if is_disabled(run):
            return None
        if self._destination is None or self._destination.run_id != run.id:
            self._destination = find_destination(run, self.filepath, self.monitor, self._settings.artifact_name)
            if self._destination.continues:
                self._continue_best(self._destination.tracker.best)
        return self._destination

    def _publish_left(self, run: "Run", destination: Destination) -> None:
        """Publishes, before anything new, what a killed process of this run could not."""
        for entry in callback_resume.take_over(run, destination.name):
            self._remember(entry.checkpoint, destination)
            index = self._publisher.announce(entry.checkpoint, entry.place, entry.name, entry.aliases)
            self._publisher.submit(index, entry.with_run(run), destination.earlier.ask)
        if destination.is_default and not run.offline:  # of several callbacks, one looks after the rest
            sweep_in_background(run)

    def _continue_best(self, best: float | None) -> None:
        """Gives the parent the best value of the resumed run, unless it has one."""
        if best is not None and self._has_no_best():
            self.best = best

    def _remember(self, checkpoint: Checkpoint, destination: Destination) -> None:
        """Goes on with what was best when an earlier process of the run saved a checkpoint."""
        if checkpoint.monitor == self.monitor and destination.tracker.observe(checkpoint.best, checkpoint.mode):
            destination.keep_best(checkpoint.best)
        if destination.continues:
            self._continue_best(destination.tracker.best)

    def _continue_from(self, checkpoint: Checkpoint) -> None:
        """Gives the parent what was best even where it was given a threshold: an earlier process was past that."""
        best, mode = checkpoint.best, checkpoint.mode
        if best is None or mode is None or checkpoint.monitor != self.monitor:
            return
        if is_better(best, self.best, mode):
            self.best = best

    # ---- what is said ----------------------------------------------------------------------------------

    def _sum_up(self, done: bool) -> None:
        if outcomes := self.checkpoints:
            say(summary(outcomes))
        if not done:
            say(
                "what is pending goes on in the background, and is waited for when the process exits",
                warn=True,
            )

    def _say_what_is_for_online(self, run: "Run") -> None:
        if (names := self._settings.online_only) and run.offline and not is_disabled(run):
            self._warn_once(
                f"An offline run deletes and links nothing in W&B: {', '.join(names)} will do nothing here. After "
                "`wandb sync`, `wandb-ckpt prune` does it."
            )

    def _raise_failure(self) -> None:
        if self._settings.on_error == "raise" and (failure := self._publisher.take_failure()):
            raise PublishError(f"A checkpoint could not be published: {failure}")

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)


def summary(outcomes: Iterable[Outcome]) -> str:
    """Returns one line that says what became of all checkpoints."""
    outcomes = tuple(outcomes)
    parts = [_counted(outcomes, state) for state in ("committed", "offline", "pending", "failed")]
    best = [outcome for outcome in outcomes if outcome.checkpoint.is_best and outcome.version]
    text = f"{outcomes[-1].artifact}: {', '.join(filter(None, parts))}"
    if best:
        text += f"; best is {best[-1].version} ({best[-1].checkpoint.monitor} = {best[-1].checkpoint.value:.6g})"
    return text


def _counted(outcomes: tuple[Outcome, ...], state: str) -> str:
    number = sum(outcome.state == state for outcome in outcomes)
    words = {"offline": "kept for wandb sync"}
    return f"{number} checkpoint{'s' if number > 1 else ''} {words.get(state, state)}" if number else ""


def _finish_killed_saves_at(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        finish_killed_saves(folder)
    except OSError as error:
        logger.warning("What a killed process left in %s could not be finished: %s", folder, error)
