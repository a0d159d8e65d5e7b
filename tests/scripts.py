"""Runs a user's script in a process of its own, with the real wandb client pointed at the test's server."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

# What is read when Python starts, or Keras is imported: scripts that are given such variables start anew.
_READ_BEFORE = ("PYTHON", "KERAS_", "TF_")

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
import keras
import wandb
from wandb_ckpt import WandbModelCheckpoint
from wandb_ckpt.callback import preemption as _preemption
from wandb_ckpt.publishing import publisher as _publisher, retention as _retention

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind a shell's `&`
# On a busy machine everything may take its time; tests of these limits set limits of their own.
_publisher.UPLOAD_PATIENCE = _retention.PATIENCE = _preemption.GRACE = 250

x = np.linspace(0, 1, 64 * 4, dtype="float32").reshape(64, 4)
y = x.sum(axis=1, keepdims=True)
keras.utils.set_random_seed(7)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])

def fit(*callbacks, **kwargs):
    kwargs = {"epochs": 3, "batch_size": 8, "validation_split": 0.5, "verbose": 0, **kwargs}
    return model.fit(x, y, callbacks=list(callbacks), **kwargs)

def hold_back():
    "Makes wandb slow: it takes no artifact before the event that is returned is set."
    log_artifact, free = wandb.Run.log_artifact, threading.Event()
    wandb.Run.log_artifact = lambda *args, **kwargs: (free.wait(), log_artifact(*args, **kwargs))[1]
    return free

class At(keras.callbacks.Callback):
    "Does something at the end of an epoch."
    def __init__(self, epoch, action):
        super().__init__()
        self.epoch, self.action = epoch, action
    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.action()
"""

# Lets JAX compile each program once for all the processes of a test, which else takes most of their time.
JAX_CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}

# A model whose training needs the states of its seed generators.
NOISY_MODEL = """
layers = keras.layers
noise = [layers.Dropout(0.5), layers.GaussianNoise(0.1)]
model = keras.Sequential([keras.Input((4,)), layers.Dense(3), *noise, layers.Dense(1)])
model.compile("adam", "mse")
"""


class Script:
    """A script that runs, to be handled as a `subprocess.Popen`.

    Its output ends when it does, although wandb-core, which may outlive it, holds the other end of the pipe. A `with`
    block waits for its end, kills it where the test has failed, and kills what it has left behind.

    Args:
        path: The script.
        cwd: Where it runs.
        environ: Its environment.
        anew: Whether it imports everything by itself.
    """

    def __init__(self, path: Path, cwd: Path, environ: Mapping[str, str], *, anew: bool = False) -> None:
        from_test, to_script = os.pipe()
        from_script, to_test = os.pipe()
        order = {"path": str(path), "cwd": str(cwd), "environ": dict(environ), "anew": anew}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_forkserver())
        socket.send_fds(self._server, [json.dumps(order).encode()], [from_test, to_test])
        os.close(from_test)
        os.close(to_test)
        self.stdin = os.fdopen(to_script, "w", encoding="utf-8")
        self.stdout = Output(from_script, self._server, self.poll)
        self._answers = self._server.makefile("r", encoding="utf-8")
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self.kill()
            print(self.communicate()[0])  # noqa: T201 - shown where the test fails
        finally:
            self.kill()
            self.stdout.close()
            self._answers.close()
            self._server.close()

    def poll(self) -> int | None:
        """Returns the exit code, `None` while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end, and returns its exit code; negative, the signal that ended it."""
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._answers.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Ends its input, waits for its end, and returns the rest of its output.

        Args:
            timeout: How long it may say nothing, in seconds; by itself it has as long as the test.
        """
        with suppress(BrokenPipeError):
            self.stdin.close()
        output = self.stdout.read(timeout)
        self.wait(timeout)
        return output, None


class Output:
    """What a script prints, line by line until the script is over.

    Args:
        descriptor: The end of a pipe.
        news: Is ready to be read from when the script is over.
        poll: Returns `None` while it runs.
    """

    def __init__(self, descriptor: int, news: socket.socket, poll: Callable[[], int | None]) -> None:
        self._descriptor, self._news, self._poll = descriptor, news, poll
        self._pending = b""

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    def readline(self) -> str:
        """Returns the next line as soon as it is whole; an empty one at the end."""
        while b"\n" not in self._pending and self._more(None):
            pass
        line, newline, self._pending = self._pending.partition(b"\n")
        return (line + newline).decode(errors="replace")

    def read(self, timeout: float | None = None) -> str:
        """Returns all that is still to come."""
        while self._more(timeout):
            pass
        text, self._pending = self._pending.decode(errors="replace"), b""
        return text

    def close(self) -> None:
        """Takes no more."""
        os.close(self._descriptor)

    def _more(self, timeout: float | None) -> bool:
        """Waits for more, or for the end; returns whether it was not the end."""
        is_over = self._poll() is not None
        news = [] if is_over else [self._news]
        ready, _, _ = select.select([self._descriptor, *news], [], [], 0 if is_over else timeout)
        if not ready and not is_over:
            raise subprocess.TimeoutExpired("the script", timeout or 0)
        if self._descriptor not in ready:
            return not is_over
        piece = os.read(self._descriptor, 1 << 16)
        self._pending += piece
        return bool(piece)


@cache
def _forkserver() -> str:
    """Starts the server that forks the scripts, once, and returns its address."""
    address = f"{tempfile.mkdtemp(prefix='forkserver-')}/socket"
    command = [sys.executable, str(Path(__file__).with_name("forkserver.py")), address]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=inherited())
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    server.stdout.close()
    atexit.register(server.wait)
    atexit.register(server.stdin.close)  # comes first, and ends it
    return address


def inherited() -> dict[str, str]:
    # A process of its own has a wandb service of its own.
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}


def script(body: str, folder: Path, project: str, run_id: str, *, prelude: str = PRELUDE, **environ: str) -> Script:
    """Starts a script that begins with the prelude, in `folder`, with project and run in its environment."""
    path = folder / f"script-{len(list(folder.glob('script-*')))}.py"
    path.write_text(prelude + textwrap.dedent(body))
    variables = {"WANDB_PROJECT": project, "WANDB_RUN_ID": run_id, "WANDB_DIR": str(folder), "WANDB_SILENT": "false"}
    anew = any(name.startswith(_READ_BEFORE) for name in environ)
    return Script(path, folder, {**inherited(), **variables, **environ}, anew=anew)


def run_script(body: str, folder: Path, project: str, run_id: str, **environ: str) -> tuple[int, str]:
    """Runs a script to its end and returns its exit code and output."""
    with script(body, folder, project, run_id, **environ) as process:
        output, _ = process.communicate()
    return process.wait(), output


def ran(command: Sequence[str | Path], **settings: Any) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end, which need not be that of what it has started, and returns its output."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, check=False, **settings)
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, out.read(), errors.read())
