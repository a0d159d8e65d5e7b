"""With shard="layer", W&B is sent only what has changed, and what comes back is what was saved."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from test_restore import damaged, is_, state_of

import wandb_ckpt
from proxy import Proxy
from scripts import ran, run_script
from training import fit, model_of, stored, versions
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.formats.join_shards import join, joined_name
from wandb_ckpt.formats.split_shards import split
from wandb_ckpt.keras import WandbModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

FORMATS = [("keras", False), ("weights.h5", True), ("h5", False)]
X = np.random.default_rng(0).normal(size=(32, 128)).astype("float32")
Y = X[:, :1]


def fine_tuned(optimizer: str) -> keras.Model:
    """A model of which 9 of 10 parameters are frozen."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(128, activation="relu") for _ in range(10)]
    model = keras.Sequential([keras.Input((128,)), *layers, keras.layers.Dense(1)])
    for layer in layers[:9]:
        layer.trainable = False
    model.compile(optimizer, "mse")
    return model


def cat(name: str, root: Path) -> Path:
    """Fetches a version with wandb's own command line and joins it with the line that the README has."""
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    command = [sys.executable, "-m", "wandb", "artifact", "get", name, "--root", str(root)]
    assert ran(command, env=inherited).returncode == 0
    (shards,) = root.iterdir()
    joined = shards.name.removesuffix(".shards")
    subprocess.run(f"cat {joined}.shards/* > {joined}", shell=True, cwd=root, check=True)
    return root / joined


@pytest.mark.parametrize(
    ("ending", "weights_only", "optimizer", "share", "in_background"),
    [
        *((*each, "sgd", 0.15, False) for each in FORMATS),
        ("keras", False, "sgd", 0.15, True),
        # Adam has two more values for each trained weight, all of which change: 0.3 of 1.2.
        ("keras", False, "adam", 0.29, False),
    ],
)
def test_what_is_frozen_is_uploaded_once(
    proxy: Proxy,
    start_run: Callable[..., Any],
    tmp_path: Path,
    ending: str,
    weights_only: bool,
    optimizer: str,
    share: float,
    in_background: bool,
) -> None:
    """Of each version after the first, little more than what was trained is sent; each comes back bit for bit."""
    model, uploaded, states = fine_tuned(optimizer), [], []
    with start_run() as run:
        callback = WandbModelCheckpoint(
            f"m-{{epoch}}.{ending}",
            "loss",
            save_weights_only=weights_only,
            shard="layer",
            save_on_background=in_background,
        )
        for epoch in range(3):
            proxy.uploads.clear()
            model.fit(X, Y, verbose=0, initial_epoch=epoch, epochs=epoch + 1, callbacks=[callback])
            states.append(state_of(model))
            uploaded.append(sum(size for path, size in proxy.uploads if "artifact" in path))
    assert [outcome.version for outcome in callback.checkpoints] == ["v0", "v1", "v2"]
    size = Path(f"m-1.{ending}").stat().st_size
    assert uploaded[0] > 0.98 * size
    assert [sent < share * size for sent in uploaded[1:]] == [True, True], (uploaded, size)
    name = f"{run.entity}/{run.project}/run_{run.id}_model"
    for number, state in enumerate(states):
        check_all_ways(f"{name}:v{number}", optimizer, state, tmp_path / f"got-{number}")


def check_all_ways(ref: str, optimizer: str, state: Any, root: Path) -> None:
    """A version has a state, however it is fetched and loaded; the two files are the same."""
    model = fine_tuned(optimizer)
    checkpoint = wandb_ckpt.restore(model, ref)
    assert state_of(model) == state
    joined = cat(ref, root)
    assert joined.name == f"model.{checkpoint.format}" == Path(checkpoint.path).name
    assert joined.read_bytes() == Path(checkpoint.path).read_bytes()
    if checkpoint.format == "keras":
        assert state_of(wandb_ckpt.load_model(ref)) == state == state_of(keras.saving.load_model(joined))
    if checkpoint.format == "weights.h5":
        assert is_(joined, Path(f"m-{checkpoint.epoch + 1}.weights.h5").read_bytes())


def test_the_same_model_twice_is_one_version(start_run: Callable[..., Any], tmp_path: Path) -> None:
    """A training that changes nothing adds its aliases to the version that W&B has, in another process too."""
    body = """
        begin = int(os.environ["BEGIN"])
        model.optimizer.apply = lambda *_: None
        with wandb.init():
            callback = WandbModelCheckpoint("m-{epoch:02d}.keras", "loss", shard="layer", artifact_name="same")
            fit(callback, initial_epoch=begin, epochs=begin + 2)
    """
    run = start_run()
    for number in ("0", "2"):
        code, output = run_script(body, tmp_path, run.project, f"r{number}", BEGIN=number, PYTHONHASHSEED=number)
        assert code == 0, output
    (only,) = versions(run.path, tmp_path / "fetched", "same")
    assert {"epoch_0", "epoch_1", "epoch_2", "epoch_3", "latest"} <= only.aliases
    assert only.metadata["shard"] == "layer"


