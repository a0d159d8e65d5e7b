"""download, load_model and restore: get a checkpoint from W&B as a file, as a model, or into a model."""

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
from wandb_ckpt.restoring.nan_check import find_non_finite_layer
from wandb_ckpt.restoring.optimizers import OptimizerState, accepts
from wandb_ckpt.restoring.safe_mode import check_safe_mode
from wandb_ckpt.saving import lora
from wandb_ckpt.saving.saveables import Saveables

logger = logging.getLogger("wandb_ckpt")

_TF_FORMATS = ("savedmodel", "tf")
_BY_PART = ("keras", "weights.h5")  # formats in which Keras 3, and tf_keras since 2.12, save each part by its path


def download(ref: str, root: str | PathLike[str] | None = None) -> Path:
    """Download a checkpoint and return its path: the file, the SavedModel folder or the TF-format prefix.

    Every file is checked against the digest in the version's manifest. Files that are already in the folder and match
    are not downloaded again. Reference files (in a bucket, on a shared disk) are not checked here: wandb compares
    them with their store. In an active online run, the use of the version is recorded, as `run.use_artifact` does. In
    an offline run, an alias means a checkpoint that the run has on this disk. Without `root`, the returned path is
    then that of the snapshot itself: do not change it.

    Args:
        ref: `entity/project/name:alias`, `project/name:v3` or `name:best`. In an active run also only a version or
            alias (`best`, `latest`, `v3`, `epoch_3`) of the run's own checkpoints. A leading `wandb-artifact://` is
            allowed.
        root: Folder to download to. Defaults to wandb's own, `artifacts/<name>:<version>` (`WANDB_ARTIFACT_DIR`).

    Returns:
        A path that Keras can load.

    Raises:
        ArgumentError: `ref` is not a ref.
        CheckpointNotFoundError: There is no such version.
        DamagedCheckpointError: A file does not match the manifest; it was removed.
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

    A version is never trusted. Before anything is read, its files are checked: no link or value is in another file,
    and they do not unpack to far more than their size. `safe_mode=True` promises that no code in the files runs. It
    is an error if the Keras that loads the model can't keep this promise:

    - a SavedModel
    - a `.h5` file for tf_keras, or for Keras before 3.11.3
    - a `.keras` file with objects that Keras does not have, for tf_keras, or for Keras before 3.15.1 except 3.12.4.
      Later versions of Keras check this themselves.

    The model is loaded by the Keras that saved it: by tf_keras if the metadata says Keras 2, and always for a
    SavedModel. A version without metadata is loaded by the Keras that `tensorflow.keras` stands for
    (`TF_USE_LEGACY_KERAS`). To use another one, pass the path that `download` returns to its `load_model`.

    tf_keras 2.21 loads a SavedModel without the state of its optimizer. `restore(model, ref)` restores it.

    Args:
        ref: As in `download`.
        custom_objects: Custom classes and functions by name, as in Keras.
        compile: Whether to compile the model, with the state of its optimizer. Defaults to `True`.
        safe_mode: Whether to refuse files whose code may run. Pass `False` only if you trust the person who published
            them. Defaults to `True`.

    Returns:
        The model.

    Raises:
        RestoreError: The checkpoint has only weights; its files are damaged, or not as Keras writes them; or
            `safe_mode=True` can't be guaranteed.
        Exception: All errors of Keras and of `download`.

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
            f"{fetched.ref} has weights only ({fetched.path.name}): expected a checkpoint of a whole model. Build "
            f"the model as it was, and call wandb_ckpt.restore(model, {fetched.ref!r})."
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
    """Restore the weights of a model, and the state of its optimizer, from a checkpoint.

    Compile the model first. If the optimizer is not built yet, it is built, so that its state can be restored. A
    model without an optimizer gets only the weights. In Keras 3, the optimizer's state includes the learning rate.
    Checkpoints of whole models and of weights are restored in the same way, in all formats of Keras and tf_keras. No
    code in the files runs, and the files are checked before anything is read, as in `load_model`.

    If the checkpoint does not fit the model, the model is not changed. The exception is a legacy `.h5` file: Keras
    itself checks it, and may change some layers before it finds an error. A `.keras` file also restores the
    vocabularies of layers. Other formats do not have them, and a warning names the layers that need one.

    Args:
        model: A built model with the architecture that was saved.
        ref: As in `download`.
        optimizer: Whether to restore the state of optimizers. Pass `False` to fine-tune with another optimizer, or
            with other frozen layers: every optimizer stays as it is. Defaults to `True`.

    Returns:
        The facts about the checkpoint, with the path that it was downloaded to. For a version that this package did
            not log, unknown facts are `None` or empty.

    Raises:
        ArgumentError: `model` is not a Keras model, or is not built.
        RestoreError: The checkpoint does not fit the model or its optimizer; or its files are damaged, or not as
            Keras writes them.
        Exception: All errors of `download`.

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
    if layer := find_non_finite_layer(fetched.path, checkpoint.format):
        logger.warning("%s has NaN or infinite values, for example in %s.", fetched.ref, layer)
    return checkpoint


