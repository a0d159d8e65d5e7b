"""Whatever W&B, the network or the disk does: training goes on, and nothing is lost silently."""

import os
import signal
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import keras
import pytest

import wandb_ckpt
from proxy import Proxy
from scripts import run_script, script
from servers import OwnServer, digests_on, names_of_versions, publish, wandb_sync
from training import contents, fit, vandal, versions
from wandb_ckpt.keras import WandbModelCheckpoint

pytestmark = pytest.mark.slow

AWAY = """
wandb.init()
os.kill(int(os.environ["SERVER_PID"]), signal.{how})
times = []
class Clock(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        times.append(time.monotonic())
callback = WandbModelCheckpoint("out/{{epoch}}.keras")
fit(Clock(), callback, Clock(), At({back}, lambda: print("bring it back", flush=True)), epochs=4)
print("held", [round(b - a, 1) for a, b in zip(times[::2], times[1::2])], flush=True)
print("outcomes", [(o.state, o.version) for o in callback.checkpoints], flush=True)
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_server_that_goes_away_and_comes_back(own_server: OwnServer, tmp_path: Path, how: str) -> None:
    """Epochs are not held, and once the server is back every checkpoint is published, in order."""
    output = ""
    with script(AWAY.format(how=how, back=3), tmp_path, "p1", "r1", **own_server.environ) as process:
        for line in process.stdout:
            output += line
            if "bring it back" in line and how == "SIGKILL":
                own_server.kill()
                own_server.start()
            elif "bring it back" in line:
                os.kill(own_server.process.pid, signal.SIGCONT)
    assert process.returncode == 0, output
    held = next(line for line in output.splitlines() if line.startswith("held"))
    # wandb's own callback waits 19 seconds for each save.
    assert max(eval(held.removeprefix("held"))) < 15, output
    assert names_of_versions(own_server, "p1").strip() == str(
        [["epoch_0"], ["epoch_1"], ["epoch_2"], ["epoch_3", "latest"]]
    ), output


def test_a_server_that_stays_away(own_server: OwnServer, tmp_path: Path) -> None:
    """Training ends normally, the wait at the end is bounded, and what is pending is named with its path."""
    body = "import wandb_ckpt.publishing.publisher as publisher; publisher.PATIENCE = 5\n" + AWAY.format(
        how="SIGKILL", back=9
    )
    output = ""
    with script(body, tmp_path, "p1", "r1", **own_server.environ) as process:
        for line in process.stdout:
            output += line
            if output.count("Not published") == 4:
                process.kill()  # wandb itself goes on trying to reach its server when a process exits
    assert output.count("Not published, because W&B could not be reached: run_r1_model epoch") == 4, output
    assert "('pending', None), ('pending', None), ('pending', None), ('pending', None)" in output
    assert "run_r1_model: 4 checkpoints pending" in output
    kept = sorted(path.name for path in tmp_path.glob("wandb/run-*/wandb_ckpt/run_r1_model/*/content/*"))
    assert kept == ["1.keras", "2.keras", "3.keras", "4.keras"], output


def test_a_refused_artifact(start_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A name that belongs to another type is refused by W&B: fit goes on, and the outcome says why."""
    import wandb

    run = start_run()
    run.log_artifact(wandb.Artifact("taken", type="dataset")).wait()
    callback = WandbModelCheckpoint("m.keras", artifact_name="taken")
    fit(keras, [callback])
    assert [outcome.state for outcome in callback.checkpoints] == ["failed", "failed"]
    assert "already exists with type" in callback.checkpoints[0].reason
    assert "already exists with type" in caplog.text
    assert callback.checkpoints[0].path.exists()
    assert f"then run: wandb-ckpt publish {callback.checkpoints[0].path.parent}" in caplog.text


