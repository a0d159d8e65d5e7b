"""`wandb-ckpt diff`: show the differences between two versions."""

from typing import TYPE_CHECKING

import click

from wandb_ckpt.cli._failure import Failure, errors_in_one_line
from wandb_ckpt.cli._output import Column, number, one_line, print_line, print_note, print_table, size

if TYPE_CHECKING:
    from wandb_ckpt.browsing.diff import Change, Difference
    from wandb_ckpt.formats.layer_changes import LayerChange

_METADATA = (Column("METADATA", fold=True), Column("FIRST", fold=True), Column("SECOND", fold=True))
_FILES = (Column("FILE", fold=True), Column("FIRST", right=True), Column("SECOND", right=True))
_LAYERS = (
    Column("LAYER", fold=True),
    Column("CHANGE"),
    Column("LARGEST |Δ|", right=True),
    Column("RELATIVE Δ", right=True),
    Column("NOTES", fold=True),
)


class Trouble(Failure):
    """An error that ends the command with one line and exit code 2, as in diff(1)."""

    exit_code = 2


@click.command("diff")
@click.argument("first")
@click.argument("second")
@click.pass_context
def command(context: click.Context, first: str, second: str) -> None:
    """Show the differences between two versions.

    They are in metadata, files, and the weights of each layer. FIRST and SECOND name versions, for example
    digits/run_3j2t0k7n_model:best. Weights are compared in .keras, .weights.h5 and .h5 files: the largest absolute
    difference of two values, and the L2 norm of the difference divided by the L2 norm of the first version's values.
    The exit code is 0 if there are no differences, 1 if there are, and 2 if an error occurs, as in diff(1).
    """
    with errors_in_one_line(Trouble):
        from wandb_ckpt.browsing.diff import compare

        found = compare(first, second)
    if not found:
        print_note("No differences.")
        return
    _print(found)
    context.exit(1)


def _print(found: "Difference") -> None:
    print_line(f"first   {found.old.ref}")
    print_line(f"second  {found.new.ref}")
    if found.metadata:
        print_line()
        print_table(_METADATA, [(each.name, one_line(each.old), one_line(each.new)) for each in found.metadata])
    if found.files:
        print_line()
        print_table(_FILES, map(_file_row, found.files))
    print_line()
    if found.why_no_layers:
        print_line(f"Weights: {found.why_no_layers}.")
        return
    changed = [layer for layer in found.layers if layer.state != "same"]
    if changed:
        print_table(_LAYERS, map(_layer_row, changed))
    print_line(f"Weights: {len(changed)} of {len(found.layers)} layers differ.")


def _file_row(change: "Change") -> tuple[str, ...]:
    return change.name, *(size(file.size) if file else "" for file in (change.old, change.new))


def _layer_row(change: "LayerChange") -> tuple[str, ...]:
    return change.layer, change.state, number(change.largest), number(change.relative), "; ".join(change.notes)
