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
import threading
from collections.abc import Mapping
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

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind a shell's `&`

x = np.linspace(0, 1, 64 * 4, dtype="float32").reshape(64, 4)
y = x.sum(axis=1, keepdims=True)
keras.utils.set_random_seed(7)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])

def fit(*callbacks, **kwargs):
    kwargs = {"epochs": 3, "batch_size": 8, "validation_split": 0.5, "verbose": 0, **kwargs}
    return model.fit(x, y, callbacks=list(callbacks), **kwargs)

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

    Args:
        path: The script.
        cwd: Where it runs.
        environ: Its environment.
    """

    def __init__(self, path: Path, cwd: Path, environ: Mapping[str, str]) -> None:
        out, into = os.pipe()
        order = {"path": str(path), "cwd": str(cwd), "environ": dict(environ)}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_forkserver())
        socket.send_fds(self._server, [json.dumps(order).encode()], [into])
        os.close(into)
        self.stdout = os.fdopen(out, encoding="utf-8")
        self._answers = self._server.makefile("r", encoding="utf-8")
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.wait()

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
            self._answers.close()
            self._server.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Waits for its end, and returns the rest of its output."""
        texts: list[str] = []
        reader = threading.Thread(target=lambda: texts.append(self.stdout.read()), daemon=True)
        reader.start()
        reader.join(timeout)
        if not texts:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        self.stdout.close()
        self.wait(timeout)
        return texts[0], None


@cache
def _forkserver() -> str:
    """Starts the server that forks the scripts, once, and returns its address."""
    address = f"{tempfile.mkdtemp(prefix='forkserver-')}/socket"
    command = [sys.executable, str(Path(__file__).with_name("forkserver.py")), address]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_inherited())
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    atexit.register(server.communicate)  # ends its input
    return address


def _inherited() -> dict[str, str]:
    # A process of its own has a wandb service of its own.
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}


def script(body: str, folder: Path, project: str, run_id: str, *, prelude: str = PRELUDE, **environ: str) -> Any:
    """Starts a script that begins with the prelude, in `folder`, with project and run in its environment.

    Returns:
        A `subprocess.Popen`, or a `Script`, which is one for what tests need and does not take the time to import.
    """
    path = folder / f"script-{len(list(folder.glob('script-*')))}.py"
    path.write_text(prelude + textwrap.dedent(body))
    variables = {"WANDB_PROJECT": project, "WANDB_RUN_ID": run_id, "WANDB_DIR": str(folder), "WANDB_SILENT": "false"}
    variables = {**_inherited(), **variables, **environ}
    if not any(name.startswith(_READ_BEFORE) for name in environ):
        return Script(path, folder, variables)
    return subprocess.Popen(
        [sys.executable, str(path)],
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_script(body: str, folder: Path, project: str, run_id: str, **environ: str) -> tuple[int, str]:
    """Runs a script to its end and returns its exit code and output."""
    process = script(body, folder, project, run_id, **environ)
    output, _ = process.communicate(timeout=180)
    return process.returncode, output
