"""Picture: the values of a Keras 3 model's variables at one moment, saved through a clone of the model.

The training thread only takes the picture. Keras's own save of the clone then runs in another thread, and writes
what a save of the model would have written at that moment.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from wandb_ckpt._background import CannotPictureError, SaverThread

Values = list[Any]
# Reads all variables now; into the memory of values that are no longer needed, where that pays.
Reader = Callable[[Values | None], Values]
# What Keras's saving walks through (keras/src/saving/saving_lib.py, `_save_state`).
_SAVEABLE = (keras.Layer, keras.Metric, keras.Optimizer, keras.Loss)


class ModelPictures:
    """Takes the pictures of one model during its training; owns the clone.

    Made on the training thread before the first step; the clone is made in the background.

    Args:
        model: A built Keras 3 model.
        saver: The thread that makes the clone and carries out the saves.

    Raises:
        CannotPictureError: Saves of this model can't be made in the background.
    """

    def __init__(self, model: keras.Model, saver: SaverThread) -> None:
        if reason := why_not(model):
            raise CannotPictureError(reason)
        # Both are read here: JAX's values come and go while the model is training, and the policy is the thread's.
        config, dtype_policy = keras.saving.serialize_keras_object(model), keras.config.dtype_policy()
        self._clone = saver.submit(partial(Clone, model, config, dtype_policy))

    def take(self) -> "Picture":
        """Returns a picture of the model as it is now.

        Raises:
            CannotPictureError: There can't be one.
        """
        clone = self._clone.result()
        return Picture(clone, clone.take())


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The values of a model's variables at one moment."""

    clone: "Clone"
    values: Values

    def save(self, method: str, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Saves what the model was, with the model's method of that name."""
        getattr(self.clone.showing(self.values), method)(filepath, *args, **kwargs)
        self.clone.take_back(self.values)


class Clone:
    """A second model of the same configuration, which is given the values of a picture and then saved.

    Owns the memory for the next pictures: that of the first one too, whose time would else go into getting it.

    Args:
        model: A built Keras 3 model; it may be training.
        config: What it is made from.
        dtype_policy: The global one of the thread that made the model, for Keras keeps it per thread.

    Raises:
        CannotPictureError: A save of a clone might differ from a save of the model.
    """

    def __init__(self, model: keras.Model, config: dict[str, Any], dtype_policy: Any) -> None:
        _check_savable(model)
        keras.config.set_dtype_policy(dtype_policy)
        self._original, self._originals = model, variables_of(model)
        self._model = _clone(model, config)
        self._variables = variables_of(self._model)
        _check_same(self._originals, self._variables)
        backend = keras.backend.backend()
        self._read, self._show = _READERS[backend](self._originals), _SHOWING.get(backend, _assign)
        self._spare = deque([_ROOM[backend](self._variables)] if backend in _ROOM else [])

    def take(self) -> Values:
        """Returns the values of the original's variables now.

        Raises:
            CannotPictureError: The original has other variables by now.
        """
        now = variables_of(self._original)
        if [id(variable) for variable in now] != [id(variable) for variable in self._originals]:
            raise CannotPictureError("its variables are no longer those that it had when training began")
        return self._read(self._spare.popleft() if self._spare else None)

    def take_back(self, values: Values) -> None:
        """Has the memory of a picture that is no longer needed used again."""
        if keras.backend.backend() in _ROOM:
            self._spare.append(values)

    def showing(self, values: Values) -> keras.Model:
        """Returns the second model with these values in its variables."""
        for variable, value in zip(self._variables, values, strict=True):
            self._show(variable, value)
        return self._model


def variables_of(model: keras.Model) -> list[Any]:
    """Returns every variable that a save of the model writes; Keras saves no metric's."""
    optimizer = getattr(model, "optimizer", None)
    return [*model.variables, *(optimizer.variables if optimizer is not None else ())]


def why_not(model: keras.Model) -> str | None:
    """Returns why saves of this model can't be made in the background at all, as far as a quick look tells."""
    backend = keras.backend.backend()
    if backend not in _READERS:
        return f"the {backend} backend is not one of {', '.join(_READERS)}"
    for name in ("save", "save_weights"):
        if getattr(type(model), name) is not getattr(keras.Model, name) or name in vars(model):
            return f"{type(model).__name__} has a {name}() of its own"
    if keras.distribution.distribution() is not None:
        return "its variables are spread over devices by keras.distribution"
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        return "its variables are mirrored by a tf.distribute strategy"
    return None


def saved_parts(model: keras.Model) -> list[Any]:
    """Returns every layer, optimizer, metric and loss that a save of the model goes through."""
    skip = {"_loss_tracker", *vars(_bare_model())}
    parts: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, _SAVEABLE):
            parts.append(part)
        waiting.extend(_children(part, skip))
    return parts


def _bare_model() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def _children(part: Any, skip: set[str]) -> Iterator[Any]:
    if isinstance(part, Mapping):
        yield from part.values()
    elif isinstance(part, list | tuple | set):
        yield from part
    elif isinstance(part, _SAVEABLE):
        yield from getattr(part, "layers", ())
        yield getattr(part, "optimizer", None)
        # torch keeps the layers among a layer's attributes apart.
        attributes = {**vars(part), **vars(part).get("_modules", {})}
        yield from (value for name, value in attributes.items() if name not in skip)


