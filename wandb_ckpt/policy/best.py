"""What is best and which aliases a checkpoint gets. BestTracker owns the best value; the rest is pure."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

from wandb_ckpt.checkpoint import Checkpoint, Direction

_IS_BETTER: dict[Direction, Callable[[float, float], bool]] = {"min": operator.lt, "max": operator.gt}


class BestTracker:
    """Owns the best monitored value that was saved so far.

    Args:
        best: The value to beat, e.g. of an earlier part of the same run; `None` when any value is the best.
    """

    def __init__(self, best: float | None = None) -> None:
        self.best = best

    def observe(self, value: float | None, mode: Direction | None) -> bool:
        """Takes the value of a new checkpoint and returns whether it is the best so far.

        A missing value is never best, nor is any value while it is unknown which direction is better.
        An equal value is no improvement, as in Keras.
        """
        if value is None or mode is None:
            return False
        if self.best is not None and not is_better(value, self.best, mode):
            return False
        self.best = value
        return True

    def forget(self, checkpoint: Checkpoint, previous: float | None) -> None:
        """Takes back a checkpoint that came to nothing, unless a better one has come since."""
        if checkpoint.is_best and self.best == checkpoint.value:
            self.best = previous


def is_better(value: float, other: float, mode: Direction) -> bool:
    """Returns whether a value is better than another one, not only as good.

    >>> is_better(0.5, 0.4, "max"), is_better(0.5, 0.5, "max")
    (True, False)
    """
    return _IS_BETTER[mode](value, other)


def direction_of(monitor_op: Callable[[Any, Any], Any]) -> Direction:
    """Returns the direction that a parent's comparison means; its result may be a backend tensor.

    >>> direction_of(operator.lt)
    'min'
    """
    return "min" if bool(monitor_op(0.0, 1.0)) else "max"


def aliases_for(checkpoint: Checkpoint, extra: Iterable[str] = ()) -> tuple[str, ...]:
    """Returns the aliases of a checkpoint's version, without duplicates.

    `epoch_N` and `epoch_N_batch_M` are zero-based: wandb's own callback names them so, and scripts rely on it.

    >>> aliases_for(Checkpoint(path="m.keras", format="keras", epoch=2, monitor="loss", is_best=True))
    ('latest', 'best', 'epoch_2')
    """
    moment = f"epoch_{checkpoint.epoch}"
    if checkpoint.batch is not None:
        moment += f"_batch_{checkpoint.batch}"
    best = ("best",) if checkpoint.is_best else ()
    return tuple(dict.fromkeys(("latest", *best, moment, *extra)))
