"""`wandb-ckpt serve`: the embedded W&B server."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from types import ModuleType

    from wandb_ckpt.server import ServerInfo


def _default_data_dir() -> Path:
    return Path(click.get_app_dir("wandb-ckpt")) / "server"


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on. 0 takes a free one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_data_dir,
    show_default="in the user's application folder",
    help="Folder for all data: projects, runs, artifacts.",
)
@click.option("--any-key", is_flag=True, help="For tests: accept any key of 40 or more characters.")
@click.option("--gc", is_flag=True, help="Free the space of deleted data, and exit.")
def command(host: str, port: int, data_dir: Path, any_key: bool, gc: bool) -> None:
    """Run the embedded W&B server on this machine until Ctrl-C.

    Any wandb client can use it: set WANDB_BASE_URL and WANDB_API_KEY as the first line says. The key is shown
    once, on the first start with a data folder.
    """
    server = _server_module()
    try:
        if gc:
            click.echo(server.collect_garbage(data_dir))
        else:
            server.serve(data_dir, host=host, port=port, any_key=any_key, on_start=_say_started)
    except server.ServerError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:  # Ctrl-C: uvicorn has shut down and passes it on
        click.echo("Stopped.")


def _server_module() -> "ModuleType":
    try:
        from wandb_ckpt import server
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    return server


def _say_started(info: "ServerInfo") -> None:
    key = info.new_api_key or ("<any 40 characters>" if info.any_key else "<the key of the first start>")
    click.echo(f"Point wandb at it: export WANDB_BASE_URL={info.url} WANDB_API_KEY={key}")
    if info.new_api_key:
        click.echo("This key is shown only now. You also need it to log in to the pages.")
    if info.any_key:
        click.secho(
            "--any-key is on: everybody who can reach this server can use it. For tests only.", fg="red", err=True
        )
    click.echo(f"Pages at {info.url} · data in {info.data_dir} · press Ctrl-C to stop")
