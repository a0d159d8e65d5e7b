"""download, load_model and restore: what W&B keeps, back on this disk, as a model, in a model."""

import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import h5py

import wandb_ckpt
from wandb_ckpt._checkpoint import Checkpoint, format_of
from wandb_ckpt._collection import Fetched, fetch
from wandb_ckpt._hdf5 import FORMATS, open_weights, variables
from wandb_ckpt._safe_mode import check_safe_mode
from wandb_ckpt._untrusted import check, tf_prefix
from wandb_ckpt.errors import ArgumentError, RestoreError

logger = logging.getLogger("wandb_ckpt")

_TF_FORMATS = ("savedmodel", "tf")
# What is beside the weights at the top of a file; tf_keras and SavedModels keep metrics there.
_NO_WEIGHTS = ("optimizer", "metrics", "keras_api", "save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")


@dataclass(frozen=True, slots=True)
class _Saved:
    """What a checkpoint's files hold: the number of weights and of optimizer variables; `None` when not known."""

    weights: int | None
    optimizer: int | None


def download(ref: str, root: str | PathLike[str] | None = None) -> Path:
    """Downloads a checkpoint and returns where it is: the file, the SavedModel folder or the TF prefix.

    Every file is checked against the digest in the version's manifest; what is here and whole already is not
    downloaded again. A file that a version only refers to (in a bucket, on a shared disk) is not: wandb compares it
    with what the store says of it. Within an active online run the use is recorded, as `run.use_artifact` does.
    Within an offline run, an alias means what the run left on this disk; without `root`, the path is the snapshot's
    own: only read it.

    Args:
        ref: `entity/project/name:alias`, `project/name:v3`, `name:best`; within an active run also just a version or
            alias (`best`, `latest`, `v3`, `epoch_3`) of the run's own checkpoints. A leading
            `wandb-artifact://` may stay.
        root: Folder to download to. Defaults to wandb's own, `artifacts/<name>:<version>` (`WANDB_ARTIFACT_DIR`).

    Returns:
        A path that Keras can load.

    Raises:
        ArgumentError: `ref` is no ref.
        CheckpointNotFoundError: There is no such version.
        DamagedCheckpointError: A file is not what the manifest says; it was removed.
        NoActiveRunError: `ref` is only an alias, and there is no active run.

    Example:

    ```python
    path = wandb_ckpt.download("digits/run_3j2t0k7n_model:best", root="model")
    ```
    """
    return fetch(ref, root).path


def load_model(
    ref: str,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002 - Keras's word
    safe_mode: bool = True,
) -> Any:
    """Downloads a whole-model checkpoint and returns the model, as `keras.saving.load_model` does.

    Nothing in a version is trusted. Before anything is read, its files are checked: no link or value leads out of
    them, and they don't unpack to much more than they are. `safe_mode=True` promises that no code in them runs. Where
    the Keras that loads can't keep that, this is an error: a SavedModel, a `.h5` file of tf_keras or for Keras before
    3.11.3, and a `.keras` file which names what Keras does not have, for tf_keras and Keras before 3.15.1 (3.12.4 is
    as good). Keras 3.15.1 sees to it itself.

    The Keras that saved it loads it: tf_keras where the version's metadata says Keras 2, and always for a SavedModel.
    A version without metadata is loaded by the Keras that `tensorflow.keras` is (`TF_USE_LEGACY_KERAS`).
    For any other combination, pass the path that `download` returns to the `load_model` that you want.

    tf_keras 2.21 loads a SavedModel without its optimizer's state; `restore(model, ref)` puts it in.

    Args:
        ref: As in `download`.
        custom_objects: Custom classes and functions by name, as in Keras.
        compile: Whether to compile the model, with its optimizer's state. Defaults to `True`.
        safe_mode: Whether to refuse what may run code that is in the files. Pass `False` only if you trust whoever
            published them. Defaults to `True`.

    Returns:
        The model.

    Raises:
        RestoreError: The checkpoint has weights only; its files are damaged, or not as Keras writes them; or
            `safe_mode=True` can't be kept.
        Exception: What Keras raises, and what `download` raises.

    Example:

    ```python
    model = wandb_ckpt.load_model("digits/run_3j2t0k7n_model:best")
    ```
    """
    fetched = fetch(ref)
    form = _format(fetched.path)
    if form in FORMATS:
        check(fetched.path, form, fetched.ref)
    if _is_weights_only(fetched.path, form):
        raise RestoreError(
            f"{fetched.ref} has weights only ({fetched.path.name}), no model: expected a checkpoint that was saved "
            f"whole. Build the model as it was, and call wandb_ckpt.restore(model, {fetched.ref!r})."
        )
    keras = _family_that_saved(fetched.metadata, form)
    if safe_mode:
        check_safe_mode(fetched.path, form, keras, custom_objects or {}, fetched.ref)
    try:
        return keras.saving.load_model(
            str(fetched.path), custom_objects=custom_objects, compile=compile, safe_mode=safe_mode
        )
    except Exception as error:
        error.add_note(f"This is {fetched.ref}, downloaded to {fetched.path}.")
        raise


