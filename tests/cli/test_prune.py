"""`wandb-ckpt prune`: what goes of a model on W&B, and what never does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import wandb

from terminal import Trained
from training import fit, logs_of
from wandb_ckpt.browsing import pruning
from wandb_ckpt.keras import WandbModelCheckpoint

# The best is the fourth, the second best the second.
VALUES = (6.0, 2.0, 5.0, 1.0, 4.0, 3.0)


@pytest.fixture
def model(start_run: Callable[..., Any]) -> str:
    """The path of a model with six versions of a run of its own."""
    with start_run() as run:
        fit(keras, [logs_of(keras, VALUES), WandbModelCheckpoint("m-{epoch}.keras")], epochs=len(VALUES))
        return f"{run.project}/run_{run.id}_model"


def versions(model: str) -> list[str]:
    """The versions that are left, oldest first."""
    return sorted(artifact.version for artifact in wandb.Api().artifacts("model", model))


def named(artifact_ref: str, alias: str) -> None:
    """Gives a version an alias, as a person does."""
    artifact = wandb.Api().artifact(artifact_ref)
    artifact.aliases.append(alias)
    artifact.save()


def what(output: str) -> dict[str, str]:
    """What the table says of each version."""
    rows = (line.split("\t") for line in output.splitlines() if line.startswith("v") and "\t" in line)
    return {row[0]: row[-1] for row in rows}


def test_the_newest_and_the_best_stay(command: Any, model: str, tmp_path: Path) -> None:
    """The newest two and the best two stay, the others are deleted, and best still fetches its bytes."""
    result = command("prune", model, "--keep-last", "2", "--keep-best", "2", "--yes")
    assert result.exit_code == 0
    assert versions(model) == ["v1", "v3", "v4", "v5"]
    assert result.output.splitlines()[-2:] == ["v0 deleted", "v2 deleted"]
    assert command("get", f"{model}:best", "--root", str(tmp_path)).exit_code == 0
    assert (tmp_path / "m-4.keras").read_bytes() == Path("m-4.keras").read_bytes()
    again = command("prune", model, "--keep-last", "2", "--keep-best", "2")
    assert (again.exit_code, again.stderr) == (0, "Nothing to delete.\n")


def test_a_dry_run_says_all_and_deletes_nothing(command: Any, model: str) -> None:
    """Every version is told with what would become of it, and nothing is deleted."""
    result = command("prune", model, "--keep-best", "2", "--dry-run")
    assert result.exit_code == 0
    assert what(result.output) == {
        "v5": "keep: alias 'latest'",
        "v4": "delete",
        "v3": "keep: best 2, alias 'best'",
        "v2": "delete",
        "v1": "keep: best 2",
        "v0": "delete",
    }
    assert result.stderr.startswith("3 versions (")
    assert len(versions(model)) == 6


def test_the_mode_can_be_given(command: Any, model: str) -> None:
    """Which values are better is what the newest version says, or what the user says."""
    result = command("prune", model, "--keep-best", "1", "--mode", "max", "--dry-run")
    assert what(result.output)["v0"] == "keep: best 1"


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_goes_without_a_yes(command: Any, model: str, answer: str) -> None:
    """Anything but yes, the end of the input too, deletes nothing."""
    result = command("prune", model, "--keep-last", "1", input=answer)
    assert result.exit_code == 1
    assert "Delete 4 versions (" in result.stderr
    assert len(versions(model)) == 6


def test_a_yes_is_enough(command: Any, model: str) -> None:
    """Yes deletes."""
    assert command("prune", model, "--keep-last", "1", input="y\n").exit_code == 0
    assert versions(model) == ["v3", "v5"]


def test_what_somebody_holds_stays(command: Any, model: str, start_run: Callable[..., Any]) -> None:
    """An alias that a person set, a link, and a version of another run stay whatever is asked."""
    named(f"{model}:v0", "prod")
    project, name = model.split("/")
    with start_run() as other:
        other.link_artifact(wandb.Api().artifact(f"{model}:v2"), "shelf")
        fit(keras, [WandbModelCheckpoint("other.keras", artifact_name=name)], epochs=1)
    result = command("prune", model, "--keep-last", "0", "--yes")
    assert result.exit_code == 0
    assert what(result.output) == {
        "v6": "keep: alias 'latest', logged by another run",
        "v5": "delete",
        "v4": "delete",
        "v3": "keep: alias 'best'",
        "v2": "keep: linked",
        "v1": "delete",
        "v0": "keep: alias 'prod'",
    }
    assert versions(model) == ["v0", "v2", "v3", "v6"]
    (link,) = json.loads(command("ls", f"{project}/shelf", "--json").output)
    assert (link["version"], link["is_link"], link["size"]) == ("v0", True, Path("m-3.keras").stat().st_size)


def test_a_name_of_the_users_belongs_to_the_run_that_logged_last(command: Any, start_run: Callable[..., Any]) -> None:
    """Under a name that is no run's, the versions of the newest version's run are pruned, earlier runs' stay."""
    for _ in range(2):
        with start_run() as run:
            callback = WandbModelCheckpoint("m.keras", artifact_name="digits-cnn")
            fit(keras, [logs_of(keras, [3.0, 1.0, 2.0]), callback], epochs=3)
    result = command("prune", f"{run.project}/digits-cnn", "--keep-last", "1", "--yes")
    others = {number for number, word in what(result.output).items() if "logged by another run" in word}
    assert others == {"v0", "v1", "v2"}
    assert set(versions(f"{run.project}/digits-cnn")) >= {"v0", "v1", "v2", "v5"}
    assert "v3" not in versions(f"{run.project}/digits-cnn")


