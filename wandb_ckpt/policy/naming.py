"""Artifact names and aliases: W&B's rules, and the names that a callback may take. Pure."""

import hashlib
import re
from collections.abc import Iterable

from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.path_template import PathTemplate

# W&B's rules for an artifact's name (wandb/sdk/artifacts/_validators.py, 0.31).
_NAME = re.compile(r"[a-zA-Z0-9_\-.]+")
NAME_MAX = 128
_VERSION = re.compile(r"v\d+")
_OURS = re.compile(r"latest|best|epoch_\d+(_batch_\d+)?|v\d+")


def check_artifact_name(name: str) -> str:
    """Returns `name` if W&B takes it as an artifact's name.

    Raises:
        ArgumentError: It has other characters than letters, digits, `_`, `-` and `.`, or more than 128.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise ArgumentError(
            f"artifact_name={name!r} is not a name that W&B takes: expected at most {NAME_MAX} characters, "
            "each a letter, a digit, '_', '-' or '.'. Pass such a name, or None for 'run_<run id>_model'."
        )
    return name


def check_aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    """Returns `aliases` as a tuple if W&B takes each of them.

    Raises:
        ArgumentError: One is empty, has `/` or `:`, is a version (`v3`), which only W&B itself gives, or is one that
            the callback sets where it is true (`best`, `epoch_3`).
    """
    for alias in (aliases := _checked(aliases, "aliases")):
        if alias != "latest" and is_own_alias(alias):
            raise ArgumentError(
                f"aliases has {alias!r}, which the callback itself gives to the version that it is true of: expected "
                "an alias for every version. Rename or drop it."
            )
    return aliases


def check_link_aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    """Returns `aliases` as a tuple if W&B takes each of them in the collection that a version is linked to.

    Raises:
        ArgumentError: One is empty, has `/` or `:`, or is a version (`v3`).
    """
    return _checked(aliases, "link_aliases")


def _checked(aliases: Iterable[str], argument: str) -> tuple[str, ...]:
    if isinstance(aliases, str):
        raise ArgumentError(f"{argument}={aliases!r} is one string: expected a list such as [{aliases!r}].")
    for alias in (aliases := tuple(aliases)):
        if not isinstance(alias, str) or not alias or _VERSION.fullmatch(alias) or set("/:") & set(alias):
            raise ArgumentError(
                f"{argument} has {alias!r}, which W&B does not take: expected a non-empty string without '/' "
                "and ':' that is no version such as 'v3'. Rename or drop it."
            )
    return aliases


def is_own_alias(alias: str) -> bool:
    """Return whether the callback, or W&B itself, gives an alias. Any other was set by a person or their program.

    >>> is_own_alias("epoch_3"), is_own_alias("v7"), is_own_alias("production")
    (True, True, False)
    """
    return _OURS.fullmatch(alias) is not None


def default_artifact_name(run_id: str) -> str:
    """Returns `run_<run id>_model`, the name that wandb's own callback uses.

    A run id that makes no valid name (a space, more than 118 characters) is cleaned, cut and given a hash.

    >>> default_artifact_name("3j2t0k7n")
    'run_3j2t0k7n_model'
    >>> default_artifact_name("my run")
    'run_my_run-d33e7609_model'
    """
    name = f"run_{run_id}_model"
    if _NAME.fullmatch(name) and len(name) <= NAME_MAX:
        return name
    room = NAME_MAX - len("run_-12345678_model")
    return f"run_{_slug(run_id)[:room]}-{_hash(run_id)}_model"


def candidate_names(run_id: str, filepath: str, monitor: str) -> tuple[str, ...]:
    """Returns the names that a callback may take, in order of preference; the last is its alone.

    The first callback of a run takes `run_<run id>_model`. One with another path or monitor takes that name
    with the file's name (without placeholders and ending) behind it, or the file's name and the monitor, or a
    hash of both.

    >>> candidate_names("r", "out/acc-{epoch:02d}.keras", "val_acc")
    ('run_r_model', 'run_r_model-acc', 'run_r_model-acc-val_acc', 'run_r_model-f8ec5e99')
    """
    base = default_artifact_name(run_id)
    stem = _slug(PathTemplate(filepath).stem).strip("-_.")
    hashed = _hash(f"{filepath}\n{monitor}")
    suffixes = (stem, f"{stem}-{_slug(monitor)}".strip("-"), hashed)
    return (base, *dict.fromkeys(_joined(base, suffix, hashed) for suffix in suffixes if suffix))


def _joined(base: str, suffix: str, hashed: str) -> str:
    name = f"{base}-{suffix}"
    return name if len(name) <= NAME_MAX else f"{base[: NAME_MAX - 9]}-{hashed}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_\-.]+", "_", text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
