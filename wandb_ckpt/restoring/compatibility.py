"""Check that the weights in a `.keras` or `.weights.h5` file fit a model, before anything is changed.

Keras 3.15 and tf_keras 2.21 raise no error if the model has only some of the layers, or another optimizer.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import h5py

from wandb_ckpt.errors import RestoreError
from wandb_ckpt.family import is_defined_by_keras, is_optimizer, is_tf_keras
from wandb_ckpt.formats.hdf5 import dtype_of, variables
from wandb_ckpt.restoring.download import Fetched
from wandb_ckpt.restoring.optimizers import OptimizerState, Shape, accepts
from wandb_ckpt.saving.saveables import Saveables, label

logger = logging.getLogger("wandb_ckpt")

# A variable's shape, and whether it has integers: a quantized kernel has the same shape as any other.
Kind = tuple[Shape, bool]
_Stored = Mapping[str, Mapping[str, Kind]]
# The parts that compile() creates. A model that is not compiled does not need them.
_OF_COMPILE = ("optimizer", "loss", "metrics")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fit:
    """The result of a check that a file fits a model.

    Attributes:
        optimizers: The paths of the optimizers in the file.
        unused: For optimizers in the file without a state to restore: their numbers of variables.
    """

    optimizers: tuple[str, ...]
    unused: frozenset[int]


def check_fit(model: Any, parts: Saveables, file: h5py.File, fetched: Fetched, *, optimizer: bool) -> Fit:
    """Check that a model and a file have the same variables. Build the optimizers that are not built yet.

    Args:
        model: The model.
        parts: The parts of the model.
        file: The file, open.
        fetched: The checkpoint that the file belongs to.
        optimizer: Whether the state of optimizers will be restored.

    Raises:
        RestoreError: The file does not fit the model.
    """
    stored = _stored(file)
    optimizers = tuple(path for path in stored if _is_optimizers(path, parts, stored[path]))
    weights = {path: kinds for path, kinds in stored.items() if path not in optimizers}
    _check_weights(model, parts, file, weights, fetched)
    if not optimizer:
        return Fit(optimizers, frozenset())
    states = {path: _state(file, path, stored[path]) for path in optimizers}
    return Fit(optimizers, frozenset(_check_optimizers(model, parts, states, fetched)))


def copy_without(source: h5py.File, left_out: Iterable[str], target: h5py.File) -> None:
    """Copy the variables of a file, except those at some paths."""
    left_out = set(left_out)

    def copy(name: str, item: Any) -> None:
        path = name.removesuffix("vars").rstrip("/")
        if isinstance(item, h5py.Group) and name.rpartition("/")[2] == "vars" and path not in left_out:
            source.copy(item, target.require_group(path or "/"), "vars")

    source.visititems(copy)


# ---- weights -----------------------------------------------------------------------------------------------


def _stored(file: h5py.File) -> dict[str, dict[str, Kind]]:
    """Return the variables in a file, by the path of their part. Parts without variables are not included."""
    found: dict[str, dict[str, Kind]] = {}
    for name, variable in variables(file).items():
        path, vars_, key = f"/{name}".rpartition("/vars/")
        if not vars_:  # not a variable of Keras
            continue
        found.setdefault(path.lstrip("/"), {})[key] = (variable.shape, _is_whole(dtype_of(variable)))
    return found


def _is_whole(dtype: Any) -> bool:
    return any(word in str(dtype) for word in ("int", "bool"))


def _check_weights(model: Any, parts: Saveables, file: h5py.File, stored: _Stored, fetched: Fetched) -> None:
    found = {path: parts.at(path) for path in stored}
    taken = {id(part) for part in found.values()}
    only_here = [path for path, part in found.items() if part is None and not _is_left_out(path, model)]
    only_there = [
        (path, part) for path, part in parts if id(part) not in taken and not is_optimizer(part) and _written(part)
    ]
    unlike = [
        f"{_label(path, part)}: {_shown(stored[path])} in the checkpoint, {_shown(written)} in the model"
        for path, part in found.items()
        if part is not None and (written := _written(part)) not in (None, stored[path])
    ]
    problems = [
        *(f"{label(path, _name_in(file, path))}: only in the checkpoint" for path in only_here),
        *(f"{_label(path, part)}: only in the model" for path, part in only_there),
        *unlike,
    ]
    if problems:
        refuse(fetched, problems)


def refuse(fetched: Fetched, problems: Sequence[str]) -> NoReturn:
    """Raise an error that lists why a checkpoint does not fit a model.

    Raises:
        RestoreError: Always.
    """
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    raise RestoreError(
        f"{fetched.ref} does not have the architecture of this model; nothing was restored.\n  "
        + "\n  ".join([*problems[:_SHOWN], *more])
        + "\nExpected the architecture that was saved. To load only some of the layers, call "
        f"model.load_weights({str(fetched.path)!r})."
    )


def _label(path: str, part: Any) -> str:
    return label(path, getattr(part, "name", None))


def _name_in(file: h5py.File, path: str) -> Any:
    return file[f"{path}/vars"].attrs.get("name")


def _is_left_out(path: str, model: Any) -> bool:
    """Return whether a part in the file may be missing in the model, because it has no weights of the model."""
    names = path.split("/")
    if is_tf_keras(model) and "metrics" in names:  # tf_keras saves metrics, and builds them only in training
        return True
    return getattr(model, "optimizer", None) is None and names[0] in _OF_COMPILE


def _written(part: Any) -> dict[str, Kind] | None:
    """Return what a save of a part would write; `None` if the part saves with its own method, so it is not known."""
    save = getattr(part, "save_own_variables", None)
    if save is None:
        return {}
    if not all(
        is_defined_by_keras(getattr(type(part), name)) for name in ("save_own_variables", "load_own_variables")
    ):
        return None
    written: dict[str, Any] = {}
    try:
        save(written)
    except Exception:
        # A part that has no values yet may raise any error.
        logger.debug("It is not known what %s would save", part, exc_info=True)
        return None
    if not all(key.isdecimal() for key in written):
        return None
    return {key: (tuple(value.shape), _is_whole(value.dtype)) for key, value in written.items()}


def _shown(kinds: Mapping[str, Kind] | None) -> str:
    shapes = [f"{shape} of integers" if whole else str(shape) for shape, whole in (kinds or {}).values()]
    return ", ".join(shapes) or "nothing"


# ---- optimizers --------------------------------------------------------------------------------------------


def _is_optimizers(path: str, parts: Saveables, stored: Mapping[str, Kind]) -> bool:
    part = parts.at(path)
    # The first variable of an optimizer counts its steps.
    return is_optimizer(part) or (part is None and stored.get("0") == ((), True))


def _state(file: h5py.File, path: str, stored: Mapping[str, Kind]) -> OptimizerState:
    values = file[f"{path}/vars"]
    counters = [key for key, kind in stored.items() if kind == ((), True)]
    shapes = tuple(stored[key][0] for key in sorted(stored, key=lambda key: (len(key), key)))
    return OptimizerState(path, shapes, has_steps=any(values[key][()] != 0 for key in counters))


def _check_optimizers(
    model: Any, parts: Saveables, states: Mapping[str, OptimizerState], fetched: Fetched
) -> Iterable[int]:
    """Check the optimizers. For each one without a state to restore, yield its number of variables."""
    found = {id(part): (path, part) for path, part in parts if is_optimizer(part)}
    if (own := getattr(model, "optimizer", None)) is not None:  # `parts` has no legacy optimizer of tf_keras
        found.setdefault(id(own), ("optimizer", own))
    by_part = {id(parts.at(path)): state for path, state in states.items()}
    check_optimizers_exist({path: parts.at(path) for path in states}, fetched, is_compiled=own is not None)
    for path, optimizer in found.values():
        state = by_part.get(id(optimizer), states.get(path, OptimizerState(path)))
        if not accepts(optimizer, state, model, parts, fetched.ref):
            yield len(state.shapes)


def check_optimizers_exist(found: Mapping[str, Any], fetched: Fetched, *, is_compiled: bool) -> None:
    """Check that a model has the optimizers of a checkpoint. For a model that is not compiled, only log a warning.

    Args:
        found: The optimizers of the model, by the paths in the checkpoint; `None` if the model does not have one.
        fetched: The checkpoint.
        is_compiled: Whether the model is compiled.

    Raises:
        RestoreError: The model does not have one of the optimizers.
    """
    unknown = [path for path, part in found.items() if part is None and path.partition("/")[0] != "optimizer"]
    if unknown and is_compiled:
        raise RestoreError(
            f"{fetched.ref} has the state of an optimizer {unknown[0]!r}, which this model does not have; nothing "
            f"was restored. Compile the model as it was, or call wandb_ckpt.restore(model, {fetched.ref!r}, "
            "optimizer=False) to restore only the weights."
        )
    if unknown:
        logger.warning(
            "%s has the state of the optimizers %s, which this model does not have. Only the weights are restored.",
            fetched.ref,
            ", ".join(unknown),
        )
