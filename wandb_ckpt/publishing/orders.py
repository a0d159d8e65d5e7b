"""Orders: how saves are to be published, carried out now or once they are made in the background."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.outbox.entry import Entry
from wandb_ckpt.outbox.snapshot import Snapshot, freeze
from wandb_ckpt.policy.settings import Settings
from wandb_ckpt.publishing.publisher import Publisher
from wandb_ckpt.publishing.target import Destination
from wandb_ckpt.saving.observer import LaterSave, Save
from wandb_ckpt.wandb_api.artifacts import Publication, keep_record
from wandb_ckpt.wandb_api.errors import words

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

logger = logging.getLogger("wandb_ckpt")


@dataclass(frozen=True, slots=True)
class Order:
    """How one save is to be published.

    Attributes:
        index: The checkpoint's number with the publisher.
        number: Its number at its destination.
        place: Where the parent saves it, absolute.
        parents_best: What the parent had as the best value before it.
    """

    index: int
    number: int
    run: "Run"
    destination: Destination
    checkpoint: Checkpoint
    place: Path
    aliases: tuple[str, ...]
    parents_best: Any


class Orders:
    """Carries out orders, and owns those of saves that failed until the training thread takes them.

    Args:
        publisher: What publishes snapshots.
        settings: What the callback was made with.
    """

    def __init__(self, publisher: Publisher, settings: Settings) -> None:
        self._publisher, self._settings = publisher, settings
        self._unsaved: deque[Order] = deque()

    def carry_out_later(self, later: LaterSave, order: Order | None) -> None:
        """Makes a save and publishes it; in the background. Never raises."""
        try:
            save = later.carry_out()
        except Exception as error:
            logger.debug("Saving %s failed", later.path, exc_info=True)
            reason = f"it could not be saved in the background: {words(error)}"
            if order is None:
                logger.warning("%s: %s", later.path, reason)
            else:
                self._unsaved.append(order)
                self._give_up(order, reason)
        else:
            self.carry_out(save, order)

    def carry_out(self, save: Save, order: Order | None) -> None:
        """Publishes a save, or without an order forgets it. Never raises."""
        if order is None:
            save.forget()
            return
        try:
            snapshot = self._freeze(save, order)
        except Exception as error:
            logger.debug("Keeping %s failed", save.path, exc_info=True)
            save.forget()
            self._give_up(order, f"it could not be kept for publishing: {words(error)}")
        else:
            self._submit(order, snapshot)

    def take_unsaved(self) -> Iterator[Order]:
        """Yields the orders of saves that failed in the background since the last call, the newest first."""
        while self._unsaved:
            yield self._unsaved.pop()

    def _freeze(self, save: Save, order: Order) -> Snapshot:
        if save.is_remote:
            raise OSError("it is in a remote store: only checkpoints on this disk are published")
        home = order.destination.new_folder()
        return freeze(
            save,
            home,
            note=lambda snapshot: keep_record(self._entry(order, snapshot)),
            copy=self._settings.policy == "mutable",
        )

    def _submit(self, order: Order, snapshot: Snapshot) -> None:
        self._publisher.submit(order.index, self._entry(order, snapshot), order.destination, order.number)

    def _entry(self, order: Order, snapshot: Snapshot) -> Publication:
        return Entry(
            order.run,
            order.destination.name,
            order.checkpoint,
            order.place,
            snapshot,
            order.aliases,
            self._settings.metadata or {},
            self._settings.template.name,
            order.destination.epoch_key,
            self._settings.shard,
        )

    def _give_up(self, order: Order, reason: str) -> None:
        order.destination.strike(order.number, order.checkpoint.mode)
        self._publisher.fail(order.index, reason)
