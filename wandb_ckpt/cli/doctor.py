"""`wandb-ckpt doctor`: what a training would meet on this machine."""

from typing import Any

import click

from wandb_ckpt.cli._failure import Failure, in_one_line
from wandb_ckpt.cli._output import Column, say_table

_COLUMNS = (Column("WHAT"), Column("STATE"), Column("FOUND", fold=True))


class _SaveFreq(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.5
    """`epoch`, or a number of batches."""

    name = "epoch|BATCHES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """Returns `"epoch"` or a number."""
        if value == "epoch":
            return "epoch"
        return click.IntRange(min=1).convert(value, param, ctx)


@click.command("doctor")
@click.option("--filepath", help="Say what the callback would do with this path.")
@click.option("--monitor", default="val_loss", show_default=True, help="As in the callback, like all that follow.")
@click.option(
    "--mode", type=click.Choice(["auto", "min", "max"]), default="auto", show_default=True, help="See there."
)
@click.option("--save-best-only", is_flag=True, help="See there.")
@click.option("--save-weights-only", is_flag=True, help="See there.")
@click.option("--save-freq", type=_SaveFreq(), default="epoch", show_default=True, help="See there.")
def command(filepath: str | None, **arguments: Any) -> None:
    """Look at packages, login, server, disk and folders, and at what the callback would do.

    Exit code 1 when something is wrong.
    """
    with in_one_line():
        from wandb_ckpt.cli._checks import Intention, examine

        findings = list(examine(None if filepath is None else Intention(filepath=filepath, **arguments)))
    say_table(_COLUMNS, [(finding.name, finding.state, finding.text) for finding in findings])
    if wrong := [finding.name for finding in findings if finding.state == "wrong"]:
        raise Failure(f"{', '.join(wrong)}: something is wrong there.")
