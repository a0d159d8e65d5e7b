"""Which run gets the checkpoints: active, given, none, disabled, offline, resumed."""

import copy
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import pytest
import wandb

import wandb_ckpt
from scripts import ran, run_script
from training import X, Y, contents, fit, logs_of, versions
from wandb_ckpt.keras import WandbModelCheckpoint


def test_without_a_run(project: str) -> None:
    """Making the callback is fine; training says what to do before it begins."""
    callback = WandbModelCheckpoint("m.keras")
    with pytest.raises(wandb_ckpt.NoActiveRunError, match=r"wandb\.init\(\) before fit\(\), or pass run="):
        fit(keras, [callback])
    assert not Path("m.keras").exists()


def test_made_before_the_run(start_run: Any, tmp_path: Path) -> None:
    """The run that counts is the one that is active when a checkpoint is saved."""
    callback = WandbModelCheckpoint("m-{epoch}.keras")
    paths = []
    for _ in range(2):
        with start_run() as run:
            fit(keras, [callback], epochs=1)
            paths.append(run.path)
    for number, path in enumerate(paths):
        (seen,) = versions(path, tmp_path / str(number))
        assert seen.aliases == {"latest", "epoch_0"} | ({"best"} if "best" in seen.aliases else set())


def test_given_run(project: str, tmp_path: Path) -> None:
    """`run=` names the run, also where another one is active."""
    with (
        wandb.init(project=project, dir=tmp_path) as active,
        wandb.init(project=project, dir=tmp_path, reinit="create_new") as given,
    ):
        fit(keras, [WandbModelCheckpoint("m.keras", run=given)])
        paths = active.path, given.path
    assert [len(versions(path, tmp_path / path.replace("/", "-"))) for path in paths] == [0, 2]


def test_disabled(start_run: Any, tmp_path: Path) -> None:
    """mode="disabled" saves as Keras does and leaves nothing else behind."""
    start_run(mode="disabled")
    callback = WandbModelCheckpoint("out/m.keras")
    fit(keras, [callback])
    assert os.listdir("out") == ["m.keras"]
    assert callback.checkpoints == ()


@pytest.mark.parametrize("run_id", ["my run", "r" * 127])
def test_run_ids_that_make_no_valid_name(start_run: Any, tmp_path: Path, run_id: str) -> None:
    """wandb's callback publishes nothing, without a word; here the name is made valid."""
    run = start_run(id=run_id)
    callback = WandbModelCheckpoint("m.keras")
    fit(keras, [callback])
    assert {outcome.state for outcome in callback.checkpoints} == {"committed"}
    assert len(versions(run.path, tmp_path / "fetched", callback.checkpoints[0].artifact)) == 2


def test_offline_and_sync(server: Any, project: str, tmp_path: Path) -> None:
    """Offline, `wandb sync` uploads later what was saved then, although the path was written again."""
    body = """
    with wandb.init(mode="offline"):
        callback = WandbModelCheckpoint("m.keras")
        fit(callback)
        assert {outcome.state for outcome in callback.checkpoints} == {"offline"}
    """
    code, output = run_script(body, tmp_path, project, "r1")
    assert code == 0, output
    assert "3 checkpoints kept for wandb sync" in output
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert ran([sys.executable, "-m", "wandb", "sync", str(folder)]).returncode == 0
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [sorted(version.aliases - {"best"}) for version in seen] == [
        ["epoch_0"],
        ["epoch_1"],
        ["epoch_2", "latest"],
    ]
    assert len({version.files["m.keras"] for version in seen}) == 3
    assert seen[-1].files == {"m.keras": contents(tmp_path)["m.keras"]}


def test_a_resumed_run_keeps_its_best(server: Any, project: str, tmp_path: Path) -> None:
    """A new process of the same run knows the best so far: a worse model neither gets `best` nor the file."""
    body = """
    class Logs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = VALUES[epoch]
    with wandb.init(resume="allow"):
        fit(Logs(), WandbModelCheckpoint("m.keras", save_best_only=BEST), epochs=len(VALUES))
    """
    for values, best_only in (([1.0, 2.0], False), ([3.0, 4.0], True), ([5.0], False), ([0.5, 6.0], True)):
        code, output = run_script(
            f"VALUES, BEST = {values}, {best_only}\n" + body.replace("\n    ", "\n"), tmp_path, project, "r1"
        )
        assert code == 0, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [version.metadata["value"] for version in seen] == [1.0, 2.0, 5.0, 0.5]
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [0.5]
    assert [version.metadata["best"] for version in seen] == [1.0, 1.0, 1.0, 0.5]


def test_a_resumed_run_finds_the_names_of_its_callbacks(server: Any, project: str, tmp_path: Path) -> None:
    """With two callbacks, each goes on in its own artifact, also when their order is another."""
    body = """
    with wandb.init(resume="allow"):
        callbacks = {name: WandbModelCheckpoint(f"{name}-{{epoch}}.keras") for name in ORDER}
        fit(*callbacks.values(), epochs=1)
        print("NAMES", {name: each.checkpoints[0].artifact for name, each in sorted(callbacks.items())})
    """
    names = []
    for order in ("ab", "ba", "b"):
        code, output = run_script(f"ORDER = {order!r}\n" + body.replace("\n    ", "\n"), tmp_path, project, "r1")
        assert code == 0, output
        names.append(eval(next(line for line in output.splitlines() if line.startswith("NAMES"))[5:]))
    assert names == [{"a": "run_r1_model", "b": "run_r1_model-b"}] * 2 + [{"b": "run_r1_model-b"}]


