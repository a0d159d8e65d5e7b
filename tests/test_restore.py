"""What was published comes back: downloaded whole, as a model, or in a model, bit for bit."""

import base64
import hashlib
import inspect
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import wandb_ckpt
from training import X, fit, logs_of, model_of, stored
from wandb_ckpt.keras import WandbModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

KERAS_FORMATS = [
    pytest.param("m-{epoch}.keras", False, id="keras"),
    pytest.param("m-{epoch}.h5", False, id="h5"),
    pytest.param("m-{epoch}.weights.h5", True, id="weights.h5"),
]
TF_KERAS_FORMATS = [
    *KERAS_FORMATS,
    pytest.param("sm-{epoch}", False, id="savedmodel"),
    pytest.param("tf-{epoch}", True, id="tf"),
]


@dataclass(frozen=True)
class State:
    """Every weight and every optimizer variable of a model, as bytes."""

    weights: tuple[bytes, ...]
    optimizer: tuple[bytes, ...]


def state_of(model: Any) -> State:
    """The state of a model now."""
    variables = (np.asarray(variable.numpy()) for variable in model.optimizer.variables)
    return State(tuple(weight.tobytes() for weight in model.get_weights()), tuple(v.tobytes() for v in variables))


def notes_of(keras: Any) -> Any:
    """A callback that notes the model's state at the end of every epoch."""

    class Notes(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.states: list[State] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.states.append(state_of(self.model))

    return Notes()


@dataclass(frozen=True)
class Trained:
    """What a training of two epochs left: the first was the best."""

    model: Any
    states: list[State]
    name: str

    @property
    def best(self) -> str:
        """The ref of the best checkpoint."""
        return f"{self.name}:best"


@pytest.fixture
def train(start_run: Callable[..., Any]) -> Callable[..., Trained]:
    """Trains one family in a run of its own, which is finished then, and returns the model and its states."""

    def train(
        filepath: str, family: Any = keras, checkpoint: Any = WandbModelCheckpoint, **arguments: Any
    ) -> Trained:
        notes = notes_of(family)
        with start_run() as run:
            callbacks = [logs_of(family, [1.0, 2.0]), checkpoint(filepath, **arguments), notes]
            model = fit(family, callbacks).model
            name = f"{run.entity}/{run.project}/run_{run.id}_model"
        return Trained(model, notes.states, name)

    return train


@pytest.fixture
def tf_train(train: Callable[..., Trained]) -> Callable[..., Trained]:
    """The same with legacy tf_keras."""
    tf_keras = pytest.importorskip("tf_keras")
    from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

    return lambda filepath, **arguments: train(filepath, tf_keras, ForTfKeras, **arguments)


def check_restored(trained: Trained, family: Any) -> None:
    """A fresh model gets `best` and then `latest`, each as it was at the moment of the save."""
    model = model_of(family)
    first, second = trained.states
    assert wandb_ckpt.restore(model, trained.best).epoch == 0
    assert state_of(model) == first != second
    checkpoint = wandb_ckpt.restore(model, f"{trained.name}:latest")
    assert state_of(model) == second == state_of(trained.model)
    assert (model.predict(X, verbose=0) == trained.model.predict(X, verbose=0)).all()
    assert (checkpoint.epoch, checkpoint.monitor, checkpoint.value, checkpoint.best) == (1, "val_loss", 2.0, 1.0)
    assert (checkpoint.step, checkpoint.mode, checkpoint.is_best) == (8, "min", False)
    assert Path(checkpoint.path).exists() or checkpoint.format == "tf"


# ---- restore ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("filepath", "weights_only"), KERAS_FORMATS)
def test_restore_is_bit_for_bit(train: Any, filepath: str, weights_only: bool) -> None:
    """Weights and every optimizer variable come back as they were, into a model whose optimizer is not built yet."""
    check_restored(train(filepath, save_weights_only=weights_only), keras)


@pytest.mark.parametrize(("filepath", "weights_only"), TF_KERAS_FORMATS)
def test_restore_is_bit_for_bit_in_tf_keras(tf_train: Any, filepath: str, weights_only: bool) -> None:
    """The same for every format of legacy tf_keras, SavedModel folders and TF prefixes too."""
    import tf_keras

    check_restored(tf_train(filepath, save_weights_only=weights_only), tf_keras)


@pytest.mark.parametrize("filepath", ["m-{epoch}.keras", "m-{epoch}.h5"])
def test_training_goes_on_as_if_it_had_not_stopped(train: Any, filepath: str) -> None:
    """A model restored to the first epoch and trained on for one ends with the weights of the whole training."""
    trained = train(filepath)
    model = model_of(keras)
    checkpoint = wandb_ckpt.restore(model, trained.best)
    # Both epochs see the data in the same order.
    arguments = {"batch_size": 8, "validation_split": 0.5, "verbose": 0, "shuffle": False}
    model.fit(X, X.sum(axis=1, keepdims=True), initial_epoch=checkpoint.epoch + 1, epochs=2, **arguments)
    again = model_of(keras)
    wandb_ckpt.restore(again, trained.best)
    again.fit(X, X.sum(axis=1, keepdims=True), initial_epoch=1, epochs=2, **arguments)
    assert int(model.optimizer.iterations.numpy()) == 8
    assert state_of(model) == state_of(again) != trained.states[0]


def test_mixed_precision_comes_back_with_its_loss_scale(start_run: Any) -> None:
    """The optimizer that Keras wraps for mixed precision is restored with what it wraps."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with start_run() as run:
            trained = fit(keras, [WandbModelCheckpoint("m.keras")]).model
            model = model_of(keras)
            wandb_ckpt.restore(model, "latest")
            assert run.id
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"
    assert state_of(model) == state_of(trained)


def test_a_model_without_an_optimizer_gets_the_weights(train: Any) -> None:
    """A model that is not compiled takes the weights, and has nothing to take the rest."""
    trained = train("m.keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    wandb_ckpt.restore(model, trained.best)
    assert tuple(weight.tobytes() for weight in model.get_weights()) == trained.states[0].weights


def test_a_checkpoint_without_optimizer_state_says_so(tf_train: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Legacy HDF5 weights have none: the weights are restored, and a warning says what is not."""
    import tf_keras

    trained = tf_train("w.h5", save_weights_only=True)
    model = model_of(tf_keras)
    with caplog.at_level(logging.WARNING, "wandb_ckpt"):
        wandb_ckpt.restore(model, trained.best)
    assert state_of(model).weights == trained.states[0].weights
    assert "has no optimizer state, so the optimizer stays as it is" in caplog.text


def _wider() -> Any:
    return [keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(1)]


def _deeper() -> Any:
    return [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1), keras.layers.Dense(1)]


