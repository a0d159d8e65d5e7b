"""Target: where the checkpoints of one callback go in one run. It has the artifact's name and the values so far."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_ckpt.checkpoint import Direction
from wandb_ckpt.outbox.name_claims import Claim, claim, claimants
from wandb_ckpt.policy.best import best_of
from wandb_ckpt.policy.naming import candidate_names, default_artifact_name
from wandb_ckpt.wandb_api.api import ask
from wandb_ckpt.wandb_api.errors import UnreachableError
from wandb_ckpt.wandb_api.run import run_folder
from wandb_ckpt.wandb_api.versions import best_value, earlier_versions

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

logger = logging.getLogger("wandb_ckpt")

# How often W&B is asked for the best value that it has: where it never answers, what is pending must be published
# before the end of training has lost its patience.
_TRIES = 2


class Clock:
    """Names snapshots by the time. Names only grow, also when the machine's clock is set back.

    Args:
        folder: The folder of the snapshots.
    """

    def __init__(self, folder: Path) -> None:
        names = (int(path.name) for path in folder.glob("*") if path.name.isdecimal())
        self._last = max(names, default=0)

    def next(self) -> int:
        """Return the time in nanoseconds, or the last name plus one if the clock was set back."""
        self._last = max(time.time_ns(), self._last + 1)
        return self._last


class EarlierBest:
    """The best value that W&B has under an artifact's name before a callback publishes there.

    An earlier run with the same id, or another run that shares the name, may have published there.

    Args:
        name: The artifact's name.
        question: Asks W&B; `None` in an offline run.
        known: The answer, if it is known.
    """

    def __init__(self, name: str, question: Callable[[], float | None] | None, known: float | None = None) -> None:
        self._name, self._question, self.known = name, question, known
        self._tries = 0 if question is None else _TRIES

    def __reduce__(self) -> tuple[type["EarlierBest"], tuple[Any, ...]]:
        # A copied or pickled callback goes on with the answer: the run, of which W&B is asked, can't be copied.
        return EarlierBest, (self._name, None, self.known)

    def ask(self) -> float | None:
        """Return the value. It asks W&B at the first call, which may take long.

        Returns:
            The value; `None` where there is none, and where W&B has not answered often enough: a checkpoint that is
            published is worth more than this answer.

        Raises:
            UnreachableError: W&B can't be asked now, and may answer the next time.
        """
        if self._question is not None and self._tries:
            self._tries -= 1
            try:
                self.known = ask(self._question)
            except UnreachableError as error:
                if self._tries:
                    raise
                logger.warning(
                    "W&B did not say which version of %s is the best so far, so 'best' may move to a worse one: %s",
                    self._name,
                    error,
                )
            self._tries = 0
        return self.known


@dataclass(frozen=True, slots=True)
class Target:
    """Where the checkpoints of one callback go in one run.

    Attributes:
        run_id: The run.
        claim: The callback's claim on the artifact's name.
        folder: This package's folder in the run's own folder on this disk.
        clock: Names snapshots.
        earlier: The best value in W&B before.
        values: The best value before, as far as this machine knows it; then the values of the callback's checkpoints,
            in the order of saving, `None` where one has failed: what is best follows the outcomes.
        continues: Whether this callback continues the training of an earlier process of the run.
        epoch_key: The key in the run's summary for the epoch of the best value.
    """

    run_id: str
    claim: Claim
    folder: Path
    clock: Clock
    earlier: EarlierBest
    values: list[float | None]
    continues: bool
    epoch_key: str

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.claim.name

    @property
    def is_default(self) -> bool:
        """Whether the name is the one that the first callback of a run has."""
        return self.name == default_artifact_name(self.run_id)

    def new_folder(self) -> Path:
        """Return a new path for the next snapshot."""
        return self.folder / self.name / f"{self.clock.next()}"

    def add(self, value: float | None) -> int:
        """Add the value of a new checkpoint, and return the checkpoint's number."""
        self.values.append(value)
        return len(self.values) - 1

    def values_before(self, number: int) -> list[float | None]:
        """Return the values that a checkpoint must be better than to be the best."""
        return [self.earlier.known, *self.values[:number]]

    def discard(self, number: int, mode: Direction | None) -> None:
        """Remove the value of a checkpoint that failed."""
        self.values[number] = None
        self.save_best(mode)

    def save_best(self, mode: Direction | None) -> None:
        """Save the best value for the next callback of this run with the same path and monitor."""
        if mode is None:
            return
        try:
            self.claim.write(best_of(self.values_before(len(self.values)), mode))
        except OSError as error:
            logger.warning("The best value so far could not be saved for the next callback of this run: %s", error)


