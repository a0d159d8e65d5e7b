"""Whose something on a disk is, and whether that process lives: its lock tells, no process id and no host name."""

import os
import platform
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import keras
import pytest

import disks
from scripts import PRELUDE, inherited, run_script, script
from training import contents, fit
from wandb_ckpt.keras import WandbModelCheckpoint
from wandb_ckpt.saving.atomic import finish_killed_saves

pytestmark = pytest.mark.slow

BARE = "import os, signal, sys\nfrom pathlib import Path\nfrom wandb_ckpt.saving.atomic import *\n"
FLOCK = {"x86_64": 73, "aarch64": 32}[platform.machine()]


def in_container(
    body: str, folder: Path, name: str, pid: int, host: str = "trainer", prelude: str = BARE
) -> "subprocess.Popen[str]":
    """Starts a script with process ids of its own, of which it has a given one, and a given host name."""
    path = folder / f"{name}.py"
    path.write_text(prelude + textwrap.dedent(body))
    spaces = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "sh", "-ec"]
    if subprocess.run([*spaces, "hostname test"], capture_output=True, check=False).returncode:
        pytest.skip("NO CONTAINER CAN BE MADE HERE: that two of them share a folder is not tested")
    number = f"echo {pid - 1} > /proc/sys/kernel/ns_last_pid; " if pid > 1 else "exec "
    command = f"hostname {host}; {number}{sys.executable} {path}"
    environ = {**inherited(), "WANDB_MODE": "offline", "WANDB_RUN_ID": name, "WANDB_DIR": str(folder)}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*spaces, command], cwd=folder, env=environ, text=True, **streams)


TRAIN = """
class Slow(keras.layers.Dense):
    "A layer whose save waits for a file, where it is told to."
    def save_own_variables(self, store):
        super().save_own_variables(store)
        print("saving", flush=True)
        while NAME == "first" and not os.path.exists("go on"):
            time.sleep(0.05)
model = keras.Sequential([keras.Input((4,)), Slow(3), keras.layers.Dense(1)])
model.compile("adam", "mse")
wandb.init()
callback = WandbModelCheckpoint(f"out/{NAME}-{{epoch}}.weights.h5", save_weights_only=True)
fit(callback, epochs=2)
print([outcome.state for outcome in callback.checkpoints], flush=True)
"""


@pytest.mark.parametrize("hosts", [("trainer", "trainer"), ("gpu-12", "gpu")])
def test_two_containers_that_save_into_one_folder(wandb_home: Path, tmp_path: Path, hosts: tuple[str, str]) -> None:
    """The start of one, which sees no process of the other, or whose host name is a prefix, leaves its save alone."""
    first = in_container("NAME = 'first'\n" + TRAIN, tmp_path, "first", 400, hosts[0], PRELUDE)
    with first:
        output = next(line for line in first.stdout if "saving" in line)
        with in_container("NAME = 'second'\n" + TRAIN, tmp_path, "second", 1, hosts[1], PRELUDE) as second:
            said = second.communicate()[0]
        (tmp_path / "go on").touch()
        output += first.communicate()[0]
    assert (first.returncode, second.returncode) == (0, 0), output + said
    assert "['offline', 'offline']" in output, output
    assert "['offline', 'offline']" in said, said
    names = [f"{name}-{epoch}.weights.h5" for name in ("first", "second") for epoch in (1, 2)]
    assert sorted(os.listdir(tmp_path / "out")) == names


def test_a_container_that_starts_again(tmp_path: Path) -> None:
    """It has the process id that it had: what it was putting in place is finished all the same, and nothing stays."""
    names = ("w.index", "w.data-00000-of-00001", "checkpoint")
    (tmp_path / "out").mkdir()
    for name in names:
        (tmp_path / "out" / name).write_text("old")
        os.utime(tmp_path / "out" / name, (1e9, 1e9))
    killed = f"""
    folder = PrivateFolder("out/w")
    for name in {names}:
        (folder.partial / name).write_text("new")
    folder.partial.rename(folder.content)
    link_tree(folder.content, folder.root / "placing")
    (folder.root / "placing" / "w.data-00000-of-00001").replace("out/w.data-00000-of-00001")
    print(os.getpid(), flush=True)
    signal.pause()
    """
    with in_container(killed, tmp_path, "killed", 1) as process:
        assert process.stdout.readline() == "1\n"
        process.kill()
    started = "finish_killed_saves(Path('out')); print(os.getpid())"
    with in_container(started, tmp_path, "started", 1) as process:
        assert process.communicate()[0] == "1\n"
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == dict.fromkeys(names, "new")