def _shorter() -> Any:
    return [keras.Input((4,)), keras.layers.Dense(3)]


@pytest.mark.parametrize("layers", [_wider, _deeper, _shorter])
@pytest.mark.parametrize(("filepath", "weights_only"), KERAS_FORMATS)
def test_another_architecture_is_an_error(train: Any, layers: Any, filepath: str, weights_only: bool) -> None:
    """Keras's own words, the ref, and what to do; a model with only some of the layers is refused too."""
    trained = train(filepath, save_weights_only=weights_only)
    model = keras.Sequential(layers())
    with pytest.raises(wandb_ckpt.RestoreError, match=r"(?s)run_\w+_model:v0 .*[Ee]xpected the arch") as caught:
        wandb_ckpt.restore(model, trained.best)
    assert isinstance(caught.value, ValueError)
    assert "\n" in str(caught.value) or "nothing was restored" in str(caught.value)


@pytest.mark.parametrize(("filepath", "weights_only"), TF_KERAS_FORMATS)
def test_a_part_of_the_model_is_refused_in_tf_keras(tf_train: Any, filepath: str, weights_only: bool) -> None:
    """Legacy tf_keras, too, restores a model that lacks layers without a word; here it is refused."""
    import tf_keras

    trained = tf_train(filepath, save_weights_only=weights_only)
    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3)])
    with pytest.raises(wandb_ckpt.RestoreError, match="xpected the architecture"):
        wandb_ckpt.restore(model, trained.best)


@pytest.mark.parametrize(("filepath", "weights_only"), KERAS_FORMATS)
def test_another_optimizer_is_refused_before_anything_changes(train: Any, filepath: str, weights_only: bool) -> None:
    """Keras would restore the weights and skip the optimizer with a warning; here nothing is restored."""
    trained = train(filepath, save_weights_only=weights_only)
    model = model_of(keras)
    model.compile(optimizer="sgd", loss="mse")
    before = state_of(model).weights
    with pytest.raises(wandb_ckpt.RestoreError, match=r"6 optimizer variables|10 optimizer variables.*SGD has"):
        wandb_ckpt.restore(model, trained.best)
    assert state_of(model).weights == before


