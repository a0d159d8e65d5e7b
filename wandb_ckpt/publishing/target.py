"""Where the checkpoints of one callback go within one run: the artifact's name, a folder, the best value so far."""

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
from wandb_ckpt.wandb_api.errors import UnreachableError
from wandb_ckpt.wandb_api.run import run_folder
from wandb_ckpt.wandb_api.versions import best_value, recall

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

from wandb_ckpt.wandb_api.api import ask

logger = logging.getLogger("wandb_ckpt")


# How often W&B is asked for the best value that it has: where it never answers, what is pending must be published
# before the end of training has lost its patience.
_TRIES = 2


class Clock:
    """Owns the last moment that a snapshot was named by: names grow, whatever the machine's clock does.

    Args:
        folder: The folder of the snapshots.
    """

    def __init__(self, folder: Path) -> None:
        names = (int(path.name) for path in folder.glob("*") if path.name.isdecimal())
        self._last = max(names, default=0)

    def next(self) -> int:
        """Returns the time in nanoseconds, or what is just behind the last one where the clock went back."""
        self._last = max(time.time_ns(), self._last + 1)
        return self._last


class EarlierBest:
    """The best value that W&B has under an artifact's name before a callback publishes there; owns the answer.

    An earlier run with the same id, or another run that shares the name, may have published there.

    Args:
        name: The artifact's name.
        question: Asks W&B; `None` where it is not to be asked.
        known: The answer, where it is known.
    """

    def __init__(self, name: str, question: Callable[[], float | None] | None, known: float | None = None) -> None:
        self._name, self._question, self.known = name, question, known
        self._tries = 0 if question is None else _TRIES

    def __reduce__(self) -> tuple[type["EarlierBest"], tuple[Any, ...]]:
        # A copied or pickled callback goes on with the answer: the run, of which W&B is asked, can't be copied.
        return EarlierBest, (self._name, None, self.known)

    def ask(self) -> float | None:
        """Returns the value; W&B is asked until it has answered, which may take long.

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
                    "W&B does not say which version of %s is best so far; 'best' may come to be on a worse one: %s",
                    self._name,
                    error,
                )
            self._tries = 0
        return self.known


@dataclass(frozen=True, slots=True)
class Target:
    """Where the checkpoints of one callback go within one run.

    Attributes:
        run_id: The run.
        claim: The callback's claim on the artifact's name.
        folder: This package's folder in the run's own folder on this disk.
        clock: Names the snapshots.
        earlier: The best value in W&B before.
        values: The best value before, as far as this machine knows it; then the values of the callback's checkpoints,
            in the order of saving, `None` where one has failed: what is best follows the outcomes.
        continues: Whether training goes on where an earlier process of the run stopped, with this callback.
        epoch_key: Under which the run's summary has the epoch of the best value.
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
        """Returns a path for the next snapshot, at which there is nothing."""
        return self.folder / self.name / f"{self.clock.next()}"

    def enter(self, value: float | None) -> int:
        """Takes the value of a new checkpoint, and returns the checkpoint's number here."""
        self.values.append(value)
        return len(self.values) - 1

    def before(self, number: int) -> list[float | None]:
        """Returns the values that a checkpoint has to be better than to be the best."""
        return [self.earlier.known, *self.values[:number]]

    def strike(self, number: int, mode: Direction | None) -> None:
        """Lets a checkpoint that has failed count no more."""
        self.values[number] = None
        self.keep_best(mode)

    def keep_best(self, mode: Direction | None) -> None:
        """Keeps the best value for the next callback of this run that has the same claim."""
        try:
            self.claim.write(best_of(self.before(len(self.values)), mode))
        except OSError as error:
            logger.warning("Another callback of this run will not know the best value so far: %s", error)


def find_target(run: "Run", filepath: str, monitor: str, artifact_name: str | None) -> Target:
    """Returns where the checkpoints of a callback go.

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
        _warn_of_a_name_that_says_nothing(claimed, filepath, monitor)
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
        logger.warning("Two callbacks of one run would now share %s: %s", names[0], error)
        return Claim(names[0], folder / names[0], claimant, is_first=True)


def _epoch_key(folder: Path, monitor: str) -> str:
    """Returns `best_epoch` for the monitor of a run's first callback, and a key of its own for any other monitor."""
    try:
        claimed = claim(folder / "summary", ("best_epoch", "other"), monitor)
    except OSError:  # as above, where it is said
        return "best_epoch"
    return "best_epoch" if claimed.name == "best_epoch" else f"best_{monitor}_epoch"


def _warn_of_a_name_that_says_nothing(claimed: Claim, filepath: str, monitor: str) -> None:
    """Warns where the name of an artifact does not tell what it has from what another callback of the run saves."""
    others = (claimant.rpartition("\n") for claimant in claimants(claimed.file.parent) - {claimed.claimant})
    alike = [path for path, _, its in others if (Path(path).name, its) == (Path(filepath).name, monitor)]
    if alike and claimed.is_first:
        logger.warning(
            "The checkpoints of %s go to %s, a name that does not tell them from those of %s: the file name and the "
            "monitor are the same. Pass artifact_name, such as artifact_name='fold-1'.",
            filepath,
            claimed.name,
            min(alike),
        )


def _recall(run: "Run", names: Sequence[str], filepath: str, monitor: str) -> tuple[str, float | None] | None:
    """Returns the name under which W&B has earlier versions of the callback, and the best value, if it has any."""
    if run.offline:
        return None
    try:
        return ask(partial(_look_up, run, names, filepath, monitor))
    except UnreachableError as error:
        logger.warning("The best %s so far is not known, so best starts anew: %s", monitor, error)
        return None


def _look_up(run: "Run", names: Sequence[str], filepath: str, monitor: str) -> tuple[str, float | None] | None:
    for name in names:
        memory = recall(run, name)
        if memory is None:
            return None
        # wandb's own callback leaves no template; with a name that the user gave there is nothing to choose.
        is_ours = len(names) == 1 or memory.template in ("", Path(filepath).name)
        if is_ours and memory.monitor in ("", monitor):
            return name, memory.best
    return None
