"""Publishes into a run that is finished, from a process of its own.

An exception that leaves `with wandb.init()` finishes the run before anything of ours can know, with checkpoints still
pending; a killed process leaves them on the disk. They are logged by resuming the run once more; in another process,
because `wandb.init()` in the user's own would be in the way of the next run that the user starts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import wandb

from wandb_ckpt import _artifact, _record
from wandb_ckpt._artifact import Publication
from wandb_ckpt._process import this_process
from wandb_ckpt._record import Record
from wandb_ckpt._standing import Standing

_MARK = "wandb_ckpt published: "
# How long the run may take to be finished by the process that had it, in seconds.
_FINISHING = 60


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one checkpoint.

    Attributes:
        version: `"v3"`; `None` for an offline run, and where there is a reason.
        reason: Why it can't become a version.
    """

    version: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What became of checkpoints of one run.

    Attributes:
        results: One for each, in order, as far as it came.
        reason: Why it came no further.
    """

    results: tuple[Result, ...]
    reason: str | None = None


def publish(publications: Sequence[Publication]) -> Results:
    """Publishes checkpoints of one finished run of this process."""
    run = publications[0].run
    facts = _artifact.run_facts(run)
    records = [Record(publication.with_run(facts), this_process()) for publication in publications]
    # Synced after the other, a second offline folder of the run would otherwise blank what the first one said.
    kept = {"name": run.name, "config": dict(run.config), "summary": dict(run.summary)} if run.offline else {}
    order = {
        # Of the run itself only a relative path may be known. It is what holds wandb's folder, which has the run's,
        # this package's, the artifact's and the snapshot's.
        "dir": str(publications[0].snapshot.root.parents[4]),
        "is_ending": True,
        "is_new": False,
        "kept": json.loads(json.dumps(kept, default=str)),
    }
    return _publish(records, order, {"WANDB_API_KEY": run.settings.api_key} if run.settings.api_key else {})


def publish_records(records: Sequence[Record], *, is_new: bool) -> Results:
    """Publishes checkpoints that another process left, all of one run, and keeps the run's state.

    Args:
        is_new: Whether the run may not be on the server yet, for an offline run of which nothing else is left.
    """
    with tempfile.TemporaryDirectory(prefix="wandb_ckpt-") as folder:
        return _publish(records, {"dir": folder, "is_ending": False, "is_new": is_new, "kept": {}}, {})


def _publish(records: Sequence[Record], order: dict[str, Any], key: dict[str, str]) -> Results:
    run = records[0].draft.run
    elsewhere = next((record.owner.host for record in records if not record.owner.is_here), None)
    encoded = [[str(record.draft.snapshot.root), _record.encoded(record)] for record in records]
    done = subprocess.run(
        [sys.executable, "-m", "wandb_ckpt._reopen"],
        input=json.dumps({**order, "run": asdict(run), "elsewhere": elsewhere, "records": encoded}),
        env=_environ(run.base_url) | key,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    results = tuple(Result(**json.loads(line)) for line in lines)
    if len(results) == len(records):
        return Results(results)
    why = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
    return Results(results, f"the run could not be opened once more: {why}")


def _environ(base_url: str) -> dict[str, str]:
    # A service of its own: the one of the user's process is about to go. What says which run is ours to say.
    ours = ("WANDB_SERVICE", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_ENTITY", "WANDB_PROJECT")
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    return environ | {"WANDB_BASE_URL": base_url, "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}


# ---- in the process of its own -----------------------------------------------------------------------------


def _main() -> None:
    order = json.load(sys.stdin)
    records = [_record.decoded(values, Path(folder)) for folder, values in order["records"]]
    with _opened(order) as run:
        standings: dict[str, Standing] = {}
        for record in records:
            print(_MARK + json.dumps(asdict(_published(record, run, standings))), flush=True)  # noqa: T201 - the answer
        for standing in standings.values():
            standing.put_latest_back()


@contextmanager
def _opened(order: Mapping[str, Any]) -> Iterator["wandb.Run"]:
    facts, kept = order["run"], order["kept"]
    offline = facts["offline"] and order["is_ending"]  # what another process left of an offline run was synced
    state = 0 if offline else 1 if order["is_new"] else _exit_code_of_finished(order)
    run = wandb.init(
        id=facts["id"],
        entity=facts["entity"] or None,
        project=facts["project"],
        dir=order["dir"],
        mode="offline" if offline else "online",
        resume=None if offline else "allow" if order["is_new"] else "must",
        name=kept.get("name"),
        config=kept.get("config"),
    )
    run.summary.update(kept.get("summary", {}))
    yield run
    run.finish(exit_code=state)


def _published(record: Record, run: "wandb.Run", standings: dict[str, Standing]) -> Result:
    publication = record.draft.with_run(run)
    try:
        artifact = _artifact.build(publication, record.digest)
    except (ValueError, TypeError, OSError) as error:
        return Result(None, _artifact.words(error))
    if run.offline:
        _artifact.log(run, publication, artifact)
        return Result(None)
    name = publication.name
    standing = standings.setdefault(name, Standing(_artifact.api_of(run), f"{run.entity}/{run.project}/{name}"))
    try:
        return Result(standing.publish(publication, artifact))
    except (_artifact.RefusedError, ValueError, TypeError, PermissionError) as error:
        return Result(None, _artifact.words(error))


def _exit_code_of_finished(order: Mapping[str, Any]) -> int:
    """Returns the exit code that the run ended with; waits for the end if the process that had it is just at it."""
    facts, api = order["run"], wandb.Api()
    path = f"{facts['entity'] or api.default_entity}/{facts['project']}/{facts['id']}"
    state, deadline = api.run(path).state, time.monotonic() + _FINISHING
    while order["is_ending"] and state == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
        state = wandb.Api().run(path).state
    if state == "running" and order["elsewhere"]:
        raise SystemExit(f"{path} is running, and may still publish it: it was begun on {order['elsewhere']}")
    return 0 if state == "finished" or (state == "running" and order["is_ending"]) else 1


if __name__ == "__main__":
    _main()