def restore_fetched(model: Any, fetched: Fetched, *, optimizer: bool = True) -> Checkpoint:
    """Restore a model from a checkpoint on this disk.

    Args:
        model: A model that has passed `check_model`.
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
    adapters = lora.adapters_of(parts) if form in _BY_PART else []
    try:
        _load_weights(model, fit, fetched.path, form, optimizer=optimizer)
    except Exception as error:
        raise RestoreError(
            f"{fetched.ref} does not fit this model, which may now have some of its weights: {error}\n"
            f"Expected the architecture that was saved. Build a new model as it was then{_or_load(form)}."
        ) from error
    restoring_assets.restore_assets(model, assets, fetched)
    lora.restore_matrices(adapters, fetched.path, parts, optimizer=optimizer)
    return Checkpoint.from_metadata(fetched.metadata, path=str(fetched.path), format=form)


# ---- the checkpoint --------------------------------------------------------------------------------------


def _format(path: Path) -> str:
    return format_of(path.name, is_folder=path.is_dir())


def _is_weights_only(path: Path, form: str) -> bool:
    if form == "h5":  # tf_keras saves weights with this ending, too
        with open_weights(path, form) as file:
            return "model_config" not in file.attrs
    return form in ("weights.h5", "tf")


def _family_that_saved(metadata: Mapping[str, Any], form: str) -> Any:
    """Return the module that saved a checkpoint, `keras` or `tf_keras`."""
    version = metadata.get("keras_version")
    family = default_family()
    if form == "savedmodel":
        family = "tf_keras"
    elif isinstance(version, str) and version:
        family = "tf_keras" if version.startswith("2.") else "keras"
    return import_family(family)


def _optimizer_values(file: h5py.File) -> list[h5py.Dataset]:
    """Return the optimizer's variables in a legacy HDF5 file, in order."""
    group = file.get("optimizer_weights")
    if group is None:
        return []
    # If the names do not fit into one attribute, they are in weight_names0, weight_names1, …
    keys = sorted((key for key in group.attrs if key.startswith("weight_names")), key=lambda key: (len(key), key))
    return [group[name] for key in keys for name in group.attrs[key]]


# ---- the model -------------------------------------------------------------------------------------------


def check_model(model: Any) -> None:
    """Check that a checkpoint can be restored into a model.

    Raises:
        ArgumentError: It is not a Keras model, or is not built.
    """
    if not hasattr(model, "load_weights"):
        raise ArgumentError(f"model={model!r} is not a Keras model: expected a built and compiled Keras model.")
    if not model.built:
        raise ArgumentError(
            f"The model {model.name!r} is not built, so it has no weights to restore yet: expected a built model. "
            "Call it on some data, or call model.build(input_shape), first."
        )


def _check_family(model: Any, fetched: Fetched, form: str) -> None:
    if form in _TF_FORMATS and not is_tf_keras(model):
        raise RestoreError(
            f"{fetched.ref} is in a TensorFlow format ({form}), and this model is of Keras 3: expected a model of "
            "legacy tf_keras, which alone can restore this format. Build it with tf_keras."
        )


def _check_fit(model: Any, parts: Saveables, form: str, fetched: Fetched, *, optimizer: bool) -> Fit | None:
    """Check that a checkpoint fits, before anything is changed. Build the optimizers that are not built yet."""
    if form in _TF_FORMATS:
        prefix = tf_prefix(fetched.path, form)
        tensorflow_checkpoint.check_fit(model, parts, prefix, fetched, optimizer=optimizer)
        return None
    with open_weights(fetched.path, form) as file:
        if form in _BY_PART:
            return check_fit(model, parts, file, fetched, optimizer=optimizer)
        # For legacy .h5 files, Keras itself compares the layers.
        own = getattr(model, "optimizer", None)
        if optimizer and own is not None:
            accepts(own, _legacy_state(file), model, parts, fetched.ref)
    return None


def _legacy_state(file: h5py.File) -> OptimizerState:
    values = _optimizer_values(file)
    return OptimizerState("optimizer", tuple(each.shape for each in values), has_steps=bool(values))


# ---- loading ---------------------------------------------------------------------------------------------------


def _load_weights(model: Any, fit: Fit | None, path: Path, form: str, *, optimizer: bool) -> None:
    if fit is not None:
        _load_by_part(model, fit, path, form, optimizer=optimizer)
    elif form in _TF_FORMATS:
        prefix = tf_prefix(path, form)
        status = model.load_weights(str(path)) if optimizer else tensorflow_checkpoint.load_weights(model, prefix)
        status.assert_existing_objects_matched()
        status.expect_partial()
    else:
        model.load_weights(str(path))
        if optimizer and getattr(model, "optimizer", None) is not None:
            _assign_legacy(model.optimizer, path, form)


def _load_by_part(model: Any, fit: Fit, path: Path, form: str, *, optimizer: bool) -> None:
    left_out = () if optimizer else fit.optimizers
    skipped = "|".join(map(str, {0, *fit.unused}))
    with _without(left_out, path, form) as file, warnings.catch_warnings():
        # For optimizers without a state, a warning was logged before. If Keras skips any other state, it is an error.
        warnings.filterwarnings("error", "Skipping variable loading for optimizer")
        warnings.filterwarnings("ignore", rf"Skipping variable loading .* optimizer has ({skipped}) variables")
        model.load_weights(str(file))


@contextmanager
def _without(left_out: tuple[str, ...], path: Path, form: str) -> Iterator[Path]:
    """Yield the path of a file without the variables of some parts; without such parts, that of the file itself."""
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
        # The file may have no optimizer state.
        for variable, value in zip(optimizer.variables, _optimizer_values(file), strict=False):
            variable.assign(value[()])


def _or_load(form: str) -> str:
    return "" if form in ("weights.h5", "tf") else ", or use wandb_ckpt.load_model"
