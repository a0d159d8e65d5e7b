"""Session: everything that one callback publishes, from each save to its outcome."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.errors import PublishError
from wandb_ckpt.outbox.entry import Entry
from wandb_ckpt.outbox.snapshot import Snapshot, freeze
from wandb_ckpt.policy.best import aliases_for, beside
from wandb_ckpt.policy.settings import Settings
from wandb_ckpt.publishing.artifact_target import Target, find_target
from wandb_ckpt.publishing.leftovers import sweep_in_background, take_over
from wandb_ckpt.publishing.outcome import summary
from wandb_ckpt.publishing.publisher import Publisher
from wandb_ckpt.publishing.retention import Retention
from wandb_ckpt.saving.save_observer import LaterSave, Save, absolute_path
from wandb_ckpt.wandb_api.artifacts import Publication, keep_record
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import message_of
from wandb_ckpt.wandb_api.run import is_disabled

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

logger = logging.getLogger("wandb_ckpt")


@dataclass(frozen=True, slots=True)
class Plan:
    """How one save is published.

    Attributes:
        index: The checkpoint's number with the publisher.
        number: Its number at its target.
        run: The run that logs it.
        target: Where it goes.
        place: Where Keras saves it, absolute.
        parents_best: Keras's own best value before it.
    """

    index: int
    number: int
    run: "Run"
    target: Target
    checkpoint: Checkpoint
    place: Path
    aliases: tuple[str, ...]
    parents_best: Any


class Session:
    """Publishes the saves of one callback. It owns their target and the saves that failed in the background.

    Args:
        settings: The arguments of the callback.

    Attributes:
        publisher: Publishes in the background.
        retention: Deletes old versions and files, and links the best versions.
        target: Where checkpoints go in the run; `None` before it is known.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.retention = Retention(settings)
        self.publisher = Publisher(self.retention)
        self.target: Target | None = None
        self._unsaved: deque[Plan] = deque()

    def target_in(self, run: "Run", filepath: str, monitor: str) -> Target | None:
        """Return where checkpoints go in a run, or `None` for a disabled run, which takes none."""
        if is_disabled(run):
            return None
        if self.target is None or self.target.run_id != run.id:
            self.target = find_target(run, filepath, monitor, self._settings.artifact_name)
        return self.target

    def publish_leftovers(self, run: "Run", target: Target, monitor: str) -> list[Checkpoint]:
        """Publish, before any new checkpoint, those that an earlier process of the run could not publish.

        Returns:
            Its checkpoints with the same monitor.
        """
        comparable = []
        for entry in take_over(run, target.name):
            is_comparable = entry.checkpoint.monitor == monitor
            number = target.add(entry.checkpoint.value) if is_comparable else None
            index = self.publisher.announce(entry.checkpoint, entry.place, entry.name, entry.aliases)
            self.publisher.submit(index, entry.with_run(run), target, number)
            comparable += [entry.checkpoint] if is_comparable else []
        if target.is_default and not run.offline:  # of several callbacks, one looks after the rest
            sweep_in_background(run)
        return comparable

    def plan(self, checkpoint: Checkpoint, run: "Run", target: Target, parents_best: Any) -> Plan:
        """Return how the save of a checkpoint is published. It has an outcome from now on.

        Args:
            parents_best: Keras's own best value before it.
        """
        place = absolute_path(checkpoint.path)
        number = target.add(checkpoint.value if checkpoint.mode else None)  # without a mode, nothing is better
        checkpoint = beside(checkpoint, target.values_before(number))
        aliases = aliases_for(checkpoint, self._settings.aliases)
        index = self.publisher.announce(checkpoint, place, target.name, aliases)
        return Plan(index, number, run, target, checkpoint, place, aliases, parents_best)

    def note_failure(self, checkpoint: Checkpoint, reason: str) -> None:
        """Note a checkpoint that was saved and can't be published."""
        name = self._settings.artifact_name or (self.target.name if self.target else "checkpoint")
        self.publisher.fail(self.publisher.announce(checkpoint, absolute_path(checkpoint.path), name, ()), reason)

    def raise_failure(self) -> None:
        """Raise the oldest failure that was not raised before, if `on_error="raise"`.

        Raises:
            PublishError: There is one.
        """
        if self._settings.on_error == "raise" and (failure := self.publisher.take_failure()):
            raise PublishError(f"A checkpoint could not be published: {failure}")

    def holds_lock(self) -> bool:
        """Return whether this thread holds the publisher's lock or that of retention."""
        return self.publisher.holds_lock() or self.retention.holds_lock()

    def sum_up(self, *, is_done: bool) -> None:
        """Print what became of the checkpoints, and wait for retention, for a bounded time.

        Args:
            is_done: Whether nothing is pending any more.
        """
        if outcomes := self.publisher.outcomes:
            say(summary(outcomes))
        if not is_done:
            say("publishing continues in the background; the process waits for it at exit", warn=True)
        self.retention.flush()

    def publish_later(self, later: LaterSave, plan: Plan | None) -> None:
        """Carry out a save, in the background, and publish it. Never raises."""
        try:
            save = later.carry_out()
        except Exception as error:
            logger.debug("Saving %s failed", later.path, exc_info=True)
            reason = f"it could not be saved in the background: {message_of(error)}"
            if plan is None:
                logger.warning("%s: %s", later.path, reason)
            else:
                self._unsaved.append(plan)
                self._give_up(plan, reason)
        else:
            self.publish(save, plan)

    def publish(self, save: Save, plan: Plan | None) -> None:
        """Publish a save; without a plan, only remove its private folder. Never raises."""
        if plan is None:
            save.forget()
            return
        try:
            snapshot = self._freeze(save, plan)
        except Exception as error:
            logger.debug("Keeping %s failed", save.path, exc_info=True)
            save.forget()
            self._give_up(plan, f"it could not be kept for publishing: {message_of(error)}")
        else:
            self._submit(plan, snapshot)

    def take_unsaved(self) -> Iterator[Plan]:
        """Yield the plans of saves that failed in the background since the last call, the newest first."""
        while self._unsaved:
            yield self._unsaved.pop()

    def _freeze(self, save: Save, plan: Plan) -> Snapshot:
        if save.is_remote:
            raise OSError("it is in a remote store: only checkpoints on this disk are published")
        home = plan.target.new_folder()
        return freeze(
            save,
            home,
            note=lambda snapshot: keep_record(self._entry(plan, snapshot)),
            copy=self._settings.policy == "mutable",
        )

    def _submit(self, plan: Plan, snapshot: Snapshot) -> None:
        self.publisher.submit(plan.index, self._entry(plan, snapshot), plan.target, plan.number)

    def _entry(self, plan: Plan, snapshot: Snapshot) -> Publication:
        return Entry(
            plan.run,
            plan.target.name,
            plan.checkpoint,
            plan.place,
            snapshot,
            plan.aliases,
            self._settings.metadata or {},
            self._settings.template.name,
            plan.target.epoch_key,
            self._settings.shard,
        )

    def _give_up(self, plan: Plan, reason: str) -> None:
        self.publisher.fail(plan.index, reason, plan.target, plan.number)
