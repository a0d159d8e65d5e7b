"""Copy the variables of a Keras 3 model, so that Keras can save them in another thread while training continues.

The training thread only copies the values. Keras's own save runs in another thread. It saves stand-ins of the model's
parts, which behave as the parts do, but write the copied values of the variables.
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
from wandb_ckpt.saving.background import CannotCopyError, SaverThread
from wandb_ckpt.saving.saveables import Node, Saveables

Values = list[Any]
# Reads all variables now. The argument is a list of earlier values whose memory can be used again.
Reader = Callable[[Values | None], Values]
# In Keras 3.5 some variables are objects of a base class of the public class.
_VARIABLES = tuple(base for base in keras.Variable.__mro__ if base.__module__.startswith("keras"))
_WATCHED = (keras.Operation, keras.Metric, keras.Optimizer, keras.Loss, *_VARIABLES)
_CONTAINERS = (list, dict, tuple, set)


class Keras3ModelCopier:
    """Makes the copies of one model during its training.

    To be created in the training thread, after the first step. The slow preparation is done in the background.

    Args:
        model: A built Keras 3 model.
        saver: The thread that does the preparation and the saves.

    Raises:
        CannotCopyError: This model can't be saved in the background.
    """

    def __init__(self, model: keras.Model, saver: SaverThread) -> None:
        self._model, self._saver = model, saver
        self._prepare()

    def copy(self, method: str) -> "Keras3ModelCopy":
        """Return a copy of the model as it is now.

        Args:
            method: The model's method to save the copy with.

        Raises:
            CannotCopyError: The model can't be copied any more.
        """
        if not self._structure.is_unchanged():
            self._prepare()
        # The config is read here, so that the user's code never runs in two threads at the same time.
        config = _config_of(self._model) if method == "save" else {}
        self._prepared.result()
        return Keras3ModelCopy(self._structure, self._reader, config)

    def _prepare(self) -> None:
        self._structure = Structure(self._model)
        self._reader = VariableReader(self._structure.variables)
        self._prepared = self._saver.submit(self._reader.prepare)


class Keras3ModelCopy:
    """A copy of a model's variables and config at one moment.

    Args:
        structure: The parts of the model.
        reader: Reads the current values of the variables.
        config: The config of the model, as Keras serializes it.
    """

    def __init__(self, structure: "Structure", reader: "VariableReader", config: Mapping[str, Any]) -> None:
        self._structure, self._reader, self._config = structure, reader, config
        self._frozen = {id(part): _FrozenPart(part) for _, part in structure.parts}
        self._values = reader.read()

    @property
    def parts(self) -> Saveables:
        """The parts of the model."""
        return self._structure.parts

    def save(self, method: str, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Save the copy with the model's method of that name."""
        model, copied = self._structure.model, _CopiedValues(self._structure.variables, self._values)
        try:
            with keras.device("cpu:0"):  # host memory has room for what a save computes (kernels with LoRA)
                if method == "save" and format_of(filepath, is_folder=False) == "h5":
                    # This format is written from the model's layers and its optimizer, not from parts.
                    with copied:
                        model.save(filepath, *args, **kwargs)
                else:
                    stand_in = _StandIns(self._frozen, copied).of(
                        self._structure.parts.root, _config_methods(self._config)
                    )
                    getattr(keras.Model, method)(stand_in, filepath, *args, **kwargs)
        finally:
            self._reader.reuse(self._values)


class Structure:
    """The parts of a model and their variables, as they are now.

    Args:
        model: A built Keras 3 model.

    Raises:
        CannotCopyError: A save of the model writes more than the values of variables.
    """

    def __init__(self, model: keras.Model) -> None:
        if reason := why_not(model):
            raise CannotCopyError(reason)
        self.model, self.parts = model, Saveables(model)
        for _, part in self.parts:
            _check_savable(part)
        self.variables = list({id(each): each for each in self._variables()}.values())
        self._ids = self._current_ids()

    def is_unchanged(self) -> bool:
        """Return whether no part and no variable has been added or replaced since."""
        return self._current_ids() == self._ids

    def _variables(self) -> Iterator[Any]:
        for _, part in self.parts:
            yield from getattr(part, "variables", ())

    def _current_ids(self) -> list[int]:
        # This takes a tenth of the time of `Saveables`. The objects are alive, so no other object has the same id.
        return [each for _, part in self.parts for each in _ids_in(vars(part), set())]