def test_on_error_raise(start_run: Any, tmp_path: Path) -> None:
    """With on_error="raise" the next hook raises what became of the checkpoint."""
    import wandb

    run = start_run()
    run.log_artifact(wandb.Artifact("taken", type="dataset")).wait()
    with pytest.raises(wandb_ckpt.PublishError, match="already exists with type"):
        fit(keras, [WandbModelCheckpoint("m.keras", artifact_name="taken", on_error="raise")])


def test_a_file_that_something_else_writes_to(start_run: Any, tmp_path: Path) -> None:
    """Bytes that changed after the save are not published as the checkpoint; policy="mutable" has them copied."""
    run = start_run()
    for policy, number in (("immutable", 0), ("mutable", 2)):
        callback = WandbModelCheckpoint("m.weights.h5", save_weights_only=True, policy=policy)
        fit(keras, [callback, vandal(keras, callback, dict.fromkeys(range(9), "m.weights.h5"))])
        states = [outcome.state for outcome in callback.checkpoints]
        assert states.count("committed") == number, callback.checkpoints
    assert len(versions(run.path, tmp_path / "fetched")) == 2


def test_a_run_folder_that_is_full(start_run: Any, tmp_path: Path) -> None:
    """Where a snapshot can't be kept, training goes on and the outcome says so."""
    run = start_run()
    (Path(run.sync_dir) / "wandb_ckpt").write_text("in the way")
    callback = WandbModelCheckpoint("m.keras")
    fit(keras, [callback])
    assert [outcome.state for outcome in callback.checkpoints] == ["failed", "failed"]
    assert "could not be kept" in callback.checkpoints[0].reason
    assert Path("m.keras").exists()


def test_wandb_core_killed(project: str, tmp_path: Path, server: Any) -> None:
    """wandb's service dies: training ends normally, what could not be published is named, and was read but once."""
    body = """
    import collections, subprocess
    opened = collections.Counter()
    def note(event, arguments):
        if event == "open" and "/content/" in str(arguments[0]):
            opened[arguments[0]] += 1
    sys.addaudithook(note)
    import wandb_ckpt.publishing.publisher as p
    p.PATIENCE = 5
    wandb.init()
    kill = lambda: subprocess.run(["pkill", "-9", "-P", str(os.getpid()), "wandb-core"])
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    def notice():
        while not any(o.reason for o in callback.checkpoints):
            time.sleep(0.1)
    fit(At(1, kill), callback, At(2, notice))
    print("outcomes", [o.state for o in callback.checkpoints], flush=True)
    print("opened", max(opened.values()), flush=True)
    os._exit(0)
    """
    code, output = run_script(body, tmp_path, project, "r1")
    assert code == 0, output
    assert "outcomes" in output
    assert "opened 2" in output  # to flush it to the disk, and to hash it
    assert "can't take run_r1_model now" in output


def test_staging_folder_that_can_not_be_made(project: str, tmp_path: Path, server: Any) -> None:
    """wandb's own callback dies with OSError; ours says which folder to change, and where the bytes are."""
    (tmp_path / "data").write_text("no folder")
    body = """
    wandb.init()
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    fit(callback)
    print("outcomes", [o.state for o in callback.checkpoints], flush=True)
    """
    code, output = run_script(body, tmp_path, project, "r1", WANDB_DATA_DIR=str(tmp_path / "data"))
    assert code == 0, output
    assert "outcomes ['failed', 'failed', 'failed']" in output
    assert "please set WANDB_DATA_DIR" in output


def test_an_upload_that_takes_long(own_server: OwnServer, tmp_path: Path) -> None:
    """A server that is slow with an upload neither loses the checkpoint nor holds the process open for nothing."""
    body = """
    wandb.init()
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    fit(callback, At(1, lambda: os.kill(int(os.environ["SERVER_PID"]), signal.SIGSTOP)), epochs=2)
    print("outcomes", [o.state for o in callback.checkpoints], flush=True)
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGCONT)
    while any(o.state == "pending" for o in callback.checkpoints):
        time.sleep(0.2)
    print("after", [(o.state, o.version) for o in callback.checkpoints], flush=True)
    """
    body = "_publisher.PATIENCE = _publisher.UPLOAD_PATIENCE = 4\n" + textwrap.dedent(body)
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert "after [('committed', 'v0'), ('committed', 'v1')]" in output


