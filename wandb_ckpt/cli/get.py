"""`wandb-ckpt get`: download a checkpoint."""

import click

from wandb_ckpt.cli._failure import errors_in_one_line
from wandb_ckpt.cli._output import is_terminal, safe


@click.command("get")
@click.argument("ref")
@click.option(
    "--root", type=click.Path(file_okay=False), help="Folder to download to. Defaults to a folder of wandb."
)
def command(ref: str, root: str | None) -> None:
    """Download one version.

    Every file is checked against the version's manifest. The output is the path that Keras can load. REF names a
    version, for example digits/run_3j2t0k7n_model:best or entity/project/name:v3.
    """
    with errors_in_one_line():
        from wandb_ckpt import download

        path = download(ref, root)
    click.echo(safe(str(path)) if is_terminal() else path)
