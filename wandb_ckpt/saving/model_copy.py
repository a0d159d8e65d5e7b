"""Picture: the values of a Keras 3 model's variables at one moment, which Keras's own save of the model writes later.

The training thread only takes the picture. The save runs in another thread, and goes through shadows of the model's
parts: they say what the parts say, but where a part writes its variables, these have the values of the picture.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import getattr_static
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from wandb_ckpt.checkpoint import format_of
from wandb_ckpt.family import is_defined_by_keras
from wandb_ckpt.saving.background import CannotPictureError, SaverThread
from wandb_ckpt.saving.saveables import Node, Saveables

Values = list[Any]
# Reads all variables now; into the memory of values that are no longer needed, where that pays.
Reader = Callable[[Values | None], Values]
# In Keras 3.5 the public class of variables is one below the one that all are of.
_VARIABLES = tuple(base for base in keras.Variable.__mro__ if base.__module__.startswith("keras"))
_WATCHED = (keras.Operation, keras.Metric, keras.Optimizer, keras.Loss, *_VARIABLES)
_CONTAINERS = (list, dict, tuple, set)


class ModelPictures:
    """Takes the pictures of one model during its training.

    Made on the training thread, after the first step; what takes long is prepared in the background.

    Args:
        model: A built Keras 3 model.
        saver: The thread that prepares, and carries out the saves.

    Raises:
        CannotPictureError: Saves of this model can't be made in the background.
    """

    def __init__(self, model: keras.Model, saver: SaverThread) -> None:
        self._model, self._saver = model, saver
        self._prepare()

    def take(self, method: str) -> "Picture":
        """Returns a picture of the model as it is now.

        Args:
            method: The model's method that is to save it.

        Raises:
            CannotPictureError: There can't be one.
        """
        if not self._structure.holds():
            self._prepare()
        # The config is read here as well, for users' code is not asked in two threads at once.
        config = _config_of(self._model) if method == "save" else {}
        self._prepared.result()
        return Picture(self._structure, self._memory, config)

    def _prepare(self) -> None:
        self._structure = Structure(self._model)
        self._memory = Memory(self._structure.variables)
        self._prepared = self._saver.submit(self._memory.prepare)


class Picture:
    """What a model was at one moment.

    Args:
        structure: The parts of the model.
        memory: Where the values of its variables now are to be kept.
        config: Its config, as Keras serializes it.
    """

    def __init__(self, structure: "Structure", memory: "Memory", config: Mapping[str, Any]) -> None:
        self._structure, self._memory, self._config = structure, memory, config
        self._frozen = {id(part): _Frozen(part) for _, part in structure.parts}
        self._values = memory.read()

    @property
    def parts(self) -> Saveables:
        """The parts of the model."""
        return self._structure.parts

    def save(self, method: str, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Saves what the model was, with the model's method of that name."""
        model, shown = self._structure.model, _Shown(self._structure.variables, self._values)
        try:
            with keras.device("cpu:0"):  # where what is computed for a save (kernels with LoRA) has room
                if method == "save" and format_of(filepath, is_folder=False) == "h5":
                    # This format has no parts, only the model's layers and its optimizer.
                    with shown:
                        model.save(filepath, *args, **kwargs)
                else:
                    shadow = _Shadows(self._frozen, shown).of(self._structure.parts.root, _answers(self._config))
                    getattr(keras.Model, method)(shadow, filepath, *args, **kwargs)
        finally:
            self._memory.take_back(self._values)


class Structure:
    """The parts of a model and their variables, as they are now.

    Args:
        model: A built Keras 3 model.

    Raises:
        CannotPictureError: Values of variables are not all that a save of it writes.
    """

    def __init__(self, model: keras.Model) -> None:
        if reason := why_not(model):
            raise CannotPictureError(reason)
        self.model, self.parts = model, Saveables(model)
        for _, part in self.parts:
            _check_savable(part)
        self.variables = list({id(each): each for each in self._variables()}.values())
        self._held = self._holdings()

    def holds(self) -> bool:
        """Returns whether no part and no variable has been added or replaced since."""
        return self._holdings() == self._held

    def _variables(self) -> Iterator[Any]:
        for _, part in self.parts:
            yield from getattr(part, "variables", ())

    def _holdings(self) -> list[int]:
        # A tenth of the time of another walk. What is found here is alive, so that no other object has its id.
        return [each for _, part in self.parts for each in _ids_in(vars(part), set())]


class Memory:
    """Reads the variables of a model, and owns the memory for the next pictures.

    Args:
        variables: All of them.
    """

    def __init__(self, variables: list[Any]) -> None:
        self._variables = variables
        self._spare: deque[Values] = deque()

    def prepare(self) -> None:
        """Prepares to read, and gets the memory for the first picture, whose time would else go into that."""
        backend = keras.backend.backend()
        self._read = _READERS[backend](self._variables)
        if backend in _ROOM:
            self._spare.append(_ROOM[backend](self._variables))

    def read(self) -> Values:
        """Returns the values of the variables now."""
        return self._read(self._spare.popleft() if self._spare else None)

    def take_back(self, values: Values) -> None:
        """Has the memory of a picture that is no longer needed used again."""
        if keras.backend.backend() in _ROOM:
            self._spare.append(values)


