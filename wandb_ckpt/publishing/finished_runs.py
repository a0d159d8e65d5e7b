"""Publishes checkpoints into finished runs, from a process of its own.

An exception that leaves `with wandb.init()` finishes the run before anything of ours can know, with checkpoints still
pending; a killed process leaves them on the disk. They are logged by resuming the run once more; in another process,
because `wandb.init()` in the user's own would be in the way of the next run that the user starts.
"""

import errno
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import spawn
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_ckpt.locks import this_process
from wandb_ckpt.outbox.entry import Entry, RunInfo, encoded
from wandb_ckpt.wandb_api import private
from wandb_ckpt.wandb_api.artifacts import Publication
from wandb_ckpt.wandb_api.errors import RefusedError, UnreachableError
from wandb_ckpt.wandb_api.run import run_info

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

# How long the other process may take for its next step, in seconds: to open the run, to upload a checkpoint at the
# slowest, in bytes a second, to end. Its own limit is longer, for when this process is gone.
LIMIT, _SLOWEST = 300.0, 50_000
_GRACE = 30
# It may need this process's import path to find the package: a program can have made that itself.
_BOOT = """
import json, os, sys
order = json.load(sys.stdin)
sys.path[:] = order["path"]
try:
    from wandb_ckpt.publishing.child_process import main
except BaseException as error:
    os.write(order["answers"], json.dumps({"refused": f"{type(error).__name__}: {error}"}).encode() + b"\\n")
else:
    main(order)
"""
# What says which run it is, and what describes a run, which has all that already; and the service of this process,
# which is about to go.
_NOT_INHERITED = (
    *("SERVICE", "MODE", "RUN_ID", "RESUME", "RESUME_FROM", "FORK_FROM", "ENTITY", "PROJECT"),
    *("NAME", "NOTES", "TAGS", "RUN_GROUP", "JOB_TYPE", "SWEEP_ID", "PROGRAM", "HOST", "DOCKER"),
    *("GIT_COMMIT", "GIT_REMOTE_URL", "CONFIG_PATHS", "SAVE_CODE"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one checkpoint.

    Attributes:
        version: `"v3"`; `None` for an offline run, or when there is a reason.
        reason: Why it can't become a version.
    """

    version: str | None = None
    reason: str | None = None


def publish(publications: Sequence[Publication]) -> Iterator[Result]:
    """Publish checkpoints of one finished run of this process.

    Yields:
        What became of each, in order, as soon as it is known; the last one when the run is finished again.

    Raises:
        RefusedError: The rest can't be published, now or later.
        UnreachableError: The rest can't be published now.
    """
    run = publications[0].run
    facts = run_info(run)
    ours = this_process()
    entries = [replace(each.with_run(facts), owner=ours, digest="") for each in publications]
    order = {
        # Of the run itself only a relative path may be known. It is what holds wandb's folder, which has the run's,
        # this package's, the artifact's and the snapshot's.
        "dir": str(publications[0].snapshot.root.parents[4]),
        "is_ending": True,
        "is_new": False,
        "kept": json.loads(json.dumps(_kept(run), default=str)) if run.offline else {},
    }
    yield from _publish(entries, order, {"WANDB_API_KEY": run.settings.api_key} if run.settings.api_key else {})


def publish_entries(entries: Sequence[Entry[RunInfo]], *, is_new: bool) -> Iterator[Result]:
    """Publish checkpoints of one run that another process left, and keep the run's state.

    Args:
        is_new: Whether the run may not be on the server yet, for an offline run of which nothing else is left.

    Yields:
        As `publish` does.

    Raises:
        RefusedError: As `publish` does, as well as UnreachableError.
    """
    with tempfile.TemporaryDirectory(prefix="wandb_ckpt-", ignore_cleanup_errors=True) as folder:
        yield from _publish(entries, {"dir": folder, "is_ending": False, "is_new": is_new, "kept": {}}, {})


def _kept(run: "Run") -> dict[str, Any]:
    """Return the run's description, which a second offline folder would overwrite with nothing when it is synced."""
    settings = ("host", "run_group", "run_job_type", "run_notes", "run_tags", "sweep_id")
    kept = {name: getattr(run.settings, name, None) for name in settings}
    kept |= {"run_name": run.name, "run_notes": run.notes, "run_tags": run.tags}
    given = {name: value for name, value in kept.items() if value}
    config = {**dict(run.config), **private.wandb_config_of(run)}
    return {"config": config, "summary": dict(run.summary), "settings": given}


def _publish(entries: Sequence[Entry[RunInfo]], order: dict[str, Any], key: dict[str, str]) -> Iterator[Result]:
    run = entries[0].run
    limit = LIMIT + max(entry.snapshot.size for entry in entries) / _SLOWEST
    order |= {
        "run": asdict(run),
        "elsewhere": next((each.owner.host for each in entries if each.owner and each.owner.is_elsewhere), None),
        "entries": [[str(entry.folder), encoded(entry)] for entry in entries],
        "path": _import_path(),
        "limit": limit + _GRACE,
    }
    number, last = 0, None
    with _started(order, _environ(run.base_url) | key, limit) as answers:
        for answer in answers:
            if last is not None:
                yield last
            _raise_if_it_ended(answer)
            number, last = number + 1, Result(**answer)
    if last is not None:
        yield last
    if number < len(entries):
        raise UnreachableError("the process that opened the run again ended without an answer")


def _raise_if_it_ended(answer: dict[str, Any]) -> None:
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    if "unreachable" in answer:
        raise UnreachableError(f"the run could not be opened again: {answer['unreachable']}")


# ---- the process -------------------------------------------------------------------------------------------


@contextmanager
def _started(order: dict[str, Any], environ: dict[str, str], limit: float) -> Iterator[Iterator[dict[str, Any]]]:
    """Start the process, provide its answers, and wait for its end. Kill it if it hangs or an error is raised."""
    python, (reading, writing) = _interpreter(), os.pipe()
    try:
        # A group of its own: Ctrl-C at the terminal is for this process, and the second one is an impatient user's.
        child = subprocess.Popen(
            [python, "-I" if sys.flags.isolated else "-P", "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
            env=environ,
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        is_passing = error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
        raise (UnreachableError if is_passing else RefusedError)(f"{python} can't be started: {error}") from error
    finally:
        os.close(writing)
    try:
        with child:
            try:
                assert child.stdin is not None
                with suppress(BrokenPipeError), child.stdin:
                    _give(child.stdin.fileno(), json.dumps({**order, "answers": writing}).encode(), limit)
                yield _answers(child, reading, limit)
                child.wait(limit)
            except BaseException as error:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
    finally:
        os.close(reading)


def _answers(child: "subprocess.Popen[bytes]", reading: int, limit: float) -> Iterator[dict[str, Any]]:
    began = False
    for line in _lines(reading, limit):
        answer = json.loads(line)
        began = True
        if "began" not in answer:
            yield answer
    if not began and child.wait(limit) >= 0:
        raise RefusedError(f"the process that is to publish ended before it began, with exit code {child.returncode}")


def _give(writing: int, data: bytes, limit: float) -> None:
    """Write to a pipe with a time limit, because nobody may read from it."""
    os.set_blocking(writing, False)
    poll = select.poll()
    poll.register(writing, select.POLLOUT)
    while data:
        if not poll.poll(limit * 1000):
            raise _hanging(limit)
        data = data[os.write(writing, data) :]


def _lines(reading: int, limit: float) -> Iterator[bytes]:
    """Yield lines as they come, until the other side is closed."""
    poll, rest = select.poll(), b""
    poll.register(reading, select.POLLIN)
    while poll.poll(limit * 1000):
        piece = os.read(reading, 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    raise _hanging(limit)


def _hanging(limit: float) -> UnreachableError:
    return UnreachableError(f"the run could not be opened again: nothing happened for {limit:.0f} seconds")


def _interpreter() -> str:
    """Return a Python interpreter. `sys.executable` is not one in frozen programs, or where Python is embedded.

    Raises:
        RefusedError: There is none.
    """
    given = os.fsdecode(spawn.get_executable() or "")  # multiprocessing's, which such programs may have set
    own = "" if getattr(sys, "frozen", False) and given == sys.executable else given
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (own, str(Path(sys.exec_prefix) / "bin" / version)):
        if Path(python).name.startswith(("python", "pypy")) and os.access(python, os.X_OK):
            return python
    raise RefusedError(
        "the run is finished, so another process has to publish into it, but this program has no Python to start "
        f"(sys.executable is {sys.executable!r}). Name one: multiprocessing.set_executable('/usr/bin/python3')"
    )


def _import_path() -> list[str]:
    """Return the import path of this process."""
    path = [str(Path(entry).absolute()) for entry in sys.path if isinstance(entry, str)]
    # Where the working directory is another one by now, a relative entry leads elsewhere.
    packages = (str(Path(sys.modules[name].__file__ or "").absolute().parents[1]) for name in ("wandb_ckpt", "wandb"))
    return list(dict.fromkeys([*path, *packages]))


def _environ(base_url: str) -> dict[str, str]:
    ours = {f"WANDB_{name}" for name in _NOT_INHERITED}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    return environ | {"WANDB_BASE_URL": base_url, "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
