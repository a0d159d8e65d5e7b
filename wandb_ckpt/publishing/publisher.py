"""Publisher: publishes checkpoints in order, in the background. It owns the pending work and the outcomes.

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
from typing import TYPE_CHECKING, Any

from wandb_ckpt import locks
from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.outbox.entry import RunInfo, command_for, read_record
from wandb_ckpt.publishing import finished_runs
from wandb_ckpt.publishing.outcome import Outcome, State
from wandb_ckpt.publishing.publish_order import turns
from wandb_ckpt.publishing.retention import Retention
from wandb_ckpt.threads import after_fork, is_held_here, start
from wandb_ckpt.wandb_api.artifacts import Publication, correct, hand_over, prepare, remove_best_from_summary, settle
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import FinishedError, LostError, RefusedError, TemporaryError, UnreachableError
from wandb_ckpt.wandb_api.run import active_run, run_info

if TYPE_CHECKING:
    from wandb_ckpt.publishing.artifact_target import Target

logger = logging.getLogger("wandb_ckpt")

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


@dataclass(slots=True, eq=False)
class _Job:
    index: int
    publication: Publication
    target: "Target"
    number: int | None  # at the target; `None` if it can't be compared with what goes there
    place: tuple[RunInfo, str]  # its run and name
    turn: int  # among those of all callbacks there
    artifact: Any = None  # Artifact, once it was tried to hand it over
    pause: float = 0.0  # before it is handed over once more, in seconds
    is_again: bool = False  # handed over before, so W&B may have it


class Publisher:
    """Publishes the checkpoints of the training thread, one after the other.

    Args:
        retention: Deletes old versions after each published checkpoint.
    """

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
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

    def __reduce__(self) -> tuple[type["Publisher"], tuple[Retention]]:
        # A copied or pickled callback has published nothing yet: the work stays with the original.
        return Publisher, (self._retention,)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each checkpoint, in the order of saving."""
        with self._lock:
            return tuple(self._outcomes)

    def announce(self, checkpoint: Checkpoint, place: Path, name: str, aliases: tuple[str, ...]) -> int:
        """Add a pending outcome for a checkpoint, and return its number. Call `submit` or `fail` with it next."""
        with self._lock:
            self._outcomes.append(Outcome(checkpoint, name, aliases, "pending", place))
            return len(self._outcomes) - 1

    def submit(self, index: int, publication: Publication, target: "Target", number: int | None) -> None:
        """Queue an announced checkpoint. Return at once.

        Args:
            index: The number that `announce` returned.
            publication: The checkpoint.
            target: Where it goes; knows what it is to be compared with.
            number: Its number there; `None` if it can't be compared with the others.
        """
        place = run_info(publication.run), publication.name
        with self._lock:
            self._outcomes[index] = replace(self._outcomes[index], path=publication.snapshot.root)
            self._waiting.append(_Job(index, publication, target, number, place, turns.draw(place)))
            if number is not None and publication.checkpoint.is_best:
                target.save_best(publication.checkpoint.mode)
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
        """Give up waiting checkpoints when the disk has no space for the next ones."""
        needed = ROOM * newest.snapshot.size * (2 if newest.shard else 1)  # shards are bytes of their own
        while (free := shutil.disk_usage(newest.snapshot.root).free) < needed and (job := self._expendable()):
            self._outcomes[job.index] = replace(self._outcomes[job.index], path=job.publication.place)
            job.publication.snapshot.release()
            self._finish(
                job,
                "failed",
                reason=f"dropped to free disk space ({free / 1e6:.0f} MB left) while W&B is unreachable",
            )

    def _expendable(self) -> _Job | None:
        """Return the oldest job that can be given up: never one that was handed over, the best, or the newest."""
        run = self._waiting[-1].publication.run  # what is left of an earlier one is in hand all at once
        best = [job for job in self._waiting if job.publication.checkpoint.is_best][-1:]
        jobs = (job for job in list(self._waiting)[1:-1] if job.publication.run is run and job not in best)
        return next((job for job in jobs if not job.is_again and job.publication.snapshot.is_alone), None)

    def fail(self, index: int, reason: str, target: "Target | None" = None, number: int = 0) -> None:
        """Mark an announced checkpoint as failed, before it was submitted.

        Args:
            target: Where it would have gone, if that is known; its value counts no more there.
            number: Its number there.
        """
        with self._lock:  # also for what is written of the best value, which other threads do with it
            outcome = replace(self._outcomes[index], state="failed", reason=reason)
            self._outcomes[index] = outcome
            self._failures.append(outcome)
            if target is not None:
                target.discard(number, outcome.checkpoint.mode)
        _say_failed(outcome)

    def take_failure(self) -> Outcome | None:
        """Return the oldest failure that was not returned yet."""
        with self._lock:
            return self._failures.popleft() if self._failures else None

    def holds_lock(self) -> bool:
        """Return whether this thread holds the publisher's lock."""
        return is_held_here(self._lock)

    def flush(self) -> bool:
        """Wait until nothing is pending, or until `PATIENCE` or `UPLOAD_PATIENCE` seconds pass without progress.

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
        return bool(self._waiting or self._in_flight or self._retention.is_linking)

    def _start_all(self) -> None:
        """Start the threads that have work and do not run yet. Called with the lock held."""
        if self._waiting:
            self._start("wandb_ckpt_hand_over", self._hand_over_all)
        if self._in_flight:
            self._start("wandb_ckpt_settle", self._settle_all)
        if self._is_busy():
            # No daemon, because the interpreter joins it before it exits, and before wandb finishes its runs.
            self._start("wandb_ckpt_exit", self._hold_exit, daemon=False)

    def _start(self, name: str, work: Callable[[], None], *, daemon: bool = True) -> bool:
        """Start a thread unless it runs, and return whether it runs now. Called with the lock held."""
        # Daemons, because a call of wandb's can hang for many minutes while its server is away (0.31).
        if name not in self._running and start(name, partial(self._guard, name, work), daemon=daemon):
            self._running.add(name)
        return name in self._running

    def _start_or_do(self, name: str, work: Callable[[], None]) -> None:
        """Start a thread unless it runs. If the system allows no thread, do its work in this one."""
        with self._lock:
            if self._start(name, work):
                return
            self._running.add(name)
        self._guard(name, work)

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.exception("Publishing stopped because of a bug in wandb_ckpt; please report it")
            with self._lock:
                for job in self._waiting:
                    turns.leave(job.place, job.turn)
                self._lock.wait(timeout=_LONGEST_PAUSE)  # not at once again, for it may not be the last time
                self._running.discard(name)

    def _next_or_end(self, queue: deque[_Job], name: str) -> _Job | None:
        """Return the next job. If there is none, note that the thread ends."""
        with self._lock:
            if queue:
                return queue[0]
            self._running.discard(name)
            self._lock.notify_all()
            return None

    def _hold_exit(self) -> None:
        """Keep the process alive while there is work, at most as long as `flush` waits."""
        said = False
        with self._lock:
            while self._is_busy() and not (_is_exiting() and self._is_stuck()):
                if _is_exiting() and not said:
                    say(f"publishing {self._amount()} before the process exits …")
                    said = True
                self._lock.wait(timeout=_POLL)
            self._running.discard("wandb_ckpt_exit")
            self._name_what_is_left()
        self._retention.flush()

    def _hand_over_all(self) -> None:
        pause = _FIRST_PAUSE
        while job := self._next_or_end(self._waiting, "wandb_ckpt_hand_over"):
            if job.pause:
                self._wait_for_news(job.pause)
            if not self._wait_for_turn(job):
                continue
            if self._hand_over(job):
                pause = _FIRST_PAUSE
            else:
                self._wait_for_news(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _wait_for_turn(self, job: _Job) -> bool:
        """Wait until earlier checkpoints of other callbacks with the same run and name are handed over.

        Returns:
            Whether it is still the next one here: an earlier one may have been put off meanwhile.
        """
        before = turns.ahead(job.place, job.turn)
        while ahead := turns.ahead(job.place, job.turn):
            with self._lock:
                if not self._is_next(job):
                    return False
                if ahead != before:
                    self._last_progress = time.monotonic()
                self._lock.wait(timeout=_POLL)
            before = ahead
        with self._lock:
            return self._is_next(job)

    def _is_next(self, job: _Job) -> bool:
        return bool(self._waiting) and self._waiting[0] is job

    def _hand_over(self, job: _Job) -> bool:
        """Hand a checkpoint over to wandb, and return whether that worked."""
        try:
            job.target.earlier.ask()
            if self._compare(job):
                job.artifact = None
            if job.artifact is None:
                job.artifact = prepare(job.publication)
            hand_over(job.publication, job.artifact)
        except FinishedError:
            return self._use_the_run_that_goes_on(job) or self._publish_into_finished(job)
        except RefusedError as error:
            self._refuse(job, str(error))
        except UnreachableError as error:
            self._note_unreachable(job, str(error))
            return False
        else:
            if job.publication.run.offline:
                self._finish(job, "offline")
            else:
                self._note_handed_over(job)
        return True

    def _compare(self, job: _Job) -> bool:
        """Compare a checkpoint with the earlier ones that have not failed, and return whether `best` changed."""
        if job.number is None:
            return False
        compared = job.publication.beside(job.target.values_before(job.number))
        if compared.checkpoint == job.publication.checkpoint:
            return False
        job.publication = compared
        with self._lock:
            self._outcomes[job.index] = replace(
                self._outcomes[job.index], checkpoint=compared.checkpoint, aliases=compared.aliases
            )
        return True

    def _use_the_run_that_goes_on(self, job: _Job) -> bool:
        """Publish into the same run if this process has resumed it meanwhile."""
        run = active_run(None)
        if run is None or run is job.publication.run or run_info(run) != job.place[0]:
            return False
        job.publication = replace(job.publication, run=run)
        return True

    def _publish_into_finished(self, first: _Job) -> bool:
        """Publish all jobs of a finished run at once, because opening it again takes seconds."""
        with self._lock:
            jobs = list(takewhile(lambda job: job.publication.run is first.publication.run, self._waiting))
        for job in jobs:
            self._compare(job)
        try:
            # In this order: the end of the other process is waited for.
            for result, job in zip(finished_runs.publish([job.publication for job in jobs]), jobs, strict=True):
                if result.reason:  # its value is not in the summary: the run was finished before
                    self._finish(job, "failed", reason=result.reason)
                elif result.version:
                    self._compare(job)  # as the other process has
                    self._finish(job, "committed", version=result.version)
                else:
                    self._finish(job, "offline")
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
                version = settle(job.artifact)
            except TemporaryError as error:
                self._put_off(job, str(error))
            except LostError:
                self._take_back()
            except RefusedError as error:
                self._refuse(job, _why_refused(job, str(error)))
            except UnreachableError as error:
                self._note_unreachable(job, str(error))
                self._wait_for_news(_LONGEST_PAUSE)
            else:
                is_changed = self._compare(job)
                correct(job.artifact, job.publication, is_changed=is_changed)
                self._finish(job, "committed", version=version)

    def _note_handed_over(self, job: _Job) -> None:
        with self._lock:
            if not self._is_next(job):  # an earlier one was put off meanwhile: this one follows it once more
                job.artifact, job.is_again = None, True
                return
            self._waiting.popleft()
            self._in_flight.append(job)
            turns.leave(job.place, job.turn)
            if not job.is_again:
                self._last_progress = time.monotonic()
        self._start_or_do("wandb_ckpt_settle", self._settle_all)

    def _put_off(self, job: _Job, reason: str) -> None:
        """Hand a checkpoint over again after a pause, and then the later ones, which may be versions already.

        Each is a new artifact then: W&B gives what it has its aliases once more, or the older one would keep them.
        """
        self._note_unreachable(job, reason)
        job.pause = min(max(job.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._take_back(anew=True)

    def _take_back(self, *, anew: bool = False) -> None:
        """Hand over again, in order, what wandb may have lost. W&B recognizes what it has by its digest.

        Args:
            anew: Whether each becomes a new artifact.
        """
        with self._lock:
            for job in self._in_flight:
                job.is_again = True
                if anew:
                    job.artifact = None
                turns.line_up(job.place, job.turn)
            self._waiting.extendleft(reversed(self._in_flight))
            self._in_flight.clear()
        self._start_or_do("wandb_ckpt_hand_over", self._hand_over_all)

    def _refuse(self, job: _Job, reason: str) -> None:
        remove_best_from_summary(job.publication)
        self._finish(job, "failed", reason=reason)

    def _finish(self, job: _Job, state: State, *, version: str | None = None, reason: str | None = None) -> None:
        if state != "failed":
            self._retention.after(job.publication, version)
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
                if job.number is not None:
                    job.target.discard(job.number, job.publication.checkpoint.mode)
            self._lock.notify_all()
        if state == "failed":
            _say_failed(outcome)

    def _note_unreachable(self, job: _Job, reason: str) -> None:
        with self._lock:
            known = self._outcomes[job.index].reason is not None
            self._outcomes[job.index] = replace(self._outcomes[job.index], reason=reason)
        if not known:
            logger.warning("W&B can't take %s now; trying again: %s", job.publication.name, reason)

    def _wait_for_news(self, seconds: float) -> None:
        """Wait for the next checkpoint, the end of the process, or `seconds`."""
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
            logger.warning("Not published, because W&B could not be reached: %s", self._outcomes[job.index])
        left = (*self._in_flight, *self._waiting)
        for folder in dict.fromkeys(job.publication.snapshot.root.parent for job in left):
            logger.warning("To publish the rest later, run: %s", command_for(folder))


def _say_failed(outcome: Outcome) -> None:
    logger.warning("%s", outcome)
    if read_record(outcome.path):
        command = command_for(outcome.path.parent)
        logger.warning("Fix the cause, then run: %s", command)


def _is_exiting() -> bool:
    # The interpreter marks its main thread as dead before it joins the others.
    return not threading.main_thread().is_alive()


def _why_refused(job: _Job, reason: str) -> str:
    """Return why an upload failed. wandb does not say when the bytes have changed meanwhile."""
    try:
        job.publication.snapshot.check_unchanged()
    except ValueError as error:
        return str(error)
    return reason
