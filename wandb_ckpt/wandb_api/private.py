"""What this package needs of wandb beyond its documentation (0.28 to 0.31): each has a fall-back, should it move.

A test fails when one of them is no longer where it is looked for.
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


def says_finished(error: Exception, run: "wandb.Run") -> bool:
    """Returns whether wandb refuses a call because the run is finished.

    Either sign is enough: the words, or the run's own mark.
    """
    return "is finished" in str(error) or bool(getattr(run, "_is_finished", False))


def says_given_up(error: Exception) -> bool:
    """Returns whether wandb gave up an upload that it had taken, because it or its service is ending.

    Otherwise the error is one of the upload itself.
    """
    names = {base.__name__ for base in type(error).__mro__}  # its module is private
    return "HandleAbandonedError" in names or "context canceled" in str(error)


def says_no_room(error: Exception) -> bool:
    """Returns whether a disk is full, or a quota is reached, by what Python or wandb-core says."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(words in str(error).lower() for words in _NO_ROOM)


def says_it_passes(error: Exception) -> bool:
    """Returns whether an upload may succeed when it is begun again: a disk was full, or an answer was cut off."""
    return says_no_room(error) or any(words in str(error).lower() for words in _CUT_OFF)


def says_no_run(error: Exception) -> bool:
    """Returns whether W&B has no such run, or shows none: the name of the error since 0.31, its words before."""
    return type(error).__name__ == "RunNotFoundError" or "could not find run" in str(error).lower()


# ---- settings ----------------------------------------------------------------------------------------------


def settings_that_say_nothing(kept: Mapping[str, Any]) -> "wandb.Settings":
    """Returns settings with which a process opens a run and leaves what describes it: machine, command, git, code.

    Args:
        kept: Settings that are to be as they were; what this wandb has no name for is left out.
    """
    import wandb

    settings = {**_SAY_NOTHING, **kept}
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in settings.items() if name in known})


def config_of_its_own(run: "PublicRun | wandb.Run") -> dict[str, Any]:
    """Returns what a run's public `config` leaves out, and wandb itself keeps there: code, machine, command."""
    kept: Any = getattr(run, "rawconfig", None) or getattr(run, "_config", {})
    return {"_wandb": dict(kept["_wandb"])} if "_wandb" in kept else {}


# ---- files -------------------------------------------------------------------------------------------------


def opened_in(folder: Path) -> Path:
    """Returns a run's folder, absolute, whatever the working directory is by now.

    wandb's settings keep a relative path. The run's log tells where it led when the run began, because Python opens
    each log by its absolute path; without one, the working directory is taken to be the same.
    """
    handlers = logging.getLogger("wandb").handlers
    logs = (Path(handler.baseFilename) for handler in handlers if isinstance(handler, logging.FileHandler))
    return next((log.parents[1] for log in logs if log.parents[1].name == folder.name), folder.absolute())


def has_home() -> bool:
    """Returns whether the user has a home folder, as Python sees it."""
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


def folders() -> dict[str, Path]:
    """Returns the folders in which wandb stages, caches and downloads; those that can be asked for."""
    from wandb import env

    asked = {"staging": "get_data_dir", "cache": "get_cache_dir", "downloads": "get_artifact_dir"}
    found = {}
    for name, getter in asked.items():
        with suppress(AttributeError, RuntimeError):  # it has moved; there is no home folder
            found[name] = Path(getattr(env, getter)())
    return found


# ---- the cache of downloads --------------------------------------------------------------------------------


def forget_download(artifact: "wandb.Artifact") -> None:
    """Puts right what `download(skip_cache=True)` leaves behind.

    wandb 0.31 keeps the last file's path, and takes it for the cache of every later download in this process: another
    file of the same size would have these bytes, and any other would be written over this one.
    """
    cache: Any = getattr(artifact.manifest.storage_policy, "_cache", None)
    if hasattr(cache, "_override_cache_path"):
        cache._override_cache_path = None
