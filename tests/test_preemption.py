"""SIGTERM while training runs: what is pending is published for a while, and the process ends as it would have."""

import os
import signal
from pathlib import Path

import pytest

from scripts import run_script
from servers import OwnServer, asked, seen_on

pytestmark = pytest.mark.slow

# The server stands still when the signal comes, so that the last checkpoint is pending for certain.
BODY = """
import subprocess
import wandb_ckpt.callback.preemption as preemption
preemption.GRACE = GRACE_SECONDS
SETUP
wandb.init()
callback = WandbModelCheckpoint("out/{epoch}.keras", save_on_background=BACKGROUND)
def stop():
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGSTOP)
    if COMES_BACK is not None:
        subprocess.Popen(["sh", "-c", f"sleep {COMES_BACK}; kill -CONT {os.environ['SERVER_PID']}"])
def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    print("going on", flush=True)
class First(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            stop()
fit(First(), callback, At(1, terminate))
print("handler", repr(signal.getsignal(signal.SIGTERM)), flush=True)
"""


def terminated(
    server: OwnServer,
    folder: Path,
    setup: str = "",
    grace: float = 250,
    comes_back: float | None = 3,
    background: bool = False,
) -> tuple[int, str]:
    """Trains two epochs of which the second ends with SIGTERM; returns exit code and output."""
    body = BODY.replace("GRACE_SECONDS", str(grace)).replace("COMES_BACK", str(comes_back))
    body = body.replace("SETUP", setup).replace("BACKGROUND", str(background))
    return run_script(body, folder, "p1", "r1", **server.environ)


def state_on(server: OwnServer) -> str:
    """The state of the run, as a client of its own sees it."""
    return asked(server, "import wandb; print(wandb.Api().run('local/p1/r1').state)")


@pytest.mark.parametrize("background", [False, True])
def test_what_is_pending_is_published_first(own_server: OwnServer, tmp_path: Path, background: bool) -> None:
    """The process goes on until the server has all, then dies of the signal; W&B knows that it was preempted."""
    code, output = terminated(own_server, tmp_path, background=background)
    assert code == -signal.SIGTERM, output
    assert "going on" not in output
    assert [aliases for aliases, _ in seen_on(own_server, "p1")][-1] in (
        ["best", "epoch_1", "latest"],
        ["epoch_1", "latest"],
    ), output
    assert state_on(own_server) in ("preempting", "preempted")


def test_the_time_is_bounded(own_server: OwnServer, tmp_path: Path) -> None:
    """With the server away the process ends all the same, of the signal, and the bytes are kept with their record."""
    code, output = terminated(own_server, tmp_path, grace=3, comes_back=None)
    os.kill(own_server.process.pid, signal.SIGCONT)
    assert code == -signal.SIGTERM, output
    assert len(list(tmp_path.rglob("record.json"))) >= 1


@pytest.mark.parametrize(
    ("setup", "code", "said"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))", 7, ""),
        ("signal.signal(signal.SIGTERM, lambda *_: print('mine', flush=True))", 0, "mine\ngoing on\n"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", 0, "going on\n"),
    ],
)
def test_who_has_a_handler_keeps_it(own_server: OwnServer, tmp_path: Path, setup: str, code: int, said: str) -> None:
    """A handler of the user's decides what SIGTERM means, an ignored one stays ignored, both are left in place."""
    found, output = terminated(own_server, tmp_path, setup, comes_back=0)
    assert found == code, output
    assert said in output
    if code == 0:
        assert "handler <Handlers.SIG_IGN" in output or "handler <function <lambda>" in output
    assert len(seen_on(own_server, "p1")) == (3 if code == 0 else 2)


def test_a_forked_worker_is_ended_at_once(own_server: OwnServer, tmp_path: Path) -> None:
    """Workers that are forked while training runs inherit the handler, and die of SIGTERM as without it."""
    body = """
    import multiprocessing
    wandb.init()
    def work():
        time.sleep(600)
    def fork():
        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        worker.terminate()
        worker.join(60)
        print("worker", worker.exitcode, flush=True)
    import warnings
    warnings.simplefilter("ignore")
    fit(WandbModelCheckpoint("m.keras"), At(1, fork))
    print("handler", repr(signal.getsignal(signal.SIGTERM)), flush=True)
    """
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert "worker -15" in output
    assert "handler <Handlers.SIG_DFL" in output


def test_a_signal_while_a_lock_is_held(own_server: OwnServer, tmp_path: Path) -> None:
    """Where it interrupts this package amid a change, it is put off, and what is pending is published."""
    body = """
    import io
    import wandb_ckpt.publishing.publisher as publisher
    publisher._QUIET, publisher._SAY_AGAIN = 0, 1000
    class Interrupting(io.TextIOBase):
        "The line that says that fit waits is printed with the lock held."
        sent = False
        def write(self, text):
            sys.__stderr__.write(text)
            if "publishing" in text and not self.sent:
                self.sent = True
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(int(os.environ["SERVER_PID"]), signal.SIGCONT)
            return len(text)
    wandb.init()
    stop = lambda: os.kill(int(os.environ["SERVER_PID"]), signal.SIGSTOP)
    sys.stderr = Interrupting()
    fit(At(2, stop), WandbModelCheckpoint("out/{epoch}.keras"))
    print("fit is over", flush=True)
    """
    code, output = run_script(body, tmp_path, "p1", "r1", **own_server.environ)
    assert code == -signal.SIGTERM, output
    assert "fit is over" not in output
    assert len(seen_on(own_server, "p1")) == 3


@pytest.mark.parametrize("family", ["keras", "tf_keras"])
@pytest.mark.parametrize("setup", ["", "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"])
def test_after_a_fit_that_failed_it_ends_the_process(project: str, tmp_path: Path, family: str, setup: str) -> None:
    """Once the exception is handled, SIGTERM does what it would have done without the callback."""
    body = f"""
    import {family} as keras
    if {family!r} == "tf_keras":
        from wandb_ckpt.tf_keras import WandbModelCheckpoint
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    {setup}
    wandb.init(mode="offline")
    callback = WandbModelCheckpoint("m-{{epoch}}.keras")
    class End(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError
    class Sub(WandbModelCheckpoint):
        def on_train_begin(self, logs=None):
            super().on_train_begin(logs)
    for each in (callback, Sub("s.keras")):
        try:
            fit(each, End(), epochs=1)
        except ValueError:
            print("in the handler of the exception:", type(signal.getsignal(signal.SIGTERM)).__name__, flush=True)
    print("after it:", type(signal.getsignal(signal.SIGTERM)).__name__, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("going on", flush=True)
    """
    code, output = run_script(body, tmp_path, project, "failed")
    assert code == (7 if setup else -signal.SIGTERM), output
    assert "in the handler of the exception: Preemption" in output
    assert f"after it: {'function' if setup else 'Handlers'}" in output
    assert "going on" not in output