def find_target(run: "Run", filepath: str, monitor: str, artifact_name: str | None) -> Target:
    """Return where the checkpoints of a callback go.

    Args:
        run: The run; not a disabled one.
        filepath: The callback's path, with placeholders.
        monitor: What it monitors.
        artifact_name: The name that the user gave, if any.
    """
    folder = run_folder(run)
    names = (artifact_name,) if artifact_name else candidate_names(run.id, filepath, monitor)
    known = _recall(run, names, filepath, monitor) if run.resumed else None
    claimed = _claim(folder / "names", (known[0], *names) if known else names, f"{filepath}\n{monitor}")
    best = claimed.best if claimed.best is not None or known is None else known[1]
    if artifact_name is None:
        _warn_of_an_ambiguous_name(claimed, filepath, monitor)
    return Target(
        run.id,
        claimed,
        folder,
        Clock(folder / claimed.name),
        EarlierBest(claimed.name, None if run.offline else partial(best_value, run, claimed.name, monitor)),
        [best],
        continues=run.resumed and claimed.is_first,
        epoch_key=_epoch_key(folder, monitor),
    )


def _claim(folder: Path, names: Sequence[str], claimant: str) -> Claim:
    try:
        return claim(folder, names, claimant)
    except OSError as error:  # nothing can be written into the run's folder
        logger.warning(
            "The name %s could not be claimed, so two callbacks of this run would share it: %s", names[0], error
        )
        return Claim(names[0], folder / names[0], claimant, is_first=True)


def _epoch_key(folder: Path, monitor: str) -> str:
    """Return `best_epoch` for the monitor of a run's first callback, and another key for any other monitor."""
    try:
        claimed = claim(folder / "summary", ("best_epoch", "other"), monitor)
    except OSError:  # as above, where it is said
        return "best_epoch"
    return "best_epoch" if claimed.name == "best_epoch" else f"best_{monitor}_epoch"


def _warn_of_an_ambiguous_name(claimed: Claim, filepath: str, monitor: str) -> None:
    """Warn when an artifact's name does not tell its checkpoints from those of another callback."""
    others = (claimant.rpartition("\n") for claimant in claimants(claimed.file.parent) - {claimed.claimant})
    alike = [path for path, _, its in others if (Path(path).name, its) == (Path(filepath).name, monitor)]
    if alike and claimed.is_first:
        logger.warning(
            "%s publishes to %s. The name does not tell its checkpoints from those of %s, because the file name and "
            "the monitor are the same. Pass artifact_name, such as artifact_name='fold-1'.",
            filepath,
            claimed.name,
            min(alike),
        )


def _recall(run: "Run", names: Sequence[str], filepath: str, monitor: str) -> tuple[str, float | None] | None:
    """Return the name of the callback's earlier versions on W&B, and their best value; `None` if there are none."""
    if run.offline:
        return None
    try:
        return ask(partial(_look_up, run, names, filepath, monitor))
    except UnreachableError as error:
        logger.warning("W&B could not be asked for the best %s so far, so 'best' starts again: %s", monitor, error)
        return None


def _look_up(run: "Run", names: Sequence[str], filepath: str, monitor: str) -> tuple[str, float | None] | None:
    for name in names:
        earlier = earlier_versions(run, name)
        if earlier is None:
            return None
        # wandb's own callback leaves no template; with a name that the user gave there is nothing to choose.
        is_ours = len(names) == 1 or earlier.template in ("", Path(filepath).name)
        if is_ours and earlier.monitor in ("", monitor):
            return name, earlier.best
    return None
