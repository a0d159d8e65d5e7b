"""`wandb-ckpt show` and `get`: one version."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from terminal import HOSTILE, Trained
from training import contents


def facts(output: str) -> dict[str, str]:
    """Piped facts by name."""
    return dict(line.split("\t", 1) for line in output.split("\n\n")[0].splitlines())


def test_everything_about_a_version(command: Any, trained: Trained) -> None:
    """The value, the moment, the run, the logs, the user's metadata, the files."""
    result = command("show", f"{trained.path}:best")
    assert result.exit_code == 0
    seen = facts(result.output)
    assert seen["version"] == f"{trained.entity}/{trained.path}:v1"
    assert seen["aliases"] == "best epoch_1"
    assert seen["monitored"] == "val_loss = 0.5, the best so far"
    assert seen["epoch"] == "1, step 8"
    assert seen["logged by"] == f"{trained.entity}/{trained.project}/{trained.name.split('_')[1]}"
    assert seen["log val_loss"] == "0.5"
    assert seen["metadata data.rows"] == "64"
    assert "metadata monitor" not in seen
    assert result.output.splitlines()[-1].startswith("m-2.keras\t")


def test_json(command: Any, trained: Trained) -> None:
    """The record with every field; nothing is made harmless in it but by JSON itself."""
    seen = json.loads(command("show", f"{trained.path}:v2", "--json").output)
    assert seen["ref"] == f"{trained.entity}/{trained.path}:v2"
    assert seen["version"]["metadata"]["note"] == HOSTILE
    assert [file["name"] for file in seen["files"]] == ["m-3.keras"]


def test_nothing_steers_the_terminal(on_terminal: Any, command: Any, trained: Trained) -> None:
    """Escape sequences in metadata are shown, not obeyed, and markup is shown as it is."""
    made_visible = "[red]x[/red] \\x1b[31mred\\x1b]0;title\\x07 \\u202etxt"
    assert made_visible in on_terminal("show", f"{trained.path}:v0", columns=120).output
    assert facts(command("show", f"{trained.path}:v0").output)["metadata note"] == made_visible


def test_another_programs_metadata_is_all_shown(command: Any, start_run: Callable[..., Any]) -> None:
    """Names that are ours too, with other things in them, and markup in an alias, break nothing."""
    import wandb

    metadata = {"monitor": 5, "value": "x", "epoch": "3", "logs": 7, "file": 9, "format": []}
    with start_run() as run:
        artifact = wandb.Artifact("m", type="model", metadata=metadata)
        with artifact.new_file("w.txt") as file:
            file.write("w")
        run.log_artifact(artifact, aliases=["[red]"]).wait()
    seen = facts(command("show", f"{run.project}/m:[red]").output)
    assert {name: seen[f"metadata {name}"] for name in metadata} == {
        name: str(value) for name, value in metadata.items()
    }
    assert command("ls", f"{run.project}/m").output.splitlines()[1].startswith("v0\t\t")


def test_get_prints_where_the_file_is(command: Any, trained: Trained, tmp_path: Path) -> None:
    """The file comes whole, and its path alone is on stdout."""
    result = command("get", f"{trained.path}:best", "--root", str(tmp_path / "model"))
    assert result.exit_code == 0
    path = Path(result.stdout.removesuffix("\n"))
    assert path == tmp_path / "model" / "m-2.keras"
    assert contents(path.parent)["m-2.keras"] == contents(trained.folder)["m-2.keras"]


@pytest.mark.parametrize("name", ["show", "get"])
@pytest.mark.parametrize("ref", ["{path}:v99", "{path}-none:best", "best", "a/b", ""])
def test_a_version_that_is_not_there_is_one_line(command: Any, trained: Trained, name: str, ref: str) -> None:
    """A ref that names nothing is one line, and exit code 1."""
    result = command(name, ref.format(path=trained.path))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1


def test_usage_is_exit_code_2(command: Any) -> None:
    """A command without its argument is a matter of usage."""
    assert command("show").exit_code == 2


def test_no_login_is_one_line_on_a_terminal_too(on_terminal: Any, trained: Trained, tmp_path: Path) -> None:
    """Without a login nobody is asked for a key: it is an error that says how to log in."""
    shown = on_terminal("ls", WANDB_API_KEY="", NETRC=str(tmp_path / "netrc"))
    assert shown.exit_code == 1
    assert shown.output.count("\n") == 1
    assert "wandb login" in shown.output


def test_a_server_that_is_away_is_one_line(on_terminal: Any, port: int) -> None:
    """Nobody at the other end is an error within the time that wandb takes for one call."""
    shown = on_terminal("ls", WANDB_BASE_URL=f"http://127.0.0.1:{port}", WANDB_HTTP_TIMEOUT="3")
    assert shown.exit_code == 1
    assert shown.output.count("\n") == 1
    assert f"http://127.0.0.1:{port}" in shown.output


def test_a_reader_that_stops_early_is_no_traceback(trained: Trained) -> None:
    """`wandb-ckpt ls | head -1` ends quietly."""
    line = f"{sys.executable} -m wandb_ckpt ls {trained.path} | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("VERSION")
    assert "Traceback" not in done.stderr
