"""What a process leaves unpublished: found on the disk, published later into its run, or swept; best stays true."""

import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import pytest

from scripts import run_script, script
from servers import OwnServer, asked, digests_on, publish, seen_on, wandb_sync
from training import contents, fit, versions
from wandb_ckpt.keras import WandbModelCheckpoint
from wandb_ckpt.saving.atomic import new_root

pytestmark = pytest.mark.slow

# Sets the monitored value of each epoch, takes the server away if told so, and ends as no process should.
BODY = """
class Logs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = VALUES[epoch]
def wait_for_the_log():
    "Until the first checkpoint is in wandb's own log, which is written every 15 seconds."
    (log,) = pathlib.Path("wandb").glob("offline-run-*/*.wandb")
    while b"run_r1_model" not in log.read_bytes():
        time.sleep(0.1)
import pathlib
wandb.init(resume="allow", mode=MODE)
if AWAY:
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGKILL)
callback = WandbModelCheckpoint("out/m.keras")
end = lambda: os.kill(os.getpid(), signal.SIGKILL) if KILLED else None
fit(Logs(), callback, At(0, lambda: eval(FIRST or "None")), At(len(VALUES) - 1, end), epochs=len(VALUES))
for thread in threading.enumerate():
    if thread.name == "wandb_ckpt_sweep":
        thread.join()
wandb.finish()
"""


def train(
    server: OwnServer,
    folder: Path,
    *values: float,
    away: bool = False,
    killed: bool = False,
    mode: str = "online",
    first: str = "",
) -> str:
    """Trains in a process of its own, run r1, and returns what it printed."""
    head = f"VALUES, AWAY, KILLED, MODE, FIRST = {values}, {away}, {killed}, {mode!r}, {first!r}\n"
    code, output = run_script(head + BODY, folder, "p1", "r1", **server.environ)
    assert code == (-signal.SIGKILL if killed else 0), output
    return output


def kept(folder: Path) -> list[Path]:
    """The snapshots under a folder, oldest first."""
    return sorted(file.parent for file in folder.rglob("record.json"))


def test_what_a_killed_process_left_is_published_later(own_server: OwnServer, tmp_path: Path) -> None:
    """The server is away, the process is killed: the command lists what is left, publishes it in order, sweeps it."""
    train(own_server, tmp_path, 1.0, 0.5, 2.0, away=True, killed=True)
    own_server.kill()
    own_server.start()
    listed = publish(own_server, "--dry-run", cwd=tmp_path)
    assert [line.split("\t")[:4] for line in listed.stdout.splitlines()[1:]] == [
        ["local/p1/r1", "run_r1_model", f"{epoch}", f"val_loss {value}"] for epoch, value in enumerate((1, 0.5, 2))
    ], listed
    assert seen_on(own_server, "p1") == []
    done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done
    assert done.stdout.endswith("run_r1_model epoch 2 published as run_r1_model:v2\n"), done
    assert seen_on(own_server, "p1") == [(["epoch_0"], 1.0), (["best", "epoch_1"], 0.5), (["epoch_2", "latest"], 2.0)]
    assert kept(tmp_path) == []
    again = publish(own_server, "--yes", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "Nothing to publish.\n")


def test_a_copied_folder_waits_for_the_run_that_goes_on_elsewhere(own_server: OwnServer, tmp_path: Path) -> None:
    """What was begun on a machine of another name is not published while the run is running: it may be a copy."""
    train(own_server, tmp_path, 1.0, away=True, killed=True)
    own_server.kill()
    own_server.start()
    (folder,) = kept(tmp_path)
    record = json.loads((folder / "record.json").read_text())
    record["owner"]["host"] = "another"
    (folder / "record.json").write_text(json.dumps(record))
    done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 1, done
    assert "is running, and may still publish it: it was begun on another" in done.stdout + done.stderr
    assert len(kept(tmp_path)) == 1


def test_late_checkpoints_do_not_take_best_and_latest(own_server: OwnServer, tmp_path: Path) -> None:
    """What comes late gets `best` only if it is better than what has it now, and no alias of what is newer."""
    train(own_server, tmp_path, 1.0, 0.3, away=True, killed=True)
    own_server.kill()
    own_server.start()
    other = tmp_path / "other machine"
    other.mkdir()
    train(own_server, other, 0.5, 0.9)
    output = train(own_server, tmp_path, 0.95)
    assert "2 checkpoints of earlier processes" in output
    command = next(line for line in output.splitlines() if "wandb-ckpt publish" in line).split()
    assert publish(own_server, command[-1], "--yes", cwd=tmp_path).returncode == 0
    assert seen_on(own_server, "p1") == [
        ([], 0.5),
        (["epoch_1"], 0.9),
        (["epoch_0", "latest"], 0.95),
        ([], 1.0),
        (["best"], 0.3),
    ]


