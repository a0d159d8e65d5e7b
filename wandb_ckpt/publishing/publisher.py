"""Publishes checkpoints in order, in the background; owns what is pending and what became of each.

Its threads live only while there is work: one hands checkpoints over to wandb, one waits for wandb's uploads, and one
does nothing but hold the process open meanwhile, for a bounded time, so that what is pending is published after an
exception or Ctrl-C too.
"""

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wandb_ckpt import locks
from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.outbox.entry import RunFacts, command_for, read_record
from wandb_ckpt.publishing import finished_runs
from wandb_ckpt.publishing.retention import Upkeep
from wandb_ckpt.publishing.turns import turns
from wandb_ckpt.threads import after_fork, is_held_here, start
from wandb_ckpt.wandb_api.artifacts import Publication, hand_over, prepare, settle
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import FinishedError, LostError, NoRoomError, RefusedError, UnreachableError
from wandb_ckpt.wandb_api.run import active_run, run_facts

if TYPE_CHECKING:
    pass


logger = logging.getLogger("wandb_ckpt")

State = Literal["pending", "committed", "offline", "failed"]

# How long the end of training, or of the process, waits without any progress, in seconds: for wandb to take what
# is pending; and for uploads that wandb has taken, which `run.finish()` waits for in any case.
PATIENCE = 60.0
UPLOAD_PATIENCE = 10.0
# How many checkpoints must have room on the disk: a save is written before the one that it replaces goes.
ROOM = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_QUIET = 3.0  # seconds of waiting before a line says so
_SAY_AGAIN = 15.0
_POLL = 0.5  # how often a waiting thread looks whether the process is exiting


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one checkpoint.

    Attributes:
        checkpoint: What was saved.
        artifact: Name of its artifact.
        aliases: The aliases that it was given.
        state: `"pending"`; `"committed"` as `version`; `"offline"`, until `wandb sync` uploads it; `"failed"`.
        version: `"v3"`; only when committed.
        reason: Why it is still pending or failed.
        path: Where its bytes are on this disk, absolute: the snapshot until it is committed, then the checkpoint.
    """

    checkpoint: Checkpoint
    artifact: str
    aliases: tuple[str, ...]
    state: State
    path: Path
    version: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        moment = f"epoch {self.checkpoint.epoch}"
        if self.checkpoint.batch is not None:
            moment += f" batch {self.checkpoint.batch}"
        end = f" as {self.version}" if self.version else f": {self.reason}" if self.reason else ""
        return f"{self.artifact} {moment} {self.state}{end} ({self.path})"


@dataclass(slots=True, eq=False)
class _Job:
    index: int
    publication: Publication
    earlier_best: Callable[[], float | None]  # asks W&B
    place: tuple[RunFacts, str]  # its run and name
    turn: int  # among those of all callbacks there
    artifact: Any = None  # Artifact, once it was tried to hand it over
    pause: float = 0.0  # before it is handed over once more, in seconds


class Publisher:
    """Takes checkpoints from the training thread and publishes them, one after the other.

    Args:
        upkeep: Is told of each that is published.
    """

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep
        self._begin()
        after_fork(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Condition(threading.RLock())
        self._outcomes: list[Outcome] = []
        self._waiting: deque[_Job] = deque()
        self._in_flight: deque[_Job] = deque()
        self._running: set[str] = set()
        self._last_progress = time.monotonic()
        self._failures: deque[Outcome] = deque()

    def __reduce__(self) -> tuple[type["Publisher"], tuple[Upkeep]]:
        # A copied or pickled callback has published nothing yet: the work stays with the original.
        return Publisher, (self._upkeep,)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each checkpoint, in the order of saving."""
        with self._lock:
            return tuple(self._outcomes)

    def announce(self, checkpoint: Checkpoint, place: Path, name: str, aliases: tuple[str, ...]) -> int:
        """Takes note of a checkpoint that `submit` or `fail` follows for, and returns its number."""
        with self._lock:
            self._outcomes.append(Outcome(checkpoint, name, aliases, "pending", place))
            return len(self._outcomes) - 1

    def submit(self, index: int, publication: Publication, earlier_best: Callable[[], float | None]) -> None:
        """Takes an announced checkpoint to publish; returns at once.

        Args:
            index: The number that `announce` returned.
            publication: The checkpoint.
            earlier_best: Asks W&B, in the background, for the best value that it had before.
        """
        place = run_facts(publication.run), publication.name
        with self._lock:
            self._outcomes[index] = replace(self._outcomes[index], path=publication.snapshot.root)
            self._waiting.append(_Job(index, publication, earlier_best, place, turns.draw(place)))
            try:
                self._make_room(publication)
            except OSError as error:  # somebody has removed what was waiting: that is found when its turn comes
                logger.debug("There may be too little room for what waits: %s", error)
            self._last_progress = time.monotonic()
            self._start_all()
            if "wandb_ckpt_hand_over" not in self._running:
                self._note_unreachable(self._waiting[-1], "no thread can be started")
            self._lock.notify_all()

    def _make_room(self, newest: Publication) -> None:
        """Gives up waiting checkpoints where the disk would soon have no room for those to come."""
        needed = ROOM * newest.snapshot.size * (2 if newest.shard else 1)  # shards are bytes of their own
        while (free := shutil.disk_usage(newest.snapshot.root).free) < needed and (job := self._expendable()):
            self._outcomes[job.index] = replace(self._outcomes[job.index], path=job.publication.place)
            job.publication.snapshot.release()
            self._finish(
                job,
                "failed",
                reason=f"W&B is away, the disk has only {free / 1e6:.0f} MB left, and newer or better ones wait, too",
            )

    def _expendable(self) -> _Job | None:
        """Returns the oldest job that may go: not one that is in hand, the best or the newest."""
        run = self._waiting[-1].publication.run  # what is left of an earlier one is in hand all at once
        best = [job for job in self._waiting if job.publication.checkpoint.is_best][-1:]
        jobs = (job for job in list(self._waiting)[1:-1] if job.publication.run is run and job not in best)
        return next((job for job in jobs if job.publication.snapshot.is_alone), None)

    def fail(self, index: int, reason: str) -> None:
        """Takes an announced checkpoint that can't be submitted."""
        with self._lock:
            outcome = replace(self._outcomes[index], state="failed", reason=reason)
            self._outcomes[index] = outcome
            self._failures.append(outcome)
        _say_failed(outcome)

    def take_failure(self) -> Outcome | None:
        """Returns the oldest failure that was not returned before."""
        with self._lock:
            return self._failures.popleft() if self._failures else None

    def holds_lock(self) -> bool:
        """Returns whether this thread holds the lock without which nothing is published."""
        return is_held_here(self._lock)

    def flush(self) -> bool:
        """Waits until nothing is pending, or until there is no progress for `PATIENCE` or `UPLOAD_PATIENCE` seconds.

        Returns:
            Whether nothing is pending any more.
        """
        next_line = time.monotonic() + _QUIET
        with self._lock:
            while self._is_busy() and not self._is_stuck():
                self._start_all()  # as far as that could not be done before
                if time.monotonic() >= next_line:
                    say(f"publishing {self._amount()} …")
                    next_line = time.monotonic() + _SAY_AGAIN
                self._lock.wait(timeout=_POLL)
            return not self._is_busy()

    def _is_busy(self) -> bool:
        return bool(self._waiting or self._in_flight or self._upkeep.is_linking)

    def _start_all(self) -> None:
        """Starts the threads that there is work for and that do not run. Called with the lock held."""
        if self._waiting:
            self._start("wandb_ckpt_hand_over", self._hand_over_all)
        if self._in_flight:
            self._start("wandb_ckpt_settle", self._settle_all)
        if self._is_busy():
            # No daemon, because the interpreter joins it before it exits, and before wandb finishes its runs.
            self._start("wandb_ckpt_exit", self._hold_exit, daemon=False)

    def _start(self, name: str, work: Callable[[], None], *, daemon: bool = True) -> bool:
        """Starts a thread, unless the one of that name runs; returns whether it does. Called with the lock held."""
        # Daemons, because a call of wandb's can hang for many minutes while its server is away (0.31).
        if name not in self._running and start(name, partial(self._guard, name, work), daemon=daemon):
            self._running.add(name)
        return name in self._running

    def _start_or_do(self, name: str, work: Callable[[], None]) -> None:
        """Starts a thread, unless the one of that name runs; where there can be none, this one does its work."""
        with self._lock:
            if self._start(name, work):
                return
            self._running.add(name)
        self._guard(name, work)

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.exception("Publishing stopped at an error of wandb_ckpt's own; please report it")
            with self._lock:
                for job in self._waiting:
                    turns.leave(job.place, job.turn)
                self._lock.wait(timeout=_LONGEST_PAUSE)  # not at once again, for it may not be the last time
                self._running.discard(name)

    def _next_or_end(self, queue: deque[_Job], name: str) -> _Job | None:
        """Returns the next job; where there is none, the thread of that name is over."""
        with self._lock:
            if queue:
                return queue[0]
            self._running.discard(name)
            self._lock.notify_all()
            return None

    def _hold_exit(self) -> None:
        """Keeps the process alive while there is work, as long as `flush` would wait."""
        said = False
        with self._lock:
            while self._is_busy() and not (_is_exiting() and self._is_stuck()):
                if _is_exiting() and not said:
                    say(f"publishing {self._amount()} before the process exits …")
                    said = True
                self._lock.wait(timeout=_POLL)
            self._running.discard("wandb_ckpt_exit")
            self._name_what_is_left()
        self._upkeep.flush()

    def _hand_over_all(self) -> None:
        pause = _FIRST_PAUSE
        while job := self._next_or_end(self._waiting, "wandb_ckpt_hand_over"):
            if job.pause:
                self._wait_for_news(job.pause)
            self._wait_for_turn(job)
            if self._hand_over(job):
                pause = _FIRST_PAUSE
            else:
                self._wait_for_news(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _wait_for_turn(self, job: _Job) -> None:
        """Waits until what other callbacks saved earlier, under the same name in the same run, is handed over."""
        before = turns.ahead(job.place, job.turn)
        while ahead := turns.ahead(job.place, job.turn):
            with self._lock:
                if ahead != before:
                    self._last_progress = time.monotonic()
                self._lock.wait(timeout=_POLL)
            before = ahead

    def _hand_over(self, job: _Job) -> bool:
        """Gives a checkpoint to wandb; returns whether that was possible."""
        try:
            if job.artifact is None:
                job.artifact = prepare(job.publication)
            self._compare(job)
            hand_over(job.publication, job.artifact)
        except FinishedError:
            return self._use_the_run_that_goes_on(job) or self._publish_into_finished(job)
        except RefusedError as error:
            self._finish(job, "failed", reason=str(error))
        except UnreachableError as error:
            self._note_unreachable(job, str(error))
            return False
        else:
            if job.publication.run.offline:
                self._finish(job, "offline")
            else:
                self._note_handed_over()
        return True

    def _compare(self, job: _Job) -> None:
        """Takes `best` from a checkpoint that is not better than what W&B had before."""
        compared = job.publication.beside(job.earlier_best())
        if compared is not job.publication:
            job.publication, job.artifact = compared, prepare(compared)
            with self._lock:
                self._outcomes[job.index] = replace(
                    self._outcomes[job.index], checkpoint=compared.checkpoint, aliases=compared.aliases
                )

    def _use_the_run_that_goes_on(self, job: _Job) -> bool:
        """Publishes into the run that was resumed in this process meanwhile, if it was."""
        run = active_run(None)
        if run is None or run is job.publication.run or run_facts(run) != job.place[0]:
            return False
        job.publication = replace(job.publication, run=run)
        return True

    def _publish_into_finished(self, first: _Job) -> bool:
        """Publishes all that is waiting for a finished run at once, for opening it again takes seconds."""
        with self._lock:
            jobs = list(takewhile(lambda job: job.publication.run is first.publication.run, self._waiting))
        try:
            # In this order: the end of the other process is waited for.
            for result, job in zip(finished_runs.publish([job.publication for job in jobs]), jobs, strict=True):
                state: State = "failed" if result.reason else "committed" if result.version else "offline"
                self._finish(job, state, version=result.version, reason=result.reason)
        except RefusedError as error:
            for job in [job for job in jobs if job in self._waiting]:
                self._finish(job, "failed", reason=str(error))
        except UnreachableError as error:
            self._note_unreachable(self._waiting[0], str(error))
            return False
        return True

    def _settle_all(self) -> None:
        while job := self._next_or_end(self._in_flight, "wandb_ckpt_settle"):
            try:
                self._finish(job, "committed", version=settle(job.artifact, job.publication))
            except NoRoomError as error:
                self._note_unreachable(job, str(error))
                job.pause = min(max(job.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
                self._take_back()
            except LostError:
                self._take_back()
            except RefusedError as error:
                self._finish(job, "failed", reason=_why_refused(job, str(error)))
            except UnreachableError as error:
                self._note_unreachable(job, str(error))
                self._wait_for_news(_LONGEST_PAUSE)

    def _note_handed_over(self) -> None:
        with self._lock:
            job = self._waiting.popleft()
            self._in_flight.append(job)
            turns.leave(job.place, job.turn)
            self._last_progress = time.monotonic()
        self._start_or_do("wandb_ckpt_settle", self._settle_all)

    def _take_back(self) -> None:
        """Hands over again, in order, all that wandb may have lost; W&B knows what it has by its digest."""
        with self._lock:
            for job in self._in_flight:
                turns.line_up(job.place, job.turn)
            self._waiting.extendleft(reversed(self._in_flight))
            self._in_flight.clear()
        self._start_or_do("wandb_ckpt_hand_over", self._hand_over_all)

    def _finish(self, job: _Job, state: State, *, version: str | None = None, reason: str | None = None) -> None:
        if state != "failed":
            self._upkeep.after(job.publication, version)
        if state == "committed":
            job.publication.snapshot.release()
        else:  # what is left of it, others may publish or sync
            locks.release(job.publication.snapshot.root)
        with self._lock:
            (self._waiting if job in self._waiting else self._in_flight).remove(job)
            turns.leave(job.place, job.turn)
            outcome = self._outcomes[job.index]
            path = job.publication.place if state == "committed" else outcome.path
            outcome = replace(outcome, state=state, version=version, reason=reason, path=path)
            self._outcomes[job.index] = outcome
            self._last_progress = time.monotonic()
            if state == "failed":
                self._failures.append(outcome)
            self._lock.notify_all()
        if state == "failed":
            _say_failed(outcome)

    def _note_unreachable(self, job: _Job, reason: str) -> None:
        with self._lock:
            known = self._outcomes[job.index].reason is not None
            self._outcomes[job.index] = replace(self._outcomes[job.index], reason=reason)
        if not known:
            logger.warning("W&B can't take %s now, and will be asked again: %s", job.publication.name, reason)

    def _wait_for_news(self, seconds: float) -> None:
        """Waits for the next checkpoint, the end of the process, or `seconds`."""
        with self._lock:
            self._lock.wait(timeout=seconds)

    def _is_stuck(self) -> bool:
        patience = PATIENCE if self._waiting else UPLOAD_PATIENCE
        return time.monotonic() - self._last_progress > patience

    def _amount(self) -> str:
        jobs = [*self._waiting, *self._in_flight]
        size = sum(job.publication.snapshot.size for job in jobs) / 1e6
        return f"{len(jobs)} checkpoint{'s' if len(jobs) > 1 else ''} ({size:.1f} MB)"

    def _name_what_is_left(self) -> None:
        for job in self._in_flight:
            logger.warning("wandb is still uploading when the process exits: %s", self._outcomes[job.index])
        for job in self._waiting:
            logger.warning("Not published, for W&B could not be reached: %s", self._outcomes[job.index])
        left = (*self._in_flight, *self._waiting)
        for folder in dict.fromkeys(job.publication.snapshot.root.parent for job in left):
            logger.warning("What is on this disk now is published later by: %s", command_for(folder))


def _say_failed(outcome: Outcome) -> None:
    logger.warning("%s", outcome)
    if read_record(outcome.path):
        command = command_for(outcome.path.parent)
        logger.warning("Fix the cause, then run: %s", command)


def _is_exiting() -> bool:
    # The interpreter marks its main thread as dead before it joins the others.
    return not threading.main_thread().is_alive()


def _why_refused(job: _Job, reason: str) -> str:
    """Returns why an upload failed; where the bytes have changed meanwhile, wandb only says that it failed."""
    try:
        job.publication.snapshot.check_unchanged()
    except ValueError as error:
        return str(error)
    return reason
