"""What Keras's and tf_keras's own tests check of `ModelCheckpoint` holds with this class in its place, in one run."""

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from training import X, Y, model_of

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


class Parent:
    """One family, and how its callback is made.

    Args:
        name: `"keras"` or `"tf_keras"`.
        background: Whether to save in the background.
    """

    def __init__(self, name: str, background: bool) -> None:
        if name == "tf_keras":
            import tf_keras

            from wandb_ckpt.tf_keras import WandbModelCheckpoint as Legacy

            self.keras, made = tf_keras, Legacy
        else:
            from wandb_ckpt.keras import WandbModelCheckpoint

            self.keras, made = keras, WandbModelCheckpoint
        self.name = name
        self.checkpoint: Callable[..., Any] = partial(made, save_on_background=background)

    def model(self) -> Any:
        """A compiled model with an accuracy."""
        self.keras.utils.set_random_seed(7)
        layers = self.keras.layers
        model = self.keras.Sequential(
            [self.keras.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(1, activation="sigmoid")]
        )
        model.compile("sgd", "mse", metrics=["acc", self.keras.metrics.AUC(name="auc")])
        return model

    def fit(self, model: Any, callback: Any, **arguments: Any) -> None:
        """Trains for an epoch of five batches, unless told otherwise."""
        y = np.asarray(Y.mean() < Y, "float32")
        arguments = {"batch_size": 8, "epochs": 1, "verbose": 0, "validation_data": (X[40:], y[40:]), **arguments}
        model.fit(X[:40], y[:40], callbacks=[callback], **arguments)


@pytest.fixture(scope="module")
def run(wandb_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One offline run for all that is tested here: no test may see what another one has saved."""
    import wandb

    with wandb.init(mode="offline", project="parent", dir=tmp_path_factory.mktemp("run")) as run:
        yield run


@pytest.fixture(params=["keras", "keras in the background", "tf_keras", "tf_keras in the background"])
def parent(request: pytest.FixtureRequest, run: Any) -> Parent:
    """Each family, blocking and in the background, with an offline run."""
    name, _, background = request.param.partition(" ")
    return Parent(name, bool(background))


@pytest.fixture(params=["tf_keras", "tf_keras in the background"])
def legacy(request: pytest.FixtureRequest, run: Any) -> Parent:
    """What only tf_keras has."""
    return Parent("tf_keras", "background" in request.param)


def files() -> list[str]:
    """The checkpoints in this folder."""
    return sorted(str(path) for path in Path().glob("m*"))


def test_every_new_callback_begins_anew(parent: Parent) -> None:
    """Whatever an earlier callback for the same path has saved in the run, a new one saves its own best."""
    model = parent.model()
    for arguments in (
        {"monitor": "val_loss", "mode": "auto"},
        {"monitor": "val_loss", "mode": "min"},
        {"monitor": "val_acc", "mode": "max"},
        {"monitor": "val_acc", "mode": "max", "save_best_only": True},
        {"monitor": "val_acc", "mode": "max", "save_best_only": True, "initial_value_threshold": -0.01},
        {"monitor": "val_loss", "mode": "auto", "save_best_only": True},
        {"monitor": "val_loss", "mode": "auto", "save_best_only": True},
    ):
        parent.fit(model, parent.checkpoint("made/by/it/m.keras", **arguments))
        Path("made/by/it/m.keras").unlink()


def test_the_file_is_of_the_last_training(parent: Parent) -> None:
    """A second, worse model of the run is saved over the first: the file at the path is the last training's best."""
    better, worse = parent.model(), parent.model()
    parent.fit(better, parent.checkpoint("m.keras", save_best_only=True), epochs=3)
    worse.set_weights([weight - 9 for weight in worse.get_weights()])
    parent.fit(worse, parent.checkpoint("m.keras", save_best_only=True))
    saved = parent.keras.saving.load_model("m.keras").get_weights()
    assert all(np.array_equal(*pair) for pair in zip(saved, worse.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("monitor", "mode", "threshold"), [("val_loss", "min", 0), ("val_loss", "auto", 0), ("val_auc", "auto", 1.01)]
)
def test_a_threshold_that_is_not_reached(parent: Parent, monitor: str, mode: str, threshold: float) -> None:
    """What is not better than the threshold is not saved."""
    if parent.name == "tf_keras" and monitor == "val_auc":
        mode = "max"  # tf_keras takes only names with `acc` as better when higher
    arguments = {"monitor": monitor, "mode": mode, "save_best_only": True, "initial_value_threshold": threshold}
    parent.fit(parent.model(), parent.checkpoint("m.keras", **arguments))
    assert files() == []


def test_a_monitor_that_is_not_logged(parent: Parent) -> None:
    """With `save_best_only`, Keras 3 warns and saves, tf_keras does not save."""
    callback = parent.checkpoint("m.keras", monitor="unknown", mode="min", save_best_only=True)
    if parent.name == "tf_keras":
        parent.fit(parent.model(), callback)
        assert files() == []
    else:
        with pytest.warns(UserWarning, match="Can save best model only with unknown available"):
            parent.fit(parent.model(), callback)
        assert files() == ["m.keras"]


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
def test_a_frequency_in_batches(parent: Parent, ending: str) -> None:
    """Every fifteenth batch is the end of each third epoch of five batches."""
    callback = parent.checkpoint(f"m{{epoch}}.{ending}", save_freq=15, save_weights_only=ending == "weights.h5")
    parent.fit(parent.model(), callback, epochs=10)
    assert files() == [f"m3.{ending}", f"m6.{ending}", f"m9.{ending}"]


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
def test_the_batch_in_the_path(parent: Parent, ending: str) -> None:
    """Epoch and batch in the path are one-based."""
    callback = parent.checkpoint(f"m{{epoch}}-{{batch}}.{ending}", save_freq=1, save_weights_only=ending != "keras")
    parent.fit(parent.model(), callback, epochs=3, batch_size=20)
    assert files() == [f"m{epoch}-{batch}.{ending}" for epoch in (1, 2, 3) for batch in (1, 2)]


def test_arguments_that_are_not_known(parent: Parent, caplog: pytest.LogCaptureFixture) -> None:
    """A mode that is not known is told and falls back to `auto`; a frequency that is not known is an error."""
    if parent.name == "tf_keras":
        parent.checkpoint("m.keras", mode="unknown")
        assert "ModelCheckpoint mode unknown is unknown" in caplog.text
    else:
        with pytest.warns(UserWarning, match="ModelCheckpoint mode 'unknown' is unknown"):
            parent.checkpoint("m.keras", mode="unknown")
    with pytest.raises(ValueError, match="Unrecognized save_freq"):
        parent.checkpoint("m.keras", save_freq="invalid")


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "h5"])
def test_what_is_saved_is_what_was_trained(parent: Parent, ending: str) -> None:
    """The weights of the file, loaded by the family itself, are the model's."""
    model, fresh = parent.model(), parent.model()
    parent.fit(model, parent.checkpoint(f"m.{ending}", save_weights_only=ending == "weights.h5"))
    if ending == "weights.h5":
        fresh.load_weights("m.weights.h5")
    else:
        fresh = parent.keras.models.load_model(f"m.{ending}", compile=False)
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), fresh.get_weights(), strict=True))