def test_the_next_start_sweeps_what_the_server_has(own_server: OwnServer, tmp_path: Path) -> None:
    """An offline run waits for `wandb sync`; after it, its snapshots go with the next start."""
    train(own_server, tmp_path, 1.0, 0.5, mode="offline")
    assert len(kept(tmp_path)) == 2
    held = publish(own_server, "--yes", cwd=tmp_path)
    assert held.stdout.count("wandb sync") == 2, held
    assert seen_on(own_server, "p1") == []
    wandb_sync(own_server, *tmp_path.glob("wandb/offline-run-*"))
    if (pid := os.fork()) == 0:
        new_root(kept(tmp_path)[0].parent)
        os._exit(0)
    os.waitpid(pid, 0)
    (unfinished,) = kept(tmp_path)[0].parent.glob(".wandb_ckpt-*")
    train(own_server, tmp_path, 0.7)
    assert kept(tmp_path) == []
    assert not unfinished.exists()
    assert seen_on(own_server, "p1") == [([], 1.0), (["best", "epoch_1"], 0.5), (["epoch_0", "latest"], 0.7)]


@pytest.mark.parametrize("first", ["", "wait_for_the_log()"])
def test_an_offline_run_that_is_killed(own_server: OwnServer, tmp_path: Path, first: str) -> None:
    """wandb's own log of such a run lacks its last seconds, or all: what `wandb sync` can't know comes after it."""
    train(own_server, tmp_path, 1.0, 0.5, 2.0, mode="offline", killed=True, first=first)
    wandb_sync(own_server, *tmp_path.glob("wandb/offline-run-*"))
    done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done
    assert seen_on(own_server, "p1") == [(["epoch_0"], 1.0), (["best", "epoch_1"], 0.5), (["epoch_2", "latest"], 2.0)]
    assert kept(tmp_path) == []