REFUSED = """
def wait_for(name):
    print(name, flush=True)
    while not os.path.exists(name):
        time.sleep(0.1)
wandb.init()
times = []
class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        times.append(time.monotonic())
    def on_epoch_end(self, epoch, logs=None):
        if epoch in (0, 2):
            times.clear()
            wait_for(f"switch {epoch}")
callback = WandbModelCheckpoint("out/{epoch}.keras")
fit(Clock(), callback, epochs=4)
print("outcomes", [(o.state, o.version) for o in callback.checkpoints], flush=True)
"""


@pytest.mark.parametrize("status", [500, 429, 401])
def test_a_server_that_answers_with_errors(own_server: OwnServer, tmp_path: Path, status: int) -> None:
    """While all that W&B says is an error training goes on, and afterwards every checkpoint is published."""
    output = ""
    with Proxy(own_server.url) as proxy:
        environ = {**own_server.environ, "WANDB_BASE_URL": proxy.url}
        with script(REFUSED, tmp_path, "p1", "r1", **environ) as process:
            for line in process.stdout:
                output += line
                if line.startswith("switch"):
                    proxy.status = status if "0" in line else None
                    (tmp_path / line.strip()).touch()
    assert process.returncode == 0, output
    assert names_of_versions(own_server, "p1") == str(
        [["epoch_0"], ["epoch_1"], ["epoch_2"], ["epoch_3", "latest"]]
    ), output


def test_a_slow_link(own_server: OwnServer, tmp_path: Path) -> None:
    """At 1 kB/s training is not held by an upload, and the process ends when all is uploaded."""
    body = """
    _publisher.UPLOAD_PATIENCE = 1
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    wandb.init()
    callback = WandbModelCheckpoint("out/{epoch}.weights.h5", save_weights_only=True)
    fit(callback, At(1, lambda: print("trained", [o.state for o in callback.checkpoints], flush=True)), epochs=2)
    """
    with Proxy(own_server.url) as proxy:
        proxy.pace = 1.0
        code, output = run_script(body, tmp_path, "p1", "r1", **{**own_server.environ, "WANDB_BASE_URL": proxy.url})
    assert code == 0, output
    assert "trained ['pending', 'pending']" in output
    assert names_of_versions(own_server, "p1") == str([["epoch_0"], ["epoch_1", "latest"]]), output


def test_a_run_that_is_deleted_meanwhile(own_server: OwnServer, tmp_path: Path) -> None:
    """Somebody deletes the run: training goes on to its end, and what became of each checkpoint is known."""
    body = """
    import subprocess
    _publisher.PATIENCE = _publisher.UPLOAD_PATIENCE = 5
    wandb.init()
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    delete = "import wandb; wandb.Api().run('local/p1/r1').delete()"
    environ = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    fit(At(1, lambda: subprocess.run([sys.executable, "-c", delete], env=environ, check=True)), callback)
    print("known", [o.state == "committed" or bool(o.reason) for o in callback.checkpoints], flush=True)
    os._exit(0)
    """
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert "known [True, True, True]" in output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.keras", "2.keras", "3.keras"]