def _check_savable(model: keras.Model) -> None:
    for part in saved_parts(model):
        name = type(part).__name__
        if hasattr(part, "save_assets"):
            raise CannotPictureError(f"{name} saves files of its own")
        save_own = getattr(type(part), "save_own_variables", keras.Layer.save_own_variables)
        if isinstance(part, keras.layers.TorchModuleWrapper) or not _is_kerass(save_own):
            raise CannotPictureError(f"{name} saves its variables in a way of its own")


def _is_kerass(function: Callable[..., Any]) -> bool:
    return str(function.__module__).partition(".")[0] == "keras"


def _clone(model: keras.Model, config: dict[str, Any]) -> keras.Model:
    custom = {type(part).__name__: type(part) for part in saved_parts(model) if not _is_kerass(type(part).__init__)}
    try:
        with keras.device("cpu"):
            # A copy, because Keras takes a functional model's config apart while it reads it (3.15).
            clone = _MAKERS.get(type(model), _made_from)(deepcopy(config), custom)
    except Exception as error:
        # Whatever the constructors of the user's own classes raise.
        raise CannotPictureError(f"it can't be made again from its config: {error}") from error
    if _as_json(config) != _as_json(keras.saving.serialize_keras_object(clone)):
        raise CannotPictureError("a model made from its config has another config")
    return clone


def _made_from(config: dict[str, Any], custom: dict[str, type]) -> Any:
    return keras.saving.deserialize_keras_object(config, custom_objects=custom, safe_mode=False)


def _sequential_from(config: dict[str, Any], custom: dict[str, type]) -> Any:
    """Makes a `Sequential` of all its layers at once.

    Keras itself adds them one by one, and builds the whole anew with each (3.15): of 200 layers, for ten seconds.
    """
    with keras.saving.custom_object_scope(custom):
        layers = [_made_from(layer, custom) for layer in config["config"]["layers"]]
        model = keras.Sequential(layers, name=config["config"]["name"])
        if not model.built:
            model.build_from_config(config["build_config"])
        if compile_config := config.get("compile_config"):
            model.compile_from_config(compile_config)
    return model


def _as_json(config: dict[str, Any]) -> str:
    return json.dumps(config, default=repr, sort_keys=True)


def _check_same(ours: list[Any], theirs: list[Any]) -> None:
    if [_facts(variable) for variable in ours] != [_facts(variable) for variable in theirs]:
        raise CannotPictureError(
            f"it has {len(ours)} variables, and a model made from its config has {len(theirs)}, or others"
        )


def _facts(variable: Any) -> tuple[tuple[int, ...], str, str]:
    # Only the last word of the name: an optimizer's variables are named after the paths of the layers'.
    return tuple(variable.shape), str(variable.dtype), variable.name.rpartition("_")[2]


def _tensorflow_reader(variables: list[Any]) -> Reader:
    """References: TensorFlow copies a buffer that is still referenced before it writes to it."""
    import tensorflow as tf

    @tf.function(autograph=False, jit_compile=False)  # type: ignore[untyped-decorator]
    def read() -> Values:
        with tf.device("CPU"):  # from a GPU this is a copy into the host's memory, which has room for it
            return [tf.identity(variable.value) for variable in variables]

    reading = read.get_concrete_function()  # a tenth of the time of as many single reads
    return lambda _: list(reading())


def _jax_reader(variables: list[Any]) -> Reader:
    """Copies: `fit` gives JAX its buffers to write the next values into."""

    def read(into: Values | None) -> Values:
        values = [variable.value for variable in variables]
        for value in values:
            value.copy_to_host_async()
        into = into or [_aligned(value) for value in values]
        for target, value in zip(into, values, strict=True):
            np.copyto(target, np.asarray(value))
        return into

    return read


def _jax_room(variables: list[Any]) -> Values:
    return [_aligned(variable.value) for variable in variables]


def _aligned(value: Any) -> Any:
    """Returns memory that a variable of the clone can have as its own: JAX copies what begins anywhere else."""
    room = np.empty(value.nbytes + _ALIGNMENT, np.uint8)
    room.fill(0)  # which is when the memory is got
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + value.nbytes].view(value.dtype).reshape(value.shape)


def _torch_reader(variables: list[Any]) -> Reader:
    """Copies: torch's optimizers write in place."""
    import torch

    def read(into: Values | None) -> Values:
        values = [variable.value.detach() for variable in variables]
        into = into or [torch.empty_like(value, device="cpu") for value in values]
        for target, value in zip(into, values, strict=True):
            target.copy_(value)
        return into

    return read


def _torch_room(variables: list[Any]) -> Values:
    """What a clone begins with can be written over: it shows no picture yet."""
    return [variable.value.detach() for variable in variables]


def _assign(variable: Any, value: Any) -> None:
    variable.assign(value)  # a reference on TensorFlow, and on JAX where the memory is aligned


def _point_to(variable: Any, value: Any) -> None:
    variable.value.data = value  # `assign` would copy


_ALIGNMENT = 64  # bytes; XLA's on CPU
_SHOWING = {"torch": _point_to}
_MAKERS = {keras.Sequential: _sequential_from}
# Copies into memory that is there already cost a fraction of what new memory does.
_ROOM: dict[str, Callable[[list[Any]], Values]] = {"jax": _jax_room, "torch": _torch_room}
_READERS: dict[str, Callable[[list[Any]], Reader]] = {
    "tensorflow": _tensorflow_reader,
    "jax": _jax_reader,
    "torch": _torch_reader,
}