def test_an_offline_run_on_another_machine(own_server: OwnServer, tmp_path: Path) -> None:
    """A copy of the run's folder is all it takes: `wandb sync` for the run, and this command for the checkpoints."""
    train(own_server, tmp_path, 1.0, 0.5, mode="offline")
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    copy = tmp_path / "another" / folder.name
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)  # as cp and scp do: with times of its own
    digests = [contents(snapshot / "content")["m.keras"] for snapshot in kept(folder)]
    shutil.rmtree(tmp_path / "wandb")
    wandb_sync(own_server, copy)
    done = publish(own_server, copy, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done
    assert seen_on(own_server, "p1") == [(["epoch_0"], 1.0), (["best", "epoch_1", "latest"], 0.5)]
    assert digests_on(own_server, tmp_path / "fetched") == digests


def test_an_offline_run_that_was_synced_to_another_project(own_server: OwnServer, tmp_path: Path) -> None:
    """wandb leaves its artifacts out there; the command that the next start names publishes them, there."""
    train(own_server, tmp_path, 1.0, 0.5, mode="offline")
    wandb_sync(own_server, *tmp_path.glob("wandb/offline-run-*"), options=("--project", "other"))
    another = "import wandb; wandb.init(project='another', id='r1').finish()"  # users choose ids
    asked(own_server, another)
    output = run_script(
        "wandb.init()\nfit(WandbModelCheckpoint('m.keras'))", tmp_path, "p1", "r2", **own_server.environ
    )[1]
    command = next(line for line in output.splitlines() if "wandb-ckpt publish" in line).split()
    done = publish(own_server, *command[command.index("publish") + 1 :], "--yes", cwd=tmp_path)
    assert done.returncode == 0, done
    assert seen_on(own_server, "other") == [(["epoch_0"], 1.0), (["best", "epoch_1", "latest"], 0.5)]
    assert seen_on(own_server, "another") == []
    assert kept(tmp_path) == []


def test_an_offline_run_that_was_synced_under_another_id(own_server: OwnServer, tmp_path: Path) -> None:
    """Where the run can't be found, the options of `wandb sync` say where it is."""
    train(own_server, tmp_path, 1.0, 0.5, mode="offline")
    wandb_sync(own_server, *tmp_path.glob("wandb/offline-run-*"), options=("-p", "other", "--id", "r9"))
    done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 1
    assert "say which: --project, --entity, --id" in done.stderr, done
    place = ("--project", "other", "--entity", "local", "--id", "r9")
    assert "local/other/r9" in publish(own_server, "--dry-run", *place, cwd=tmp_path).stdout
    assert publish(own_server, "--yes", *place, cwd=tmp_path).returncode == 0
    assert seen_on(own_server, "other") == [(["epoch_0"], 1.0), (["best", "epoch_1", "latest"], 0.5)]


def test_a_snapshot_that_was_damaged_is_not_published(own_server: OwnServer, tmp_path: Path) -> None:
    """Bytes that are not those that were saved stay where they are, and are named; the others are published."""
    train(own_server, tmp_path, 1.0, 0.5, away=True, killed=True)
    damaged = kept(tmp_path)[0] / "content" / "m.keras"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    own_server.kill()
    own_server.start()
    done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 1
    assert "epoch 0 not published: something else wrote to m.keras" in done.stderr, done
    assert [damaged.parent.parent] == kept(tmp_path)
    assert seen_on(own_server, "p1") == [(["best", "epoch_1", "latest"], 0.5)]


def test_what_a_living_process_is_at_is_left_to_it(own_server: OwnServer, tmp_path: Path) -> None:
    """While the process that saved a checkpoint lives, nobody else publishes it."""
    body = """
    wandb.init()
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGKILL)
    stop = lambda: (print("epoch is over", flush=True), os.kill(os.getpid(), signal.SIGSTOP))
    fit(WandbModelCheckpoint("m.keras"), At(0, stop))
    """
    with script(body, tmp_path, "p1", "r1", **own_server.environ) as process:
        next(line for line in process.stdout if "epoch is over" in line)
        own_server.kill()
        own_server.start()
        done = publish(own_server, "--yes", cwd=tmp_path)
        process.kill()
    assert f"process {process.pid} on" in done.stdout, done
    assert seen_on(own_server, "p1") == []


def test_a_run_that_was_deleted(own_server: OwnServer, tmp_path: Path) -> None:
    """A run that is no longer on the server is said to be so, and what was for it stays on the disk."""
    train(own_server, tmp_path, 1.0, away=True, killed=True)
    own_server.kill()
    own_server.start()
    asked(own_server, "import wandb; wandb.Api().run('local/p1/r1').delete()")
    done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 1
    assert "epoch 0 not published: " in done.stderr, done
    assert "local/p1/r1" in done.stderr, done
    assert len(kept(tmp_path)) == 1


def test_the_disk_is_not_filled_by_what_waits(own_server: OwnServer, tmp_path: Path) -> None:
    """With W&B away and no room, the oldest go; the best and the newest stay, and each that is given up is named."""
    crowded = "exec('import wandb_ckpt.publishing.publisher as p; p.ROOM = 10**9')"  # any disk is too small
    output = train(own_server, tmp_path, 3.0, 2.0, 0.5, 2.0, 3.0, 4.0, away=True, killed=True, first=crowded)
    epochs = [json.loads((folder / "record.json").read_text())["checkpoint"]["epoch"] for folder in kept(tmp_path)]
    assert epochs == [0, 2, 5], output
    given_up = [line for line in output.splitlines() if "dropped to free disk space" in line]
    assert [f"epoch {epoch} failed" in line for epoch, line in zip((1, 3, 4), given_up, strict=True)] == [True] * 3


def test_training_reads_no_records_of_others(server: Any, project: str, tmp_path: Path) -> None:
    """What waits of other runs, and under other names, is not read while training waits to begin or to resume."""
    run_script('wandb.init(mode="offline")\nfit(WandbModelCheckpoint("m.keras"))', tmp_path, project, "other")
    assert len(kept(tmp_path)) == 3
    body = """
    opened = []
    def note(event, arguments):
        if event == "open" and str(arguments[0]).endswith("record.json") and not threading.current_thread().daemon:
            opened.append(arguments[0])
    wandb.init(mode="offline")
    fit(WandbModelCheckpoint("m.keras"), epochs=1)
    fit(WandbModelCheckpoint("m.keras", artifact_name="second"), epochs=1)
    sys.addaudithook(note)
    callback = WandbModelCheckpoint("m.keras")
    assert callback.resume(model) == 1
    fit(callback, initial_epoch=1, epochs=2)
    print("opened", sorted({path.split(os.sep)[-3] for path in map(str, opened)}), flush=True)
    """
    code, output = run_script(body, tmp_path, project, "r1")
    assert code == 0, output
    assert "opened ['run_r1_model']" in output, output


def test_a_clock_that_goes_back(start_run: Any) -> None:
    """Snapshots are named in the order of saving, and each has a name of its own, also behind one from the future."""
    run = start_run(mode="offline")
    future = Path(run.sync_dir) / "wandb_ckpt" / f"run_{run.id}_model" / f"{time.time_ns() + 10**15}"
    future.mkdir(parents=True)
    fit(keras, [WandbModelCheckpoint("m.keras")], epochs=3)
    records = [json.loads((folder / "record.json").read_text()) for folder in kept(future.parent)]
    assert [record["checkpoint"]["epoch"] for record in records] == [0, 1, 2]
    assert kept(future.parent)[0].name > future.name


def test_a_checkpoint_on_another_file_system(start_run: Any, tmp_path: Path) -> None:
    """Bytes that can't be moved into the run's folder are published from where they are; offline they come home."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        path = Path(elsewhere) / "m.keras"
        assert path.parent.stat().st_dev != tmp_path.stat().st_dev
        with start_run() as run:
            fit(keras, [WandbModelCheckpoint(path)])
        seen = versions(run.path, tmp_path / "fetched")
        assert [version.files["m.keras"] for version in seen][1:] == [contents(path.parent)["m.keras"]]
        assert os.listdir(elsewhere) == ["m.keras"]
        with start_run(mode="offline") as run:
            fit(keras, [WandbModelCheckpoint(path)])
        snapshots = kept(Path(run.sync_dir))
        assert [folder.joinpath("content").is_symlink() for folder in snapshots] == [False, False]
        assert contents(snapshots[1] / "content") == contents(path.parent)
        assert os.listdir(elsewhere) == ["m.keras"]
