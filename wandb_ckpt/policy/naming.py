"""Artifact names and aliases: W&B's rules, and the names that a callback chooses from. Pure."""

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
    """Return `name` if W&B accepts it as the name of an artifact.

    Raises:
        ArgumentError: It has characters other than letters, digits, `_`, `-` and `.`, or more than 128 characters.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise ArgumentError(
            f"artifact_name={name!r} is not a valid artifact name in W&B: expected at most {NAME_MAX} characters, "
            "each a letter, a digit, '_', '-' or '.'. Pass such a name, or None for 'run_<run id>_model'."
        )
    return name


def check_aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    """Return `aliases` as a tuple if W&B accepts each of them.

    Raises:
        ArgumentError: An alias is empty, has `/` or `:`, is a version (`v3`), which only W&B sets, or is one that the
            callback itself sets (`best`, `epoch_3`).
    """
    for alias in (aliases := _checked(aliases, "aliases")):
        if alias != "latest" and is_own_alias(alias):
            raise ArgumentError(
                f"aliases has {alias!r}, which the callback itself sets on one version: expected aliases that every "
                "version can have. Rename or remove it."
            )
    return aliases


def check_link_aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    """Return `aliases` as a tuple if W&B accepts each of them in the collection that a version is linked into.

    Raises:
        ArgumentError: An alias is empty, has `/` or `:`, or is a version (`v3`).
    """
    return _checked(aliases, "link_aliases")


def _checked(aliases: Iterable[str], argument: str) -> tuple[str, ...]:
    if isinstance(aliases, str):
        raise ArgumentError(f"{argument}={aliases!r} is a single string: expected a list such as [{aliases!r}].")
    for alias in (aliases := tuple(aliases)):
        if not isinstance(alias, str) or not alias or _VERSION.fullmatch(alias) or set("/:") & set(alias):
            raise ArgumentError(
                f"{argument} has {alias!r}, which W&B does not accept: expected a non-empty string without '/' and "
                "':', and not a version such as 'v3'. Rename or remove it."
            )
    return aliases


def is_own_alias(alias: str) -> bool:
    """Return whether the callback or W&B itself sets an alias. Any other was set by the user.

    >>> is_own_alias("epoch_3"), is_own_alias("v7"), is_own_alias("production")
    (True, True, False)
    """
    return _OURS.fullmatch(alias) is not None


def default_artifact_name(run_id: str) -> str:
    """Return `run_<run id>_model`, the name that wandb's own callback uses.

    If the run id makes the name invalid (a space, more than 118 characters), invalid characters are replaced, the id
    is shortened, and a hash is added.

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
    """Return the names that a callback chooses from, in order of preference. No other callback can have the last one.

    The first callback of a run takes `run_<run id>_model`. A callback with another path or monitor adds the name of
    its file (without placeholders and extension), or the name of its file and its monitor, or a hash of both.

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
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]  # of file names that are not UTF-8
