"""What the parent saved is published: every family, format and frequency, byte for byte, once each."""

from pathlib import Path
from typing import Any

import pytest

from training import fit, versions, witness_of

KERAS_3 = [
    ("keras", "m.keras", {}),
    ("keras", "m-{epoch:02d}-{val_loss:.3f}.keras", {}),
    ("keras", "m.h5", {}),
    ("keras", "m.weights.h5", {"save_weights_only": True}),
    ("keras", "m-{epoch}.weights.h5", {"save_weights_only": True, "save_best_only": True}),
    ("keras", "m.keras", {"save_freq": 1}),
    ("keras", "m-{epoch}-{batch}.keras", {"save_freq": 3}),
    ("keras", "m.weights.h5", {"save_weights_only": True, "save_freq": 2}),
    ("keras", "deep/{epoch}/m.keras", {}),
]
TF_KERAS = [
    ("tf_keras", "m.keras", {}),
    ("tf_keras", "m-{epoch:02d}.h5", {}),
    ("tf_keras", "m.h5", {"save_freq": 2}),
    ("tf_keras", "m.weights.h5", {"save_weights_only": True}),
    ("tf_keras", "saved", {}),
    ("tf_keras", "saved-{epoch}", {"save_best_only": True}),
    ("tf_keras", "w-{epoch}", {"save_weights_only": True}),
    ("tf_keras", "w", {"save_weights_only": True, "save_freq": 2}),
    ("tf_keras", "every-second-{epoch}.keras", {"period": 2, "epochs": 4}),
]


def family(name: str) -> tuple[Any, Any]:
    """The Keras module and the callback class of a family."""
    if name == "tf_keras":
        import tf_keras

        from wandb_ckpt.tf_keras import WandbModelCheckpoint as Legacy

        return tf_keras, Legacy
    import keras

    from wandb_ckpt.keras import WandbModelCheckpoint

    return keras, WandbModelCheckpoint


def cases() -> list[Any]:
    """Keras 3 on the backend of this process; tf_keras where that is TensorFlow."""
    import keras

    all_cases = KERAS_3 + (TF_KERAS if keras.backend.backend() == "tensorflow" else [])
    if keras.__version__.startswith("3.5."):  # its ModelCheckpoint takes no .h5 for whole models
        all_cases = [case for case in all_cases if case[1] != "m.h5"]
    return [pytest.param(*case, id=f"{case[0]}-{case[1]}-{'-'.join(case[2])}") for case in all_cases]


def in_artifact(files: dict[str, str], filepath: str) -> dict[str, str]:
    """The names that files on disk have in an artifact: a SavedModel's content at the root, others by basename."""
    if filepath.startswith("saved"):
        return {name.split("/", 1)[1]: digest for name, digest in files.items()}
    return {Path(name).name: digest for name, digest in files.items()}


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(("family_name", "filepath", "arguments"), cases())
def test_every_save_is_one_version(
    start_run: Any, tmp_path: Path, family_name: str, filepath: str, arguments: dict[str, Any]
) -> None:
    """Each save becomes one version with the bytes that the disk had at that moment, in order."""
    keras, callback_class = family(family_name)
    arguments = dict(arguments)
    epochs = arguments.pop("epochs", 2)
    run = start_run()
    callback = callback_class(tmp_path / "out" / filepath, **arguments)
    witness = witness_of(keras, tmp_path / "out")
    fit(keras, [callback, witness], epochs=epochs)

    seen = versions(run.path, tmp_path / "fetched")
    assert [version.version for version in seen] == [f"v{number}" for number in range(len(witness.states))]
    if filepath == "saved":  # parts of a SavedModel may be the same in each
        assert [version.files for version in seen] == [in_artifact(state, filepath) for state in witness.states]
    else:
        for version, files in zip(seen, witness.new_files, strict=True):
            assert in_artifact(files, filepath).items() <= version.files.items()
    assert [outcome.version for outcome in callback.checkpoints] == [version.version for version in seen]
    assert {outcome.state for outcome in callback.checkpoints} == {"committed"}
