"""Keeping: what the user wants of versions and files once they are published. Pure; refuses what can't work."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from wandb_ckpt.checkpoint import Checkpoint, finite_scalar
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.best import is_better
from wandb_ckpt.policy.naming import check_link_aliases
from wandb_ckpt.policy.retention import Rule

_PART = r"[a-zA-Z0-9_\-. ]+"
_COLLECTION = re.compile(rf"(?:(?:{_PART}/)?{_PART}/)?[a-zA-Z0-9_\-.]+")
_REGISTRY = "wandb-registry-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is kept of a callback's versions and files, and where its best versions are linked.

    Attributes:
        max_to_keep: So many of the newest versions stay in W&B; `None` for all, unless `keep_best` or `ttl` is given.
        keep_best: And so many of the best ones.
        ttl: What the others get in place of being deleted: W&B deletes them so long after they were logged.
        max_to_keep_local: So many of the newest files that the callback wrote stay on this disk; `None` for all.
        link_to: The collection into which each version is linked that becomes the best.
        link_aliases: The aliases that it gets there.
        link_threshold: The value that it must be better than.

    Raises:
        ArgumentError: One of them can't work.
    """

    max_to_keep: int | None = None
    keep_best: int | None = None
    ttl: timedelta | None = None
    max_to_keep_local: int | None = None
    link_to: str | None = None
    link_aliases: Iterable[str] = ()
    link_threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_to_keep", "keep_best", "max_to_keep_local"):
            _check_number(name, getattr(self, name))
        _check_ttl(self.ttl)
        _check_link(self.link_to)
        object.__setattr__(self, "link_aliases", check_link_aliases(self.link_aliases))
        if self.link_to is None and (self.link_aliases or self.link_threshold is not None):
            raise ArgumentError(
                "link_aliases and link_threshold say how to link, but there is no link_to that says where: pass such "
                "as link_to='wandb-registry-model/digits', or drop them."
            )
        if self.link_threshold is not None and finite_scalar(self.link_threshold) is None:
            raise ArgumentError(
                f"link_threshold={self.link_threshold!r} is no number that a value can be better than."
            )

    @property
    def prunes(self) -> bool:
        """Whether there are versions in W&B that may go."""
        return any(wish is not None for wish in (self.max_to_keep, self.keep_best, self.ttl))

    @property
    def online_only(self) -> tuple[str, ...]:
        """The names of the arguments that were given and can do nothing in an offline run."""
        names = ("max_to_keep", "keep_best", "ttl", "link_to")
        return tuple(name for name in names if getattr(self, name) is not None)

    def rule(self, checkpoint: Checkpoint) -> Rule:
        """Returns which versions stay in W&B; the newest always does."""
        return self._rule(self.max_to_keep or 1, checkpoint)

    def local_rule(self, checkpoint: Checkpoint) -> Rule | None:
        """Returns which local files stay; `None` for all."""
        return None if self.max_to_keep_local is None else self._rule(self.max_to_keep_local, checkpoint)

    def links(self, checkpoint: Checkpoint) -> bool:
        """Returns whether the version of a checkpoint is to be linked."""
        if self.link_to is None or not checkpoint.is_best or checkpoint.value is None or checkpoint.mode is None:
            return False
        return self.link_threshold is None or is_better(checkpoint.value, self.link_threshold, checkpoint.mode)

    def link_path(self, entity: str, project: str) -> str:
        """Returns the path to link to from a run of that entity and project.

        >>> Keeping(link_to="digits").link_path("team", "project")
        'team/project/digits'
        >>> Keeping(link_to="wandb-registry-model/digits").link_path("team", "project")
        'wandb-registry-model/digits'
        """
        parts = (self.link_to or "").split("/")
        if len(parts) > 1 and parts[-2].startswith(_REGISTRY):
            return "/".join(parts)  # W&B finds the organization that the registry is in
        return "/".join([*(entity, project)[: 3 - len(parts)], *parts])

    def _rule(self, newest: int, checkpoint: Checkpoint) -> Rule:
        return Rule(newest=newest, best=self.keep_best or 0, monitor=checkpoint.monitor, mode=checkpoint.mode)


def _check_number(name: str, number: int | None) -> None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ArgumentError(
            f"{name}={number!r} can't be kept: expected a whole number of 1 or more, or None for all."
        )


def _check_ttl(ttl: timedelta | None) -> None:
    if ttl is not None and (not isinstance(ttl, timedelta) or ttl < timedelta(seconds=1)):
        raise ArgumentError(
            f"ttl={ttl!r} is no time to live: expected a datetime.timedelta of a second or more, such as "
            "timedelta(days=30)."
        )


def _check_link(link_to: str | None) -> None:
    if link_to is not None and (not isinstance(link_to, str) or not _COLLECTION.fullmatch(link_to)):
        raise ArgumentError(
            f"link_to={link_to!r} names no collection: expected 'wandb-registry-<registry>/<collection>' for a "
            "registry, or '<collection>' with '<project>/' or '<entity>/<project>/' before it, without an alias."
        )
