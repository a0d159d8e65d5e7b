"""What this package uses of wandb beyond its documentation (0.28 to 0.31). Each has a fallback.

A test fails when wandb moves one of them.
"""

import errno
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb
    from wandb.apis.public import Run as PublicRun

# The words of wandb-core for a full disk, or a quota, on Linux and macOS. They are Go's own, in English whatever the
# locale is, which Python's `os.strerror` follows.
_NO_ROOM = ("no space left on device", "disk quota exceeded", "disc quota exceeded")

# Its words for a connection that broke in mid-answer, and for what it has asked for often enough. It asks again by
# itself only where no answer has begun.
_CUT_OFF = ("unexpected eof", "connection reset by peer", "broken pipe", "giving up after")

# wandb (0.31) does nothing without a home folder, or WANDB_CONFIG_DIR, and says so in Python's own words.
NO_HOME = (
    "This user has no home folder, which wandb needs: HOME is not set, and the system does not know the user. Set it "
    "to a folder that can be written to, such as HOME=/tmp."
)

_SAY_NOTHING = {
    "disable_git": True,
    "disable_code": True,
    "disable_job_creation": True,
    "save_code": False,
    "host": "",
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "x_primary": False,
}


# ---- errors ------------------------------------------------------------------------------------------------


def is_run_finished(error: Exception, run: "wandb.Run") -> bool:
    """Return whether wandb refused a call because the run is finished.

    Either sign is enough: the words, or the run's own mark.
    """
    return "is finished" in str(error) or has_finished(run)


def has_finished(run: "wandb.Run") -> bool:
    """Return whether a run of this process is finished, or is just waiting for its uploads to end."""
    return bool(getattr(run, "_is_finished", False))


def is_abandoned(error: Exception) -> bool:
    """Return whether wandb gave up an upload because it, or its service, is ending.

    Otherwise the error is one of the upload itself.
    """
    names = {base.__name__ for base in type(error).__mro__}  # its module is private
    return "HandleAbandonedError" in names or "context canceled" in str(error)


def is_disk_full(error: Exception) -> bool:
    """Return whether Python or wandb-core says that a disk is full or a quota is reached."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(words in str(error).lower() for words in _NO_ROOM)


def is_temporary(error: Exception) -> bool:
    """Return whether an upload may succeed when it is tried again: a disk was full, or a connection broke."""
    return is_disk_full(error) or any(words in str(error).lower() for words in _CUT_OFF)


def is_run_missing(error: Exception) -> bool:
    """Return whether W&B has no such run, or the user has no access to it."""
    return type(error).__name__ == "RunNotFoundError" or "could not find run" in str(error).lower()


# ---- settings ----------------------------------------------------------------------------------------------


def unchanging_settings(kept: Mapping[str, Any]) -> "wandb.Settings":
    """Return settings that leave a run's description as it is: machine, command, git, code.

    Args:
        kept: Settings that are to be as they were; what this wandb has no name for is left out.
    """
    import wandb

    settings = {**_SAY_NOTHING, **kept}
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in settings.items() if name in known})


def wandb_config_of(run: "PublicRun | wandb.Run") -> dict[str, Any]:
    """Return wandb's own part of a run's config, which its public `config` leaves out."""
    kept: Any = getattr(run, "rawconfig", None) or getattr(run, "_config", {})
    return {"_wandb": dict(kept["_wandb"])} if "_wandb" in kept else {}


# ---- files -------------------------------------------------------------------------------------------------


def absolute_run_folder(folder: Path) -> Path:
    """Return the absolute path of a run's folder, also after the working directory has changed.

    wandb's settings keep a relative path. The run's log tells where it led when the run began, because Python opens
    each log by its absolute path; without one, the working directory is taken to be the same.
    """
    handlers = logging.getLogger("wandb").handlers
    logs = (Path(handler.baseFilename) for handler in handlers if isinstance(handler, logging.FileHandler))
    return next((log.parents[1] for log in logs if log.parents[1].name == folder.name), folder.absolute())


def has_home() -> bool:
    """Return whether the user has a home folder, as Python sees it."""
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


def folders() -> dict[str, Path]:
    """Return the folders in which wandb stages, caches and downloads files."""
    from wandb import env

    asked = {"staging": "get_data_dir", "cache": "get_cache_dir", "downloads": "get_artifact_dir"}
    found = {}
    for name, getter in asked.items():
        with suppress(AttributeError, RuntimeError):  # it has moved; there is no home folder
            found[name] = Path(getattr(env, getter)())
    return found


# ---- the cache of downloads --------------------------------------------------------------------------------


def reset_cache_override(artifact: "wandb.Artifact") -> None:
    """Undo a side effect of `download(skip_cache=True)`.

    wandb 0.31 keeps the last file's path, and takes it for the cache of every later download in this process: another
    file of the same size would have these bytes, and any other would be written over this one.
    """
    cache: Any = getattr(artifact.manifest.storage_policy, "_cache", None)
    if hasattr(cache, "_override_cache_path"):
        cache._override_cache_path = None
