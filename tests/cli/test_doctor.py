"""`wandb-ckpt doctor`: what a training would meet here."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import ran


def findings(result: Any) -> dict[str, tuple[str, str]]:
    """State and text by name."""
    rows = (line.split("\t") for line in result.stdout.splitlines()[1:])
    return {name: (state, text) for name, state, text in rows}


def test_all_is_well(command: Any, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a login, a server and folders to write to nothing is wrong: exit code 0."""
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    result = command("doctor")
    found = findings(result)
    assert result.exit_code == 0
    assert found["login"] == ("ok", f"as local at {server.url}")
    assert found["runs"][1].startswith(f"{tmp_path}: ")
    assert found["wandb"] == ("ok", __import__("wandb").__version__)
    assert "failed" not in {state for state, _ in found.values()}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("installed", "state"),
    [
        ("3.5.0", "warning"),
        ("3.12.3", "warning"),
        ("3.12.4", "ok"),
        ("3.13.2", "warning"),
        ("3.15.0", "warning"),
        ("3.15.1", "ok"),
    ],
)
def test_a_keras_without_all_fixes_is_named(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: str, state: str
) -> None:
    """A Keras that lacks fixes for hostile files is a warning that says why, and which ones have them."""
    metadata = tmp_path / f"keras-{installed}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: keras\nVersion: {installed}\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = findings(command("doctor"))["keras"]
    assert (found[0], found[1].split(" ")[0]) == (state, installed)
    assert ("malicious" in found[1] and "3.15.1" in found[1] and "3.12.4" in found[1]) == (state == "warning")


@pytest.mark.parametrize(
    ("arguments", "saves", "monitor", "versions"),
    [
        (
            [],
            "every epoch, in the format keras: m-{epoch}.keras, with epoch filled in",
            "val_loss: lower is better",
            "epoch_3",
        ),
        (
            ["--monitor", "val_acc", "--save-best-only", "--save-freq", "100"],
            "every 100 batches if val_acc is the best so far, in the format keras",
            "val_acc: higher is better",
            "epoch_3_batch_99",
        ),
        (["--monitor", "mine", "--mode", "max"], "every epoch", "mine: higher is better", "epoch_3"),
        (["--monitor", "mine"], "every epoch", "mine: it depends on the model's metric", "epoch_3"),
    ],
)
def test_what_the_callback_would_do(
    command: Any, tmp_path: Path, arguments: list[str], saves: str, monitor: str, versions: str
) -> None:
    """For a path and a monitor it says when is saved, what is better, and what the versions are called."""
    result = command("doctor", "--filepath", str(tmp_path / "new" / "m-{epoch}.keras"), *arguments)
    found = findings(result)
    assert result.exit_code == 0
    assert found["saves"][1].startswith(saves)
    assert found["monitor"][1].startswith(monitor)
    assert found["monitor"][0] == ("warning" if "depends" in monitor else "ok")
    assert f"latest, {versions};" in found["versions"][1]
    assert found["checkpoints"][1].startswith(f"{tmp_path / 'new'}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("filepath", ["m.unknown", "m-{epoch.keras"])
def test_a_path_that_the_callback_refuses(command: Any, filepath: str) -> None:
    """What Keras would say is said now: exit code 1."""
    result = command("doctor", "--filepath", filepath)
    assert result.exit_code == 1
    assert findings(result)["callback"][0] == "failed"
    assert result.stderr.startswith("Error: 1 check failed: callback.")


def test_a_folder_that_is_a_file(command: Any, tmp_path: Path) -> None:
    """A folder that nothing can be written to is a failure."""
    (tmp_path / "file").touch()
    result = command("doctor", "--filepath", str(tmp_path / "file" / "m.keras"))
    assert result.exit_code == 1
    assert findings(result)["checkpoints"][0] == "failed"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/shm, another file system, is Linux's")
def test_another_file_system_means_a_copy(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no hard link leads to the runs' folder, it says that checkpoints are copied."""
    other = Path("/dev/shm")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    state, text = findings(command("doctor", "--filepath", str(other / "m.keras")))["space"]
    assert state == "warning"
    assert "is copied" in text


@pytest.mark.parametrize("name", ["ls", "doctor", "publish", "get p/x:v0", "show p/x:v0", "prune p/x --keep-last 1"])
def test_no_home(server: Any, name: str) -> None:
    """A user without a home folder is told so in one line, by each command that needs wandb."""
    # As with `docker run --user 54321`: only in a name space of its own does this test know such a user.
    without_home = ["unshare", "--user", "--map-user=54321", "--map-group=54321", "env", "-u", "HOME"]
    if ran([*without_home, "true"]).returncode:
        pytest.skip("name spaces are not permitted here")
    without_home += ["-u", "WANDB_CONFIG_DIR"]
    done = ran([*without_home, sys.executable, "-m", "wandb_ckpt", *name.split()], env=os.environ)
    assert done.returncode == 1
    assert "no home folder" in (done.stdout if name == "doctor" else done.stderr)
    assert "HOME=/tmp" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if " INFO " not in line]) == 1, done.stderr


def test_modes_are_told(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline is a warning, disabled is a failure."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert findings(command("doctor"))["mode"][0] == "warning"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    result = command("doctor")
    assert (result.exit_code, findings(result)["mode"][0]) == (1, "failed")


def test_no_login_and_no_server_are_told_apart(on_terminal: Any, tmp_path: Path, port: int) -> None:
    """Without a login it says how to get one, without a server which one was asked; both end with exit code 1."""
    shown = on_terminal("doctor", columns=200, WANDB_API_KEY="", NETRC=str(tmp_path / "netrc"))
    assert shown.exit_code == 1
    assert "wandb login" in shown.output
    shown = on_terminal("doctor", columns=200, WANDB_BASE_URL=f"http://127.0.0.1:{port}", WANDB_HTTP_TIMEOUT="3")
    assert shown.exit_code == 1
    assert f"http://127.0.0.1:{port}" in shown.output
