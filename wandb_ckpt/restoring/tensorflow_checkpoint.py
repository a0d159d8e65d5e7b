"""SavedModel folders and TF-format prefixes, which only legacy tf_keras can restore."""

from collections.abc import Iterator, Mapping
from typing import Any

from wandb_ckpt.family import is_optimizer
from wandb_ckpt.restoring.compatibility import check_optimizers_exist, refuse
from wandb_ckpt.restoring.download import Fetched
from wandb_ckpt.restoring.optimizers import OptimizerState, Shape, accepts
from wandb_ckpt.saving.saveables import Saveables

_VALUE, _SLOT = "/.ATTRIBUTES/VARIABLE_VALUE", "/.OPTIMIZER_SLOT"
# Variables that are not weights: the metrics, which tf_keras saves, and TensorFlow's own counters.
_NO_WEIGHTS = ("metrics", "keras_api", "save_counter")


def check_fit(model: Any, parts: Saveables, prefix: str, fetched: Fetched, *, optimizer: bool) -> None:
    """Check that a model has all variables of a checkpoint. Build the optimizers that are not built yet.

    TensorFlow itself checks that the checkpoint has all variables of the model.

    Args:
        model: A model of tf_keras.
        parts: The parts of the model.
        prefix: The prefix of the checkpoint's files.
        fetched: The checkpoint.
        optimizer: Whether the state of optimizers will be restored.

    Raises:
        RestoreError: The checkpoint does not fit the model.
    """
    shapes, graph = dict(_shapes(prefix)), _Graph(model)
    states = {path: _state(path, shapes, prefix) for path in _optimizers_in(shapes)}
    found = graph.optimizers()
    weights = {path: shape for path, shape in shapes.items() if not _is_below(path, {*states, *found})}
    if problems := [problem for path, shape in weights.items() if (problem := graph.problem(path, shape))]:
        refuse(fetched, problems)
    if not optimizer:
        return
    check_optimizers_exist(
        {path: graph.at(path) for path in states}, fetched, is_compiled=model.optimizer is not None
    )
    for path, each in found.items():
        # TensorFlow restores the state of a legacy optimizer later, when the optimizer creates its variables.
        if is_optimizer(each) or path not in states or not states[path].is_legacy:
            accepts(each, states.get(path, OptimizerState(path)), model, parts, fetched.ref)


def load_weights(model: Any, prefix: str) -> Any:
    """Restore only the weights of a model, without optimizers. Return TensorFlow's status object."""
    import tensorflow as tf

    graph = _Graph(model)
    weights = {name: child for name, child in graph.children(model).items() if name not in graph.optimizers()}
    return tf.train.Checkpoint(**weights).read(prefix)


def read_all(prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the floating-point variables of a checkpoint as arrays, each with the name of its layer."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    for name, dtype in reader.get_variable_to_dtype_map().items():
        if dtype.is_floating:
            yield name.partition("/.")[0].rpartition("/")[0], reader.get_tensor(name).astype("float32")


class _Graph:
    """The variables of a model, by their names in a checkpoint."""

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        self._model, self._view = model, tf.train.TrackableView(model)
        self._children: dict[int, Mapping[str, Any]] = {}

    def children(self, node: Any) -> Mapping[str, Any]:
        if id(node) not in self._children:
            self._children[id(node)] = self._view.children(node)
        return self._children[id(node)]

    def at(self, path: str) -> Any:
        node = self._model
        for name in path.split("/"):
            node = None if node is None else self.children(node).get(name)
        return node

    def optimizers(self) -> dict[str, Any]:
        return {name: child for name, child in self.children(self._model).items() if _is_any_optimizer(child)}

    def problem(self, path: str, shape: Shape) -> str | None:
        variable = self.at(path)
        if variable is None:
            return f"{path}: only in the checkpoint"
        have = tuple(getattr(variable, "shape", shape))
        return None if have == shape else f"{path}: {shape} in the checkpoint, {have} in the model"


def _is_any_optimizer(part: Any) -> bool:
    import tf_keras

    return is_optimizer(part) or isinstance(part, tf_keras.optimizers.legacy.Optimizer)


def _shapes(prefix: str) -> Iterator[tuple[str, Shape]]:
    import tensorflow as tf

    for name, shape in tf.train.list_variables(prefix):
        if name.endswith(_VALUE) and name.partition("/")[0] not in _NO_WEIGHTS:
            yield name.removesuffix(_VALUE), tuple(shape)


def _optimizers_in(shapes: Mapping[str, Shape]) -> set[str]:
    counters = {path.rpartition("/") for path in shapes}
    return {path for path, _, name in counters if name in ("_iterations", "iter")}


def _is_below(path: str, optimizers: set[str]) -> bool:
    # The variables of a legacy optimizer are stored below the weights that they belong to.
    return _SLOT in path or any(path.startswith(f"{optimizer}/") for optimizer in optimizers)


def _state(path: str, shapes: Mapping[str, Shape], prefix: str) -> OptimizerState:
    import tensorflow as tf

    if f"{path}/iter" in shapes:
        return OptimizerState(
            path, tuple(s for name, s in shapes.items() if f"{_SLOT}/{path}/" in name), is_legacy=True
        )
    numbered = {
        int(name.rpartition("/")[2]): s for name, s in shapes.items() if name.startswith(f"{path}/_variables/")
    }
    # The step counter is the first variable, and has a different name.
    steps = tf.train.load_variable(prefix, f"{path}/_iterations{_VALUE}")
    return OptimizerState(path, ((), *(numbered[key] for key in sorted(numbered))), has_steps=bool(steps > 0))