def test_a_folder_in_the_way(parent: Parent) -> None:
    """A folder at the path of a file ends training with the parent's own words."""
    Path("m.h5").mkdir()
    with pytest.raises(OSError, match=re.escape("Please specify a non-directory filepath for ModelCheckpoint.")):
        parent.fit(parent.model(), parent.checkpoint("m.h5"))


def test_a_placeholder_that_is_not_logged(parent: Parent) -> None:
    """A path that the logs can't fill ends training with the parent's own words."""
    with pytest.raises(KeyError, match="Failed to format this callback filepath"):
        parent.fit(parent.model(), parent.checkpoint("m{epoch:02d}_{mape:.2f}.keras"))


def test_the_same_callback_goes_on(parent: Parent) -> None:
    """A callback that is used again saves only what is better than in its first training, as the parent's does."""
    callback, model = parent.checkpoint("m{epoch}.keras", save_best_only=True), parent.model()
    parent.fit(model, callback, epochs=3)
    best = callback.best
    model.set_weights([weight - 9 for weight in model.get_weights()])
    for path in files():
        Path(path).unlink()
    parent.fit(model, callback)
    assert files() == []
    assert callback.best == best


def test_load_weights_on_restart(legacy: Parent, tmp_path: Path) -> None:
    """tf_keras puts the newest file into the model when training begins; without the argument it does not."""
    trained, restored, fresh = (model_of(legacy.keras) for _ in range(3))
    arguments = {"batch_size": 16, "verbose": 0, "shuffle": False}
    make = partial(legacy.checkpoint, str(tmp_path / "m{epoch}.h5"), save_weights_only=True)  # no relative path there
    trained.fit(X, Y, epochs=3, callbacks=[make()], **arguments)
    for number, path in enumerate(files()):
        os.utime(path, (number, number))
    fresh.fit(X, Y, epochs=1, callbacks=[make()], **arguments)
    os.utime("m1.h5", (0, 0))
    restored.fit(X, Y, epochs=1, callbacks=[make(load_weights_on_restart=True)], **arguments)
    trained.fit(X, Y, epochs=1, **arguments)
    distances = [np.abs(trained.get_weights()[0] - model.get_weights()[0]).max() for model in (restored, fresh)]
    assert distances[0] < distances[1] / 4  # the file has no optimizer


def test_saved_models_and_options(legacy: Parent) -> None:
    """A path without an ending is a SavedModel; options that a format does not have are refused."""
    import tensorflow as tf

    legacy.fit(legacy.model(), legacy.checkpoint("m-saved"))
    assert Path("m-saved/saved_model.pb").is_file()
    with pytest.raises(ValueError, match="The native TF-Keras format does not support"):
        legacy.checkpoint("m.keras", options=tf.saved_model.SaveOptions())


def test_with_tf_config(legacy: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """`TF_CONFIG` alone changes nothing."""
    worker = '{"cluster": {"worker": ["localhost:23333"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", worker)
    legacy.fit(legacy.model(), legacy.checkpoint("m.keras"))
    assert files() == ["m.keras"]


def test_batch_hooks_hold_nothing(legacy: Parent) -> None:
    """Logs stay tensors until something is saved."""
    callback = legacy.checkpoint("m.keras", save_freq=100)
    assert callback._supports_tf_logs
    hooks = legacy.keras.callbacks.CallbackList([callback], model=legacy.model(), epochs=1, steps=10, verbose=0)
    read: list[str] = []

    class Number:
        def to_numpy_or_python_type(self) -> None:
            read.append("to_numpy_or_python_type")

        def __float__(self) -> float:
            read.append("__float__")
            return 0.0

    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    for batch in range(10):
        hooks.on_train_batch_begin(batch)
        hooks.on_train_batch_end(batch, logs={"loss": Number()})
    assert read == []