def test_what_is_taken_while_the_user_thinks_stays(model: str) -> None:
    """A version that gets an alias, or is deleted, between the plan and the deletion is left alone, and told."""
    plan = pruning.plan(model, newest=1)
    named(f"{model}:v1", "prod")
    wandb.Api().artifact(f"{model}:v2").delete(delete_aliases=True)
    done = {deletion.version.version: deletion.reason for deletion in pruning.delete_versions(plan)}
    taken = {"v1": "there is a new reason to keep it: alias 'prod'", "v2": "somebody else has deleted it"}
    assert done == {"v0": "", **taken, "v4": ""}
    assert versions(model) == ["v1", "v3", "v5"]


def test_links_are_not_pruned(command: Any, model: str, start_run: Callable[..., Any]) -> None:
    """A collection of links is no model that a run logged."""
    with start_run() as run:
        run.link_artifact(wandb.Api().artifact(f"{model}:v2"), "shelf")
    result = command("prune", f"{run.project}/shelf", "--keep-last", "0", "--yes")
    assert result.exit_code == 1
    assert "has only links to versions of other models" in result.output


def test_usage(command: Any, trained: Trained) -> None:
    """Without a number to keep, or with a negative one, it is a matter of usage: exit code 2."""
    assert command("prune", trained.path).exit_code == 2
    assert command("prune", trained.path, "--keep-last", "-1").exit_code == 2
    assert command("prune", f"{trained.path}-none", "--keep-last", "1").exit_code == 1


def test_best_without_a_mode_is_one_line(command: Any, start_run: Callable[..., Any]) -> None:
    """Where no version says which values are better, keeping the best is refused."""
    with start_run() as run:
        artifact = wandb.Artifact("plain", type="model")
        with artifact.new_file("w.txt") as file:
            file.write("w")
        run.log_artifact(artifact).wait()
    result = command("prune", f"{run.project}/plain", "--keep-best", "1", "--yes")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "expected a mode" in result.output


def test_on_a_terminal_it_asks(on_terminal: Any, trained: Trained) -> None:
    """The table and the amount fit on a terminal."""
    shown = on_terminal("prune", trained.path, "--keep-last", "1", "--dry-run")
    assert shown.exit_code == 0
    assert "delete" in shown.output