def restore(model: Any, ref: str) -> Checkpoint:
    """Puts a checkpoint's weights, and its optimizer state where it has one, into a model.

    Compile the model first: an optimizer that is not built yet is built, so that its state has a place to go; a model
    without an optimizer gets the weights only. The learning rate is a part of Keras 3's optimizer state.
    Checkpoints of whole models and of weights are restored alike, in every format that Keras and tf_keras save. No
    code in the files runs, and they are checked before anything is read, as for `load_model`.

    Args:
        model: A built model of the architecture that was saved.
        ref: As in `download`.

    Returns:
        The facts of the checkpoint, with the path that it was downloaded to. For a version that this package did
            not log, those that are not known are `None` or empty.

    Raises:
        ArgumentError: `model` is no Keras model, or not built.
        RestoreError: The checkpoint does not fit the model or its optimizer; or its files are damaged, or not as
            Keras writes them.
        Exception: What `download` raises.

    Example:

    ```python
    model = build_and_compile()
    checkpoint = wandb_ckpt.restore(model, "digits/run_3j2t0k7n_model:latest")
    model.fit(x, y, initial_epoch=checkpoint.epoch + 1, epochs=10)
    ```
    """
    check_model(model)
    return restore_fetched(model, fetch(ref))


def restore_fetched(model: Any, fetched: Fetched) -> Checkpoint:
    """Puts a checkpoint that is on this disk into a model that `check_model` finds right.

    Raises:
        RestoreError: The checkpoint does not fit the model or its optimizer.
    """
    form = _format(fetched.path)
    _check_family(model, fetched, form)
    check(fetched.path, form, fetched.ref)
    optimizer = _built_optimizer(model)
    saved = _saved_in(fetched.path, form)
    _check_fit(model, optimizer, saved, fetched)
    try:
        _put_back(model, optimizer, fetched.path, form)
    except Exception as error:
        raise RestoreError(
            f"{fetched.ref} does not fit this model, which may now have a part of its weights: {error}\n"
            f"Expected the architecture that was saved. Build the model anew as it was then{_or_load(form)}."
        ) from error
    return Checkpoint.from_metadata(fetched.metadata, path=str(fetched.path), format=form)


# ---- what a checkpoint is --------------------------------------------------------------------------------


def _format(path: Path) -> str:
    return format_of(path.name, is_folder=path.is_dir())


def _is_weights_only(path: Path, form: str) -> bool:
    if form == "h5":  # tf_keras saves weights with this ending, too
        with open_weights(path, form) as file:
            return "model_config" not in file.attrs
    return form in ("weights.h5", "tf")


def _family_that_saved(metadata: Mapping[str, Any], form: str) -> Any:
    """Returns the `keras` or `tf_keras` module."""
    version = metadata.get("keras_version")
    family = wandb_ckpt._family()
    if form == "savedmodel":
        family = "tf_keras"
    elif isinstance(version, str) and version:
        family = "tf_keras" if version.startswith("2.") else "keras"
    # By way of our module of the same name, which says how to install what is missing.
    return getattr(import_module(f"wandb_ckpt.{family}"), family)


def _saved_in(path: Path, form: str) -> _Saved:
    if form in _TF_FORMATS:
        return _saved_in_tf(path, form)
    with open_weights(path, form) as file:
        if form == "h5":  # Keras itself counts the layers
            return _Saved(None, len(_optimizer_values(file)))
        names = list(variables(file))
    return _Saved(_count_weights(names), sum(name.startswith("optimizer/vars/") for name in names))


def _saved_in_tf(path: Path, form: str) -> _Saved:
    import tensorflow as tf

    names = [name for name, _ in tf.train.list_variables(str(tf_prefix(path, form)))]
    # How many variables an optimizer has here can't be told from their names; TensorFlow itself sees to a match.
    has_state = any(name.startswith("optimizer/") for name in names)
    return _Saved(_count_weights(names), None if has_state else 0)


