"""What the tests themselves stand on: a script that is over is over, whoever it has left behind."""

import os
import sys
from pathlib import Path

import pytest

from scripts import ran, script

# As wandb-core does: in a session of its own, with the output of the process that started it.
LEAVES_SOMEBODY_BEHIND = """
import os, subprocess, sys
left = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(left.pid, flush=True)
if KILLED:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("environ", [{}, {"PYTHONHASHSEED": "0"}])
@pytest.mark.parametrize("killed", [False, True])
def test_a_script_that_leaves_somebody_behind(tmp_path: Path, killed: bool, environ: dict[str, str]) -> None:
    """Its output ends with it, be it killed or not, and what it has left behind is gone after the `with` block."""
    body = f"KILLED = {killed}\n{LEAVES_SOMEBODY_BEHIND}"
    with script(body, tmp_path, "p", "r", prelude="", **environ) as process:
        (line,) = process.stdout
        assert process.wait() == (-9 if killed else 0)
        assert is_alive(int(line))
    while is_alive(int(line)):
        pass


def test_a_script_of_a_test_that_fails(tmp_path: Path) -> None:
    """Who waits for nothing any more does not wait for the script either."""
    with pytest.raises(ZeroDivisionError), script("input()", tmp_path, "p", "r", prelude="") as process:
        1 / 0  # noqa: B018
    assert process.wait() == -9


def test_a_command_that_leaves_somebody_behind(tmp_path: Path) -> None:
    """Its end is enough, and its output is whole."""
    done = ran([sys.executable, "-c", f"KILLED = False\n{LEAVES_SOMEBODY_BEHIND}print('error', file=sys.stderr)"])
    assert (done.returncode, done.stderr) == (0, "error\n")
    os.kill(int(done.stdout), 9)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
