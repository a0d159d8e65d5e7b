"""Settings: the arguments of the callback that Keras's `ModelCheckpoint` does not have, checked once."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from string import Formatter
from typing import Any, Literal

from wandb_ckpt.checkpoint import Checkpoint, finite_scalar, format_of
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.best import is_better
from wandb_ckpt.policy.metadata import check_metadata
from wandb_ckpt.policy.naming import check_aliases, check_artifact_name, check_link_aliases
from wandb_ckpt.policy.path_template import PathTemplate
from wandb_ckpt.policy.retention import Rule

_PART = r"[a-zA-Z0-9_\-. ]+"
_COLLECTION = re.compile(rf"(?:(?:{_PART}/)?{_PART}/)?[a-zA-Z0-9_\-.]+")
_REGISTRY = "wandb-registry-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of `WandbModelCheckpoint`, which documents them.

    Attributes:
        filepath: Keras's own argument; its extension decides whether `shard` is possible.

    Raises:
        ArgumentError: An argument is invalid.
    """

    filepath: str
    run: Any = None
    artifact_name: str | None = None
    aliases: Iterable[str] = ()
    metadata: Mapping[str, Any] | None = None
    on_error: Literal["warn", "raise"] = "warn"
    policy: Literal["immutable", "mutable"] = "immutable"
    max_versions: int | None = None
    keep_best: int | None = None
    ttl: timedelta | None = None
    max_to_keep: int | None = None
    link_to: str | None = None
    link_aliases: Iterable[str] = ()
    link_threshold: float | None = None
    save_on_background: bool = False
    shard: Literal["layer"] | None = None

    def __post_init__(self) -> None:
        _check_filepath(self.filepath)
        _check_run(self.run)
        if self.artifact_name is not None:
            check_artifact_name(self.artifact_name)
        checked = {
            "aliases": check_aliases(self.aliases),
            "metadata": check_metadata(self.metadata),
            "link_aliases": check_link_aliases(self.link_aliases),
        }
        for name, value in checked.items():  # copies: the caller may change its own lists and dicts later
            object.__setattr__(self, name, value)
        _check_choice("on_error", self.on_error, ("warn", "raise"))
        _check_choice("policy", self.policy, ("immutable", "mutable"))
        _check_shard(self.shard, self.filepath)
        for name in ("max_versions", "keep_best", "max_to_keep"):
            _check_number(name, getattr(self, name))
        _check_ttl(self.ttl)
        _check_link(self.link_to)
        if self.link_to is None and (self.link_aliases or self.link_threshold is not None):
            raise ArgumentError(
                "link_aliases and link_threshold have no effect without link_to: pass a collection, for example "
                "link_to='wandb-registry-model/digits', or remove them."
            )
        if self.link_threshold is not None and finite_scalar(self.link_threshold) is None:
            raise ArgumentError(
                f"link_threshold={self.link_threshold!r} is not a finite number: expected a number, or None to link "
                "every best version."
            )

    @property
    def template(self) -> PathTemplate:
        """The path that the callback saves to."""
        return PathTemplate(self.filepath)

    @property
    def deletes_versions(self) -> bool:
        """Whether old versions in W&B are deleted, or expire."""
        return any(value is not None for value in (self.max_versions, self.keep_best, self.ttl))

    @property
    def online_only(self) -> tuple[str, ...]:
        """The names of the given arguments that have no effect in an offline run."""
        names = ("max_versions", "keep_best", "ttl", "link_to")
        return tuple(name for name in names if getattr(self, name) is not None)

    def version_rule(self, checkpoint: Checkpoint) -> Rule:
        """Return the rule for versions in W&B. It always keeps the newest."""
        return self._rule(self.max_versions or 1, checkpoint)

    def file_rule(self, checkpoint: Checkpoint) -> Rule | None:
        """Return the rule for files on this disk, or `None` to keep all."""
        return None if self.max_to_keep is None else self._rule(self.max_to_keep, checkpoint)

    def links(self, checkpoint: Checkpoint) -> bool:
        """Return whether the version of a checkpoint is linked into `link_to`."""
        if self.link_to is None or not checkpoint.is_best or checkpoint.value is None or checkpoint.mode is None:
            return False
        return self.link_threshold is None or is_better(checkpoint.value, self.link_threshold, checkpoint.mode)

    def link_path(self, entity: str, project: str) -> str:
        """Return the full path of the collection to link into, for a run of this entity and project.

        >>> Settings(filepath="m.keras", link_to="digits").link_path("team", "project")
        'team/project/digits'
        >>> Settings(filepath="m.keras", link_to="wandb-registry-model/digits").link_path("team", "project")
        'wandb-registry-model/digits'
        """
        parts = (self.link_to or "").split("/")
        if len(parts) > 1 and parts[-2].startswith(_REGISTRY):
            return "/".join(parts)  # W&B finds the organization of the registry
        return "/".join([*(entity, project)[: 3 - len(parts)], *parts])

    def _rule(self, newest: int, checkpoint: Checkpoint) -> Rule:
        return Rule(newest=newest, best=self.keep_best or 0, monitor=checkpoint.monitor, mode=checkpoint.mode)


def _check_number(name: str, number: int | None) -> None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ArgumentError(f"{name}={number!r} is not a valid number: expected an integer of at least 1, or None.")


def _check_ttl(ttl: timedelta | None) -> None:
    if ttl is not None and (not isinstance(ttl, timedelta) or ttl < timedelta(seconds=1)):
        raise ArgumentError(
            f"ttl={ttl!r} is not a valid time to live: expected a datetime.timedelta of at least one second, such as "
            "timedelta(days=30)."
        )


def _check_link(link_to: str | None) -> None:
    if link_to is not None and (not isinstance(link_to, str) or not _COLLECTION.fullmatch(link_to)):
        raise ArgumentError(
            f"link_to={link_to!r} is not the path of a collection: expected 'wandb-registry-<registry>/<collection>' "
            "for a registry, or '<collection>', '<project>/<collection>' or '<entity>/<project>/<collection>', "
            "without an alias."
        )


def _check_filepath(filepath: str) -> None:
    try:
        fields = [field for _, field, _, _ in Formatter().parse(filepath) if field is not None]
    except ValueError as error:
        raise ArgumentError(
            f"filepath={filepath!r} has a brace that is not part of a placeholder ({error}): expected placeholders "
            "such as '{epoch:02d}'. For a brace in the name itself, write '{{' or '}}'."
        ) from error
    if any(not field or field.isdigit() for field in fields):
        raise ArgumentError(
            f"filepath={filepath!r} has a placeholder without a name: expected placeholders such as '{{epoch:02d}}', "
            "with 'epoch', 'batch' or any key of the logs."
        )


def _check_run(run: Any) -> None:
    if run is not None and not hasattr(run, "log_artifact"):
        raise ArgumentError(
            f"run={run!r} is not a W&B run: expected what wandb.init() returns, or None for the active run."
        )


def _check_choice(name: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        raise ArgumentError(f"{name}={value!r} is not a valid value: expected {' or '.join(map(repr, choices))}.")


def _check_shard(shard: str | None, filepath: str) -> None:
    _check_choice("shard", shard, (None, "layer"))
    if shard and format_of(filepath, is_folder=False) == "tf":
        raise ArgumentError(
            f"shard={shard!r} can split only files with HDF5 content, and {filepath!r} is not one: expected a path "
            "that ends with '.keras', '.weights.h5' or '.h5'. Pass such a path, or remove shard."
        )
