"""download, load_model and restore: what W&B keeps, back on this disk, as a model, in a model."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py

from wandb_ckpt.checkpoint import Checkpoint, format_of, tf_prefix
from wandb_ckpt.errors import ArgumentError, RestoreError
from wandb_ckpt.family import default_family, import_family, is_tf_keras
from wandb_ckpt.formats.hdf5 import FORMATS, open_weights
from wandb_ckpt.formats.safe_reading import check
from wandb_ckpt.restoring import assets as restoring_assets
from wandb_ckpt.restoring import tensorflow_checkpoint
from wandb_ckpt.restoring.compatibility import Fit, check_fit, copy_without
from wandb_ckpt.restoring.download import Fetched, fetch
from wandb_ckpt.restoring.finite import not_finite_in
from wandb_ckpt.restoring.optimizers import OptimizerState, accepts
from wandb_ckpt.restoring.safe_mode import check_safe_mode
from wandb_ckpt.saving import lora
from wandb_ckpt.saving.saveables import Saveables

logger = logging.getLogger("wandb_ckpt")

_TF_FORMATS = ("savedmodel", "tf")
_STORED = ("keras", "weights.h5")  # as Keras 3 and tf_keras save since 2.12, a part of the model after the other


def download(ref: str, root: str | PathLike[str] | None = None) -> Path:
    """Download a checkpoint and return where it is: the file, the SavedModel folder or the TF prefix.

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
    """Download a whole-model checkpoint and return the model, as `keras.saving.load_model` does.

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


def restore(model: Any, ref: str, *, optimizer: bool = True) -> Checkpoint:
    """Put a checkpoint's weights, and its optimizer state where it has one, into a model.

    Compile the model first: an optimizer that is not built yet is built, so that its state has a place to go; a model
    without an optimizer gets the weights only. The learning rate is a part of Keras 3's optimizer state.
    Checkpoints of whole models and of weights are restored alike, in every format that Keras and tf_keras save. No
    code in the files runs, and they are checked before anything is read, as for `load_model`.

    Nothing is changed in a model that the checkpoint does not fit. With a legacy `.h5` file, Keras finds that out
    by itself and may have changed some layers by then. A `.keras` file gives layers their vocabularies, too; of
    other formats, which have none, a warning names the layers that need one.

    Args:
        model: A built model of the architecture that was saved.
        ref: As in `download`.
        optimizer: Whether to restore the state of optimizers. `False` is for fine-tuning with another optimizer, or
            with other layers frozen: every optimizer stays as it is. Defaults to `True`.

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
    fetched = fetch(ref)
    checkpoint = restore_fetched(model, fetched, optimizer=optimizer)
    if layer := not_finite_in(fetched.path, checkpoint.format):
        logger.warning("%s has NaN or infinite values, such as in %s.", fetched.ref, layer)
    return checkpoint


def restore_fetched(model: Any, fetched: Fetched, *, optimizer: bool = True) -> Checkpoint:
    """Put a checkpoint that is on this disk into a model that `check_model` finds right.

    Args:
        model: The model.
        fetched: The checkpoint.
        optimizer: Whether to restore the state of optimizers.

    Raises:
        RestoreError: The checkpoint does not fit the model or its optimizer.
    """
    form, parts = _format(fetched.path), Saveables(model)
    _check_family(model, fetched, form)
    check(fetched.path, form, fetched.ref)
    fit = _check_fit(model, parts, form, fetched, optimizer=optimizer)
    assets = restoring_assets.differing_assets(parts, fetched, form)
    adapters = lora.adapters_of(parts) if form in _STORED else []
    try:
        _put_back(model, fit, fetched.path, form, optimizer=optimizer)
    except Exception as error:
        raise RestoreError(
            f"{fetched.ref} does not fit this model, which may now have a part of its weights: {error}\n"
            f"Expected the architecture that was saved. Build the model anew as it was then{_or_load(form)}."
        ) from error
    restoring_assets.put_back(model, assets, fetched)
    lora.restore_matrices(adapters, fetched.path, parts, optimizer=optimizer)
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
    """Return the `keras` or `tf_keras` module."""
    version = metadata.get("keras_version")
    family = default_family()
    if form == "savedmodel":
        family = "tf_keras"
    elif isinstance(version, str) and version:
        family = "tf_keras" if version.startswith("2.") else "keras"
    return import_family(family)


