"""`wandb-ckpt serve`: run the embedded W&B server."""

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
@click.option("--port", default=8080, show_default=True, help="Port to listen on. 0 chooses a free port.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_data_dir,
    show_default="in the user's application folder",
    help="Folder for all data: projects, runs, artifacts.",
)
@click.option(
    "--any-key",
    is_flag=True,
    help="Accept any key of 40 or more characters, each as a different user. Only for tests.",
)
@click.option("--gc", is_flag=True, help="Free the disk space of deleted data, and exit.")
def command(host: str, port: int, data_dir: Path, any_key: bool, gc: bool) -> None:
    """Run the embedded W&B server on this machine. Stop it with Ctrl-C.

    Any wandb client can use it: set WANDB_BASE_URL and WANDB_API_KEY as the first line of the output shows. The key
    is shown only once, at the first start with a data folder.
    """
    server = _server_module()
    try:
        if gc:
            click.echo(server.collect_garbage(data_dir))
        else:
            server.serve(data_dir, host=host, port=port, any_key=any_key, on_start=_print_started)
    except server.ServerError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:  # the usual way to stop it; uvicorn has already shut down, and raises it again
        click.echo("Stopped.")


def _server_module() -> "ModuleType":
    try:
        from wandb_ckpt import server
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    return server


def _print_started(info: "ServerInfo") -> None:
    key = info.new_api_key or ("<any 40 characters>" if info.any_key else "<the key of the first start>")
    click.echo(f"To use this server: export WANDB_BASE_URL={info.url} WANDB_API_KEY={key}")
    if info.new_api_key:
        click.echo("Save this API key: it is shown only now. The login page asks for the same key.")
    if info.any_key:
        click.secho(
            "--any-key is on: anyone who can reach this server has access. Use it only for tests.", fg="red", err=True
        )
    click.echo(f"Pages: {info.url} · Data: {info.data_dir} · To stop, press Ctrl-C")
