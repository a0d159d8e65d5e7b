"""`wandb-ckpt diff`: what differs between two versions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from terminal import Trained
from training import X, Y, model_of
from wandb_ckpt.formats.layer_changes import LayerChange, compare_layers
from wandb_ckpt.keras import WandbModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def tables(output: str) -> dict[str, list[list[str]]]:
    """The rows of each piped table, by its first heading."""
    blocks = [block.splitlines() for block in output.split("\n\n") if "\t" in block]
    cells = [[line.split("\t") for line in block if "\t" in line] for block in blocks]
    return {rows[0][0]: rows[1:] for rows in cells}


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".h5"])
def test_layers_that_were_trained_differ(command: Any, start_run: Callable[..., Any], ending: str) -> None:
    """A frozen layer is not among those that differ; a trained one is, by as much as it is."""
    model = model_of(keras)
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    arguments = {"epochs": 2, "batch_size": 8, "verbose": 0}
    with start_run() as run:
        checkpoint = WandbModelCheckpoint(f"m-{{epoch}}{ending}", "loss", save_weights_only="weights" in ending)
        kernels: list[Any] = []
        note = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: kernels.append([np.array(each) for each in model.layers[1].get_weights()])
        )
        model.fit(X, Y, callbacks=[checkpoint, note], **arguments)
        name = f"{run.project}/run_{run.id}_model"
    result = command("diff", f"{name}:v0", f"{name}:v1")
    assert result.exit_code == 1
    found = {row[0]: row[1:] for row in tables(result.output)["LAYER"]}
    # The older format has the layers' own names.
    own = [layer.name for layer in model.layers]
    frozen, trained = own if ending == ".h5" else ("layers/dense", "layers/dense_1")
    assert frozen not in found
    state, largest, relative, _ = found[trained]
    old, new = (np.concatenate([np.ravel(each) for each in kernel]).astype("float64") for kernel in kernels)
    assert state == "changed"
    assert float(largest) == pytest.approx(np.abs(new - old).max(), rel=1e-5)
    assert float(relative) == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-5)


def test_metadata_and_files_that_differ(command: Any, trained: Trained) -> None:
    """Each differing value is shown on both sides; what is equal is not."""
    result = command("diff", f"{trained.path}:v0", f"{trained.path}:best")
    assert result.exit_code == 1
    assert result.output.startswith(f"first   {trained.entity}/{trained.path}:v0\nsecond  {trained.entity}")
    found = tables(result.output)
    metadata = {name: sides for name, *sides in found["METADATA"]}
    assert metadata["value"] == ["1.0", "0.5"]
    assert metadata["logs.val_loss"] == ["1.0", "0.5"]
    assert not {"monitor", "note", "data.rows"} & metadata.keys()
    assert [row[0] for row in found["FILE"]] == ["m-1.keras", "m-2.keras"]
    assert result.output.endswith("Weights: 3 of 3 layers differ.\n")


def test_nothing_differs(command: Any, trained: Trained) -> None:
    """Two refs of one version differ in nothing: exit code 0, as that of diff(1)."""
    result = command("diff", f"{trained.path}:best", f"{trained.path}:v1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No differences.\n")


def test_equal_weights_in_files_that_differ(command: Any, start_run: Callable[..., Any]) -> None:
    """A model that is saved twice has two different .keras files, with the same weights."""
    model = model_of(keras)
    model.optimizer.learning_rate = 0.0
    with start_run() as run:
        callback = WandbModelCheckpoint("m-{epoch}.keras", "loss")
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[callback])
        name = f"{run.project}/run_{run.id}_model"
    result = command("diff", f"{name}:v0", f"{name}:v1")
    assert [row[0] for row in tables(result.output)["LAYER"]] == ["optimizer"]
    assert result.output.endswith("Weights: 1 of 3 layers differ.\n")


def test_trouble_is_exit_code_2(command: Any, trained: Trained) -> None:
    """A version that is not there is trouble, not a difference."""
    result = command("diff", f"{trained.path}:best", f"{trained.path}:v99")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert command("diff", f"{trained.path}:best").exit_code == 2


def test_tensorflow_formats_are_compared_by_files(command: Any, start_run: Callable[..., Any]) -> None:
    """A SavedModel's files are compared, and it says that its layers are not."""
    tf_keras = pytest.importorskip("tf_keras")
    from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

    with start_run() as run:
        model_of(tf_keras).fit(X, Y, epochs=2, verbose=0, callbacks=[ForTfKeras("sm-{epoch}", "loss")])
        name = f"{run.project}/run_{run.id}_model"
    result = command("diff", f"{name}:v0", f"{name}:v1")
    assert result.exit_code == 1
    assert "variables/variables.data-00000-of-00001" in result.output
    assert "v0 is not a .keras, .weights.h5 or .h5 file" in result.output


