"""Killed again and again, a training ends as the uninterrupted one does; `KILLS=20 pytest …` for twenty times."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from scripts import JAX_CACHE, NOISY_MODEL, script
from training import versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS, EPOCHS = int(os.environ.get("KILLS", "10")), 10
# Each line on stdin starts one process of the training. It is forked when the imports are done, which take most of
# the time of a process that trains as little as here; no backend has started its threads by then.
FORKED = """
import hashlib, os, sys, time
import numpy as np
import keras
import wandb
from wandb_ckpt import WandbModelCheckpoint
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        break
    print("BEGAN", pid, flush=True)
    print("OVER", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    sys.exit()
"""
BODY = (
    """
x = np.linspace(0, 1, 64 * 4, dtype="float32").reshape(64, 4)
y = x.sum(axis=1, keepdims=True)
keras.utils.set_random_seed(7)
"""
    + NOISY_MODEL
    + """
class Say(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("EPOCH", epoch, flush=True)
        time.sleep(0.2)  # time for what is published meanwhile

with wandb.init(resume="allow"):
    filepath = os.environ["FILE"]
    callback = WandbModelCheckpoint(filepath, save_weights_only="weights" in filepath)
    print("EPOCH is looked for", flush=True)
    first = callback.resume(model)
    arguments = {"batch_size": 8, "validation_split": 0.5, "verbose": 0, "shuffle": False}
    epochs = int(os.environ["EPOCHS"])
    model.fit(x, y, epochs=epochs, initial_epoch=first, callbacks=[Say(), callback], **arguments)
state = [np.asarray(variable.numpy()).tobytes() for variable in (*model.variables, *model.optimizer.variables)]
print("STATE", hashlib.sha256(b"".join(state)).hexdigest(), flush=True)
"""
)
FACTS = ("epoch", "batch", "step", "monitor", "value", "best", "logs", "seeds")


@pytest.mark.parametrize(("backend", "filepath"), [("tensorflow", "m.keras"), ("jax", "m-{epoch}.weights.h5")])
def test_killed_at_random_moments(server: Any, project: str, tmp_path: Path, backend: str, filepath: str) -> None:
    """After `kill -9` at random moments: same weights, optimizer and seeds; same versions, aliases and metadata."""
    environ = {"KERAS_BACKEND": backend, "FILE": filepath, "EPOCHS": str(EPOCHS)}
    environ |= JAX_CACHE | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    ends = {}
    for run_id, kills in (("whole", 0), ("killed", KILLS)):
        folder = tmp_path / run_id
        folder.mkdir()
        with script(FORKED + BODY, folder, project, run_id, prelude="", **environ) as process:
            kill_many_times(process, kills)
            code, lines = live(process)
        assert code == 0, lines
        (state,) = [line for line in lines if line.startswith("STATE")]
        seen = versions(f"{server.entity}/{project}/{run_id}", folder / "fetched")
        ends[run_id] = state, [(each.version, each.aliases, facts_of(each)) for each in seen]
    assert ends["killed"] == ends["whole"]
    assert len(ends["whole"][1]) == EPOCHS


def facts_of(seen: Any) -> dict[str, Any]:
    """What must be the same of a version, however often training was interrupted."""
    return {name: seen.metadata[name] for name in FACTS}


def kill_many_times(process: Any, kills: int) -> None:
    """Starts the training again and again, and kills it at a random moment each time."""
    seed = random.randrange(10**6)
    print(f"The random moments are those of seed {seed}")  # noqa: T201 - shown where the test fails
    moments, killed = random.Random(seed), 0
    while killed < kills:
        epochs, seconds = moments.choice([0, 0, 1, 1, 2]), moments.uniform(0, 0.6)
        code, lines = live(process, epochs, seconds)
        print(f"--- {code}, {seconds:.2f} s after epoch {epochs}:", *lines, sep="\n")  # noqa: T201
        assert code in (0, -signal.SIGKILL), lines
        killed += code != 0


def live(process: Any, epochs: int = 1000, seconds: float = 0.0) -> tuple[int, list[str]]:
    """Starts the training, kills it so long after an epoch begins, and returns how it ended, and its lines."""
    process.stdin.write("\n")
    process.stdin.flush()
    lines: list[str] = []
    began, pid = 0, 0
    while not (line := process.stdout.readline()).startswith("OVER"):
        assert line, lines
        lines.append(line.rstrip())
        pid = int(line.split()[1]) if line.startswith("BEGAN") else pid
        began += line.startswith("EPOCH")
        if began > epochs and pid:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
            epochs = 1000
    return int(line.split()[1]), lines
