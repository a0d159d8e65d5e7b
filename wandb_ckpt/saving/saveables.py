"""Saveables: the parts of a model that Keras saves, with their paths in the file."""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from wandb_ckpt.family import is_optimizer, is_tf_keras

logger = logging.getLogger("wandb_ckpt")

_CONTAINERS = (list, dict, tuple, set)
# Attributes that give what tf_keras finds under other names, or that warn when they are read.
_LEGACY_SKIPPED = {
    "_input_layers",
    "_layer_checkpoint_dependencies",
    "_output_layers",
    "_unconditional_dependency_names",
    "_updates",
    "state_updates",
    "submodules",
    "updates",
}


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A part of the model, or a container of parts, with its children by name.

    Attributes:
        path: The path in a file.
        part: The part; `None` for a container.
        container: The type of the container. Keras 3.15 does not save the parts in a set, earlier versions do.
        children: The parts and containers below it.
    """

    path: str
    part: Any = None
    container: type = list
    children: dict[str, "Node"] = field(default_factory=dict)


class Saveables:
    """All layers, optimizers, metrics and losses that Keras saves with a model.

    Keras has no public function that lists them. This class follows `saving_lib.py` of Keras 3.15 and of tf_keras
    2.21, which name a part by the attributes that lead to it.

    Args:
        model: A model of Keras 3 or of tf_keras.

    Attributes:
        root: The node of the model itself.
    """

    def __init__(self, model: Any) -> None:
        self._is_legacy = is_tf_keras(model)
        self._kinds = _kinds(self._is_legacy)
        self._nodes: dict[int, Node] = {}
        self.root = self._node(model, "")

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield every part once, with the path under which it is saved; parents before their children."""
        for node in self._nodes.values():
            yield node.path, node.part

    def at(self, path: str) -> Any:
        """Return the part with this path in a file, or `None`.

        Args:
            path: For example `layers/dense_1`. The empty path is that of the model.
        """
        node: Node | None = self.root
        for name in filter(None, path.split("/")):
            node = node.children.get(name) if node else None
        return node.part if node else None

    def _node(self, part: Any, path: str) -> Node:
        if id(part) in self._nodes:
            return self._nodes[id(part)]
        node = self._nodes[id(part)] = Node(path, part)
        for name in _attributes(part, self._is_legacy):
            try:
                value = getattr(part, name)
            except Exception:
                # A property without a value yet: Keras skips it, too.
                logger.debug("%s has no %s", part, name, exc_info=True)
            else:
                self._add(node, name, value, set())
        return node

    def _add(self, node: Node, name: str, value: Any, seen: set[int]) -> None:
        path = f"{node.path}/{name}".lstrip("/")
        if isinstance(value, self._kinds):
            node.children[name] = self._node(value, path)
        elif isinstance(value, _CONTAINERS) and id(value) not in seen:
            seen.add(id(value))
            node.children[name] = self._container(value, path, seen)

    def _container(self, values: Any, path: str, seen: set[int]) -> Node:
        node, used = Node(path, container=set if isinstance(values, set) else list), dict[str, int]()
        for value in list(values.values() if isinstance(values, Mapping) else values):
            is_part = isinstance(value, self._kinds)
            if self._is_legacy and (not is_part or id(value) in self._nodes):  # tf_keras skips these
                continue
            name = self._name_of(value) if is_part else "container"
            if is_part or isinstance(value, _CONTAINERS):
                used[name] = used.get(name, -1) + 1
                self._add(node, f"{name}_{used[name]}" if used[name] else name, value, seen)
        return node

    def _name_of(self, part: Any) -> str:
        name = _snake_case(type(part).__name__)
        return f"private{name}" if self._is_legacy and name.startswith("_") else name


def label(path: str, name: Any) -> str:
    """Return the words for a part in a message: its name and its path.

    >>> label("layers/dense", "dense"), label("layers/string_lookup", "words"), label("", "gan")
    ("'dense' (layers/dense)", "'words' (layers/string_lookup)", "'gan'")
    """
    shown = f"{name!r}" if isinstance(name, str) else ""
    return f"{shown} ({path})".strip() if path and shown else shown or path or "the model"


def _kinds(is_legacy: bool) -> tuple[type, ...]:
    keras: Any = sys.modules["tf_keras" if is_legacy else "keras"]
    layers = keras.layers.Layer if is_legacy else keras.Operation
    return (layers, keras.metrics.Metric, keras.optimizers.Optimizer, keras.losses.Loss)


def _attributes(part: Any, is_legacy: bool) -> Iterator[str]:
    """Yield the names of the attributes that Keras's saver reads, in its order."""
    names = [name for name in dir(part) if not name.startswith("__")]
    if is_legacy:
        yield from sorted((n for n in names if n not in _LEGACY_SKIPPED and not n.startswith("_self_")), reverse=True)
        return
    if type(part).__name__ == "CompileMetrics":  # Keras saves none of its parts
        return
    kind = _kind_of(part)
    skipped = _skipped(kind)
    if kind in ("Functional", "Sequential"):
        yield "layers"
    # Private ones come last.
    yield from sorted(
        (n for n in names if n not in skipped), key=lambda name: name.replace("_", "~", name[:1] == "_")
    )


def _kind_of(part: Any) -> str:
    """Return the kind of a part, as Keras 3 names it."""
    import keras

    names = {base.__name__ for base in type(part).__mro__}
    if kinds := names & {"Sequential", "Functional"}:  # the second has no public name
        return kinds.pop() if len(kinds) == 1 else "Sequential"
    public = {"Layer": keras.Layer, "Metric": keras.metrics.Metric, "Loss": keras.losses.Loss}
    if is_optimizer(part):
        return "Optimizer"
    return next((kind for kind, base in public.items() if isinstance(part, base)), "Operation")


@cache
def _skipped(kind: str) -> frozenset[str]:
    """Return the names of Keras's own attributes: those of an object of the base class."""
    import keras

    bare: dict[str, Any] = {
        "Operation": keras.Operation,
        "Optimizer": lambda: keras.optimizers.Optimizer(1.0),
        "Metric": keras.metrics.Metric,
        "Loss": keras.losses.Loss,
    }
    more = {"Functional": {"operations", "_operations"}, "Sequential": {"_functional"}}
    # The last one is TensorFlow's: its values are found under other names.
    return (
        frozenset(dir(bare.get(kind, keras.Layer)()))
        | more.get(kind, set())
        | {"_self_unconditional_dependency_names"}
    )


def _snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it in a file.

    >>> _snake_case("BatchNormalization"), _snake_case("Conv2D"), _snake_case("LSTM")
    ('batch_normalization', 'conv2d', 'lstm')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
