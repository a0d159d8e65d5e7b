"""Which versions of an artifact may go. Pure: records in, records out; it deletes nothing."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wandb_ckpt.checkpoint import Direction, Moment
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.naming import is_own_alias

_NEVER_GO = frozenset({"best", "latest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is asked of one committed version before it may go.

    Attributes:
        number: The N of `vN`.
        moment: When it was saved; a checkpoint that comes late has a higher number than newer ones.
        aliases: Its aliases in its own collection; whether `vN` is among them does not matter.
        monitor: What its value is of.
        value: The monitored value; `None` when it has none.
        is_own: Whether the run logged it that the rule is for.
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
        """What tells which of two is newer; of versions whose moment is not known, the number."""
        return self.moment, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How many of a run's versions stay.

    Attributes:
        newest: So many of the newest.
        best: And so many of those with the best value of `monitor`.
        monitor: The monitored quantity.
        mode: Which values of it are better; `None` only when `best` is 0.

    Raises:
        ArgumentError: A number is negative, or best ones are asked for and it is not known what is better.
    """

    newest: int
    best: int = 0
    monitor: str = ""
    mode: Direction | None = None

    def __post_init__(self) -> None:
        if self.newest < 0 or self.best < 0:
            raise ArgumentError(
                f"{self.newest} newest and {self.best} best can't be kept: expected 0 or more of each."
            )
        if self.best and self.mode not in ("min", "max"):
            raise ArgumentError(
                f"The {self.best} best by {self.monitor!r} can't be told: expected a mode, 'min' or 'max', that says "
                "whether lower or higher is better."
            )


def expendable(candidates: Iterable[Candidate], rule: Rule) -> tuple[Candidate, ...]:
    """Returns the versions that may go, oldest first: no rule and nobody holds them.

    >>> versions = [Candidate(number=number, value=value) for number, value in enumerate([0.1, 0.9, 0.3, 0.4])]
    >>> [gone.number for gone in expendable(versions, Rule(newest=1, best=1, mode="min"))]
    [1, 2]
    """
    candidates = sorted(candidates, key=lambda candidate: candidate.age)
    kept = why_kept(candidates, rule)
    return tuple(candidate for candidate in candidates if candidate.number not in kept)


def why_kept(candidates: Iterable[Candidate], rule: Rule) -> Mapping[int, str]:
    """Returns the numbers of the versions that stay, each with the reasons, in words.

    >>> dict(why_kept([Candidate(number=0, aliases=frozenset({"prod"})), Candidate(number=1)], Rule(newest=1)))
    {0: "alias 'prod'", 1: 'newest 1'}
    """
    candidates = tuple(candidates)
    if not can_tell(candidates, rule):
        return MappingProxyType(
            {candidate.number: f"nothing has a value of {rule.monitor!r}" for candidate in candidates}
        )
    newest, best = _newest(candidates, rule.newest), _best(candidates, rule)
    reasons = {
        candidate.number: ", ".join(
            [
                *([f"newest {rule.newest}"] if candidate.number in newest else []),
                *([f"best {rule.best}"] if candidate.number in best else []),
                *_holds(candidate),
            ]
        )
        for candidate in candidates
    }
    return MappingProxyType({number: reason for number, reason in reasons.items() if reason})


def can_tell(candidates: Iterable[Candidate], rule: Rule) -> bool:
    """Returns whether the best of some versions can be told, where a rule asks for them: one has a value at least.

    With a monitor that is no number or never logged, all but the newest would go.

    >>> can_tell([Candidate(number=0)], Rule(newest=1, best=1, monitor="val_f1", mode="max"))
    False
    """
    candidates = tuple(candidates)
    return not (rule.best and candidates) or bool(_best(candidates, rule))


def _newest(candidates: Iterable[Candidate], amount: int) -> frozenset[int]:
    own = sorted((candidate.age for candidate in candidates if candidate.is_own), reverse=True)
    return frozenset(number for _, number in own[:amount])


def _best(candidates: Iterable[Candidate], rule: Rule) -> frozenset[int]:
    """Returns the best ones; of equal ones the older, as in Keras."""
    sign = -1.0 if rule.mode == "max" else 1.0
    ranked = sorted(
        (sign * candidate.value, candidate.age)
        for candidate in candidates
        if candidate.is_own and candidate.monitor == rule.monitor and candidate.value is not None
    )
    return frozenset(number for _, (_, number) in ranked[: rule.best])


def _holds(candidate: Candidate) -> list[str]:
    """Returns why a version stays whatever the rule says."""
    aliases = sorted(alias for alias in candidate.aliases if alias in _NEVER_GO or not is_own_alias(alias))
    holds = [f"alias {alias!r}" for alias in aliases]
    if candidate.is_linked:
        holds.append("linked")
    if not candidate.is_own:
        holds.append("of another run")
    return holds
