"""What is said of checkpoints (`best`, `latest`, the summary) follows the outcomes: what failed does not count."""

import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import pytest
import wandb

from proxy import Proxy
from scripts import run_script
from servers import OwnServer, asked, seen_on
from training import Seen, fit, logs_of, vandal, versions
from wandb_ckpt.keras import WandbModelCheckpoint
from wandb_ckpt.publishing import publisher

pytestmark = pytest.mark.slow

# A training in a process of its own.
SCRIPT = """
wandb.init(resume="allow")
callback = WandbModelCheckpoint("out/{epoch}.keras")
def train(values):
    set_logs = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_loss=values[epoch]))
    fit(set_logs, callback, epochs=len(values))
def say_outcomes():
    print("outcomes", [(o.state, "best" in o.aliases) for o in callback.checkpoints], flush=True)
"""
# The values that the tests train with. What is done to the second one is done to the best.
VALUES = [3.0, 1.0, 2.0, 2.5]


def at_epoch_end(actions: dict[int, Callable[[], Any]]) -> keras.callbacks.Callback:
    """A callback that does something at the end of an epoch."""
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: actions.get(epoch, lambda: None)())


def train(callback: WandbModelCheckpoint, values: list[float], *others: Any, at: Any = None) -> list[str]:
    """Trains with these values, does something before a checkpoint is saved, and returns what became of them."""
    fit(keras, [logs_of(keras, values), at_epoch_end(at or {}), *others, callback], epochs=len(values))
    return [outcome.state for outcome in callback.checkpoints]


def answering(
    proxy: Proxy, operation: str, answer: Literal["refused", "cut"], callback: WandbModelCheckpoint, *, late: bool
) -> Callable[[], None]:
    """Gives the next such operation this answer; where it is late, once the next checkpoint is handed over, too."""

    def wait() -> Literal["refused", "cut"]:
        while late and len(callback._session.publisher._in_flight) < 2:
            time.sleep(0.02)
        return answer

    def expect() -> None:
        callback._session.publisher.flush()
        proxy.once[operation] = wait

    return expect


def best_in(seen: list[Seen]) -> list[float]:
    """The values of the versions that are `best`."""
    return [version.metadata["value"] for version in seen if "best" in version.aliases]


def summary_of(path: str) -> tuple[Any, Any]:
    """What the run's summary says of the best checkpoint."""
    import wandb

    summary = wandb.Api().run(path).summary
    return summary.get("best_val_loss"), summary.get("best_epoch")


def summary_on(server: OwnServer) -> str:
    """The same of a server and a run of the test's own."""
    code = "import wandb\nfound = wandb.Api().run('local/p1/r1').summary\n"
    return asked(server, f"{code}print((float(found['best_val_loss']), found['best_epoch']))")