def _count_weights(names: list[str]) -> int:
    # tf_keras's legacy optimizers keep their slots below the weights in TF formats.
    return sum(name.split("/")[0] not in _NO_WEIGHTS and ".OPTIMIZER_SLOT" not in name for name in names)


def _optimizer_values(file: h5py.File) -> list[Any]:
    """Returns the optimizer's variables in a legacy HDF5 file, in their order."""
    group = file.get("optimizer_weights")
    if group is None:
        return []
    # More names than fit into one attribute are in weight_names0, weight_names1, …
    keys = sorted((key for key in group.attrs if key.startswith("weight_names")), key=lambda key: (len(key), key))
    return [group[name][()] for key in keys for name in group.attrs[key]]


# ---- what the model is -----------------------------------------------------------------------------------


def check_model(model: Any) -> None:
    """Checks that a model can take a checkpoint.

    Raises:
        ArgumentError: It is no Keras model, or not built.
    """
    if not hasattr(model, "load_weights"):
        raise ArgumentError(f"model={model!r} is no Keras model: expected one, built and compiled.")
    if not model.built:
        raise ArgumentError(
            f"The model {model.name!r} is not built, so it has no weights to restore yet: call it on some data, or "
            "model.build(input_shape), first."
        )


def _check_family(model: Any, fetched: Fetched, form: str) -> None:
    if form in _TF_FORMATS and not _is_tf_keras(model):
        raise RestoreError(
            f"{fetched.ref} is in a TensorFlow format ({form}), which only legacy tf_keras restores; this model is "
            "of Keras 3. Build it with tf_keras."
        )


def _is_tf_keras(model: Any) -> bool:
    tf_keras = sys.modules.get("tf_keras")  # a model of it has imported it
    return tf_keras is not None and isinstance(model, tf_keras.Model)


def _built_optimizer(model: Any) -> Any:
    """Returns the model's optimizer with its variables made, or `None`.

    Keras 3.15 and tf_keras 2.21 skip the state of an optimizer that has no variables yet, with but a warning.
    """
    optimizer: Any = getattr(model, "optimizer", None)
    if hasattr(optimizer, "build") and not getattr(optimizer, "built", False):
        optimizer.build(model.trainable_variables)
    return optimizer


def _check_fit(model: Any, optimizer: Any, saved: _Saved, fetched: Fetched) -> None:
    """Refuses, before anything is changed, what Keras would restore in part without an error.

    Keras 3.15 and tf_keras 2.21 restore a checkpoint into a model that has only some of its layers, and skip the
    state of an optimizer of another kind.
    """
    room = _room_for_weights(model)
    if saved.weights is not None and saved.weights > room:
        raise RestoreError(
            f"{fetched.ref} has {saved.weights} weights, and this model only {room}; nothing was restored. Expected "
            "the architecture that was saved. To take a part on purpose, call "
            f"model.load_weights({str(fetched.path)!r})."
        )
    if optimizer is None or saved.optimizer is None:
        return
    if saved.optimizer == 0:
        logger.warning("%s has no optimizer state: the optimizer stays as it is.", fetched.ref)
    elif saved.optimizer != (have := _number_of_variables(optimizer)):
        raise RestoreError(
            f"{fetched.ref} has {saved.optimizer} optimizer variables, and this model's {type(optimizer).__name__} "
            f"has {have}; nothing was restored. Expected the optimizer that was saved. Compile the model with it, or "
            "restore into a model that is not compiled to take the weights only."
        )


def _room_for_weights(model: Any) -> int:
    # tf_keras saves the metrics that layers own, but does not count them as weights.
    metrics = model.metrics if _is_tf_keras(model) else []
    return len(model.weights) + sum(len(metric.variables) for metric in metrics)


def _number_of_variables(optimizer: Any) -> int:
    """Returns how many variables can be restored: none of a legacy tf_keras optimizer, which can't be built here."""
    return len(optimizer.variables) if hasattr(optimizer, "build") else 0


def _put_back(model: Any, optimizer: Any, path: Path, form: str) -> None:
    with warnings.catch_warnings():
        # Whether the checkpoint has optimizer state was checked before; of this Keras warns when it has none.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        status = model.load_weights(str(path))
    if form in _TF_FORMATS:
        status.assert_existing_objects_matched()
        status.expect_partial()
    if form == "h5" and optimizer is not None:
        with open_weights(path, form) as file:
            for variable, value in zip(optimizer.variables, _optimizer_values(file), strict=False):
                variable.assign(value)


def _or_load(form: str) -> str:
    return "" if form in ("weights.h5", "tf") else ", or take wandb_ckpt.load_model"