def _optimizer_values(file: h5py.File) -> list[h5py.Dataset]:
    """Return the optimizer's variables in a legacy HDF5 file, in their order."""
    group = file.get("optimizer_weights")
    if group is None:
        return []
    # More names than fit into one attribute are in weight_names0, weight_names1, …
    keys = sorted((key for key in group.attrs if key.startswith("weight_names")), key=lambda key: (len(key), key))
    return [group[name] for key in keys for name in group.attrs[key]]


# ---- what the model is -----------------------------------------------------------------------------------


def check_model(model: Any) -> None:
    """Check that a model can take a checkpoint.

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
    if form in _TF_FORMATS and not is_tf_keras(model):
        raise RestoreError(
            f"{fetched.ref} is in a TensorFlow format ({form}), which only legacy tf_keras restores; this model is "
            "of Keras 3. Build it with tf_keras."
        )


def _check_fit(model: Any, parts: Saveables, form: str, fetched: Fetched, *, optimizer: bool) -> Fit | None:
    """Refuses, before anything is changed, what does not fit; builds the optimizers that need it."""
    if form in _TF_FORMATS:
        prefix = tf_prefix(fetched.path, form)
        tensorflow_checkpoint.check_fit(model, parts, prefix, fetched, optimizer=optimizer)
        return None
    with open_weights(fetched.path, form) as file:
        if form in _STORED:
            return check_fit(model, parts, file, fetched, optimizer=optimizer)
        # Keras itself counts the layers.
        own = getattr(model, "optimizer", None)
        if optimizer and own is not None:
            accepts(own, _legacy_state(file), model, parts, fetched.ref)
    return None


def _legacy_state(file: h5py.File) -> OptimizerState:
    values = _optimizer_values(file)
    return OptimizerState("optimizer", tuple(each.shape for each in values), has_steps=bool(values))


# ---- the model gets it -----------------------------------------------------------------------------------------


def _put_back(model: Any, fit: Fit | None, path: Path, form: str, *, optimizer: bool) -> None:
    if fit is not None:
        _load_stored(model, fit, path, form, optimizer=optimizer)
    elif form in _TF_FORMATS:
        prefix = tf_prefix(path, form)
        status = model.load_weights(str(path)) if optimizer else tensorflow_checkpoint.load_weights(model, prefix)
        status.assert_existing_objects_matched()
        status.expect_partial()
    else:
        model.load_weights(str(path))
        if optimizer and getattr(model, "optimizer", None) is not None:
            _assign_legacy(model.optimizer, path, form)


def _load_stored(model: Any, fit: Fit, path: Path, form: str, *, optimizer: bool) -> None:
    left_out = () if optimizer else fit.optimizers
    skipped = "|".join(map(str, {0, *fit.unused}))
    with _without(left_out, path, form) as file, warnings.catch_warnings():
        # Of what has no state was told before; any other state that Keras skips is an error.
        warnings.filterwarnings("error", "Skipping variable loading for optimizer")
        warnings.filterwarnings("ignore", rf"Skipping variable loading .* optimizer has ({skipped}) variables")
        model.load_weights(str(file))


@contextmanager
def _without(left_out: tuple[str, ...], path: Path, form: str) -> Iterator[Path]:
    """Yield a file without the variables of some parts: the file itself, if it has none of them."""
    if not left_out:
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "left.weights.h5"
        with open_weights(path, form) as source, h5py.File(copy, "w") as target:
            copy_without(source, left_out, target)
        yield copy


def _assign_legacy(optimizer: Any, path: Path, form: str) -> None:
    with open_weights(path, form) as file:
        # Where there is no state, nothing.
        for variable, value in zip(optimizer.variables, _optimizer_values(file), strict=False):
            variable.assign(value[()])


def _or_load(form: str) -> str:
    return "" if form in ("weights.h5", "tf") else ", or take wandb_ckpt.load_model"
