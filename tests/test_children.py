"""A callback that is made in one process and trains in another, forked or spawned, publishes as the original does."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from scripts import run_script
from training import contents, versions

pytestmark = pytest.mark.slow

# Keras is imported where it trains: a fork of a process in which TensorFlow has begun to work does not get far.
BODY = """
import multiprocessing
import os
import threading
import wandb
from wandb_ckpt import WandbModelCheckpoint

def train(callback, run_id):
    import keras
    import numpy as np

    x = np.linspace(0, 1, 256, dtype="float32").reshape(64, 4)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    os.makedirs(run_id)
    os.chdir(run_id)
    with wandb.init(id=run_id):
        model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[callback])
    print(run_id, [outcome.state for outcome in callback.checkpoints], flush=True)
    os.chdir("..")

if __name__ == "__main__":
    callbacks = {METHODS}
    for method, callback in callbacks.items():
        child = multiprocessing.get_context(method).Process(target=train, args=(callback, method))
        child.start()
        child.join()
        print(method, "ended with", child.exitcode, callback.checkpoints, flush=True)
    train(callbacks["fork"], "parent")
"""
METHODS = '{method: WandbModelCheckpoint("{epoch}.keras", monitor="loss") for method in ("fork", "spawn")}'


def test_a_callback_that_trains_in_a_child(server: Any, project: str, tmp_path: Path) -> None:
    """Each child publishes into its own run, the parent's callback has none of it, and then trains as if new."""
    code, output = run_script(BODY.replace("{METHODS}", METHODS), tmp_path, project, "parent", prelude="")
    assert code == 0, output
    assert "fork ended with 0 ()" in output, output
    assert "spawn ended with 0 ()" in output, output
    for run_id in ("fork", "spawn", "parent"):
        assert f"{run_id} ['committed', 'committed']" in output, output
        files = contents(tmp_path / run_id)
        seen = versions(f"{server.entity}/{project}/{run_id}", tmp_path / "fetched" / run_id)
        assert [version.files for version in seen] == [{f"{n}.keras": files[f"{n}.keras"]} for n in (1, 2)]


def test_a_child_that_is_forked_while_checkpoints_are_pending(server: Any, project: str, tmp_path: Path) -> None:
    """What is pending stays the parent's: a child that ends, in whatever way, publishes none of it."""
    body = """
    import warnings
    warnings.simplefilter("ignore")
    # Nothing is handed over before the children are gone.
    gone = hold_back()
    run = wandb.init()
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    def fork():
        for leave in (sys.exit, os._exit):
            if os.fork() == 0:
                leave(0)
            os.wait()
        gone.set()
    fit(callback, At(1, fork))
    print([outcome.state for outcome in callback.checkpoints], flush=True)
    """
    code, output = run_script(body, tmp_path, project, "r1")
    assert code == 0, output
    assert "['committed', 'committed', 'committed']" in output, output
    files = contents(tmp_path / "out")
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [version.files for version in seen] == [{f"{n}.keras": files[f"{n}.keras"]} for n in (1, 2, 3)]


# Keras's own hooks, called as `fit` calls them, on backends that then have no threads, for those do not fork.
HOOKS = """
import dataclasses
model.optimizer.build(model.trainable_variables)

def train(callback, *epochs):
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in epochs:
        go_on(callback, epoch)
    callback.on_train_end()

def go_on(callback, epoch):
    callback.on_epoch_begin(epoch)
    callback.on_train_batch_end(0, {"loss": 1.0})
    callback.on_epoch_end(epoch, {"val_loss": 1.0 / (epoch + 1)})

def states(callback):
    return [(outcome.checkpoint.epoch, outcome.state) for outcome in callback.checkpoints]

def hold(*locks):
    "Holds locks, as a thread does that is at work when another one forks."
    held, free = threading.Event(), threading.Event()
    def thread():
        for lock in locks:
            lock.acquire()
        held.set()
        free.wait()
        for lock in locks:
            lock.release()
    threading.Thread(target=thread).start()
    held.wait()
    return free
"""


@pytest.mark.parametrize(("backend", "background"), [("numpy", False), ("torch", True)])
def test_a_child_that_goes_on_by_itself(
    server: Any, project: str, tmp_path: Path, backend: str, background: bool
) -> None:
    """It waits for nothing that its parent has in hand, publishes none of it, and what it saves is published."""
    body = f"""
    gone = hold_back()
    wandb.init()
    callback = WandbModelCheckpoint("parent/{{epoch}}.keras", save_on_background={background}, max_versions=9)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(2):
        go_on(callback, epoch)
    free = hold(callback._session.publisher._lock, callback._session.retention._lock)
    pid = os.fork()
    if pid == 0:
        callback.on_train_end()
        print("child ends with", states(callback), flush=True)
        gone.set()  # of this process's own copy
        callback.filepath = "child/{{epoch}}.keras"
        with wandb.init(id="child", reinit="create_new") as run:
            callback._settings = dataclasses.replace(callback._settings, run=run)
            train(callback, 5, 6)
            print("child has", states(callback), flush=True)
        os._exit(0) if {background} else sys.exit()  # torch's own end does not get over a fork
    print("child exits with", os.waitpid(pid, 0)[1], flush=True)
    free.set()
    gone.set()
    go_on(callback, 2)
    callback.on_train_end()
    print("parent has", states(callback), flush=True)
    """
    code, output = run_script(
        HOOKS + textwrap.dedent(body), tmp_path, project, "r1", KERAS_BACKEND=backend, PYTHONWARNINGS="ignore"
    )
    assert code == 0, output
    assert "save_on_background has no effect" not in output
    assert "child ends with []" in output, output
    assert "child has [(5, 'committed'), (6, 'committed')]" in output, output
    assert "child exits with 0" in output, output
    assert "parent has [(0, 'committed'), (1, 'committed'), (2, 'committed')]" in output, output
    for run_id, folder, epochs in (("r1", "parent", (0, 1, 2)), ("child", "child", (5, 6))):
        seen = versions(f"{server.entity}/{project}/{run_id}", tmp_path / "fetched" / run_id)
        files = contents(tmp_path / folder)
        assert [version.files for version in seen] == [{f"{n + 1}.keras": files[f"{n + 1}.keras"]} for n in epochs]
