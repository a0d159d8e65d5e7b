"""Fixes for Keras's `ModelCheckpoint`, the parent: input that it fails on is corrected before it gets it."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from wandb_ckpt.callback.keras_family import Family
from wandb_ckpt.checkpoint import Direction
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.best import direction_of
from wandb_ckpt.policy.path_template import PathTemplate

_CHOOSE_MODE = "Pass mode='min' or mode='max'."


class ParentFixesMixin:
    """Fixes the parent's comparison, best value and path placeholders where Keras 3.15 fails."""

    # Attributes of every parent, annotated here because the mixin itself has no base class.
    filepath: str
    monitor: str
    save_best_only: bool
    save_freq: int | str
    best: Any
    monitor_op: Callable[[Any, Any], Any] | None
    model: Any
    params: Any
    _family: ClassVar[Family]

    def _init_fixes(self) -> None:
        self._last_batch: int | None = None
        self._updates_before: int | None = None
        self._check_numbers()

    def _warn_once(self, message: str) -> None:
        raise NotImplementedError

    def _check_numbers(self) -> None:
        if self.save_freq != "epoch" and (isinstance(self.save_freq, bool) or int(self.save_freq) < 1):
            raise ArgumentError(
                f"save_freq={self.save_freq!r} would save after every batch: expected 'epoch', or a number of "
                "batches (1 or more)."
            )
        if isinstance(self.best, float) and math.isnan(self.best):
            raise ArgumentError(
                "initial_value_threshold is NaN, and no value is better than NaN: pass a number or None."
            )

    # ---- which value is better -------------------------------------------------------------------------

    def _prepare_monitor_op(self, keep_best: int | None) -> None:
        """Set the parent's comparison before the first save.

        Keras 3.15 sets it at the end of the first epoch, and fails if an integer `save_freq` needs it before. If it
        does not know which values of a metric are better, it fails even when it has nothing to compare.
        """
        if self.monitor_op is not None:
            return
        self.monitor_op = self._family.comparison(self)
        if self.monitor_op is not None:
            return
        unknown = f"Keras can't tell whether a higher or a lower {self.monitor} is better"
        if keep_best:
            raise ArgumentError(f"{unknown}, and keep_best={keep_best} needs to know. {_CHOOSE_MODE}")
        if not self.save_best_only:
            self.monitor_op = _undecided
            self._warn_once(f"{unknown}, so no version gets the alias 'best'. {_CHOOSE_MODE}")
        elif self.save_freq != "epoch":  # at the end of an epoch Keras itself says so
            raise ArgumentError(f"{unknown}, and save_best_only=True needs to know. {_CHOOSE_MODE}")

    def _forget_undecided(self) -> None:
        """Forget that Keras could not tell which values are better: it may know it for the next model."""
        if self.monitor_op is _undecided:
            self.monitor_op = None

    def _direction(self) -> Direction | None:
        if self.monitor_op is None or self.monitor_op is _undecided:
            return None
        return direction_of(self.monitor_op)

    def _hide_nan(self, logs: Mapping[str, Any]) -> None:
        """Prevent that NaN becomes the first best value, by setting the parent's best to infinity.

        Keras 3.15 takes any first value as the best, and no later value is better than NaN.
        """
        if self.best is None and self.save_best_only and self.monitor_op and _is_nan(logs.get(self.monitor)):
            self.best = math.inf if direction_of(self.monitor_op) == "min" else -math.inf

    def _has_no_best(self) -> bool:
        """Return whether the parent would take any value as the best."""
        return self.best is None or _is_infinite(self.best)

    # ---- placeholders in the path ----------------------------------------------------------------------

    def _begin_epoch(self) -> None:
        self._last_batch = None
        if "batch" in PathTemplate(self.filepath).fields:
            self._updates_before = step_of(self.model)

    def _with_batch(self, logs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add the last batch to the logs if the path has `{batch}`, which Keras can't fill in at an epoch's end."""
        if "batch" not in PathTemplate(self.filepath).fields or self.save_freq != "epoch" or "batch" in logs:
            return logs
        batches = self._batches_of_epoch()
        return logs if batches is None else {**logs, "batch": batches}

    def _batches_of_epoch(self) -> int | None:
        if self._last_batch is not None:
            return self._last_batch + 1
        # tf_keras calls no batch hooks when saves are at the end of an epoch.
        steps: int | None = (self.params or {}).get("steps")
        updates = step_of(self.model)
        return steps if steps is not None or updates is None else updates - (self._updates_before or 0)


def for_path(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the logs without names that the parent fails on.

    Keras passes the logs and its own `epoch` to `str.format`, where a log of the same name is a TypeError.

    >>> for_path({"loss": 0.5, "epoch": 3})
    {'loss': 0.5}
    """
    return {name: value for name, value in (logs or {}).items() if name != "epoch"}


def step_of(model: Any) -> int | None:
    """Return the number of updates of a model; `None` without an optimizer."""
    iterations = getattr(getattr(model, "optimizer", None), "iterations", None)
    return None if iterations is None else int(iterations.numpy())


def _undecided(*_: Any) -> bool:
    """Compare two values when it is unknown which are better: no value is ever better."""
    return False


def _is_nan(value: Any) -> bool:
    try:
        return math.isnan(value)
    except (TypeError, ValueError, OverflowError):  # None, arrays, very large integers
        return False


def _is_infinite(value: Any) -> bool:
    try:
        return math.isinf(value)
    except (TypeError, ValueError, OverflowError):
        return False
