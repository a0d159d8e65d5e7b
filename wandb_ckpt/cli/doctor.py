"""`wandb-ckpt doctor`: check packages, login, server, disk, folders and the callback's arguments."""

from typing import Any

import click

from wandb_ckpt.cli._failure import Failure, errors_in_one_line
from wandb_ckpt.cli._output import Column, print_table

_COLUMNS = (Column("CHECK"), Column("STATUS"), Column("DETAILS", fold=True))


class _SaveFreq(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.5
    """`epoch`, or a number of batches."""

    name = "epoch|BATCHES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """Return `"epoch"` or a number of batches."""
        if value == "epoch":
            return "epoch"
        return click.IntRange(min=1).convert(value, param, ctx)


@click.command("doctor")
@click.option("--filepath", help="Also check the callback with this path, and show what it would do.")
@click.option("--monitor", default="val_loss", show_default=True, help="The callback's monitor argument.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "min", "max"]),
    default="auto",
    show_default=True,
    help="The callback's mode argument.",
)
@click.option("--save-best-only", is_flag=True, help="The callback's save_best_only argument.")
@click.option("--save-weights-only", is_flag=True, help="The callback's save_weights_only argument.")
@click.option(
    "--save-freq", type=_SaveFreq(), default="epoch", show_default=True, help="The callback's save_freq argument."
)
def command(filepath: str | None, **arguments: Any) -> None:
    """Check packages, login, server, disk and folders.

    With --filepath, also check the callback's arguments, and show what it would do. The exit code is 1 if a check
    failed.
    """
    with errors_in_one_line():
        from wandb_ckpt.cli._checks import CallbackArguments, run_checks

        results = list(run_checks(None if filepath is None else CallbackArguments(filepath=filepath, **arguments)))
    print_table(_COLUMNS, [(result.name, result.status, result.text) for result in results])
    if failed := [result.name for result in results if result.status == "failed"]:
        raise Failure(f"{len(failed)} check{'s' if len(failed) > 1 else ''} failed: {', '.join(failed)}.")
