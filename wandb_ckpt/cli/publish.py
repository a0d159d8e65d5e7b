"""`wandb-ckpt publish`: publish the checkpoints on this disk that are not published yet."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wandb_ckpt.cli._facts import epoch_of, value_of
from wandb_ckpt.cli._failure import Failure, errors_in_one_line
from wandb_ckpt.cli._output import Column, age, print_line, print_note, print_table, size

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
@click.option("-p", "--project", help="The project of the run, if `wandb sync --project` moved it.")
@click.option("-e", "--entity", help="The entity of the run, if `wandb sync --entity` moved it.")
@click.option("--id", "run_id", help="The id of the run, if `wandb sync --id` changed it, or that of another run.")
@click.option("--dry-run", is_flag=True, help="Only show what would be published.")
@click.option("--yes", is_flag=True, help="Publish without asking.")
def command(paths: tuple[Path, ...], dry_run: bool, yes: bool, **place: Any) -> None:
    """Publish checkpoints that are only on this disk.

    They are there because W&B was unreachable, or because a process was killed. Each checkpoint is published into the
    run that saved it, also if an offline run was synced to another project. PATHS are folders of snapshots or runs, a
    wandb folder, or its parent folder. The default is wandb's own folder (./wandb, or WANDB_DIR).
    """
    with errors_in_one_line():
        from wandb_ckpt.outbox.find_pending import find, why_held
        from wandb_ckpt.publishing.leftovers import moved, publish
        from wandb_ckpt.wandb_api.run import wandb_folder

        found = [moved(entry, **place) for entry in find(*(paths or (wandb_folder(),)))]
    if not found:
        print_note("Nothing to publish.")
        return
    held = [why_held(entry) for entry in found]
    print_table(_COLUMNS, map(_row, found, held))
    ready = [entry for entry, reason in zip(found, held, strict=True) if reason is None]
    if dry_run or not ready:
        return
    if not yes:
        click.confirm(f"Publish {len(ready)} of {len(found)} checkpoints?", abort=True)
    with errors_in_one_line():
        failed = [attempt for attempt in publish(ready) if not _print(attempt)]
    if failed:
        raise Failure(
            f"{len(failed)} of {len(ready)} checkpoints were not published. The lines above say why. To try "
            "again, run the same command."
        )


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


def _print(attempt: "Attempt") -> bool:
    """Print the result for one checkpoint. Return whether it is published."""
    entry = attempt.entry
    checkpoint = f"{entry.name} epoch {epoch_of(entry)}"
    if attempt.version:
        print_line(f"{checkpoint} published as {entry.name}:{attempt.version}")
    else:
        print_note(f"{checkpoint} not published: {attempt.reason} ({entry.folder})")
    return attempt.version is not None
