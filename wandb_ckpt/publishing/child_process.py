"""The process that `finished_runs` starts: opens a finished run again, and logs checkpoints in it."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_ckpt.outbox.entry import Entry, RunInfo, decoded
from wandb_ckpt.publishing.finished_runs import Result
from wandb_ckpt.wandb_api import private
from wandb_ckpt.wandb_api.aliases import LatePublisher
from wandb_ckpt.wandb_api.api import api_for, default_entity
from wandb_ckpt.wandb_api.artifacts import build, log, write_best_to_summary
from wandb_ckpt.wandb_api.errors import RefusedError, UnreachableError, message_of
from wandb_ckpt.wandb_api.run import open_again
from wandb_ckpt.wandb_api.synced_runs import find_run, look_up

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import PublicRun, Run

# How long the run may take to be finished by the process that had it, in seconds.
_FINISHING = 60


def main(order: Mapping[str, Any]) -> None:
    """Publish the entries of an order. Answer with one line of JSON for each, and one more if something fails."""
    # This process may have inherited that signals are blocked or ignored; without its parent, nobody else ends it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    step = partial(signal.alarm, int(order["limit"]))
    step()
    tell = partial(_tell, order["answers"])
    tell({"began": True})
    try:
        for result in _published(order):
            step()
            tell(asdict(result))
    except RefusedError as error:
        tell({"refused": str(error)})
    except Exception as error:  # noqa: BLE001 - whatever wandb raises, it is told
        tell({"unreachable": message_of(error)})


def _tell(answers: int, answer: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):  # the parent is gone; what was begun is ended all the same
        os.write(answers, json.dumps(answer).encode() + b"\n")


def _published(order: Mapping[str, Any]) -> Iterator[Result]:
    entries = [decoded(values, Path(folder)) for folder, values in order["entries"]]
    with _opened(order) as run:
        publishers: dict[str, LatePublisher] = {}
        for entry in entries:
            yield _publish(entry, run, publishers)
        for standing in publishers.values():
            standing.restore_latest()


@contextmanager
def _opened(order: Mapping[str, Any]) -> Iterator["Run"]:
    facts, kept = order["run"], order["kept"]
    offline = facts["offline"] and order["is_ending"]  # what another process left of an offline run was synced
    known = None if offline or order["is_new"] else _finished(order)
    code = 0 if offline or (known and _ended_well(known, order)) else 1
    run = open_again(
        facts["id"],
        entity=known.entity if known else facts["entity"],
        project=known.project if known else facts["project"],
        folder=order["dir"],
        resume=None if offline else "allow" if order["is_new"] else "must",
        config={**kept.get("config", {}), **(private.wandb_config_of(known) if known else {})},
        settings=kept.get("settings", {}),
    )
    try:
        run.summary.update(kept.get("summary", {}))
        yield run
    finally:
        run.finish(exit_code=code)


def _publish(entry: Entry[RunInfo], run: "Run", publishers: dict[str, LatePublisher]) -> Result:
    publication = entry.with_run(run)
    try:
        artifact = build(publication, entry.digest)
    except (ValueError, TypeError, OSError) as error:
        return Result(reason=message_of(error))
    if run.offline:
        log(publication, artifact)
        write_best_to_summary(publication)
        return Result()
    name = publication.name
    standing = publishers.setdefault(name, LatePublisher(api_for(run), f"{run.entity}/{run.project}/{name}"))
    try:
        return Result(standing.publish(publication, artifact))
    except (RefusedError, ValueError, TypeError, PermissionError) as error:
        return Result(reason=message_of(error))


def _finished(order: Mapping[str, Any]) -> "PublicRun":
    """Return the finished run. Wait for its end if its process is just finishing it.

    Raises:
        RefusedError: There is no such run, or none any more.
        UnreachableError: Another process may be at work in it.
    """
    facts = order["run"]
    entity = str(facts["entity"] or default_entity())
    run, deadline = _found(order, entity), time.monotonic() + _FINISHING
    while order["is_ending"] and run.state == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
        run = _found(order, entity)
    if run.state == "running" and order["elsewhere"]:
        path = "/".join(run.path)
        raise UnreachableError(f"{path} is running, and may still publish it: it was begun on {order['elsewhere']}")
    return run


def _found(order: Mapping[str, Any], entity: str) -> "PublicRun":
    facts = order["run"]
    path = f"{entity}/{facts['project']}/{facts['id']}"
    run = look_up(path)
    if run is None and facts["offline"]:
        run = find_run(entity, facts["id"], Path(order["entries"][0][0]).parents[2])
    if run is None:
        where = " If it was synced to another place, say which: --project, --entity, --id" if facts["offline"] else ""
        raise RefusedError(f"there is no run {path}: it was deleted, or this API key has no access to it.{where}")
    return run


def _ended_well(run: "PublicRun", order: Mapping[str, Any]) -> bool:
    return bool(run.state == "finished" or (run.state == "running" and order["is_ending"]))