def test_a_file_that_is_not_what_its_name_says(command: Any, start_run: Callable[..., Any]) -> None:
    """A .keras file that is none is told, and the rest is compared."""
    import wandb

    with start_run() as run:
        for text in ("one", "two"):
            artifact = wandb.Artifact("m", type="model")
            with artifact.new_file("m.keras") as file:
                file.write(text)
            run.log_artifact(artifact).wait()
    result = command("diff", f"{run.project}/m:v0", f"{run.project}/m:v1")
    assert result.exit_code == 1
    assert "is not a valid" in result.output


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_on_a_terminal(on_terminal: Any, trained: Trained, encoding: str) -> None:
    """The tables are shown on a terminal, on one without unicode too."""
    shown = on_terminal("diff", f"{trained.path}:v0", f"{trained.path}:v1", PYTHONIOENCODING=encoding)
    assert shown.exit_code == 1
    assert "layers/dense_1" in shown.output


# ---- the comparison itself ---------------------------------------------------------------------------------


def changes(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> dict[str, LayerChange]:
    """What is found between two files with these variables."""
    for name, content in (("old", old), ("new", new)):
        with h5py.File(folder / name, "w") as file:
            for path, values in content.items():
                file[path] = values
    with h5py.File(folder / "old") as before, h5py.File(folder / "new") as after:
        return {change.layer: change for change in compare_layers(before, after)}


def test_every_kind_of_change(tmp_path: Path) -> None:
    """Layers that appear, go, change their shape or type, and infinities and NaN that stay or come."""
    inf, nan = float("inf"), float("nan")
    old = {
        "layers/gone/vars/0": [1.0],
        "layers/stays/vars/0": [inf, nan, 1.0],
        "layers/shape/vars/0": np.zeros((2, 3), "float32"),
        "layers/shape/vars/1": np.zeros(3, "float32"),
        "layers/broken/vars/0": [1.0, 2.0],
        "layers/from_zero/vars/0": [0.0],
        "layers/huge/vars/0": [1e200, 0.0],
        "layers/count/seed/vars/0": np.array([1, 2], "uint32"),
        "layers/words/vars/0": ["a"],
    }
    new = {
        "layers/come/vars/0": [1.0],
        "layers/stays/vars/0": [inf, nan, 1.0],
        "layers/shape/vars/0": np.zeros((2, 4), "float32"),
        "layers/shape/vars/1": np.full(3, 0.5, "float32"),
        "layers/broken/vars/0": [nan, 3.0],
        "layers/from_zero/vars/0": [0.5],
        "layers/huge/vars/0": [-1e200, 0.0],
        "layers/count/seed/vars/0": np.array([1, 5], "uint32"),
        "layers/words/vars/0": ["b"],
    }
    found = changes(tmp_path, old, new)
    assert found["layers/gone"].state == "removed"
    assert found["layers/come"].state == "added"
    assert found["layers/stays"].state == "same"
    assert found["layers/shape"].notes == ("layers/shape/vars/0: float32 (2, 3) → float32 (2, 4)",)
    assert found["layers/shape"].largest == 0.5
    assert np.isnan(found["layers/broken"].largest)
    assert (found["layers/from_zero"].largest, found["layers/from_zero"].relative) == (0.5, inf)
    assert found["layers/huge"].largest == 2e200
    assert found["layers/count/seed"].largest == 3.0
    assert (found["layers/words"].state, found["layers/words"].largest) == ("changed", None)


def test_bfloat16(tmp_path: Path) -> None:
    """Keras's bfloat16 variables, which HDF5 has no type for, are compared as numbers."""
    layer = keras.layers.Dense(1, dtype="bfloat16", kernel_initializer="ones")
    model = keras.Sequential([keras.Input((2,)), layer])
    model.save_weights(tmp_path / "old.weights.h5")
    layer.kernel.assign(layer.kernel * 1.5)
    model.save_weights(tmp_path / "new.weights.h5")
    with h5py.File(tmp_path / "old.weights.h5") as old, h5py.File(tmp_path / "new.weights.h5") as new:
        (change,) = compare_layers(old, new)
    assert (change.largest, change.relative) == (0.5, 0.5)


def test_a_large_variable_is_compared_in_pieces(tmp_path: Path) -> None:
    """A difference in the last of several pieces is found."""
    old = np.zeros((3, 1 << 19), "float32")
    new = old.copy()
    new[-1, -1] = 2.0
    assert changes(tmp_path, {"d/vars/0": old}, {"d/vars/0": new})["d"].largest == 2.0
