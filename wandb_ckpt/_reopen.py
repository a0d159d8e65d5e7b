"""Publishes into a run that is finished, from a process of its own.

An exception that leaves `with wandb.init()` finishes the run before anything of ours can know, with checkpoints still
pending. They are logged by resuming the run once more; in another process, because `wandb.init()` in the user's own
would be in the way of the next run that the user starts.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import wandb

from wandb_ckpt import _artifact
from wandb_ckpt._artifact import Publication
from wandb_ckpt._checkpoint import Checkpoint
from wandb_ckpt._snapshot import Snapshot, SnapshotFile

_MARK = "wandb_ckpt published: "
# How long the run may take to be finished by the process that had it, in seconds.
_FINISHING = 60


def publish(publications: Sequence[Publication]) -> list[str | None]:
    """Publishes checkpoints of one finished run, and returns their versions; `None` each for an offline run.

    Raises:
        UnreachableError: It could not be done now.
    """
    run = publications[0].run
    done = subprocess.run(
        [sys.executable, "-m", "wandb_ckpt._reopen"],
        input=json.dumps({"run": _run_facts(run), "publications": [_encoded(each) for each in publications]}),
        env=_environ(run),
        capture_output=True,
        text=True,
        check=False,
    )
    results = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not results:
        reason = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise _artifact.UnreachableError(f"the finished run could not be opened once more: {reason}")
    versions: list[str | None] = json.loads(results[-1])
    return versions


def _environ(run: "wandb.Run") -> dict[str, str]:
    # A service of its own: the one of the user's process is about to go.
    environ = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "WANDB_RUN_ID")}
    if run.settings.api_key:
        environ["WANDB_API_KEY"] = run.settings.api_key
    return environ | {"WANDB_BASE_URL": run.settings.base_url, "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}


def _run_facts(run: "wandb.Run") -> dict[str, Any]:
    facts = {"id": run.id, "entity": run.entity, "project": run.project, "dir": run.settings.root_dir}
    # Synced after the other, a second offline folder of the run would otherwise blank what the first one said.
    kept = {"name": run.name, "config": dict(run.config), "summary": dict(run.summary)} if run.offline else {}
    return {**facts, "offline": run.offline, "kept": json.loads(json.dumps(kept, default=str))}


def _encoded(publication: Publication) -> dict[str, Any]:
    snapshot = publication.snapshot
    files = [[file.name, str(file.path), file.size, file.mtime_ns] for file in snapshot.files]
    return {
        "name": publication.name,
        "checkpoint": asdict(publication.checkpoint),
        "snapshot": {"root": str(snapshot.root), "files": files, "is_folder": snapshot.is_folder},
        "aliases": publication.aliases,
        "metadata": publication.metadata,
        "template": publication.template,
        "is_default_name": publication.is_default_name,
    }


def _decoded(record: dict[str, Any], run: "wandb.Run") -> Publication:
    snapshot = record["snapshot"]
    files = tuple(SnapshotFile(name, Path(path), size, time_ns) for name, path, size, time_ns in snapshot["files"])
    facts = {
        "checkpoint": Checkpoint(**record["checkpoint"]),
        "snapshot": Snapshot(Path(snapshot["root"]), files, snapshot["is_folder"]),
        "aliases": tuple(record["aliases"]),
    }
    return Publication(**{**record, **facts, "run": run})


def _main() -> None:
    order = json.load(sys.stdin)
    facts, kept = order["run"], order["run"]["kept"]
    state = 0 if facts["offline"] else _exit_code_of_finished(facts)
    run = wandb.init(
        id=facts["id"],
        entity=facts["entity"] or None,
        project=facts["project"],
        dir=facts["dir"],
        mode="offline" if facts["offline"] else "online",
        resume=None if facts["offline"] else "must",
        name=kept.get("name"),
        config=kept.get("config"),
    )
    run.summary.update(kept.get("summary", {}))
    versions = [_published(_decoded(record, run)) for record in order["publications"]]
    run.finish(exit_code=state)
    print(_MARK + json.dumps(versions))  # noqa: T201 - this is the answer to the process that asked


def _published(publication: Publication) -> str | None:
    artifact = _artifact.log(publication.run, publication, _artifact.build(publication))
    return None if publication.run.offline else _artifact.settle(artifact, publication)


def _exit_code_of_finished(facts: dict[str, Any]) -> int:
    """Waits until the run is finished by the process that had it, and returns the exit code that it ended with."""
    path = f"{facts['entity']}/{facts['project']}/{facts['id']}"
    state, deadline = "running", time.monotonic() + _FINISHING
    while state == "running" and time.monotonic() < deadline:
        state = wandb.Api().run(path).state
        time.sleep(0.2)
    return 0 if state in ("finished", "running") else 1


if __name__ == "__main__":
    _main()