def test_ctrl_c_in_mid_save(own_server: OwnServer, tmp_path: Path) -> None:
    """The previous checkpoint stays whole on the disk, and is what was published last."""
    body = """
    class Interrupted(keras.Sequential):
        saves = 0
        def save(self, filepath, **kwargs):
            super().save(filepath, **kwargs)
            Interrupted.saves += 1
            if Interrupted.saves == 3:
                with open(filepath, "r+b") as file:
                    file.write(b"half a checkpoint")
                os.kill(os.getpid(), signal.SIGINT)
    model = Interrupted([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    wandb.init()
    fit(WandbModelCheckpoint("out/m.keras"))
    """
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert "KeyboardInterrupt" in output
    assert code != 0
    assert os.listdir(tmp_path / "out") == ["m.keras"]
    assert ZipFile(tmp_path / "out" / "m.keras").testzip() is None
    assert names_of_versions(own_server, "p1") == str([["epoch_0"], ["epoch_1", "latest"]]), output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_end(own_server: OwnServer, tmp_path: Path, number: int) -> None:
    """It ends the wait for uploads at the end of fit; what is pending is published before the process exits."""
    body = """
    _publisher._QUIET, _publisher._SAY_AGAIN = 0, 1000  # each wait is told once, when it begins
    wandb.init()
    stop = lambda: os.kill(int(os.environ["SERVER_PID"]), signal.SIGSTOP)
    fit(At(2, stop), WandbModelCheckpoint("out/{epoch}.keras"))
    print("fit is over", flush=True)
    """
    output = ""
    with script(body, tmp_path, "p1", "r1", **own_server.environ) as process:
        for line in process.stdout:
            output += line
            if "publishing" in line and output.count("publishing") == 1:
                process.send_signal(number)
            elif "publishing" in line:
                os.kill(own_server.process.pid, signal.SIGCONT)
    code = process.wait()
    assert "fit is over" not in output
    assert ("KeyboardInterrupt" in output) == (number == signal.SIGINT)
    assert code == -number if number == signal.SIGTERM else code != 0
    assert names_of_versions(own_server, "p1") == str([["epoch_0"], ["epoch_1"], ["epoch_2", "latest"]]), output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_mid_epoch(server: Any, project: str, tmp_path: Path, number: int) -> None:
    """What was saved until then is published, from within the epoch too; the process ends of the signal."""
    body = """
    class AtBatch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 7:
                os.kill(os.getpid(), NUMBER)
    wandb.init()
    fit(WandbModelCheckpoint("out/{epoch}-{batch}.keras", save_freq=2), AtBatch())
    """
    code, output = run_script(body.replace("NUMBER", str(int(number))), tmp_path, project, "r1")
    assert code == -number if number == signal.SIGTERM else code != 0, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    files = contents(tmp_path / "out")
    assert [version.files for version in seen] == [
        {name: files[name]} for name in ("1-2.keras", "1-4.keras", "2-2.keras")
    ]


def test_a_disk_quota_in_mid_save(own_server: OwnServer, tmp_path: Path) -> None:
    """A save that hits a limit ends training as in Keras; the previous file is whole, and published."""
    body = """
    import resource
    wandb.init()
    callback = WandbModelCheckpoint("out/m.keras")
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))
    def lift():
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        fit(At(1, limit), callback)
    except OSError as error:
        lift()
        print("quota:", error, [o.state for o in callback.checkpoints], flush=True)
    """
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert "quota:" in output
    assert os.listdir(tmp_path / "out") == ["m.keras"]
    assert ZipFile(tmp_path / "out" / "m.keras").testzip() is None
    assert names_of_versions(own_server, "p1") == str([["epoch_0", "latest"]]), output


def test_wandb_core_killed_in_mid_upload(own_server: OwnServer, tmp_path: Path) -> None:
    """What wandb had taken and lost is handed over again; where that can't be, it is named, and published later."""
    body = """
    import subprocess
    import wandb_ckpt.publishing.publisher as publisher
    publisher.PATIENCE = 5
    wandb.init()
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    def kill():
        while not os.path.exists("uploading"):
            time.sleep(0.1)
        subprocess.run(["pkill", "-9", "-P", str(os.getpid()), "wandb-core"])
    fit(callback, At(1, kill), epochs=2)
    print("outcomes", [o.state for o in callback.checkpoints], flush=True)
    """
    with Proxy(own_server.url) as proxy:
        proxy.pace = 10.0
        environ = {**own_server.environ, "WANDB_BASE_URL": proxy.url}
        with script(body, tmp_path, "p1", "r1", **environ) as process:
            assert proxy.uploading.wait()
            (tmp_path / "uploading").touch()
            output, _ = process.communicate()
        assert "outcomes ['pending', 'pending']" in output
        assert output.count("Not published, because W&B could not be reached: run_r1_model epoch") == 2
        assert names_of_versions(own_server, "p1") == "[]"
        proxy.pace = 0
        done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done
    assert names_of_versions(own_server, "p1") == str([["epoch_0"], ["epoch_1", "latest"]])


