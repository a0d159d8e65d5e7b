"""What the commands are asked about, and a terminal to run them on."""

import os
import pty
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

VALUES = (1.0, 0.5, 0.75)
HOSTILE = "[red]x[/red] \x1b[31mred\x1b]0;title\x07 \u202etxt"


@dataclass(frozen=True)
class Trained:
    """What was trained: three epochs, of which the second was the best."""

    project: str
    entity: str
    name: str
    folder: Path

    @property
    def path(self) -> str:
        """`project/name`, as a user types it."""
        return f"{self.project}/{self.name}"


@dataclass(frozen=True)
class Shown:
    """What a terminal got, and the exit code."""

    exit_code: int
    output: str


def on_a_terminal(*arguments: str, columns: int = 80, **environ: str) -> Shown:
    """Runs `wandb-ckpt` in a process of its own whose stdin and output are a terminal."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "NO_COLOR")}
    environ = {**inherited, "TERM": "xterm-256color", "COLUMNS": str(columns), "WANDB_SILENT": "false", **environ}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb_ckpt", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    )
    os.close(theirs)
    output = _output_of(process, ours)
    os.close(ours)
    return Shown(process.wait(), output.decode().replace("\r\n", "\n"))


def _output_of(process: "subprocess.Popen[bytes]", terminal: int) -> bytes:
    """What a process writes to a terminal until it ends, which another that it has started may hold for longer."""
    output, is_running = b"", True
    while is_running:
        is_running = process.poll() is None
        while select.select([terminal], [], [], 0.05 if is_running else 0)[0]:
            try:
                output += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                process.wait()
                break
    return output