def test_a_forked_child_does_not_keep_the_parents_folders(tmp_path: Path) -> None:
    """The parent is killed, its child goes on: what the parent left is swept, what the child makes is not."""
    body = """
    parents = PrivateFolder("m.keras")
    if os.fork() == 0:
        childs = PrivateFolder("m.keras")
        print(os.getpid(), childs.root.name, flush=True)
        sys.stdin.read()
        childs.remove()
        os._exit(0)
    signal.pause()
    """
    with script(body, tmp_path, "p", "r", prelude=BARE) as process:
        pid, name = process.stdout.readline().split()
        process.kill()
        process.wait()
        os.kill(int(pid), 0)
        finish_killed_saves(tmp_path)
        (lock,) = tmp_path.glob(".wandb_ckpt_lock-*")
        assert [path.name for path in tmp_path.glob(".wandb_ckpt-*")] == [name]
        assert lock.name.rpartition("-")[2] in name


def test_a_lock_that_comes_and_goes(tmp_path: Path) -> None:
    """However often one process looks what is left, another one that begins and ends to save loses nothing."""
    body = """
    print("begin", flush=True)
    for _ in range(1000):
        folder = PrivateFolder("m.keras")
        assert folder.partial.is_dir()
        folder.remove()
    """
    with script(body, tmp_path, "p", "r", prelude=BARE) as process:
        assert process.stdout.readline() == "begin\n"
        while process.poll() is None:
            finish_killed_saves(tmp_path)
    assert process.returncode == 0
    assert list(tmp_path.glob(".wandb_ckpt*")) == []


def test_a_file_system_without_locks(tmp_path: Path) -> None:
    """Nobody can tell there whether a process lives: what it left goes when it is old."""
    prelude = f"{disks.PRELUDE}{BARE}import errno\ndisks.refuse(({FLOCK},), errno.ENOLCK)\n"
    leave = "root = PrivateFolder('m.keras').root\nprint(root.name, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    name = run_script(leave, tmp_path, "p", "r", prelude=prelude)[1].strip()
    look = "finish_killed_saves(Path())"
    assert run_script(look, tmp_path, "p", "r", prelude=prelude) == (0, "")
    assert (tmp_path / name).is_dir()
    (lock,) = tmp_path.glob(".wandb_ckpt_lock-*")
    os.utime(lock, (time.time() - 2 * 24 * 3600,) * 2)
    assert run_script(look, tmp_path, "p", "r", prelude=prelude) == (0, "")
    assert list(tmp_path.glob(".wandb_ckpt*")) == []


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_no_lock_is_held_for_what_is_done(start_run: Any, tmp_path: Path, mode: str) -> None:
    """A program that trains in a thousand runs does not run out of open files."""
    with start_run(mode=mode):
        fit(keras, [WandbModelCheckpoint("out/m.keras")])
    assert contents(tmp_path / "out").keys() == {"m.keras"}
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".wandb_ckpt")] == []
    held = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [path for path in held if "wandb_ckpt_lock" in path] == []


def test_a_hidden_file_that_somebody_removes(tmp_path: Path) -> None:
    """A lock whose file was removed is taken anew with the next save, which nobody sweeps."""
    body = """
    first = PrivateFolder("m.keras")
    next(Path().glob(".wandb_ckpt_lock-*")).unlink()
    second = PrivateFolder("m.keras")
    print("saving", flush=True)
    sys.stdin.read()
    print([folder.partial.is_dir() for folder in (first, second)])
    """
    with script(body, tmp_path, "p", "r", prelude=BARE) as process:
        assert process.stdout.readline() == "saving\n"
        finish_killed_saves(tmp_path)
        assert "[True, True]" in process.communicate()[0]
