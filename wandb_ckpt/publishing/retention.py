"""Retention: deletes old versions, and links the best ones. It owns the work that is still to be done.

Its thread lives only while there is work. What W&B refuses, or is not there for, is a warning, and is tried again
after the next checkpoint.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from wandb_ckpt.policy.retention import can_rank, deletable
from wandb_ckpt.policy.settings import Settings
from wandb_ckpt.publishing.local_files import LocalFiles
from wandb_ckpt.threads import after_fork, is_held_here, start
from wandb_ckpt.wandb_api import versions as own_versions
from wandb_ckpt.wandb_api.artifacts import Publication
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import UnreachableError
from wandb_ckpt.wandb_api.versions import OwnVersion

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

logger = logging.getLogger("wandb_ckpt")

# How long a version stays after it may go, in seconds, so that whoever has just found it as `best` can fetch it.
GRACE = 3.0
# How long the end of training, or of the process, waits for old versions to go, in seconds.
PATIENCE = 30.0
_PAUSE = 0.2  # after a deletion: W&B asks for single calls with a small delay
_AT_ONCE = 10  # deletions until W&B is asked anew which versions there are


@dataclass(frozen=True, slots=True)
class _Link:
    publication: Publication
    version: str


class Retention:
    """Deletes and links versions in the background, after each published checkpoint.

    Args:
        settings: The arguments of the callback.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._begin()
        after_fork(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Condition()
        self._is_running = False
        self._local = LocalFiles()
        self._links: deque[_Link] = deque()
        self._links_put_off: list[_Link] = []
        self._to_prune: dict[tuple[str, str], Publication] = {}  # the newest of each run and artifact
        self._may_go_since: dict[str, float] = {}
        self._not_free: set[str] = set()
        self._refused: set[str] = set()
        self._said: set[str] = set()

    def __reduce__(self) -> tuple[type["Retention"], tuple[Settings]]:
        # As with Publisher: what is to be done stays with the original.
        return Retention, (self._settings,)

    @property
    def is_linking(self) -> bool:
        """Whether versions are still to be linked."""
        with self._lock:
            return bool(self._links)

    def after(self, publication: Publication, version: str | None) -> None:
        """Note a published checkpoint: delete local files at once, and the rest in the background.

        Args:
            publication: The checkpoint.
            version: Its version; `None` in an offline run.
        """
        if rule := self._settings.file_rule(publication.checkpoint):
            self._local.after(publication, rule)
        if version is not None:
            self._take(publication, version)

    def holds_lock(self) -> bool:
        """Return whether this thread holds the lock of retention."""
        return is_held_here(self._lock)

    def flush(self) -> None:
        """Wait until all work is done, at most `PATIENCE` seconds."""
        with self._lock:
            if not self._lock.wait_for(lambda: not self._is_running, timeout=PATIENCE):
                say("old versions are still being deleted in the background")

    def _take(self, publication: Publication, version: str) -> None:
        with self._lock:
            if self._settings.links(publication.checkpoint):
                self._links.append(_Link(publication, version))
            self._links.extendleft(reversed(self._links_put_off))
            self._links_put_off.clear()
            if self._settings.deletes_versions:
                self._to_prune[publication.run.id, publication.name] = publication
            needs_thread = not self._is_running and bool(self._links or self._to_prune)
            self._is_running |= needs_thread
            self._lock.notify_all()
        # A daemon, because a call of wandb's can hang for many minutes while its server is away (0.31). Where no
        # thread can be started, the publisher's does the work, which is a daemon, too.
        if needs_thread and not start("wandb_ckpt_retention", self._guard):
            self._guard()

    def _guard(self) -> None:
        try:
            self._work()
        except Exception:
            logger.exception("Deleting and linking stopped because of a bug in wandb_ckpt; please report it")
            with self._lock:
                self._links.clear()
                self._to_prune.clear()
                self._next()

    def _work(self) -> None:
        while work := self._next():
            work()

    def _next(self) -> Callable[[], None] | None:
        """Return the next work. If there is none, note that the thread ends."""
        with self._lock:
            if self._links:
                return partial(self._link, self._links[0])
            if self._to_prune:
                return partial(self._prune, next(iter(self._to_prune.values())))
            self._is_running = False
            self._lock.notify_all()
            return None

    def _warn_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            logger.warning("%s", message)

    # ---- linking ---------------------------------------------------------------------------------------

    def _link(self, link: _Link) -> None:
        run, ref = link.publication.run, f"{link.publication.name}:{link.version}"
        path = self._settings.link_path(run.entity, run.project)
        try:
            own_versions.link(run, ref, path, self._settings.link_aliases)
        except UnreachableError as error:
            self._warn_once(f"{ref} is not linked to {path} yet; trying again after the next checkpoint: {error}")
            self._links_put_off.append(link)
        with self._lock:
            self._links.popleft()

    # ---- letting versions go ---------------------------------------------------------------------------

    def _prune(self, publication: Publication) -> None:
        """Look at the versions once. Keep the publication in the queue while there is more to delete."""
        wait = None
        try:
            wait = self._look_through(publication)
        except UnreachableError as error:
            self._warn_once(
                f"Old versions of {publication.name} could not be deleted; trying again after the next "
                f"checkpoint: {error}"
            )
        with self._lock:
            place = publication.run.id, publication.name
            if self._to_prune[place] is not publication:  # a newer one is there
                return
            if wait is None:
                del self._to_prune[place]
            elif not self._links:
                self._lock.wait(timeout=wait)

    def _look_through(self, publication: Publication) -> float | None:
        """Delete versions. Return in how many seconds more can be deleted, or `None` if there are none."""
        versions = own_versions.logged(publication.run, publication.name)
        rule = self._settings.version_rule(publication.checkpoint)
        candidates = [version.candidate for version in versions]
        if not can_rank(candidates, rule):
            self._warn_once(
                f"Nothing is deleted: keep_best={rule.best} needs a number to compare, and no version of "
                f"{publication.name} has one as {rule.monitor!r}. Pass a monitor that is logged as one number."
            )
        gone = deletable(candidates, rule)
        going = [version for version in versions if version.candidate in gone and version.ref not in self._not_free]
        if self._settings.ttl is None:
            return self._remove(publication.run, going)
        self._let_expire(publication.run, going, self._settings.ttl)
        for version in versions:
            if version.candidate not in gone and version.artifact.ttl == self._settings.ttl:
                own_versions.set_ttl(version.artifact, None)  # it became the newest or the best once more
        return None

    def _remove(self, run: "Run", going: Sequence[OwnVersion]) -> float | None:
        now = time.monotonic()
        self._may_go_since = {version.ref: self._may_go_since.get(version.ref, now) for version in going}
        waits = {version.ref: self._may_go_since[version.ref] + GRACE - now for version in going}
        # What was refused before comes last, so that it is in nobody's way.
        due = sorted((each for each in going if waits[each.ref] <= 0), key=lambda each: each.ref in self._refused)
        for version in due[:_AT_ONCE]:
            self._remove_one(run, version)
        if len(due) > _AT_ONCE:
            return 0.0
        return min((wait for wait in waits.values() if wait > 0), default=None)

    def _remove_one(self, run: "Run", version: OwnVersion) -> None:
        if self._is_free(run, version):
            self._refused.add(version.ref)
            own_versions.remove(version.artifact)
            self._refused.discard(version.ref)
            time.sleep(_PAUSE)

    def _let_expire(self, run: "Run", going: Sequence[OwnVersion], ttl: timedelta) -> None:
        for version in going:
            known = version.artifact.ttl
            if (known is None or known > ttl) and self._is_free(run, version):
                own_versions.set_ttl(version.artifact, ttl)

    def _is_free(self, run: "Run", version: OwnVersion) -> bool:
        is_free = own_versions.is_free(version.artifact, run)
        if not is_free:
            self._not_free.add(version.ref)
        return is_free
