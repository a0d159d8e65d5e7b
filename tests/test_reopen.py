"""A run that is finished is opened once more by a process of its own, which leaves the run as it was."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import wandb_ckpt
from proxy import Proxy
from scripts import PRELUDE, ran, run_script, script
from servers import OwnServer, asked, publish, seen_on, wandb_sync

pytestmark = pytest.mark.slow

# What W&B has of a run, but for its versions and what wandb counts of the features that are used.
FACTS = """
import json, wandb
run = wandb.Api().run("local/p1/r1")
facts = {name: getattr(run, name) for name in ("name", "notes", "tags", "group", "job_type", "state", "rawconfig")}
facts["rawconfig"]["_wandb"].pop("t")
facts["rawconfig"]["_wandb"].pop("m", None)
facts["commit"], facts["metadata"], facts["summary"] = run.commit, run.metadata, dict(run.summary)
facts["files"] = sorted([file.name, file.md5] for file in run.files() if "summary" not in file.name)
facts["history"] = [row["a"] for row in run.scan_history()]
print(json.dumps(facts, default=str))
"""
DESCRIBED = {
    "WANDB_NAME": "given",
    "WANDB_NOTES": "mine",
    "WANDB_TAGS": "a,b",
    "WANDB_RUN_GROUP": "g",
    "WANDB_JOB_TYPE": "j",
    "WANDB_HOST": "trainer",
    "WANDB_SAVE_CODE": "true",
}
# Nothing is handed over before the run is finished.
HELD = """
finished = hold_back()
_publisher.PATIENCE = 0
run = wandb.init(config={"k": 1}, mode=os.environ.get("MODE", "online"))
run.log({"a": 2})
callback = WandbModelCheckpoint("out/m.keras")
fit(callback, epochs=2)
wandb.finish()
_publisher.PATIENCE = 250
"""
# In one piece, for the publisher's thread has lines of its own.
OUTCOMES = r"""
sys.stdout.write(f"outcomes {[(o.state, o.version, o.reason) for o in callback.checkpoints]}\n")
"""


def facts(server: OwnServer) -> dict[str, Any]:
    """What W&B has of the run."""
    found: dict[str, Any] = json.loads(asked(server, FACTS))
    return found


def repository(folder: Path) -> Path:
    """Makes a git repository with one commit."""
    folder.mkdir(exist_ok=True)
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x"]
    for arguments in ("init -q", f"remote add origin https://x/{folder.name}", "commit -q --allow-empty -m one"):
        subprocess.run([*git, *arguments.split()], check=True)
    return folder


def test_the_run_is_left_as_it_was(own_server: OwnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machine, command, git, code, name, tags and notes stay those of the training, whoever publishes for it."""
    folder = repository(tmp_path / "training")
    code, output = run_script(HELD + "os._exit(3)", folder, "p1", "r1", **own_server.environ, **DESCRIBED)
    assert code == 3, output
    before = facts(own_server)
    assert (before["name"], before["tags"], before["metadata"]["host"]) == ("given", ["a", "b"], "trainer")
    assert before["rawconfig"]["_wandb"]["code_path"]
    for name in DESCRIBED:
        monkeypatch.setenv(name, "other")
    monkeypatch.setenv("WANDB_SAVE_CODE", "true")
    done = publish(own_server, folder / "wandb", "--yes", cwd=repository(tmp_path / "elsewhere"))
    assert done.returncode == 0, done
    assert seen_on(own_server, "p1") != []
    after = facts(own_server)
    assert "best_val_loss" in after["summary"]
    assert {**after, "summary": None} == {**before, "summary": None}


def test_an_offline_run_is_left_as_it_was(own_server: OwnServer, tmp_path: Path) -> None:
    """Its second folder, synced after the first one, has nothing to say but the checkpoints."""
    folder = repository(tmp_path / "training")
    body = HELD + "finished.set()\ncallback._session.publisher.flush()\n" + OUTCOMES
    code, output = run_script(body, folder, "p1", "r1", **own_server.environ, **DESCRIBED, MODE="offline")
    assert code == 0, output
    assert "outcomes [('offline', None, None), ('offline', None, None)]" in output
    first, second = sorted(folder.glob("wandb/offline-run-*"))
    wandb_sync(own_server, first)
    before = facts(own_server)
    wandb_sync(own_server, second)
    assert len(seen_on(own_server, "p1")) == 2
    after = facts(own_server)
    for found in (before, after):  # what wandb keeps in the config of the machine is in the metadata as well
        found["rawconfig"]["_wandb"] = found["rawconfig"]["_wandb"]["code_path"]
        found["files"] = [file for file in found["files"] if file[0] != "config.yaml"]
    assert {**after, "summary": None} == {**before, "summary": None}


def test_a_run_that_was_deleted_is_not_tried_for_ever(own_server: OwnServer, tmp_path: Path) -> None:
    """It is a reason for good: the outcomes name it, and nothing is waited for."""
    delete = "import wandb; wandb.Api().run('local/p1/r1').delete()"
    body = (
        HELD
        + "print('finished', flush=True)\nsys.stdin.readline()\nfinished.set()\ncallback._session.publisher.flush()\n"
    )
    output = ""
    with script(body + OUTCOMES, tmp_path, "p1", "r1", **own_server.environ) as process:
        for line in process.stdout:
            output += line
            if line == "finished\n":
                asked(own_server, delete)
                process.stdin.write("\n")
                process.stdin.flush()
    assert process.returncode == 0, output
    assert output.count("('failed', None, 'there is no run local/p1/r1: it was deleted") == 2, output
    assert "trying again" not in output
    assert "then run: wandb-ckpt publish" in output


