"""The `wandb-ckpt` command."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from types import ModuleType


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wandb-ckpt")
def main() -> None:
    """Keras checkpoints as versions of W&B artifacts."""


def _default_data_dir() -> Path:
    return Path(click.get_app_dir("wandb-ckpt")) / "server"


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_data_dir,
    show_default="in the user's application folder",
    help="Folder that keeps everything: projects, runs, artifacts.",
)
@click.option("--any-key", is_flag=True, help="For tests: any key of 40 or more characters is a user of its own.")
@click.option("--gc", is_flag=True, help="Free the space of deleted versions, and exit.")
def serve(host: str, port: int, data_dir: Path, any_key: bool, gc: bool) -> None:
    """Run the embedded W&B server on this machine until Ctrl-C.

    Any wandb client can use it: set WANDB_BASE_URL and WANDB_API_KEY to what the first lines say. The key is
    shown once, when the data folder is new.
    """
    server = _server_module()
    if gc:
        click.echo(server.collect_garbage(data_dir))
        return
    try:
        server.serve(data_dir, host=host, port=port, any_key=any_key, on_start=_say_started)
    except OSError as error:
        raise click.ClickException(str(error)) from error


def _server_module() -> "ModuleType":
    try:
        from wandb_ckpt import server
    except ImportError as error:
        raise click.ClickException(
            f"the embedded server needs packages that are not installed ({error.name}): "
            "pip install 'wandb-ckpt[server]'"
        ) from error
    return server


def _say_started(info: object) -> None:
    click.echo(str(info))
