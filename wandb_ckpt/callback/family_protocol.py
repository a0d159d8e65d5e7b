"""What the callback asks of a Keras family."""

from collections.abc import Callable
from typing import Any, Protocol

from wandb_ckpt.saving.background import Pictures, SaverThread


class Family(Protocol):
    """What only a Keras family knows: Keras 3 or tf_keras."""

    def further_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the further arguments that the family's `ModelCheckpoint` takes.

        Raises:
            ArgumentError: One of them can't work here.
            TypeError: One of them is unknown.
        """

    def is_chief(self, model: Any) -> bool:
        """Return whether this process is the one of its group that publishes."""

    def facts(self) -> tuple[str, str]:
        """Return Keras's version and its backend."""

    def pictures(self, model: Any, saver: SaverThread) -> Pictures:
        """Return what copies the model's values, to be saved in the background.

        Raises:
            CannotPictureError: The model can't be saved that way.
        """

    def comparison(self, callback: Any) -> Callable[[Any, Any], Any] | None:
        """Return the comparison that the parent uses for `monitor` and `mode`, or `None` when it can't tell."""