def test_legacy_optimizers_are_restored_where_the_format_can(tf_train: Any, start_run: Any) -> None:
    """`tf_keras.optimizers.legacy` is restored from TF formats, and refused where Keras would skip it."""
    import tf_keras

    from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

    def compiled() -> Any:
        model = model_of(tf_keras)
        model.compile(optimizer=tf_keras.optimizers.legacy.Adam(), loss="mse")
        return model

    with start_run():
        trained = compiled()
        trained.fit(X, X.sum(axis=1, keepdims=True), verbose=0, callbacks=[ForTfKeras("tf", save_weights_only=True)])
        trained.fit(X, X.sum(axis=1, keepdims=True), verbose=0, callbacks=[ForTfKeras("tf.h5", artifact_name="h5")])
        model = compiled()
        wandb_ckpt.restore(model, "latest")
        model.optimizer._create_all_weights(model.trainable_variables)
        assert int(model.optimizer.iterations) == 2
        with pytest.raises(wandb_ckpt.RestoreError, match=r"9 optimizer variables.* has 0"):
            wandb_ckpt.restore(compiled(), "h5:latest")


def test_an_unbuilt_model_is_refused(train: Any) -> None:
    """A model without weights has nothing to restore into: the error says how to build it."""
    trained = train("m.keras")
    with pytest.raises(wandb_ckpt.ArgumentError, match=r"is not built.*Call it on some data"):
        wandb_ckpt.restore(keras.Sequential([keras.layers.Dense(1)]), trained.best)
    with pytest.raises(wandb_ckpt.ArgumentError, match="is not a Keras model"):
        wandb_ckpt.restore("model", trained.best)


def test_a_tensorflow_format_needs_tf_keras(tf_train: Any) -> None:
    """Keras 3 can't restore SavedModels and TF prefixes, and the error says what can."""
    trained = tf_train("folder")
    with pytest.raises(wandb_ckpt.RestoreError, match=r"TensorFlow format \(savedmodel\).*Build it with tf_keras"):
        wandb_ckpt.restore(model_of(keras), trained.best)


# ---- load_model ------------------------------------------------------------------------------------------


def check_loaded(trained: Trained, family: Any, **arguments: Any) -> None:
    """The loaded model is compiled and predicts as the trained one."""
    model = wandb_ckpt.load_model(f"{trained.name}:latest", **arguments)
    assert isinstance(model, family.Model)
    assert state_of(model) == trained.states[1]
    assert (model.predict(X, verbose=0) == trained.model.predict(X, verbose=0)).all()


def test_load_model(train: Any) -> None:
    """The whole model comes back, compiled, with the optimizer's state."""
    check_loaded(train("m.keras"), keras)


def test_load_model_of_legacy_hdf5(train: Any) -> None:
    """The same for `.h5`; without compiling, for Keras 3.15 can't read the loss "mse" back from it."""
    trained = train("m.h5")
    model = wandb_ckpt.load_model(f"{trained.name}:latest", compile=False)
    assert (model.predict(X, verbose=0) == trained.model.predict(X, verbose=0)).all()
    assert not model.compiled


def test_load_model_then_restore_of_a_savedmodel(tf_train: Any) -> None:
    """tf_keras 2.21 loads a SavedModel without its optimizer's state; restore puts it in."""
    trained = tf_train("folder")
    model = wandb_ckpt.load_model(f"{trained.name}:latest", safe_mode=False)
    assert (model.predict(X, verbose=0) == trained.model.predict(X, verbose=0)).all()
    wandb_ckpt.restore(model, f"{trained.name}:latest")
    assert state_of(model) == trained.states[1]


@pytest.mark.parametrize(("filepath", "safe_mode"), [("m.keras", True), ("m.h5", False)])
def test_load_model_takes_the_keras_that_saved(tf_train: Any, filepath: str, safe_mode: bool) -> None:
    """What legacy tf_keras saved becomes a model of tf_keras, whatever TF_USE_LEGACY_KERAS says."""
    import tf_keras

    check_loaded(tf_train(filepath), tf_keras, safe_mode=safe_mode)


def test_load_model_of_weights_says_what_to_do(train: Any) -> None:
    """Weights are no model: the error names restore and the ref."""
    trained = train("m.weights.h5", save_weights_only=True)
    with pytest.raises(wandb_ckpt.RestoreError, match=r"weights only.*wandb_ckpt.restore\(model, '.*_model:v0'\)"):
        wandb_ckpt.load_model(trained.best)


