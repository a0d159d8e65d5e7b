"""`wandb-ckpt prune`: deletes old versions of a model on W&B."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from wandb_ckpt.cli._facts import value_of
from wandb_ckpt.cli._failure import Failure, in_one_line
from wandb_ckpt.cli._output import Column, safe, say, say_aside, say_table, size

if TYPE_CHECKING:
    from wandb_ckpt.browsing.listing import Version
    from wandb_ckpt.browsing.pruning import Plan

_COLUMNS = (
    Column("VERSION"),
    Column("VALUE", fold=True),
    Column("ALIASES", fold=True),
    Column("SIZE", right=True),
    Column("WHAT", fold=True),
)


@click.command("prune")
@click.argument("name")
@click.option("--keep-last", type=click.IntRange(min=0), help="Keep so many of the newest versions.")
@click.option("--keep-best", type=click.IntRange(min=0), help="Keep so many of those with the best monitored value.")
@click.option(
    "--mode",
    type=click.Choice(["min", "max"]),
    help="Whether lower or higher values are better; by default what the newest version says.",
)
@click.option("--dry-run", is_flag=True, help="Show what would go, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(
    name: str,
    keep_last: int | None,
    keep_best: int | None,
    mode: Literal["min", "max"] | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete versions of a model, but for the newest and the best. Shows what would go, and asks.

    NAME is [ENTITY/]PROJECT/NAME. Never deleted are best, latest, versions with an alias that the callback did not
    set, linked ones, and those that another run logged.
    """
    if keep_last is None and keep_best is None:
        raise click.UsageError("Say how many to keep: --keep-last N, --keep-best K, or both.")
    with in_one_line():
        from wandb_ckpt.browsing.pruning import plan

        found = plan(name, keep_last or 0, keep_best or 0, mode)
    say_table(_COLUMNS, [_row(version, found) for version in found.versions])
    if not found.gone:
        say_aside("Nothing goes.")
    elif dry_run:
        say_aside(f"{_amount(found.gone)} would go.")
    else:
        if not yes:
            click.confirm(safe(f"Delete {_amount(found.gone)} of {name}?"), abort=True, err=True)
        _carry_out(found)


def _carry_out(found: "Plan") -> None:
    with in_one_line():
        from wandb_ckpt.browsing.pruning import carry_out

        done = []
        for deletion in carry_out(found):
            done.append(deletion)
            say(f"{deletion.version.version} {deletion.reason and 'stays: '}{deletion.reason or 'deleted'}")
    if left := [deletion for deletion in done if deletion.reason]:
        raise Failure(f"{len(left)} of {len(done)} versions were not deleted.")


def _row(version: "Version", found: "Plan") -> tuple[str, ...]:
    reason = found.kept.get(version.number)
    what = "goes" if reason is None else f"stays: {reason}"
    return version.version, value_of(version), " ".join(version.aliases), size(version.size), what


def _amount(versions: "Sequence[Version]") -> str:
    total = size(sum(version.size for version in versions))
    return f"{len(versions)} version{'s' if len(versions) > 1 else ''} ({total})"