class VariableReader:
    """Reads the variables of a model, and owns the memory for the next copies.

    Args:
        variables: All variables of the model.
    """

    def __init__(self, variables: list[Any]) -> None:
        self._variables = variables
        self._spare: deque[Values] = deque()

    def prepare(self) -> None:
        """Prepare to read, and allocate the memory for the first copy, which is slow."""
        backend = keras.backend.backend()
        self._read = _READERS[backend](self._variables)
        if backend in _ALLOCATORS:
            self._spare.append(_ALLOCATORS[backend](self._variables))

    def read(self) -> Values:
        """Return the current values of the variables."""
        return self._read(self._spare.popleft() if self._spare else None)

    def reuse(self, values: Values) -> None:
        """Use the memory of a copy that is no longer needed for a later one."""
        if keras.backend.backend() in _ALLOCATORS:
            self._spare.append(values)


class _CopiedValues(keras.StatelessScope):  # type: ignore[misc]
    """A scope in which variables have the copied values, in the current thread.

    Args:
        variables: The variables.
        values: The value of each.
    """

    def __init__(self, variables: list[Any], values: Values) -> None:
        super().__init__(initialize_variables=False)
        for update in zip(variables, values, strict=True):
            self.add_update(update)

    def get_current_value(self, variable: Any) -> Any:
        """Return the copied value."""
        value = super().get_current_value(variable)
        if value is None:  # its current value would not belong to the others
            raise RuntimeError(
                f"the variable {variable.path} was created after the copy of the model: expected no new variables "
                "during a save"
            )
        # A tensor, as Keras expects. Keras 3.5 writes NumPy arrays, which hold JAX's values here, as float64.
        return keras.ops.convert_to_tensor(value)


class _FrozenPart:
    """A part of a model as it was at the time of the copy. Later changes of the part's attributes are not seen.

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


class _StandIn:
    """Takes the place of a part of a model while Keras saves it. Its attributes are the stand-ins of other parts.

    The whole save can't run in a `StatelessScope`: Keras 3.15 creates an optimizer during a save, and variables
    can't be created in such a scope.

    Args:
        part: The part.
        frozen: The part as it was at the time of the copy.
        copied: The scope with the copied values.
        overrides: Attributes that replace those of the part, by name.
    """

    def __init__(self, part: Any, frozen: _FrozenPart, copied: _CopiedValues, overrides: Mapping[str, Any]) -> None:
        self.__part, self.__frozen, self.__copied, self.__overrides = part, frozen, copied, overrides
        self.__children: dict[str, Any] = {}

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # what isinstance asks
        return type(self.__part)

    def __dir__(self) -> list[str]:
        return list(self.__children)

    def __getattr__(self, name: str) -> Any:
        if name in self.__children:
            return self.__children[name]
        if name in self.__overrides:
            return self.__overrides[name]
        value = getattr(self.__part, name)
        return self.__save if name == "save_own_variables" else value

    def add_child(self, name: str, stand_in: Any) -> None:
        """Add another stand-in, or a container of stand-ins, as an attribute."""
        self.__children[name] = stand_in

    def __save(self, store: Any) -> None:
        with self.__copied:
            self.__frozen.save_own_variables(store)


class _StandIns:
    """Creates the stand-ins of a model's parts.

    Args:
        frozen: The parts as they were at the time of the copy, by their ids.
        copied: The scope with the copied values.
    """

    def __init__(self, frozen: Mapping[int, _FrozenPart], copied: _CopiedValues) -> None:
        self._frozen, self._copied = frozen, copied
        self._created: dict[int, _StandIn] = {}

    def of(self, node: Node, overrides: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """Return the stand-in of a part, or for a container a container of stand-ins."""
        if node.part is None:
            return node.container(self.of(each) for each in node.children.values())
        key = id(node.part)
        if key not in self._created:
            self._created[key] = _StandIn(node.part, self._frozen[key], self._copied, overrides)
            for name, child in node.children.items():
                self._created[key].add_child(name, self.of(child))
        return self._created[key]


def _config_of(model: keras.Model) -> dict[str, Any]:
    # `model.save` notes which objects the model uses in several places. No public function does this.
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope():
        config: dict[str, Any] = keras.saving.serialize_keras_object(model)
    return config


def _config_methods(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return replacements of the methods from which Keras builds a model's config; they return the copied config."""
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
    """Return why this model can't be saved in the background, or `None` if no quick check speaks against it."""
    backend = keras.backend.backend()
    if backend not in _READERS:
        return f"the {backend} backend is not one of {', '.join(_READERS)}"
    for name in ("save", "save_weights"):
        if getattr(type(model), name) is not getattr(keras.Model, name) or name in vars(model):
            return f"{type(model).__name__} has its own {name}() method"
    if keras.distribution.distribution() is not None:
        return "keras.distribution distributes its variables over several devices"
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        return "a tf.distribute strategy mirrors its variables"
    return None


