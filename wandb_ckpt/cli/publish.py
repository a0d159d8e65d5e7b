"""`wandb-ckpt publish`: what is still to be published on this disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wandb_ckpt.cli._facts import epoch_of, value_of
from wandb_ckpt.cli._failure import Failure, in_one_line
from wandb_ckpt.cli._output import Column, age, say, say_aside, say_table, size

if TYPE_CHECKING:
    from wandb_ckpt.outbox.entry import Entry, RunInfo
    from wandb_ckpt.publishing.leftovers import Attempt

_COLUMNS = (
    Column("RUN", fold=True),
    Column("MODEL", fold=True),
    Column("EPOCH", right=True),
    Column("VALUE", fold=True),
    Column("SIZE", right=True),
    Column("AGE", right=True),
    Column("WAITS FOR", fold=True),
)


@click.command("publish")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("-p", "--project", help="The project that `wandb sync --project` put the run into.")
@click.option("-e", "--entity", help="The entity that `wandb sync --entity` put it into.")
@click.option("--id", "run_id", help="The id that `wandb sync --id` gave it, or of another run to publish into.")
@click.option("--dry-run", is_flag=True, help="Say what would be published, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before publishing.")
def command(paths: tuple[Path, ...], dry_run: bool, yes: bool, **place: Any) -> None:
    """Publish the checkpoints that are still on this disk because W&B was away, or a process was killed.

    Each goes into the run that it was saved in; an offline run that was synced to another project is found there.
    PATHS are folders of snapshots or of runs, wandb's folder, or what holds that; without any, wandb's own folder is
    looked at (./wandb, or WANDB_DIR).
    """
    with in_one_line():
        from wandb_ckpt.outbox.pending import find, why_held
        from wandb_ckpt.publishing.leftovers import moved, publish
        from wandb_ckpt.wandb_api.run import wandb_folder

        found = [moved(entry, **place) for entry in find(*(paths or (wandb_folder(),)))]
    if not found:
        say_aside("Nothing is pending here.")
        return
    held = [why_held(entry) for entry in found]
    say_table(_COLUMNS, map(_row, found, held))
    ready = [entry for entry, reason in zip(found, held, strict=True) if reason is None]
    if dry_run or not ready:
        return
    if not yes:
        click.confirm(f"Publish {len(ready)} of them?", abort=True)
    with in_one_line():
        failed = [attempt for attempt in publish(ready) if not _say(attempt)]
    if failed:
        raise Failure(f"{len(failed)} of {len(ready)} checkpoints are still pending.")


def _row(entry: "Entry[RunInfo]", held: str | None) -> tuple[str, ...]:
    run = "/".join(part for part in (entry.run.entity, entry.run.project, entry.run.id) if part)
    return (
        run,
        entry.name,
        epoch_of(entry),
        value_of(entry),
        size(entry.snapshot.size),
        age(entry.checkpoint.saved_at),
        held or "",
    )


def _say(attempt: "Attempt") -> bool:
    """Says what became of a checkpoint; returns whether it is a version now."""
    entry = attempt.entry
    what = f"{entry.name} epoch {epoch_of(entry)}"
    if attempt.version:
        say(f"{what} is {entry.name}:{attempt.version}")
    else:
        say_aside(f"{what} is still pending: {attempt.reason} ({entry.folder})")
    return attempt.version is not None
