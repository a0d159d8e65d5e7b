"""Family: the interface between the callback and a Keras family (Keras 3 or tf_keras)."""

from collections.abc import Callable
from typing import Any, Protocol

from wandb_ckpt.saving.background import ModelCopier, SaverThread


class Family(Protocol):
    """The part of the callback that is specific to a Keras family."""

    def extra_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the additional arguments to pass to the family's `ModelCheckpoint`.

        Raises:
            ArgumentError: An argument is invalid for this family.
            TypeError: An argument is unknown.
        """

    def is_chief(self, model: Any) -> bool:
        """Return whether this process is the one in its group that publishes."""

    def version_and_backend(self) -> tuple[str, str]:
        """Return the version of Keras and the name of its backend."""

    def model_copier(self, model: Any, saver: SaverThread) -> ModelCopier:
        """Return an object that copies the model's variables, to save them in the background.

        Raises:
            CannotCopyError: The model can't be saved in the background.
        """

    def comparison(self, callback: Any) -> Callable[[Any, Any], Any] | None:
        """Return the comparison that the parent uses for `monitor` and `mode`, or `None` if Keras can't tell."""