def test_a_second_ctrl_c(own_server: OwnServer, tmp_path: Path) -> None:
    """Ctrl-C at a terminal goes to all of its processes: the one that publishes goes on, even alone."""
    body = "os.setpgrp()\n" + HELD + 'print("group", os.getpgrp(), flush=True)\nfinished.set()\n'
    with Proxy(own_server.url) as proxy:
        proxy.pace = 0.5
        environ = {**own_server.environ, "WANDB_BASE_URL": proxy.url}
        with script(body, tmp_path, "p1", "r1", **environ) as process:
            next(line for line in process.stdout if line.startswith("group"))
            assert proxy.uploading.wait(200)
            (child,) = children_of(process.pid)
            os.killpg(process.pid, signal.SIGINT)
            proxy.pace = 0.0
            process.communicate()
            select.select([child], [], [])  # its end
            os.close(child)
    assert [aliases for aliases, _ in seen_on(own_server, "p1")][-1][-1] == "latest"
    assert len(seen_on(own_server, "p1")) == 2
    assert facts(own_server)["state"] == "finished"


def children_of(pid: int) -> list[int]:
    """Descriptors of the Python processes that a process has started, which are ready when those end."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [os.pidfd_open(child) for child in children if b"\0-c\0" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_process_that_hangs(own_server: OwnServer, tmp_path: Path) -> None:
    """A server that takes connections and never answers holds whoever publishes for a limited time only."""
    body = """
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGSTOP)
    from wandb_ckpt.publishing import finished_runs, leftovers
    from wandb_ckpt.wandb_api.run import wandb_folder
    finished_runs.LIMIT = 5
    print([attempt.reason for attempt in leftovers.publish(leftovers.find(wandb_folder()))], flush=True)
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGCONT)
    """
    code, output = run_script(HELD + "os._exit(3)", tmp_path, "p1", "r1", **own_server.environ)
    assert code == 3, output
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert output.count("nothing happened for 5 seconds") == 2, output


def test_a_failure_in_the_middle_leaves_the_state(own_server: OwnServer, tmp_path: Path) -> None:
    """Whatever W&B refuses meanwhile, a run that was finished is finished again."""
    with Proxy(own_server.url) as proxy:
        environ = {**own_server.environ, "WANDB_BASE_URL": proxy.url}
        code, output = run_script(HELD + "os._exit(3)", tmp_path, "p1", "r1", **environ)
        assert code == 3, output
        proxy.refused.add("ArtifactMembershipByName")
        done = publish(own_server, tmp_path, "--yes", cwd=tmp_path)
    assert done.returncode == 1, done
    assert facts(own_server)["state"] == "finished"


def test_a_package_that_is_not_installed(own_server: OwnServer, tmp_path: Path) -> None:
    """A program that puts the package on `sys.path` itself, relative and left behind, publishes as any other."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    (folder,) = (tmp_path / "bare" / "lib").glob("python3*/site-packages")
    (folder / "others.pth").write_text(site + "\n")  # all but what is installed as a link to its sources
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "wandb_ckpt").symlink_to(Path(wandb_ckpt.__file__).parent)
    python = tmp_path / "bare" / "bin" / "python"
    environ = {name: value for name, value in own_server.client_environ.items() if name != "PYTHONPATH"}
    environ |= {"WANDB_PROJECT": "p1", "WANDB_RUN_ID": "r1", "WANDB_DIR": str(tmp_path)}
    begin = 'import os, sys\nsys.path.insert(0, "sources")\nimport wandb_ckpt\nos.chdir("bare")\n'
    program = tmp_path / "program.py"
    program.write_text(begin + PRELUDE + HELD + "finished.set()\ncallback._session.publisher.flush()\n" + OUTCOMES)
    done = ran([python, "-I", program], cwd=tmp_path, env=environ)
    assert "outcomes [('committed', 'v0', None), ('committed', 'v1', None)]" in done.stdout, done


def test_a_program_that_has_no_python_to_start(own_server: OwnServer, tmp_path: Path) -> None:
    """A frozen program can't publish into a run that is finished: it says so at once, with what will."""
    body = """
    import multiprocessing
    sys.frozen, sys.executable, sys.exec_prefix = True, "/opt/train", "/opt"
    multiprocessing.set_executable(sys.executable)
    finished.set()
    callback._session.publisher.flush()
    """
    code, output = run_script(HELD + textwrap.dedent(body) + OUTCOMES, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert output.count("has no Python to start (sys.executable is '/opt/train')") >= 2, output
    assert "('failed', None, " in output
    command = next(line for line in output.splitlines() if "then run: wandb-ckpt publish" in line).split()
    assert publish(own_server, command[-1], "--yes", cwd=tmp_path).returncode == 0
    assert len(seen_on(own_server, "p1")) == 2
