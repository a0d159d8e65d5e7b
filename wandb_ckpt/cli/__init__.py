"""The `wandb-ckpt` command: each subcommand is one call of the library, and the words for what came of it.

One module per subcommand; what is heavy is imported when a subcommand runs, so that `--help` is quick.
"""

import sys
from io import TextIOWrapper

import click

from wandb_ckpt.cli import diff, doctor, get, ls, plot, prune, publish, serve, show


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wandb-ckpt")
def main() -> None:
    """Keras checkpoints as versions of W&B artifacts."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal without unicode can't show is shown by its code
            stream.reconfigure(errors="backslashreplace")


for _module in (ls, show, get, diff, plot, prune, publish, doctor, serve):
    main.add_command(_module.command)
