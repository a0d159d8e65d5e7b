"""Retention: which versions of an artifact to keep, and which can be deleted. Pure: it deletes nothing itself."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wandb_ckpt.checkpoint import Direction, Moment
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.naming import is_own_alias

_ALWAYS_KEPT = frozenset({"best", "latest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One committed version, with the facts that decide whether it can be deleted.

    Attributes:
        number: The N of `vN`.
        moment: When it was saved. A checkpoint that was published late has a higher number than newer ones.
        aliases: Its aliases in its own collection, with or without `vN`.
        monitor: The name of the monitored quantity.
        value: The monitored value; `None` if there is none.
        is_own: Whether it was logged by the run that the rule is for.
        is_linked: Whether it is linked into another collection, such as a registry.
    """

    number: int
    moment: Moment = ("", -1.0, math.inf)
    aliases: frozenset[str] = frozenset()
    monitor: str = ""
    value: float | None = None
    is_own: bool = True
    is_linked: bool = False

    @property
    def age(self) -> tuple[Moment, int]:
        """A sort key: higher is newer. The number decides if it is not known when versions were saved."""
        return self.moment, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How many versions of a run to keep.

    Attributes:
        newest: Number of newest versions to keep.
        best: Number of versions with the best values of `monitor` to keep in addition.
        monitor: The name of the monitored quantity.
        mode: Which values are better; `None` only if `best` is 0.

    Raises:
        ArgumentError: A number is negative, or `best` is given without a mode.
    """

    newest: int
    best: int = 0
    monitor: str = ""
    mode: Direction | None = None

    def __post_init__(self) -> None:
        if self.newest < 0 or self.best < 0:
            raise ArgumentError(
                f"Can't keep {self.newest} newest and {self.best} best versions: expected 0 or more of each."
            )
        if self.best and self.mode not in ("min", "max"):
            raise ArgumentError(
                f"Can't find the {self.best} best versions by {self.monitor!r}: expected a mode, 'min' or 'max', to "
                "know whether lower or higher values are better."
            )


def deletable(candidates: Iterable[Candidate], rule: Rule) -> tuple[Candidate, ...]:
    """Return the versions that can be deleted, oldest first: those that there is no reason to keep.

    >>> versions = [Candidate(number=number, value=value) for number, value in enumerate([0.1, 0.9, 0.3, 0.4])]
    >>> [version.number for version in deletable(versions, Rule(newest=1, best=1, mode="min"))]
    [1, 2]
    """
    candidates = sorted(candidates, key=lambda candidate: candidate.age)
    kept = reasons_to_keep(candidates, rule)
    return tuple(candidate for candidate in candidates if candidate.number not in kept)


def reasons_to_keep(candidates: Iterable[Candidate], rule: Rule) -> Mapping[int, str]:
    """Return the reasons to keep versions, in words, by the numbers of the versions.

    >>> versions = [Candidate(number=0, aliases=frozenset({"prod"})), Candidate(number=1)]
    >>> dict(reasons_to_keep(versions, Rule(newest=1)))
    {0: "alias 'prod'", 1: 'newest 1'}
    """
    candidates = tuple(candidates)
    if not can_rank(candidates, rule):
        return MappingProxyType(
            {candidate.number: f"no version has a value of {rule.monitor!r}" for candidate in candidates}
        )
    newest, best = _newest(candidates, rule.newest), _best(candidates, rule)
    reasons = {
        candidate.number: ", ".join(
            [
                *([f"newest {rule.newest}"] if candidate.number in newest else []),
                *([f"best {rule.best}"] if candidate.number in best else []),
                *_protections(candidate),
            ]
        )
        for candidate in candidates
    }
    return MappingProxyType({number: reason for number, reason in reasons.items() if reason})


def can_rank(candidates: Iterable[Candidate], rule: Rule) -> bool:
    """Return whether the best versions can be found, if the rule keeps any: at least one version needs a value.

    Otherwise a monitor that is not a number, or is never logged, would delete all versions but the newest.

    >>> can_rank([Candidate(number=0)], Rule(newest=1, best=1, monitor="val_f1", mode="max"))
    False
    """
    candidates = tuple(candidates)
    return not (rule.best and candidates) or bool(_best(candidates, rule))


def _newest(candidates: Iterable[Candidate], amount: int) -> frozenset[int]:
    own = sorted((candidate.age for candidate in candidates if candidate.is_own), reverse=True)
    return frozenset(number for _, number in own[:amount])


def _best(candidates: Iterable[Candidate], rule: Rule) -> frozenset[int]:
    """Return the numbers of the best versions; of equal values the older one is better, as in Keras."""
    sign = -1.0 if rule.mode == "max" else 1.0
    ranked = sorted(
        (sign * candidate.value, candidate.age)
        for candidate in candidates
        if candidate.is_own and candidate.monitor == rule.monitor and candidate.value is not None
    )
    return frozenset(number for _, (_, number) in ranked[: rule.best])


def _protections(candidate: Candidate) -> list[str]:
    """Return the reasons to keep a version, whatever the rule is."""
    aliases = sorted(alias for alias in candidate.aliases if alias in _ALWAYS_KEPT or not is_own_alias(alias))
    reasons = [f"alias {alias!r}" for alias in aliases]
    if candidate.is_linked:
        reasons.append("linked")
    if not candidate.is_own:
        reasons.append("logged by another run")
    return reasons
