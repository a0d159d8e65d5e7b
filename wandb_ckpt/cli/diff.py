"""`wandb-ckpt diff`: what differs between two versions."""

from typing import TYPE_CHECKING

import click

from wandb_ckpt.cli._failure import Failure, in_one_line
from wandb_ckpt.cli._output import Column, flat, number, say, say_aside, say_table, size

if TYPE_CHECKING:
    from wandb_ckpt.browsing.diff import Change, Difference
    from wandb_ckpt.formats.layer_changes import LayerChange

_METADATA = (Column("METADATA", fold=True), Column("FIRST", fold=True), Column("SECOND", fold=True))
_FILES = (Column("FILE", fold=True), Column("FIRST", right=True), Column("SECOND", right=True))
_LAYERS = (
    Column("LAYER", fold=True),
    Column("WHAT"),
    Column("LARGEST |Δ|", right=True),
    Column("RELATIVE Δ", right=True),
    Column("NOTES", fold=True),
)


class Trouble(Failure):
    """What ends the command with one line, and diff(1)'s exit code for trouble."""

    exit_code = 2


@click.command("diff")
@click.argument("first")
@click.argument("second")
@click.pass_context
def command(context: click.Context, first: str, second: str) -> None:
    """Show what differs between two versions: metadata, files, and the weights of which layers, by how much.

    FIRST and SECOND are such as digits/run_3j2t0k7n_model:best. Weights are compared in .keras, .weights.h5 and .h5
    files: the largest difference of two values, and the L2 norm of the difference divided by the first's. Exit codes
    are those of diff(1): 0 when nothing differs, 1 when something does, 2 for trouble.
    """
    with in_one_line(Trouble):
        from wandb_ckpt.browsing.diff import compare

        found = compare(first, second)
    if not found:
        say_aside("Nothing differs.")
        return
    _say(found)
    context.exit(1)


def _say(found: "Difference") -> None:
    say(f"first   {found.old.ref}")
    say(f"second  {found.new.ref}")
    if found.metadata:
        say()
        say_table(_METADATA, [(each.name, flat(each.old), flat(each.new)) for each in found.metadata])
    if found.files:
        say()
        say_table(_FILES, map(_file_row, found.files))
    say()
    if found.why_no_layers:
        say(f"Weights: {found.why_no_layers}.")
        return
    changed = [layer for layer in found.layers if layer.state != "same"]
    if changed:
        say_table(_LAYERS, map(_layer_row, changed))
    say(f"Weights: {len(changed)} of {len(found.layers)} layers differ.")


def _file_row(change: "Change") -> tuple[str, ...]:
    return change.name, *(size(file.size) if file else "" for file in (change.old, change.new))


def _layer_row(change: "LayerChange") -> tuple[str, ...]:
    return change.layer, change.state, number(change.largest), number(change.relative), "; ".join(change.notes)
