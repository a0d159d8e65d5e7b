"""`wandb-ckpt ls`: what there is."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from terminal import Trained


def cells(output: str) -> list[list[str]]:
    """The cells of piped output, without the ages, which move."""
    return [line.split("\t")[:-1] for line in output.splitlines()]


def test_versions(command: Any, trained: Trained) -> None:
    """Each version with its value, aliases, epoch and size, newest first."""
    result = command("ls", trained.path)
    assert result.exit_code == 0
    rows = cells(result.output)
    assert rows[0] == ["VERSION", "VALUE", "ALIASES", "EPOCH", "SIZE"]
    assert [row[:4] for row in rows[1:]] == [
        ["v2", "val_loss 0.75", "latest epoch_2", "2"],
        ["v1", "val_loss 0.5", "best epoch_1", "1"],
        ["v0", "val_loss 1", "epoch_0", "0"],
    ]
    assert all(row[4].endswith(" kB") for row in rows[1:])


def test_models(command: Any, trained: Trained) -> None:
    """Each model with the value and epoch of its best version."""
    rows = cells(command("ls", trained.project).output)
    assert [trained.name, "3", "val_loss 0.5", "1"] in [row[:4] for row in rows]


def test_projects(command: Any, trained: Trained) -> None:
    """One's own projects, or those of an entity."""
    for arguments in (["ls"], ["ls", f"{trained.entity}/"]):
        assert [f"{trained.entity}/{trained.project}"] in cells(command(*arguments).output)


def test_two_parts_may_be_an_entity_and_a_project(command: Any, trained: Trained) -> None:
    """`entity/project` lists models, where no model has that name; three parts list versions."""
    assert command("ls", f"{trained.entity}/{trained.project}").output.startswith("MODEL\t")
    full, short = (cells(command("ls", path).output) for path in (f"{trained.entity}/{trained.path}", trained.path))
    assert full == short


def test_json_has_all_that_is_known(command: Any, trained: Trained) -> None:
    """The records with every field, and each version's full ref."""
    newest, *_ = json.loads(command("ls", trained.path, "--json").output)
    assert newest["ref"] == f"{trained.entity}/{trained.path}:v2"
    assert newest["aliases"] == ["latest", "epoch_2"]
    assert newest["metadata"]["value"] == 0.75
    (model,) = json.loads(command("ls", trained.project, "--json").output)
    assert [version["version"] for version in model["versions"]] == ["v2", "v1", "v0"]


def test_an_empty_project_is_no_error(command: Any, start_run: Callable[..., Any]) -> None:
    """A project without models says so on stderr, and JSON is an empty list."""
    with start_run() as run:
        run.log({"a": 1})
    result = command("ls", run.project)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no models" in result.stderr
    assert json.loads(command("ls", run.project, "--json").stdout) == []


@pytest.mark.parametrize("path", ["nowhere", "no/where", "no/where/at-all", "a/b/c/d", "a//b", "x:v1"])
def test_what_is_not_there_is_one_line(command: Any, path: str) -> None:
    """A path that names nothing is one line that says what was expected, and exit code 1."""
    result = command("ls", path)
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "expected" in result.output


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal(on_terminal: Any, trained: Trained, columns: int) -> None:
    """A terminal gets a table that fits, with nothing cut off."""
    shown = on_terminal("ls", trained.project, columns=columns)
    assert shown.exit_code == 0
    assert trained.name in shown.output
    assert "…" not in shown.output
