"""`wandb-ckpt get`: a checkpoint's files onto this disk."""

import click

from wandb_ckpt.cli._failure import in_one_line
from wandb_ckpt.cli._output import is_terminal, safe


@click.command("get")
@click.argument("ref")
@click.option(
    "--root", type=click.Path(file_okay=False), help="Folder to download to; by default one of wandb's own."
)
def command(ref: str, root: str | None) -> None:
    """Download one version, check every file, and print the path that Keras can load.

    REF is such as digits/run_3j2t0k7n_model:best, or entity/project/name:v3.
    """
    with in_one_line():
        from wandb_ckpt import download

        path = download(ref, root)
    click.echo(safe(str(path)) if is_terminal() else path)