def test_what_was_left_of_another_monitor(own_server: OwnServer, tmp_path: Path) -> None:
    """What a killed process left is not compared with the values of another quantity."""
    first = """
    hold_back()
    _publisher.PATIENCE = 0
    train([1.0, 9.0])
    os._exit(3)
    """
    second = """
    callback = WandbModelCheckpoint("out/{epoch}.keras", monitor="mae")
    train([5.0])
    say_outcomes()
    """
    code, output = run_script(SCRIPT + textwrap.dedent(first), tmp_path, "p1", "r1", **own_server.environ)
    assert code == 3, output
    code, output = run_script(SCRIPT + textwrap.dedent(second), tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    assert "outcomes [('committed', True), ('committed', False), ('committed', True)]" in output, output


def test_a_version_that_has_lost_best_does_not_take_it_back(
    start_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb may answer for an older checkpoint when a better one is committed already."""
    wait, committed, go_on = wandb.Artifact.wait, threading.Event(), threading.Event()
    waited: list[Any] = []

    def slow(artifact: Any) -> Any:
        waited.append(artifact)
        (committed if len(waited) == 1 else go_on).wait()
        return wait(artifact)

    monkeypatch.setattr(wandb.Artifact, "wait", slow)
    with start_run() as run:
        callback = WandbModelCheckpoint("m-{epoch}.keras")
        path = f"{run.entity}/{run.project}/run_{run.id}_model"
        then = []

        def look() -> None:
            api = wandb.Api()
            while not api.artifact_exists(f"{path}:v1") or api.artifact(f"{path}:v1").state != "COMMITTED":
                time.sleep(0.02)
            committed.set()
            while callback.checkpoints[0].state != "committed":
                time.sleep(0.02)
            then.append(wandb.Api().artifact(f"{path}:best").metadata["value"])
            go_on.set()

        train(callback, [2.0, 1.0, 3.0], at={2: look})
    assert then == [1.0]
    assert best_in(versions(run.path, tmp_path / "fetched")) == [1.0]


@pytest.mark.parametrize("operation", ["createArtifact", "commitArtifact"])
@pytest.mark.parametrize("late", [False, True])
def test_the_best_is_refused(start_run: Any, proxy: Proxy, tmp_path: Path, operation: str, late: bool) -> None:
    """The next one, better than all that W&B has, is `best`, in its version, its outcome and the run's summary."""
    with start_run() as run:
        callback = WandbModelCheckpoint("m-{epoch}.keras")
        refuse = answering(proxy, operation, "refused", callback, late=late)
        settle = {} if late else {2: callback._session.publisher.flush}
        assert train(callback, VALUES, at={1: refuse, **settle}) == ["committed", "failed", "committed", "committed"]
        assert [outcome.checkpoint.is_best for outcome in callback.checkpoints] == [True, True, True, False]
        assert "best" in callback.checkpoints[2].aliases
        again = WandbModelCheckpoint("m-{epoch}.keras")  # a cell that is run again: knows what was the best by a file
        assert train(again, [1.5]) == ["committed"]
        assert "best" in again.checkpoints[0].aliases
    seen = versions(run.path, tmp_path / "fetched")
    assert [(version.metadata["value"], version.metadata["best"]) for version in seen] == [
        (3.0, 3.0),
        (2.0, 2.0),
        (2.5, 2.0),
        (1.5, 1.5),
    ]
    assert [", the best so far" in version.description for version in seen] == [True, True, False, True]
    assert best_in(seen) == [1.5]
    assert summary_of(run.path) == (1.5, 0)


def test_the_best_is_refused_last(start_run: Any, proxy: Proxy, tmp_path: Path) -> None:
    """`best` and the summary stay with what W&B has; where it has nothing, the summary says nothing."""
    with start_run() as run:
        callback = WandbModelCheckpoint("m-{epoch}.keras")
        refuse = answering(proxy, "createArtifact", "refused", callback, late=False)
        train(callback, [3.0, 1.0], at={1: refuse})
    assert best_in(versions(run.path, tmp_path / "fetched")) == [3.0]
    assert summary_of(run.path) == (3.0, 0)
    with start_run() as run:
        proxy.refused.add("createArtifact")
        assert train(WandbModelCheckpoint("n.keras"), [1.0]) == ["failed"]
        proxy.refused.clear()
    assert summary_of(run.path) == (None, None)


def test_the_best_is_refused_in_a_resumed_run(own_server: OwnServer, tmp_path: Path) -> None:
    """What was refused is tried again when the run is resumed, and does not count when it is refused again."""
    outputs = []
    with Proxy(own_server.url) as proxy:
        environ = {**own_server.environ, "WANDB_BASE_URL": proxy.url}
        for values in ([3.0], [1.0], [2.0, 2.5]):
            if outputs:
                proxy.once["createArtifact"] = lambda: "refused"
            body = f"{SCRIPT}\ntrain({values})\nsay_outcomes()"
            outputs.append(run_script(body, tmp_path, "p1", "r1", **environ)[1])
    assert "[('committed', True)]" in outputs[0]
    assert "[('failed', True)]" in outputs[1]
    assert "[('failed', True), ('committed', True), ('committed', False)]" in outputs[2], outputs
    assert seen_on(own_server, "p1") == [([], 3.0), (["best", "epoch_0"], 2.0), (["epoch_1", "latest"], 2.5)]
    assert summary_on(own_server) == "(2.0, 0)"


def test_a_fold_is_left_alone(start_run: Any, proxy: Proxy, tmp_path: Path) -> None:
    """The better value that another callback of the run has noted in the summary stays there."""
    with start_run() as run:
        other, callback = (WandbModelCheckpoint(f"{name}.keras", artifact_name=name) for name in ("other", "this"))

        def refuse() -> None:
            other._session.publisher.flush()
            answering(proxy, "createArtifact", "refused", callback, late=False)()

        assert train(callback, VALUES, other, at_epoch_end({1: refuse}))[1] == "failed"
        other._session.publisher.flush()
    assert best_in(versions(run.path, tmp_path / "other", "other")) == [1.0]
    assert best_in(versions(run.path, tmp_path / "this", "this")) == [2.0]
    assert summary_of(run.path) == (1.0, 1)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_best_is_not_what_was_saved(start_run: Any, tmp_path: Path, mode: str) -> None:
    """A checkpoint that something else wrote to is refused before it is handed over, and does not count either."""
    with start_run(mode=mode) as run:
        callback = WandbModelCheckpoint("m-{epoch}.keras")
        fit(keras, [logs_of(keras, VALUES), callback, vandal(keras, callback, {1: "m-2.keras"})], epochs=len(VALUES))
        assert callback.checkpoints[1].state == "failed"
        best = [outcome.checkpoint.value for outcome in callback.checkpoints if "best" in outcome.aliases]
        assert best == [3.0, 1.0, 2.0]
        assert (run.summary["best_val_loss"], run.summary["best_epoch"]) == (2.0, 2)
    if mode == "online":
        assert best_in(versions(run.path, tmp_path / "fetched")) == [2.0]


def test_into_a_finished_run(own_server: OwnServer, tmp_path: Path) -> None:
    """So it is where a process of its own publishes, because the run is finished."""
    body = """
    finished = hold_back()
    _publisher.PATIENCE = 0
    train([3.0, 1.0, 2.0, 2.5])
    wandb.finish()
    _publisher.PATIENCE = 250
    with open("out/2.keras", "r+b") as file:
        file.write(b"vandal")
    finished.set()
    callback._session.publisher.flush()
    say_outcomes()
    """
    code, output = run_script(SCRIPT + textwrap.dedent(body), tmp_path, "p1", "r1", **own_server.environ)
    assert code == 0, output
    expected = [("committed", True), ("failed", True), ("committed", True), ("committed", False)]
    assert f"outcomes {expected}" in output, output
    assert seen_on(own_server, "p1") == [(["epoch_0"], 3.0), (["best", "epoch_2"], 2.0), (["epoch_3", "latest"], 2.5)]
    assert summary_on(own_server) == "(2.0, 2)"


def test_one_is_put_off_while_the_next_is_prepared(
    start_run: Any, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one, which is handed over first, is handed over once more behind it."""
    add_file, began, added = wandb.Artifact.add_file, threading.Event(), []

    def slow(artifact: Any, *args: Any, **kwargs: Any) -> Any:
        added.append(artifact)
        if len(added) == 2:
            began.set()
            while callback._session.publisher._waiting[0].index != 0:
                time.sleep(0.02)
        return add_file(artifact, *args, **kwargs)

    def cut() -> Literal["cut"]:
        began.wait()
        return "cut"

    monkeypatch.setattr(wandb.Artifact, "add_file", slow)
    with start_run() as run:
        callback = WandbModelCheckpoint("m-{epoch}.keras", aliases=["mine"])
        proxy.once["createArtifact"] = cut
        assert train(callback, [2.0, 1.0]) == ["committed"] * 2
        outcomes = {outcome.version: outcome.checkpoint.epoch for outcome in callback.checkpoints}
    seen = versions(run.path, tmp_path / "fetched")
    assert {version.version: version.metadata["epoch"] for version in seen} == outcomes
    aliases = {version.metadata["epoch"]: set(version.aliases) - {version.version} for version in seen}
    assert aliases == {0: {"epoch_0"}, 1: {"best", "epoch_1", "latest", "mine"}}


@pytest.mark.parametrize("operation", ["createArtifact", "commitArtifact"])
@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]])
def test_an_answer_that_is_cut_off(
    start_run: Any, proxy: Proxy, tmp_path: Path, operation: str, values: list[float]
) -> None:
    """The checkpoint is handed over again, and takes no alias from the next one, which is a version by then."""
    with start_run() as run:
        callback = WandbModelCheckpoint("m-{epoch}.keras", aliases=["mine"])
        cut = answering(proxy, operation, "cut", callback, late=True)
        assert train(callback, values, at={1: cut}) == ["committed"] * 3
        outcomes = {outcome.version: outcome.checkpoint.epoch for outcome in callback.checkpoints}
    seen = versions(run.path, tmp_path / "fetched")
    assert {version.version: version.metadata["epoch"] for version in seen} == outcomes
    aliases = {version.metadata["epoch"]: version.aliases for version in seen}
    best = {values.index(1.0): {"best"}}
    assert aliases == {
        0: {"epoch_0"},
        1: {"epoch_1"} | best.get(1, set()),
        2: {"epoch_2", "latest", "mine"} | best.get(2, set()),
    }
    assert summary_of(run.path) == (1.0, values.index(1.0))


def test_an_answer_that_is_always_cut_off(start_run: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a checkpoint is handed over again, the end of training is not held for that."""
    for name, seconds in (("_FIRST_PAUSE", 0.1), ("_LONGEST_PAUSE", 0.5), ("PATIENCE", 5), ("UPLOAD_PATIENCE", 5)):
        monkeypatch.setattr(publisher, name, seconds)

    def cut() -> Literal["refused", "cut"]:
        proxy.once["createArtifact"] = cut
        return "cut"

    with start_run():
        cut()
        callback = WandbModelCheckpoint("m.keras")
        assert train(callback, [1.0]) == ["pending"]
        assert "unexpected EOF" in str(callback.checkpoints[0].reason)
        proxy.once["createArtifact"] = lambda: "cut"  # for the last time
        monkeypatch.setattr(publisher, "PATIENCE", 250)
        monkeypatch.setattr(publisher, "UPLOAD_PATIENCE", 250)
        assert callback._session.publisher.flush()
    assert callback.checkpoints[0].version == "v0"