class _Shown(keras.StatelessScope):  # type: ignore[misc]
    """Shows the values of a picture in place of the variables' own, in this thread.

    Args:
        variables: The variables.
        values: The value of each.
    """

    def __init__(self, variables: list[Any], values: Values) -> None:
        super().__init__(initialize_variables=False)
        for update in zip(variables, values, strict=True):
            self.add_update(update)

    def get_current_value(self, variable: Any) -> Any:
        """Returns the value in the picture."""
        value = super().get_current_value(variable)
        if value is None:  # what it is now does not belong to the rest
            raise RuntimeError(f"the variable {variable.path} was made after the picture of the model was taken")
        # What Keras expects of a variable: of NumPy's arrays, in which JAX's values are kept, 3.5 writes float64.
        return keras.ops.convert_to_tensor(value)


class _Frozen:
    """A part of a model as it was: what is done with it does not see what has been done to the part since.

    Args:
        part: The part.
    """

    def __init__(self, part: Any) -> None:
        self.__kind = type(part)
        self.__attributes = {
            name: list(value) if isinstance(value, list) else value for name, value in vars(part).items()
        }

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # what isinstance asks
        return self.__kind

    def __getattr__(self, name: str) -> Any:
        if name in self.__attributes:
            return self.__attributes[name]
        found = getattr_static(self.__kind, name)
        return found.__get__(self, self.__kind) if hasattr(found, "__get__") else found


class _Shadow:
    """Stands in for a part of a model while Keras saves it; holds the shadows of the parts that it held.

    Not all of the save can be in a `StatelessScope`: Keras makes a reference optimizer on its way, and its variables
    can't be made there (3.15).

    Args:
        part: The part.
        frozen: The part as it was.
        shown: Shows the picture's values.
        answers: What it answers instead of the part, by name.
    """

    def __init__(self, part: Any, frozen: _Frozen, shown: _Shown, answers: Mapping[str, Any]) -> None:
        self.__part, self.__frozen, self.__shown, self.__answers = part, frozen, shown, answers
        self.__held: dict[str, Any] = {}

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # what isinstance asks
        return type(self.__part)

    def __dir__(self) -> list[str]:
        return list(self.__held)

    def __getattr__(self, name: str) -> Any:
        if name in self.__held:
            return self.__held[name]
        if name in self.__answers:
            return self.__answers[name]
        value = getattr(self.__part, name)
        return self.__save if name == "save_own_variables" else value

    def hold(self, name: str, shadow: Any) -> None:
        """Holds another shadow, or a container of some, as an attribute."""
        self.__held[name] = shadow

    def __save(self, store: Any) -> None:
        with self.__shown:
            self.__frozen.save_own_variables(store)


class _Shadows:
    """Makes the shadows of a model's parts.

    Args:
        frozen: The parts as they were, by their ids.
        shown: Shows the picture's values.
    """

    def __init__(self, frozen: Mapping[int, _Frozen], shown: _Shown) -> None:
        self._frozen, self._shown = frozen, shown
        self._made: dict[int, _Shadow] = {}

    def of(self, node: Node, answers: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """Returns the shadow of a part, or the container of those of the parts in a container."""
        if node.part is None:
            return node.container(self.of(each) for each in node.children.values())
        key = id(node.part)
        if key not in self._made:
            self._made[key] = _Shadow(node.part, self._frozen[key], self._shown, answers)
            for name, child in node.children.items():
                self._made[key].hold(name, self.of(child))
        return self._made[key]


def _config_of(model: keras.Model) -> dict[str, Any]:
    # No public function says which objects the model has in several places, as its own save does.
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope():
        config: dict[str, Any] = keras.saving.serialize_keras_object(model)
    return config


def _answers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a model's methods answer from which Keras makes its config."""
    keys = {"get_config": "config", "get_build_config": "build_config", "get_compile_config": "compile_config"}
    return {name: partial(config.get, key) for name, key in keys.items()}


def _ids_in(values: Any, seen: set[int]) -> Iterator[int]:
    for value in list(values.values() if isinstance(values, Mapping) else values):
        if isinstance(value, _WATCHED):
            yield id(value)
        elif isinstance(value, _CONTAINERS) and id(value) not in seen:
            seen.add(id(value))
            yield from _ids_in(value, seen)


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


def _check_savable(part: Any) -> None:
    name = type(part).__name__
    if hasattr(part, "save_assets"):
        raise CannotPictureError(f"{name} saves files of its own")
    save_own = getattr(part, "save_own_variables", keras.Layer.save_own_variables)
    if isinstance(part, keras.layers.TorchModuleWrapper) or not is_defined_by_keras(save_own):
        raise CannotPictureError(f"{name} saves its variables in a way of its own")


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
        into = into or [np.empty(value.shape, value.dtype) for value in values]
        for target, value in zip(into, values, strict=True):
            np.copyto(target, np.asarray(value), casting="no")
        return into

    return read


def _jax_room(variables: list[Any]) -> Values:
    # Not from their values, which JAX has elsewhere while the model trains.
    room = [np.empty(tuple(variable.shape), variable.dtype) for variable in variables]
    for each in room:
        each.fill(0)  # which is when the memory is got
    return room


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
    import torch

    return [torch.zeros_like(variable.value.detach(), device="cpu") for variable in variables]


# Copies into memory that is there already cost a fraction of what new memory does.
_ROOM: dict[str, Callable[[list[Any]], Values]] = {"jax": _jax_room, "torch": _torch_room}
_READERS: dict[str, Callable[[list[Any]], Reader]] = {
    "tensorflow": _tensorflow_reader,
    "jax": _jax_reader,
    "torch": _torch_reader,
}
