"""Runs a user's script in a process of its own, with the real wandb client pointed at the test's server."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
import keras
import wandb
from wandb_ckpt import WandbModelCheckpoint

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


def script(
    body: str, folder: Path, project: str, run_id: str, *, prelude: str = PRELUDE, **environ: str
) -> "subprocess.Popen[str]":
    """Starts a script that begins with the prelude, in `folder`, with project and run in its environment."""
    path = folder / f"script-{len(list(folder.glob('script-*')))}.py"
    path.write_text(prelude + textwrap.dedent(body))
    # A process of its own has a wandb service of its own.
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    variables = {"WANDB_PROJECT": project, "WANDB_RUN_ID": run_id, "WANDB_DIR": str(folder), "WANDB_SILENT": "false"}
    return subprocess.Popen(
        [sys.executable, str(path)],
        cwd=folder,
        env={**inherited, **variables, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_script(body: str, folder: Path, project: str, run_id: str, **environ: str) -> tuple[int, str]:
    """Runs a script to its end and returns its exit code and output."""
    process: Any = script(body, folder, project, run_id, **environ)
    output, _ = process.communicate(timeout=180)
    return process.returncode, output
