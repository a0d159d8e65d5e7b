"""What Keras's ModelCheckpoint gets wrong around a save, put right before the parent sees it."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from wandb_ckpt.callback.family_protocol import Family
from wandb_ckpt.checkpoint import Direction
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.best import direction_of
from wandb_ckpt.policy.path_template import PathTemplate

_SAY_MODE = "Pass mode='min' or mode='max'."


class RepairsMixin:
    """The parent's comparison, its best value and its path's placeholders, where Keras 3.15 fails at them."""

    # What every parent has; annotated here because the mixin itself has no base.
    filepath: str
    monitor: str
    save_best_only: bool
    save_freq: int | str
    best: Any
    monitor_op: Callable[[Any, Any], Any] | None
    model: Any
    params: Any
    _family: ClassVar[Family]

    def _init_repairs(self) -> None:
        self._last_batch: int | None = None
        self._updates_before: int | None = None
        self._check_numbers()

    def _warn_once(self, message: str) -> None:
        raise NotImplementedError

    def _check_numbers(self) -> None:
        if self.save_freq != "epoch" and (isinstance(self.save_freq, bool) or int(self.save_freq) < 1):
            raise ArgumentError(
                f"save_freq={self.save_freq!r} would save after every batch: expected 'epoch' or a number of "
                "batches of 1 or more."
            )
        if isinstance(self.best, float) and math.isnan(self.best):
            raise ArgumentError(
                "initial_value_threshold is NaN, which no value is better than: pass a number or None."
            )

    # ---- which value is better -------------------------------------------------------------------------

    def _prepare_monitor_op(self, keep_best: int | None) -> None:
        """Gives the parent its comparison before the first save.

        Keras 3.15 sets it at the end of the first epoch, and fails when an integer `save_freq` needs it before;
        and for a metric whose direction it doesn't know it fails there, even if nothing is to be compared.
        """
        if self.monitor_op is not None:
            return
        self.monitor_op = self._family.comparison(self)
        if self.monitor_op is not None:
            return
        unknown = f"Keras can't tell whether a higher or a lower {self.monitor} is better"
        if keep_best:
            raise ArgumentError(f"{unknown}, which keep_best={keep_best} needs. {_SAY_MODE}")
        if not self.save_best_only:
            self.monitor_op = _undecided
            self._warn_once(f"{unknown}, so no version gets the alias 'best'. {_SAY_MODE}")
        elif self.save_freq != "epoch":  # at an epoch's end Keras says so itself
            raise ArgumentError(f"{unknown}, which save_best_only=True needs. {_SAY_MODE}")

    def _forget_undecided(self) -> None:
        """Lets the metrics of another model decide."""
        if self.monitor_op is _undecided:
            self.monitor_op = None

    def _direction(self) -> Direction | None:
        if self.monitor_op is None or self.monitor_op is _undecided:
            return None
        return direction_of(self.monitor_op)

    def _hide_nan(self, logs: Mapping[str, Any]) -> None:
        """Keeps a NaN from becoming the first best, by giving the parent a best that NaN is not better than.

        Keras 3.15 takes any first value as the best, and nothing is better than NaN ever after.
        """
        if self.best is None and self.save_best_only and self.monitor_op and _is_nan(logs.get(self.monitor)):
            self.best = math.inf if direction_of(self.monitor_op) == "min" else -math.inf

    def _has_no_best(self) -> bool:
        """Returns whether any value would be the parent's best."""
        return self.best is None or _is_infinite(self.best)

    # ---- what the path may say -------------------------------------------------------------------------

    def _begin_epoch(self) -> None:
        self._last_batch = None
        if "batch" in PathTemplate(self.filepath).fields:
            self._updates_before = step_of(self.model)

    def _with_batch(self, logs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Adds the epoch's last batch to the logs for a path with `{batch}`, which Keras itself can't fill here."""
        if "batch" not in PathTemplate(self.filepath).fields or self.save_freq != "epoch" or "batch" in logs:
            return logs
        batches = self._batches_of_epoch()
        return logs if batches is None else {**logs, "batch": batches}

    def _batches_of_epoch(self) -> int | None:
        if self._last_batch is not None:
            return self._last_batch + 1
        # tf_keras calls no batch hooks for saves at an epoch's end.
        steps: int | None = (self.params or {}).get("steps")
        updates = step_of(self.model)
        return steps if steps is not None or updates is None else updates - (self._updates_before or 0)


def for_path(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the logs as the parent can take them.

    Keras passes them and its own `epoch` to `str.format`: a log of that name is a TypeError there.

    >>> for_path({"loss": 0.5, "epoch": 3})
    {'loss': 0.5}
    """
    return {name: value for name, value in (logs or {}).items() if name != "epoch"}


def step_of(model: Any) -> int | None:
    """Returns how many updates a model has had; `None` without an optimizer."""
    iterations = getattr(getattr(model, "optimizer", None), "iterations", None)
    return None if iterations is None else int(iterations.numpy())


def _undecided(*_: Any) -> bool:
    """Stands for a comparison that Keras can't choose and that is not needed: nothing is better than anything."""
    return False


def _is_nan(value: Any) -> bool:
    try:
        return math.isnan(value)
    except (TypeError, ValueError, OverflowError):  # None, arrays, huge whole numbers
        return False


def _is_infinite(value: Any) -> bool:
    try:
        return math.isinf(value)
    except (TypeError, ValueError, OverflowError):
        return False
