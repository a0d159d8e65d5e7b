"""`wandb-ckpt prune`: delete old versions of a model on W&B."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from wandb_ckpt.cli._facts import value_of
from wandb_ckpt.cli._failure import Failure, errors_in_one_line
from wandb_ckpt.cli._output import Column, print_line, print_note, print_table, safe, size

if TYPE_CHECKING:
    from wandb_ckpt.browsing.listing import Version
    from wandb_ckpt.browsing.pruning import Plan

_COLUMNS = (
    Column("VERSION"),
    Column("VALUE", fold=True),
    Column("ALIASES", fold=True),
    Column("SIZE", right=True),
    Column("ACTION", fold=True),
)


@click.command("prune")
@click.argument("name")
@click.option("--keep-last", type=click.IntRange(min=0), help="Number of newest versions to keep.")
@click.option(
    "--keep-best", type=click.IntRange(min=0), help="Number of versions with the best monitored values to keep."
)
@click.option(
    "--mode",
    type=click.Choice(["min", "max"]),
    help="Whether lower or higher values are better. Defaults to the mode in the newest version's metadata.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def command(
    name: str,
    keep_last: int | None,
    keep_best: int | None,
    mode: Literal["min", "max"] | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete versions of a model, except the newest and the best.

    The versions are shown first, and you are asked. NAME is [ENTITY/]PROJECT/NAME. A version is never deleted if it
    is best or latest, if it is linked, if another run logged it, or if it has an alias that the callback did not set.
    """
    if keep_last is None and keep_best is None:
        raise click.UsageError("Number of versions to keep is missing: pass --keep-last N, --keep-best K, or both.")
    with errors_in_one_line():
        from wandb_ckpt.browsing.pruning import plan

        found = plan(name, keep_last or 0, keep_best or 0, mode)
    print_table(_COLUMNS, [_row(version, found) for version in found.versions])
    if not found.to_delete:
        print_note("Nothing to delete.")
    elif dry_run:
        print_note(f"{_amount(found.to_delete)} would be deleted.")
    else:
        if not yes:
            click.confirm(safe(f"Delete {_amount(found.to_delete)} of {name}?"), abort=True, err=True)
        _delete(found)


def _delete(found: "Plan") -> None:
    with errors_in_one_line():
        from wandb_ckpt.browsing.pruning import delete_versions

        done = []
        for deletion in delete_versions(found):
            done.append(deletion)
            result = f"not deleted: {deletion.reason}" if deletion.reason else "deleted"
            print_line(f"{deletion.version.version} {result}")
    if left := [deletion for deletion in done if deletion.reason]:
        raise Failure(f"{len(left)} of {len(done)} versions were not deleted. The lines above say why.")


def _row(version: "Version", found: "Plan") -> tuple[str, ...]:
    reason = found.kept.get(version.number)
    action = "delete" if reason is None else f"keep: {reason}"
    return version.version, value_of(version), " ".join(version.aliases), size(version.size), action


def _amount(versions: "Sequence[Version]") -> str:
    total = size(sum(version.size for version in versions))
    return f"{len(versions)} version{'s' if len(versions) > 1 else ''} ({total})"
