"""Check that `safe_mode=True` keeps its promise: no code from a model's files runs."""

import builtins
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from wandb_ckpt.errors import RestoreError

# The modules of Keras and tf_keras that have the classes of saved models. Other modules are not safe to use.
_SAFE_MODULES = re.compile(
    r"(tf_)?keras(\.(layers|models|initializers|regularizers|constraints|losses|metrics|optimizers|mixed_precision"
    r"|dtype_policies|quantizers)(\.(?!src)\w+)*)?"
    r"|(tf_)?keras\.src\.(models|engine)\.functional|keras\.src\.ops\.\w+|tf_keras\.src\.layers\.core\.tf_op_layer"
)
# Layers that run or read what their config names: functions of TensorFlow, SavedModels, pickles.
_UNSAFE_LAYERS = re.compile(
    "TFSMLayer|TorchModuleWrapper|TensorFlowOpLayer|TFOpLambda|SlicingOpLambda|ClassMethod|Instance.*"
)
_SAFE_FUNCTIONS = re.compile(r"(math|nn|linalg|__operators__)\.\w+")  # functions of TensorFlow that only compute


def has_all_fixes(version: str) -> bool:
    """Return whether a version of Keras has all known security fixes for untrusted files.

    >>> [version for version in ("3.5.0", "3.12.3", "3.12.4", "3.13.0", "3.15.0", "3.15.1") if has_all_fixes(version)]
    ['3.12.4', '3.15.1']
    """
    return (3, 12, 4) <= _numbers(version) < (3, 13) or _numbers(version) >= (3, 15, 1)


def check_safe_mode(path: Path, form: str, keras: Any, custom_objects: Mapping[str, Any], ref: str) -> None:
    """Check that no code in a model's files runs when it is loaded with `safe_mode=True`.

    Args:
        path: The checkpoint.
        form: The format of the checkpoint, one for whole models.
        keras: The module that loads it, `keras` or `tf_keras`.
        custom_objects: The classes and functions that the user passes.
        ref: The name of the checkpoint in messages.

    Raises:
        RestoreError: Code may run.
    """
    if reason := _reason(path, form, keras, custom_objects):
        raise RestoreError(
            f"{ref} is not loaded with safe_mode=True, which promises that no code in it runs: {reason}. If you "
            "trust the person who published it, pass safe_mode=False. Otherwise build the model, and call "
            f"wandb_ckpt.restore(model, {ref!r}), which runs no code."
        )


def _reason(path: Path, form: str, keras: Any, custom_objects: Mapping[str, Any]) -> str:
    """Return the reason why code may run; empty if it can't."""
    is_tf_keras, loader = keras.__name__ == "tf_keras", f"{keras.__name__} {keras.__version__}"
    if form == "savedmodel":
        return "a SavedModel is a program that TensorFlow runs"
    if form == "h5" and is_tf_keras:
        return f"{loader} has no safe mode for .h5 files"
    if form == "h5" and _numbers(keras.__version__) < (3, 11, 3):
        return f"{loader} has no safe mode for .h5 files; Keras 3.11.3 and newer have one"
    if form == "keras" and (is_tf_keras or not has_all_fixes(keras.__version__)):
        unknown = next(_unknown_objects(_config(path), keras, custom_objects), None)
        return f"it names {unknown}, and {loader} loads any object that a file names" if unknown else ""
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


# ---- .keras files ------------------------------------------------------------------------------------------


def _config(path: Path) -> Any:
    with ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def _unknown_objects(config: Any, keras: Any, custom_objects: Mapping[str, Any]) -> Iterator[str]:
    """Yield the objects in a model's config that neither Keras has nor the user passes."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
            if isinstance(node.get("vocabulary"), str):
                yield f"the file {node['vocabulary']!r}"
            if "class_name" in node and not _is_known(node, keras, dict(custom_objects)):
                yield ".".join(
                    str(node.get(key)) for key in ("module", "class_name", "config") if _is_name(node, key)
                )
        elif isinstance(node, list):
            waiting += node


def _is_name(node: Mapping[str, Any], key: str) -> bool:
    return isinstance(node.get(key), str)


def _is_known(node: Mapping[str, Any], keras: Any, custom_objects: dict[str, Any]) -> bool:
    """Return whether Keras has an object, or the user passes it. The lookup is the same as in Keras."""
    is_function = node["class_name"] == "function"
    name = node.get("config") if is_function else node["class_name"]
    given = name if is_function else node.get("registered_name", name)
    if isinstance(given, str) and keras.saving.get_registered_object(given, custom_objects=custom_objects):
        return True
    if not isinstance(name, str) or _is_unsafe_layer(name, node.get("config")):
        return False
    module = node.get("module")
    if module is None:  # a value that Keras writes as an object, or an object that only the user can pass
        return True
    if is_function:
        return module == "builtins" and not hasattr(builtins, name)
    is_class = name.isidentifier() and name[0].isupper() and node.get("registered_name") in (None, name)
    return is_class and isinstance(module, str) and _SAFE_MODULES.fullmatch(module) is not None


def _is_unsafe_layer(name: str, config: Any) -> bool:
    if not _UNSAFE_LAYERS.fullmatch(name):
        return False
    function = config.get("function") if isinstance(config, dict) else None
    return not (name.endswith("OpLambda") and isinstance(function, str) and _SAFE_FUNCTIONS.fullmatch(function))
