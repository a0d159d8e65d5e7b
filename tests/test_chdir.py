"""Paths mean what they meant when they were given or used, wherever the process goes afterwards (hydra does it)."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import httpx
import keras
import pytest

from scripts import run_script, script
from servers import OwnServer, publish, seen_on
from training import contents, fit, versions
from wandb_ckpt.keras import WandbModelCheckpoint
from wandb_ckpt.server import Server

RELATIVE = """
os.makedirs("out")
run = wandb.init(mode=MODE, dir=DIR)
os.chdir("out")
callback = WandbModelCheckpoint("{epoch}.keras")
fit(callback, At(0, lambda: os.chdir("..")), At(1, lambda: os.chdir("out")))
print("states", {outcome.state for outcome in callback.checkpoints}, flush=True)
"""


@pytest.mark.parametrize(("folder", "environ"), [("logs", None), ("../x/logs", None), (None, "logs")])
def test_a_run_in_a_relative_folder(
    server: Any, project: str, tmp_path: Path, folder: str | None, environ: str | None
) -> None:
    """Online, each checkpoint is published from where Keras saved it, and nothing is left in any folder."""
    (tmp_path / "x").mkdir()
    home = {} if environ is None else {"WANDB_DIR": environ}
    head = f"MODE, DIR = 'online', {folder!r}\n"
    code, output = run_script(head + RELATIVE, tmp_path / "x", project, "r1", **home)
    assert code == 0, output
    assert "states {'committed'}" in output, output
    saved = contents(tmp_path / "x" / "out")
    assert sorted(saved) == ["1.keras", "3.keras"]
    saved["2.keras"] = contents(tmp_path / "x")["2.keras"]
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [version.files for version in seen] == [{name: saved[name]} for name in sorted(saved)]
    (run_folder,) = tmp_path.glob("x/logs/wandb/run-*")
    assert not list(tmp_path.rglob("record.json"))
    assert list(tmp_path.rglob("wandb_ckpt")) == [run_folder / "wandb_ckpt"]


def sync(folder: Path) -> None:
    """Runs `wandb sync` where the tests' server is."""
    subprocess.run([sys.executable, "-m", "wandb", "sync", str(folder)], check=True, capture_output=True)


def test_an_offline_run_in_a_relative_folder(server: Any, project: str, tmp_path: Path) -> None:
    """`wandb sync` of its folder uploads every version."""
    code, output = run_script("MODE, DIR = 'offline', 'logs'\n" + RELATIVE, tmp_path, project, "r1")
    assert code == 0, output
    assert "states {'offline'}" in output, output
    (folder,) = tmp_path.glob("logs/wandb/offline-run-*")
    sync(folder)
    assert len(versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")) == 3


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_run_in_a_relative_folder_that_is_finished(server: Any, project: str, tmp_path: Path, mode: str) -> None:
    """What is still pending when the run is finished is published, or kept beside the run's own folder."""
    body = """
    # Nothing is handed over before the run is finished.
    finished = hold_back()
    os.makedirs("out")
    callback = WandbModelCheckpoint("{epoch}.keras")
    try:
        with wandb.init(mode=MODE, dir="logs"):
            os.chdir("out")
            fit(callback, At(1, lambda: 1 / 0))
    except ZeroDivisionError:
        os.chdir("/")
        finished.set()
    """
    code, output = run_script(f"MODE = {mode!r}\n" + textwrap.dedent(body), tmp_path, project, "r1")
    assert code == 0, output
    if mode == "offline":
        for folder in sorted(tmp_path.glob("logs/wandb/offline-run-*")):
            sync(folder)
    assert len(versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")) == 2, output


def test_what_is_named_can_be_published_from_anywhere(own_server: OwnServer, tmp_path: Path) -> None:
    """The command that a process leaves publishes what it could not, in whatever folder it is run."""
    body = """
    import wandb_ckpt.publishing.publisher as publisher
    publisher.PATIENCE = 2
    os.makedirs("out")
    wandb.init(dir="logs")
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGKILL)
    os.chdir("out")
    fit(WandbModelCheckpoint("{epoch}.keras"), epochs=2)
    """
    with script(body, tmp_path, "p1", "r1", **own_server.environ) as process:
        command = next(line for line in process.stdout if "wandb-ckpt publish" in line)
        process.kill()  # wandb itself goes on trying to reach its server when a process exits
    own_server.kill()
    own_server.start()
    done = publish(own_server, command.split()[-1], "--yes", cwd=Path("/"))
    assert done.returncode == 0, done
    assert [set(aliases) - {"best"} for aliases, _ in seen_on(own_server, "p1")] == [
        {"epoch_0"},
        {"epoch_1", "latest"},
    ]


@pytest.mark.parametrize("background", [False, True])
def test_a_relative_filepath(start_run: Any, tmp_path: Path, background: bool) -> None:
    """A checkpoint is where the process was when Keras asked for it, also if it is written, or deleted, later."""
    run = start_run()
    folders = [tmp_path / name for name in "abcd"]
    gone = [threading.Event() for _ in folders]
    for folder in folders:
        folder.mkdir()

    def come(epoch: int, logs: Any) -> None:
        os.chdir(folders[epoch])
        if background and epoch:  # nothing is written before the process has gone on; first its thread makes a copy
            callback._background._saver.submit(gone[epoch].wait)

    def leave(epoch: int, logs: Any) -> None:
        os.chdir("/")
        gone[epoch].set()

    callback = WandbModelCheckpoint("m.keras", monitor="none", save_on_background=background, max_to_keep=2)
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_begin=come),
        callback,
        keras.callbacks.LambdaCallback(on_epoch_end=leave),
    ]
    fit(keras, callbacks, epochs=4)
    assert [outcome.state for outcome in callback.checkpoints] == ["committed"] * 4
    assert [outcome.path for outcome in callback.checkpoints] == [folder / "m.keras" for folder in folders]
    assert [outcome.checkpoint.path for outcome in callback.checkpoints] == ["m.keras"] * 4
    assert [os.listdir(folder) for folder in folders] == [[], [], ["m.keras"], ["m.keras"]]
    files = [version.files["m.keras"] for version in versions(run.path, tmp_path / "fetched")]
    assert files[2:] == [contents(folder)["m.keras"] for folder in folders[2:]]


def test_a_server_with_a_relative_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps everything where the folder was when it was named, also when it is started anew elsewhere."""
    server = Server("data")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with server:
            assert httpx.get(server.url, auth=("api", server.api_key)).is_success
    assert (tmp_path / "data" / "server.db").is_file()
    assert [os.listdir(tmp_path / name) for name in ("a", "b")] == [[], []]