def test_without_it_a_version_is_the_file(start_run: Callable[..., Any], tmp_path: Path) -> None:
    """It is off by default."""
    run = start_run()
    fit(keras, [WandbModelCheckpoint("m.keras")], epochs=1)
    (only,) = versions(run.path, tmp_path / "fetched")
    assert (list(only.files), "shard" in only.metadata) == (["m.keras"], False)


def test_no_shard_stays_on_this_disk(start_run: Callable[..., Any], tmp_path: Path) -> None:
    """What was split for publishing goes once it is committed; the local file is what Keras saved."""
    with start_run() as run:
        callback = WandbModelCheckpoint("m.keras", shard="layer")
        model = fit(keras, [callback]).model
        assert {outcome.state for outcome in callback.checkpoints} == {"committed"}
        assert not [path for path in Path(run.settings.sync_dir).rglob("*") if "shards" in path.name]
    assert state_of(keras.saving.load_model("m.keras")) == state_of(model)
    assert not list(Path().rglob(".wandb_ckpt-*"))


def test_a_damaged_shard_is_a_named_error(
    start_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that comes damaged from the store is named, and nothing is joined."""
    import wandb

    from wandb_ckpt.server import Server

    with Server(data_dir=tmp_path / "store") as store:
        settings = wandb.Settings(base_url=store.url, api_key=store.api_key)
        with start_run(settings=settings):
            fit(keras, [WandbModelCheckpoint("m.keras", shard="layer")], epochs=1)
            whole = wandb_ckpt.download("latest", tmp_path / "whole")
            saved = whole.with_name("model.keras.shards").joinpath("0003-begin").read_bytes()
            blob = stored(tmp_path / "store", saved)
            blob.chmod(0o644)
            blob.write_bytes(damaged(saved, "same"))
            monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))  # in which it is not whole
            with pytest.raises(
                wandb_ckpt.DamagedCheckpointError, match=r"model\.keras\.shards/0003-begin does not match"
            ):
                wandb_ckpt.download("latest", tmp_path / "got")
    wandb.teardown()
    assert not (tmp_path / "got/model.keras").exists()


def test_an_exception_leaves_shards_to_be_published_too(project: str, server: Any, tmp_path: Path) -> None:
    """What is published into a finished run, by a process of its own, is in shards as well."""
    body = """
        with wandb.init():
            fit(WandbModelCheckpoint("m-{epoch}.keras", shard="layer"), At(1, lambda: 1 / 0))
    """
    _, output = run_script(body, tmp_path, project, "r1")
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert len(seen) == 2, output
    assert {joined_name(version.files) for version in seen} == {"model.keras"}


def test_two_versions_in_shards_are_compared_by_layer(start_run: Callable[..., Any]) -> None:
    """`wandb-ckpt diff` sees the layers of versions that are in shards."""
    from wandb_ckpt.browsing.diff import compare

    model = fine_tuned("sgd")
    with start_run() as run:
        callback = WandbModelCheckpoint("m.keras", "loss", shard="layer")
        model.fit(X, Y, verbose=0, epochs=2, callbacks=[callback])
        name = f"{run.entity}/{run.project}/run_{run.id}_model"
        found = compare(f"{name}:v0", f"{name}:v1")
    changed = {layer.layer for layer in found.layers if layer.state == "changed"}
    assert changed == {"layers/dense_9", "layers/dense_10", "optimizer"}, found.why_no_layers


# ---- files of all kinds ----------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("shards")
class Noise(keras.layers.Layer):
    """A layer of the user's own, with a seed generator and a variable of another type."""

    def build(self, shape: Any) -> None:
        self.seed = keras.random.SeedGenerator(3)
        self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(keras.ops.shape(inputs), dtype=inputs.dtype, seed=self.seed)


def rich(dtype: str) -> keras.Model:
    """Nested, shared and custom layers, with an asset where the backend has them, and a shared object."""
    keras.utils.set_random_seed(3)
    inputs, policy = keras.Input((128,)), keras.DTypePolicy(dtype)
    shared = keras.layers.Dense(128, dtype=policy)
    nested = keras.Sequential([keras.layers.Dense(128, dtype=policy), keras.layers.BatchNormalization(dtype=policy)])
    hidden = Noise(dtype=dtype)(shared(nested(shared(inputs))))
    model = keras.Model(inputs, keras.layers.Dense(1, dtype=policy)(hidden))
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize(("ending", "weights_only"), FORMATS[:2])
def test_every_kind_of_model(tmp_path: Path, dtype: str, ending: str, weights_only: bool) -> None:
    """Split and joined, the file has every variable of the model and its configuration."""
    model, path = rich(dtype), tmp_path / f"m.{ending}"
    (model.save_weights if weights_only else model.save)(path)
    joined = split_and_joined(path, tmp_path / "shards")
    if weights_only:
        assert joined.read_bytes() == path.read_bytes()
        return
    assert state_of(keras.saving.load_model(joined)) == state_of(model) == state_of(keras.saving.load_model(path))
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(joined) as new:
        assert new.testzip() is None
        assert sorted(new.namelist()) == sorted(old.namelist())
        assert new.read("model.weights.h5") == old.read("model.weights.h5")
        configs = [without_ids(json.loads(archive.read("config.json"))) for archive in (old, new)]
    assert configs[0] == configs[1]


def without_ids(config: Any) -> Any:
    """A configuration without the numbers that tell shared objects apart."""
    if isinstance(config, dict):
        return {key: without_ids(value) for key, value in config.items() if key != "shared_object_id"}
    return [without_ids(value) for value in config] if isinstance(config, list) else config


def split_and_joined(path: Path, folder: Path) -> Path:
    """The file that the shards of a file make up."""
    names = split(path, folder)
    name = joined_name(names)
    assert name
    join(folder, names, name)
    return folder / name


def test_assets_and_shared_objects(tmp_path: Path) -> None:
    """A vocabulary comes back; objects are shared as before, by numbers that are the same in every process."""
    activation, path = keras.layers.LeakyReLU(0.3), tmp_path / "m.keras"
    layers = [keras.layers.Dense(8, activation=activation) for _ in range(2)]
    keras.Sequential([keras.Input((4,)), *layers]).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("assets/layers/words/vocabulary.txt", "a\nb\n" * 100_000)
    joined = split_and_joined(path, tmp_path / "shards")
    old, new = (shared_ids(each) for each in (path, joined))
    assert len(set(old)) >= 2
    assert new == [list(dict.fromkeys(old)).index(each) for each in old]
    with zipfile.ZipFile(joined) as archive:
        assert archive.read("assets/layers/words/vocabulary.txt") == b"a\nb\n" * 100_000


def shared_ids(path: Path) -> list[int]:
    """The numbers of shared objects in a model's configuration, in their order."""
    with zipfile.ZipFile(path) as archive:
        return [int(number) for number in re.findall(rb'"shared_object_id": (\d+)', archive.read("config.json"))]


def test_many_small_variables_make_few_shards(tmp_path: Path) -> None:
    """There are at most about a thousand files to a version, however many variables a model has."""
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for number in range(4000):
            file[f"layers/{'wörter und :*?' * 9} {number}/vars/0"] = np.full(512, number, "float32")
    names = split(tmp_path / "m.weights.h5", tmp_path / "shards")
    assert 100 < len(names) < 1100
    assert all(len(name) < 100 and name.isascii() for name in names)
    assert (
        split_and_joined(tmp_path / "m.weights.h5", tmp_path / "more").read_bytes()
        == Path(tmp_path / "m.weights.h5").read_bytes()
    )


def test_a_file_that_is_not_keras_s_is_published_whole(
    start_run: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a model's own `save` writes something else, that is published as it is, and a warning says so."""
    run = start_run()
    model = model_of(keras)
    model.save = lambda path, **_: Path(path).write_bytes(b"of my own")
    callback = WandbModelCheckpoint("m.keras", "loss", shard="layer")
    model.fit(np.zeros((8, 4)), np.zeros((8, 1)), verbose=0, callbacks=[callback])
    (only,) = versions(run.path, tmp_path / "fetched")
    assert (list(only.files), "shard" in only.metadata) == (["m.keras"], False)
    assert any("published as one file" in record.message for record in caplog.records)


# ---- tf_keras and arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "weights_only"), FORMATS)
def test_tf_keras(start_run: Callable[..., Any], ending: str, weights_only: bool) -> None:
    """Its HDF5 formats are split and come back alike."""
    tf_keras = pytest.importorskip("tf_keras")
    from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

    with start_run():
        callback = ForTfKeras(f"m.{ending}", save_weights_only=weights_only, shard="layer")
        trained = fit(tf_keras, [callback]).model
        model = model_of(tf_keras)
        assert wandb_ckpt.restore(model, "latest").path.endswith(f"model.{ending}")
    assert state_of(model) == state_of(trained)


def test_arguments_that_cannot_work(tmp_path: Path) -> None:
    """A word that is not known, and formats that can't be split, are errors at once."""
    with pytest.raises(ArgumentError, match="shard='weight' is not a valid value"):
        WandbModelCheckpoint("m.keras", shard="weight")  # type: ignore[arg-type]
    with suppress(ImportError):
        from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

        for weights_only in (False, True):
            with pytest.raises(ArgumentError, match=r"expected a path that ends with '\.keras'"):
                ForTfKeras("m", save_weights_only=weights_only, shard="layer")