def test_pickled_and_copied(start_run: Any, tmp_path: Path) -> None:
    """A callback that was pickled or deep-copied, before `fit` or after it, works as the original does."""
    run = start_run()
    callback = WandbModelCheckpoint("m.keras", monitor="loss", metadata={"a": 1})
    for _ in range(2):
        callback = pickle.loads(pickle.dumps(copy.deepcopy(callback)))
        fit(keras, [callback])
    assert len(versions(run.path, tmp_path / "fetched")) == 4


def test_fit_twice_continues(start_run: Any, tmp_path: Path) -> None:
    """The second fit of one callback goes on where the first stopped, and leaves no thread."""
    run, before = start_run(), threading.enumerate()
    callback = WandbModelCheckpoint("m.keras")
    for values in ([1.0, 2.0], [3.0, 0.5]):
        fit(keras, [logs_of(keras, values), callback])
    assert len(callback.checkpoints) == len(versions(run.path, tmp_path / "fetched")) == 4
    assert [outcome.version for outcome in callback.checkpoints if "best" in outcome.aliases] == ["v0", "v3"]
    for thread in threading.enumerate():
        if thread.name.startswith("wandb_ckpt") and thread not in before:
            thread.join()


def test_a_given_name_shared_by_two_runs_has_one_best(start_run: Any, tmp_path: Path) -> None:
    """An artifact that several runs log to has the best of all of them as `best`."""
    for values in ([1.0, 2.0], [9.0, 0.5], [7.0]):
        with start_run() as run:
            callback = WandbModelCheckpoint("m.keras", artifact_name="shared")
            fit(keras, [logs_of(keras, values), callback], epochs=len(values))
    seen = versions(run.path, tmp_path / "fetched", "shared")
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [0.5]
    assert len(seen) == 5


def test_a_model_with_a_save_of_its_own(start_run: Any, tmp_path: Path) -> None:
    """What a custom save() wrote is published under the names that it chose; where it wrote nothing, that is said."""
    run = start_run()

    class Custom(keras.Sequential):
        def save(self, filepath: Any, **kwargs: Any) -> None:
            if "nothing" not in str(filepath):
                Path(f"{filepath}.txt").write_text("weights")

    model = Custom([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    callbacks = [WandbModelCheckpoint("m.keras"), WandbModelCheckpoint("nothing.keras")]
    model.fit(X, Y, verbose=0, validation_split=0.5, callbacks=callbacks)
    (seen,) = versions(run.path, tmp_path / "fetched")
    assert list(seen.files) == ["m.keras.txt"]
    assert Path("m.keras.txt").read_text() == "weights"
    (outcome,) = callbacks[1].checkpoints
    assert (outcome.state, "wrote no file" in outcome.reason) == ("failed", True)


def test_a_subclass_that_overrides_hooks(start_run: Any, tmp_path: Path) -> None:
    """Users override hooks, change logs and call super(); the real model is there outside the parent's hook."""
    run, models = start_run(), []

    class Mine(WandbModelCheckpoint):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, {**logs, "val_f1": 0.1 * epoch})
            models.append(self.model)

    callback = Mine("m-{val_f1:.1f}.keras", monitor="val_f1", mode="max")
    history = fit(keras, [callback])
    assert all(model is history.model for model in models)
    seen = versions(run.path, tmp_path / "fetched")
    assert [version.metadata["value"] for version in seen] == [0.0, 0.1]
    assert "best" in seen[-1].aliases


def test_the_disk_is_left_clean(start_run: Any, tmp_path: Path, wandb_home: Path) -> None:
    """After training there is the checkpoint and nothing else: no snapshot, no staging copy, no cache copy."""
    run = start_run()
    names = "data_dir", "cache_dir/artifacts"
    before = [contents(wandb_home / name).items() for name in names]
    fit(keras, [WandbModelCheckpoint("out/m.keras")])
    assert os.listdir("out") == ["m.keras"]
    assert Path("out/m.keras").stat().st_nlink == 1
    assert not list(Path(run.sync_dir).rglob("*.keras"))
    for name, known in zip(names, before, strict=True):  # wandb may still be at removing what earlier tests had
        assert contents(wandb_home / name).items() <= known


def test_tf_keras_saves_at_once(start_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On tf_keras, save_on_background is taken and has no effect but a warning."""
    import tf_keras

    from wandb_ckpt.tf_keras import WandbModelCheckpoint as Legacy

    start_run(mode="offline")
    callback = Legacy(tmp_path / "m.keras", save_on_background=True)
    with caplog.at_level("WARNING", "wandb_ckpt"):
        fit(tf_keras, [callback])
    assert sum("tf_keras can't save a copy" in message for message in caplog.messages) == 1
    assert [outcome.state for outcome in callback.checkpoints] == ["offline", "offline"]
