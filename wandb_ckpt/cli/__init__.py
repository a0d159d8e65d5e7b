"""The `wandb-ckpt` command. Each subcommand calls one function of the library, and prints the result.

Each subcommand is a module. It imports slow modules only when it runs, so that `--help` is fast.
"""

import sys
from io import TextIOWrapper

import click

from wandb_ckpt.cli import diff, doctor, get, ls, plot, prune, publish, serve, show


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wandb-ckpt")
def main() -> None:
    """Work with Keras checkpoints that are versions of W&B artifacts."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # characters that the terminal can't encode are printed as escapes
            stream.reconfigure(errors="backslashreplace")


for _module in (ls, show, get, diff, plot, prune, publish, doctor, serve):
    main.add_command(_module.command)