def test_w_and_b_is_away_at_the_start(own_server: OwnServer, tmp_path: Path) -> None:
    """`wandb.init` fails, so there is no run: training is not begun without one; offline it is, and all is kept."""
    body = """
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    try:
        wandb.init(settings=wandb.Settings(init_timeout=3))
    except wandb.errors.Error as error:
        print("no run:", type(error).__name__, flush=True)
    try:
        fit(callback)
    except Exception as error:
        print("no training:", type(error).__name__, os.path.exists("out"), flush=True)
    os._exit(0)  # wandb itself goes on trying to reach its server
    """
    own_server.kill()
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert "no run: " in output
    assert "no training: NoActiveRunError False" in output
    body = 'wandb.init(mode="offline")\nfit(WandbModelCheckpoint("out/{epoch}.keras"))'
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert "3 checkpoints kept for wandb sync" in output
    own_server.start()
    wandb_sync(own_server, *tmp_path.glob("wandb/offline-run-*"))
    assert names_of_versions(own_server, "p1") == str([["epoch_0"], ["epoch_1"], ["epoch_2", "latest"]])


ELSEWHERE = """
wandb.init()
callback = WandbModelCheckpoint("out/{epoch}.keras")
def elsewhere(end):
    environ = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    code = f"import os, wandb; run = wandb.init(resume='must'); {end}"
    print("elsewhere", subprocess.run([sys.executable, "-c", code], env=environ).returncode, flush=True)
import subprocess
finished, killed = At(0, lambda: elsewhere("run.finish()")), At(1, lambda: elsewhere("os.kill(os.getpid(), 9)"))
fit(finished, killed, callback)
print([outcome.state for outcome in callback.checkpoints], flush=True)
"""


def test_a_run_that_ends_elsewhere(own_server: OwnServer, tmp_path: Path) -> None:
    """Another process has the same run open and finishes it, or is killed: every checkpoint is published."""
    code, output = run_script(ELSEWHERE, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert [line for line in output.splitlines() if line.startswith("elsewhere")] == ["elsewhere 0", "elsewhere -9"]
    assert "['committed', 'committed', 'committed']" in output
    assert names_of_versions(own_server, "p1") == str([["epoch_0"], ["epoch_1"], ["epoch_2", "latest"]])


def test_killed_in_mid_upload(own_server: OwnServer, tmp_path: Path) -> None:
    """The next start of the run publishes what was on its way, or the command does: the right bytes, and once."""
    body = """
    wandb.init(resume="allow")
    fit(WandbModelCheckpoint(f"{FOLDER}/m.keras"), epochs=1)
    """
    with Proxy(own_server.url) as proxy, ExitStack() as processes:  # wandb-core goes on for the killed ones
        environ = {**own_server.environ, "WANDB_BASE_URL": proxy.url}
        for folder in "abc":
            proxy.pace = 0.0 if folder == "b" else 10.0
            proxy.uploading.clear()
            started = script(f"FOLDER = {folder!r}" + textwrap.dedent(body), tmp_path, "p1", "r1", **environ)
            process = processes.enter_context(started)
            if proxy.pace:
                assert proxy.uploading.wait()
                process.kill()
            output = process.communicate()[0]
            assert process.returncode == (-signal.SIGKILL if proxy.pace else 0), output
        proxy.pace = 0.0
        done = publish(own_server, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done
    saved = [contents(tmp_path / folder)["m.keras"] for folder in "abc"]
    assert digests_on(own_server, tmp_path / "fetched") == saved
    assert not list(tmp_path.rglob("record.json"))