@pytest.mark.parametrize("filepath", ["tf", "w.h5", "m.weights.h5"])
def test_load_model_of_tf_keras_weights_says_what_to_do(tf_train: Any, filepath: str) -> None:
    """The same for the weights of tf_keras, whose `.h5` may be either."""
    trained = tf_train(filepath, save_weights_only=True)
    with pytest.raises(wandb_ckpt.RestoreError, match="has weights only"):
        wandb_ckpt.load_model(trained.best)


class Doubled(keras.layers.Layer):  # type: ignore[misc]
    """A layer that Keras does not know."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2


def publish(start_run: Any, model: Any, name: str = "m.keras") -> str:
    """Saves a model as a version without metadata, as wandb's own callback does, and returns its ref."""
    import wandb

    model.save(name)
    with start_run() as run:
        artifact = wandb.Artifact(f"run_{run.id}_model", type="model")
        artifact.add_file(name)
        run.log_artifact(artifact, aliases=["epoch_0", "latest"]).wait()
    return str(artifact.qualified_name)


def test_custom_objects_are_keras_own_matter(start_run: Any) -> None:
    """An unknown class is Keras's own error, with a note that says which checkpoint; `custom_objects` helps."""
    ref = publish(start_run, keras.Sequential([keras.Input((4,)), Doubled()]))
    with pytest.raises(TypeError, match="Doubled") as caught:
        wandb_ckpt.load_model(ref)
    assert f"This is {ref}, downloaded to " in caught.value.__notes__[0]
    model = wandb_ckpt.load_model(ref, custom_objects={"Doubled": Doubled}, compile=False)
    assert (model.predict(X, verbose=0) == X * 2).all()


def test_safe_mode_refuses_code(start_run: Any) -> None:
    """A lambda in the file is refused, and loaded only with `safe_mode=False`."""
    ref = publish(start_run, keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)]))
    with pytest.raises(ValueError, match="safe_mode"):
        wandb_ckpt.load_model(ref)
    assert wandb_ckpt.load_model(ref, safe_mode=False) is not None


def test_a_version_of_wandbs_own_callback(start_run: Any) -> None:
    """A version without metadata is restored as well; what is not known of it is `None` or empty."""
    saved = fit(keras, []).model
    model = model_of(keras)
    checkpoint = wandb_ckpt.restore(model, publish(start_run, saved))
    assert state_of(model) == state_of(saved)
    assert (checkpoint.format, checkpoint.epoch, checkpoint.step, checkpoint.value) == ("keras", None, None, None)
    assert (checkpoint.monitor, checkpoint.mode, checkpoint.is_best, checkpoint.logs) == ("", None, False, {})
    assert checkpoint.keras_version == checkpoint.saved_at == ""


# ---- download and refs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "wandb-artifact://"])
def test_download_gives_the_path_of_the_checkpoint(train: Any, tmp_path: Path, prefix: str) -> None:
    """The file under its own name, below `root`, with the bytes that were saved."""
    trained = train("m-{epoch}.keras")
    path = wandb_ckpt.download(prefix + trained.best, root=tmp_path / "root")
    assert path == tmp_path / "root" / "m-1.keras"
    assert path.read_bytes() == Path("m-1.keras").read_bytes()


def test_download_goes_where_wandb_puts_it(train: Any) -> None:
    """Without `root` it is the folder that `artifact.download()` takes."""
    trained = train("m.keras")
    path = wandb_ckpt.download(trained.best)
    assert path.parent == Path(os.environ["WANDB_ARTIFACT_DIR"]) / f"{trained.name.split('/')[-1]}:v0"


@pytest.mark.parametrize(
    ("filepath", "weights_only", "found"), [("folder", False, "root"), ("prefix", True, "root/prefix")]
)
def test_download_gives_folders_and_prefixes(
    tf_train: Any, tmp_path: Path, filepath: str, weights_only: bool, found: str
) -> None:
    """A SavedModel is the folder itself; TF-format weights are the prefix that Keras takes."""
    trained = tf_train(filepath, save_weights_only=weights_only)
    assert wandb_ckpt.download(trained.best, root=tmp_path / "root") == tmp_path / found