def _check_savable(part: Any) -> None:
    name = type(part).__name__
    if hasattr(part, "save_assets"):
        raise CannotCopyError(f"{name} saves its own files")
    save_own = getattr(part, "save_own_variables", keras.Layer.save_own_variables)
    if isinstance(part, keras.layers.TorchModuleWrapper) or not is_defined_by_keras(save_own):
        raise CannotCopyError(f"{name} saves its variables with its own method")


def _tensorflow_reader(variables: list[Any]) -> Reader:
    """Return a reader that takes references. TensorFlow copies a referenced buffer before it writes to it."""
    import tensorflow as tf

    @tf.function(autograph=False, jit_compile=False)  # type: ignore[untyped-decorator]
    def read() -> Values:
        with tf.device("CPU"):  # values on a GPU are copied to host memory, which has room for them
            return [tf.identity(variable.value) for variable in variables]

    read_all = read.get_concrete_function()  # takes a tenth of the time of single reads
    return lambda _: list(read_all())


def _jax_reader(variables: list[Any]) -> Reader:
    """Return a reader that copies. `fit` donates its buffers to JAX, which writes the next values into them."""

    def read(into: Values | None) -> Values:
        values = [variable.value for variable in variables]
        for value in values:
            value.copy_to_host_async()
        into = into or [np.empty(value.shape, value.dtype) for value in values]
        for target, value in zip(into, values, strict=True):
            np.copyto(target, np.asarray(value), casting="no")
        return into

    return read


def _allocate_for_jax(variables: list[Any]) -> Values:
    # From shapes: while the model trains, the variables themselves have no values in JAX.
    arrays = [np.empty(tuple(variable.shape), variable.dtype) for variable in variables]
    for array in arrays:
        array.fill(0)  # the system allocates memory at the first write
    return arrays


def _torch_reader(variables: list[Any]) -> Reader:
    """Return a reader that copies. torch's optimizers write in place."""
    import torch

    def read(into: Values | None) -> Values:
        values = [variable.value.detach() for variable in variables]
        into = into or [torch.empty_like(value, device="cpu") for value in values]
        for target, value in zip(into, values, strict=True):
            target.copy_(value)
        return into

    return read


def _allocate_for_torch(variables: list[Any]) -> Values:
    import torch

    return [torch.zeros_like(variable.value.detach(), device="cpu") for variable in variables]


# Copying into allocated memory takes a fraction of the time of copying into new memory.
_ALLOCATORS: dict[str, Callable[[list[Any]], Values]] = {"jax": _allocate_for_jax, "torch": _allocate_for_torch}
_READERS: dict[str, Callable[[list[Any]], Reader]] = {
    "tensorflow": _tensorflow_reader,
    "jax": _jax_reader,
    "torch": _torch_reader,
}
