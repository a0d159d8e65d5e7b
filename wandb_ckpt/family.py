"""The two Keras families: Keras 3 (`keras`) and legacy Keras 2 (`tf_keras`)."""

import os
import sys
from importlib import import_module
from typing import Any, Literal, TypeAlias

Family: TypeAlias = Literal["keras", "tf_keras"]


def default_family() -> Family:
    """Return the name of the module that `tensorflow.keras` stands for: `keras` or `tf_keras`."""
    # The values that TensorFlow 2.16+ itself reads as "yes" (tensorflow/python/util/lazy_loader.py).
    return "tf_keras" if os.environ.get("TF_USE_LEGACY_KERAS") in ("true", "True", "1") else "keras"


def import_family(name: Family) -> Any:
    """Return the module `keras` or `tf_keras`.

    Raises:
        ImportError: The module is not installed. The message says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        if name == "keras":  # Keras itself says which backend is missing
            raise
        raise ImportError(
            "wandb_ckpt.tf_keras needs the tf-keras package: pip install 'wandb-ckpt[tf-keras]'"
        ) from error


def is_tf_keras(model: Any) -> bool:
    """Return whether a model is a legacy tf_keras model."""
    tf_keras = sys.modules.get("tf_keras")  # such a model has imported it
    return tf_keras is not None and isinstance(model, tf_keras.Model)


def is_optimizer(part: Any) -> bool:
    """Return whether an object is an optimizer, of Keras 3 or of tf_keras."""
    return isinstance(part, tuple(family.optimizers.Optimizer for family in _imported()))


def is_layer(part: Any) -> bool:
    """Return whether an object is a layer or a model, of Keras 3 or of tf_keras."""
    return isinstance(part, tuple(family.layers.Layer for family in _imported()))


def is_defined_by_keras(function: Any) -> bool:
    """Return whether a function is defined by Keras itself, not by the user."""
    return str(function.__module__).partition(".")[0] in ("keras", "tf_keras")


def _imported() -> list[Any]:
    # `None` in `sys.modules` marks a module that can't be imported.
    return [sys.modules[name] for name in ("keras", "tf_keras") if sys.modules.get(name) is not None]