def test_refs_within_a_run(start_run: Any) -> None:
    """Within a run an alias or a version is enough, and a name is looked up in the run's project."""
    with start_run() as run:
        fit(keras, [logs_of(keras, [1.0, 2.0]), WandbModelCheckpoint("m-{epoch}.keras")])
        name = f"run_{run.id}_model"
        firsts = ["best", "v0", "epoch_0", f"{name}:best", f"{run.project}/{name}:v0"]
        assert {wandb_ckpt.download(ref).name for ref in firsts} == {"m-1.keras"}
        assert {wandb_ckpt.download(ref).name for ref in ("latest", "v1", f"{name}:epoch_1")} == {"m-2.keras"}


def test_the_use_is_recorded(train: Any, start_run: Any) -> None:
    """A run that takes a checkpoint is in the version's lineage; outside a run nobody is."""
    import wandb

    trained = train("m.keras")
    users = {run.id for run in wandb.Api().artifact(trained.best).used_by()}
    wandb_ckpt.download(trained.best)
    assert {run.id for run in wandb.Api().artifact(trained.best).used_by()} == users
    with start_run() as run:
        wandb_ckpt.restore(model_of(keras), trained.best)
    assert {run.id for run in wandb.Api().artifact(trained.best).used_by()} == users | {run.id}


@pytest.mark.parametrize("ref", ["", "entity/project/name", "project/name", "a/b/c/d:e", "name:", ":best", None, 3])
def test_a_bad_ref_is_refused_early(ref: Any) -> None:
    """What is no ref is refused with examples, before anything is asked."""
    with pytest.raises(
        wandb_ckpt.ArgumentError, match=r"(?s)ref=.*expected such as 'entity/project/run_3j2t0k7n_model"
    ):
        wandb_ckpt.download(ref)


def test_an_alias_alone_needs_a_run(server: Any) -> None:
    """Outside a run `best` means nothing, and the error says what to write."""
    with pytest.raises(
        wandb_ckpt.NoActiveRunError, match=r"'best' alone.*wandb.init\(\) first, or write the ref in full"
    ):
        wandb_ckpt.download("best")


def test_a_missing_version_is_named(train: Any, start_run: Any) -> None:
    """A missing alias, artifact or project is told with what there is and what to write."""
    trained = train("m.keras")
    missing = wandb_ckpt.CheckpointNotFoundError
    with pytest.raises(missing, match=r"no version or alias 'bset'. Its aliases are: best, epoch_0, epoch_1, latest"):
        wandb_ckpt.download(f"{trained.name}:bset")
    with pytest.raises(missing, match="no version or alias 'v7'"):
        wandb_ckpt.download(f"{trained.name}:v7")
    with pytest.raises(missing, match=r"There is no artifact .*/nothing of type 'model'"):
        wandb_ckpt.download(f"{trained.name.rpartition('/')[0]}/nothing:best")
    with pytest.raises(LookupError, match="looked up in the active run's, or in WANDB_PROJECT"):
        wandb_ckpt.download("nothing:best")
    with start_run(), pytest.raises(missing, match="active run has published no checkpoint yet"):
        wandb_ckpt.download("best")


def test_an_offline_run_has_its_own_checkpoints(train: Any, start_run: Any, tmp_path: Path) -> None:
    """Offline, an alias means what the run left on this disk: in a model, as a model, or copied to a folder."""
    with start_run(mode="offline"):
        notes, model = notes_of(keras), model_of(keras)
        fit(keras, [logs_of(keras, [1.0, 2.0]), WandbModelCheckpoint("m.keras"), notes])
        checkpoint = wandb_ckpt.restore(model, "best")
        assert (checkpoint.epoch, checkpoint.value, state_of(model)) == (0, 1.0, notes.states[0])
        assert state_of(wandb_ckpt.load_model("latest")) == notes.states[1]
        path = wandb_ckpt.download("epoch_1", root=tmp_path / "root")
        assert (path, path.read_bytes()) == (tmp_path / "root" / "m.keras", Path("m.keras").read_bytes())


def test_an_offline_run_says_to_sync_first(start_run: Any) -> None:
    """Offline there are no versions yet: the error names the run's folder and `wandb sync`."""
    with start_run(mode="offline") as run:
        fit(keras, [WandbModelCheckpoint("m.keras")])
        with pytest.raises(wandb_ckpt.CheckpointNotFoundError, match="wandb sync") as caught:
            wandb_ckpt.restore(model_of(keras), "v1")
        assert str(run.settings.sync_dir) in str(caught.value)


def test_a_full_ref_in_an_offline_run(train: Any, start_run: Any) -> None:
    """A ref in full is looked up from within an offline run too, without lineage."""
    trained = train("m.keras")
    with start_run(mode="offline"):
        assert wandb_ckpt.download(trained.best).name == "m.keras"


