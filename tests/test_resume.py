"""One line takes a run's training up again: same weights, same versions, as if it had not stopped."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import wandb

import wandb_ckpt
from proxy import Proxy
from scripts import NOISY_MODEL, run_script
from servers import OwnServer, seen_on
from training import X, Y, logs_of, model_of, stored, versions
from wandb_ckpt.keras import WandbModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

ARGUMENTS = {"batch_size": 8, "validation_split": 0.5, "verbose": 0, "shuffle": False}
EPOCHS = 4


def noisy_model(family: Any = keras) -> Any:
    """A compiled model whose training needs its seed generators' states."""
    family.utils.set_random_seed(7)
    layers = family.layers
    noise = [layers.Dropout(0.5), layers.GaussianNoise(0.1)]
    model = family.Sequential([family.Input((4,)), layers.Dense(3), *noise, layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def state_of(model: Any) -> list[bytes]:
    """Every variable of a model and its optimizer, but those of metrics, as bytes."""
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(variable.numpy()).tobytes() for variable in variables]


def train(make: Callable[[], Any], *, epochs: int, run: Any, before: Any = (), model: Any = None) -> Any:
    """One process's part of a training, by the one line; returns the model."""
    model = model or noisy_model()
    callback = make()
    with run:
        first = callback.resume(model)
        model.fit(X, Y, epochs=epochs, initial_epoch=first, callbacks=[*before, callback], **ARGUMENTS)
    return model


def facts(seen: Any) -> list[tuple[Any, ...]]:
    """What must be the same of versions, however often training was interrupted."""
    names = ("epoch", "batch", "step", "monitor", "value", "best", "logs", "seeds")
    return [(each.version, each.aliases, each.description, *(each.metadata[name] for name in names)) for each in seen]


@pytest.mark.parametrize(
    ("filepath", "weights_only"),
    [("m-{epoch}.keras", False), ("m.keras", False), ("m.h5", False), ("m.weights.h5", True)],
)
def test_as_if_it_had_not_stopped(start_run: Any, tmp_path: Path, filepath: str, weights_only: bool) -> None:
    """Training in two parts ends with the weights, optimizer, seeds and versions of the whole one."""
    seen, models = [], []
    for parts in ([EPOCHS], [2, EPOCHS]):
        run_id = f"r{len(parts)}"
        for number, epochs in enumerate(parts):
            folder = tmp_path / f"{run_id}-{number}"  # another machine
            folder.mkdir()
            run = start_run(id=run_id, resume="allow", dir=folder)
            make = lambda folder=folder: WandbModelCheckpoint(folder / filepath, save_weights_only=weights_only)  # noqa: E731
            model = train(make, epochs=epochs, run=run)
        models.append(state_of(model))
        seen.append(facts(versions(run.path, tmp_path / f"fetched-{run_id}")))
    assert models[0] == models[1]
    assert seen[0] == seen[1]
    assert len(seen[0]) == EPOCHS


def test_nothing_to_resume(start_run: Any) -> None:
    """A run that has no checkpoint yet begins at the beginning, with the model as it is; so does a disabled one."""
    model = noisy_model()
    before = state_of(model)[: len(model.variables)]
    callback = WandbModelCheckpoint("m.keras")
    with start_run():
        assert callback.resume(model) == 0
    with start_run(mode="disabled"):
        assert callback.resume(model) == 0
    assert state_of(model)[: len(model.variables)] == before


def test_a_finished_training_stays_finished(start_run: Any, tmp_path: Path) -> None:
    """The same line after the last epoch trains nothing and makes no version."""
    for _ in range(2):
        run = start_run(id="r1", resume="allow")
        train(lambda: WandbModelCheckpoint("m.keras"), epochs=2, run=run)
    assert len(versions(run.path, tmp_path / "fetched")) == 2


def test_save_best_only_goes_on_from_the_best(start_run: Any, tmp_path: Path) -> None:
    """What came after the best is trained again, and only what is better than it is saved, whatever the threshold."""
    parts = [([3.0, 1.0, 2.0], 1), ([9.0, 9.0, 2.5, 1.5, 0.5, 7.0], 2)]
    for values, first in parts:
        callback = WandbModelCheckpoint("m-{epoch}.keras", save_best_only=True, initial_value_threshold=4.0)
        model = noisy_model()
        with start_run(id="r1", resume="allow") as run:
            assert callback.resume(model) == (0 if first == 1 else 2)
            callbacks = [logs_of(keras, values), callback]
            model.fit(X, Y, epochs=len(values), initial_epoch=first - 1, callbacks=callbacks, **ARGUMENTS)
    seen = versions(run.path, tmp_path / "fetched")
    assert [(each.metadata["epoch"], each.metadata["value"]) for each in seen][1:] == [(1, 1.0), (4, 0.5)]
    assert [sorted(each.aliases) for each in seen][-1] == ["best", "epoch_4", "latest"]


def test_from_within_an_epoch(start_run: Any, tmp_path: Path) -> None:
    """A checkpoint from within an epoch goes on with that epoch, from its weights."""
    model = noisy_model()
    with start_run(id="r1", resume="allow"):
        model.fit(X, Y, epochs=2, callbacks=[WandbModelCheckpoint("m.keras", save_freq=3)], **ARGUMENTS)
    fresh = noisy_model()
    with start_run(id="r1", resume="allow"):
        assert WandbModelCheckpoint("m.keras", save_freq=3).resume(fresh) == 1
    assert int(fresh.optimizer.iterations.numpy()) == 6


def test_a_checkpoint_of_the_very_run(start_run: Any, tmp_path: Path) -> None:
    """Under a name that several runs share, the newest of the run itself counts, not that of another one."""
    make = lambda: WandbModelCheckpoint("m.keras", artifact_name="shared")  # noqa: E731
    train(make, epochs=2, run=start_run(id="r1"))
    train(make, epochs=3, run=start_run(id="r2"))
    with start_run(id="r1", resume="allow"):
        assert make().resume(noisy_model()) == 2


def test_two_callbacks_each_resume_their_own(start_run: Any, tmp_path: Path) -> None:
    """The one whose `resume` is called says where training goes on; the other goes on under its name."""
    for epochs in (2, 3):
        every, best = WandbModelCheckpoint("every.keras"), WandbModelCheckpoint("best.keras", save_best_only=True)
        model = noisy_model()
        with start_run(id="r1", resume="allow") as run:
            first = every.resume(model)
            callbacks = [logs_of(keras, [1.0, 2.0, 3.0]), best, every]
            model.fit(X, Y, epochs=epochs, initial_epoch=first, callbacks=callbacks, **ARGUMENTS)
    seen = versions(run.path, tmp_path / "every")
    assert [(list(each.files), each.metadata["epoch"]) for each in seen] == [(["every.keras"], n) for n in range(3)]
    (only,) = versions(run.path, tmp_path / "best", "run_r1_model-best")
    assert only.aliases == {"best", "latest", "epoch_0"}


def test_a_whole_file_here_is_not_downloaded(project: str, wandb_home: Path, tmp_path: Path) -> None:
    """What the callback's own folder has whole is taken from there: here W&B's copy is gone."""
    from wandb_ckpt.server import Server

    with Server(data_dir=tmp_path / "store") as store:
        settings = wandb.Settings(base_url=store.url, api_key=store.api_key)
        start = lambda: wandb.init(  # noqa: E731
            project=project, id="r1", resume="allow", dir=tmp_path, settings=settings
        )
        model = train(lambda: WandbModelCheckpoint("m.keras"), epochs=2, run=start())
        blob = stored(tmp_path / "store", Path("m.keras").read_bytes())
        blob.chmod(0o644)
        blob.write_bytes(b"damaged")
        fresh = noisy_model()
        with start():
            assert WandbModelCheckpoint("m.keras").resume(fresh) == 2
            assert state_of(fresh) == state_of(model)
            Path("m.keras").unlink()
            with pytest.raises(wandb_ckpt.DamagedCheckpointError):
                WandbModelCheckpoint("m.keras").resume(fresh)
    wandb.teardown()  # wandb 0.31 keeps the address of the server for the next run


def test_a_warm_start_carries_no_best(start_run: Any, tmp_path: Path) -> None:
    """From another run's checkpoint a new run takes the weights, and nothing of what was best there."""
    with start_run() as old:
        callbacks = [logs_of(keras, [1.0]), WandbModelCheckpoint("m.keras")]
        noisy_model().fit(X, Y, callbacks=callbacks, **ARGUMENTS)
    model = noisy_model()
    with start_run() as run:
        wandb_ckpt.restore(model, f"{run.project}/run_{old.id}_model:best")
        callbacks = [logs_of(keras, [5.0]), WandbModelCheckpoint("m.keras", save_best_only=True)]
        model.fit(X, Y, callbacks=callbacks, **ARGUMENTS)
    (seen,) = versions(run.path, tmp_path / "fetched")
    assert (seen.metadata["value"], seen.aliases) == (5.0, {"best", "latest", "epoch_0"})


def test_what_can_not_be_resumed(start_run: Any) -> None:
    """Without a run, with a model that is not built, or from another program's version, the error says what to do."""
    callback = WandbModelCheckpoint("m.keras", artifact_name="m")
    with pytest.raises(wandb_ckpt.NoActiveRunError, match=r"wandb\.init\(\)"):
        callback.resume(noisy_model())
    with pytest.raises(wandb_ckpt.ArgumentError, match="not built"):
        callback.resume(keras.Sequential([keras.layers.Dense(1)]))
    Path("m.keras").write_text("")
    with start_run() as run:
        artifact = wandb.Artifact("m", type="model")
        artifact.add_file("m.keras")
        run.log_artifact(artifact).wait()
        with pytest.raises(wandb_ckpt.RestoreError, match=r"m:v0 does not say its epoch.*wandb_ckpt.restore\(model"):
            callback.resume(noisy_model())


def test_where_w_and_b_can_not_be_asked(proxy: Proxy, start_run: Any) -> None:
    """That is an error: epoch 0 would throw away what was trained."""
    with start_run():
        proxy.refused.add("RunOutputArtifacts")
        with pytest.raises(wandb_ckpt.RestoreError, match=r"permission denied.*train from the start without it"):
            WandbModelCheckpoint("m.keras").resume(noisy_model())


@pytest.mark.parametrize("filepath", ["m-{epoch}.keras", "sm", "m.h5"])
def test_tf_keras(start_run: Any, tmp_path: Path, filepath: str) -> None:
    """Legacy tf_keras resumes from the formats that have the optimizer."""
    tf_keras = pytest.importorskip("tf_keras")
    from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

    models = []
    for parts in ([3], [1, 3]):
        for epochs in parts:
            run = start_run(id=f"r{len(parts)}", resume="allow")
            model = train(lambda: ForTfKeras(filepath), epochs=epochs, run=run, model=model_of(tf_keras))
        models.append([np.asarray(weight).tobytes() for weight in (*model.weights, *model.optimizer.variables)])
    assert models[0] == models[1]
    assert [each.metadata["epoch"] for each in versions(run.path, tmp_path / "fetched")] == [0, 1, 2]


# ---- what a killed process left on this disk -----------------------------------------------------------------

KILLED = (
    NOISY_MODEL
    + """
class Logs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = [3.0, 1.0, 2.0][epoch]

wandb.init(resume="allow", mode=MODE)
callback = WandbModelCheckpoint("m.keras", save_best_only=BEST_ONLY)
first = callback.resume(model)
print("FIRST", first)
if AWAY:
    os.kill(int(os.environ["SERVER_PID"]), signal.SIGKILL)
kill = lambda: os.kill(os.getpid(), signal.SIGKILL) if KILL else None
fit(Logs(), callback, At(1, kill), initial_epoch=first, shuffle=False)
wandb.finish()
"""
)


def part(server: OwnServer, folder: Path, *, mode: str, away: bool = False, kill: bool = False) -> str:
    """Runs one process of a training, which may be killed after its second epoch, and returns what it printed."""
    head = f"MODE, AWAY, KILL, BEST_ONLY = {mode!r}, {away}, {kill}, {mode == 'online'}\n"
    code, output = run_script(head + KILLED, folder, "p1", "r1", **server.environ)
    assert code == (-signal.SIGKILL if kill else 0), output
    return output


@pytest.mark.slow
def test_what_was_not_published_is_resumed_from_and_published(own_server: OwnServer, tmp_path: Path) -> None:
    """W&B was away: training goes on from the newest snapshot on this disk, which becomes a version before others."""
    part(own_server, tmp_path, mode="online", away=True, kill=True)
    own_server.kill()
    own_server.start()
    assert "FIRST 2" in part(own_server, tmp_path, mode="online")
    assert seen_on(own_server, "p1") == [(["epoch_0"], 3.0), (["best", "epoch_1", "latest"], 1.0)]
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.slow
def test_an_offline_run_is_resumed_from_this_disk(own_server: OwnServer, tmp_path: Path) -> None:
    """Offline, a killed training goes on from what its earlier part left here."""
    part(own_server, tmp_path, mode="offline", kill=True)
    assert "FIRST 2" in part(own_server, tmp_path, mode="offline")