# ---- damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["same", "half"])
def test_a_damaged_file_here_is_downloaded_again(train: Any, tmp_path: Path, size: str) -> None:
    """wandb 0.31 takes a file of the right size for the right one; here its digest decides."""
    trained = train("m.keras")
    path = wandb_ckpt.download(trained.best, root=tmp_path / "root")
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, size))
    assert wandb_ckpt.download(trained.best, root=tmp_path / "root").read_bytes() == whole


def test_a_damaged_file_in_wandbs_cache_is_downloaded_again(train: Any, tmp_path: Path) -> None:
    """A damaged copy that wandb keeps is not taken; what wandb itself downloads afterwards is right, and apart."""
    import wandb

    trained, other = (train("m.weights.h5", save_weights_only=True) for _ in range(2))
    api = wandb.Api()
    first, second = api.artifact(trained.best), api.artifact(other.best)
    whole = Path(first.download(root=tmp_path / "first"), "m.weights.h5").read_bytes()
    for copy in Path(os.environ["WANDB_CACHE_DIR"], "artifacts", "obj").rglob("*"):
        if copy.is_file() and is_(copy, whole):
            copy.write_bytes(damaged(whole, "same"))
    assert Path(first.download(root=tmp_path / "damaged"), "m.weights.h5").read_bytes() == damaged(whole, "same")
    ours = wandb_ckpt.download(trained.best, root=tmp_path / "ours")
    assert ours.read_bytes() == whole
    theirs = Path(second.download(root=tmp_path / "second"), "m.weights.h5")
    assert theirs.stat().st_size == len(whole)
    assert _is_digest_of(second, theirs)
    assert ours.read_bytes() == whole


def _is_digest_of(artifact: Any, path: Path) -> bool:
    digest = base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
    return bool(artifact.manifest.entries[path.name].digest == digest)


@pytest.mark.parametrize("size", ["same", "half"])
def test_a_damaged_file_in_the_store_is_a_named_error(start_run: Any, tmp_path: Path, size: str) -> None:
    """What the server itself serves damaged or in half is never loaded, and does not stay on this disk."""
    import wandb

    from wandb_ckpt.server import Server

    with Server(data_dir=tmp_path / "store") as store:
        settings = wandb.Settings(base_url=store.url, api_key=store.api_key)
        with start_run(settings=settings):
            fit(keras, [WandbModelCheckpoint("m.keras")])
            saved = Path("m.keras").read_bytes()
            blob = stored(tmp_path / "store", saved)
            blob.chmod(0o644)
            blob.write_bytes(damaged(saved, size))
            model = model_of(keras)
            before = state_of(model)
            with pytest.raises(
                wandb_ckpt.DamagedCheckpointError, match=r"v1 is damaged: the download of m.keras does not match"
            ) as caught:
                wandb_ckpt.restore(model, "latest")
    wandb.teardown()  # wandb 0.31 keeps the address of the server for the next run
    assert isinstance(caught.value, OSError)
    assert state_of(model) == before
    assert not list(Path(os.environ["WANDB_ARTIFACT_DIR"]).rglob(f"{wandb_name(caught.value)}/m.keras"))


def test_newer_digests_are_checked_too(start_run: Any) -> None:
    """A version with XXH128 digests, as wandb 0.29 and newer can make, is checked by them."""
    import wandb

    if "digest_algorithm" not in inspect.signature(wandb.Artifact).parameters:
        pytest.skip("this wandb has MD5 only")
    whole = b"weights"
    Path("m.keras").write_bytes(whole)
    with start_run():
        artifact = wandb.Artifact("newer", type="model", digest_algorithm="XXH128")
        artifact.add_file("m.keras")
        wandb.run.log_artifact(artifact).wait()
        path = wandb_ckpt.download("newer:v0")
        path.write_bytes(damaged(whole, "same"))
        assert wandb_ckpt.download("newer:v0").read_bytes() == whole


def damaged(whole: bytes, size: str) -> bytes:
    """Other bytes of the same size, or the first half."""
    return whole[: len(whole) // 2] if size == "half" else whole[:-1] + bytes([whole[-1] ^ 1])


def is_(path: Path, content: bytes) -> bool:
    """Whether a file has this content."""
    return path.stat().st_size == len(content) and path.read_bytes() == content


def wandb_name(error: Exception) -> str:
    """The `name:version` that an error tells of."""
    return str(error).split(" ")[0].split("/")[-1]
