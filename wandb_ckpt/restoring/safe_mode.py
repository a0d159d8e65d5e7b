"""Whether a loader keeps what `safe_mode=True` promises: no code that comes with a model runs."""

import builtins
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from wandb_ckpt.errors import RestoreError

# Where Keras and tf_keras have the classes that a saved model may name; the rest of them can do other things.
_PLACES = re.compile(
    r"(tf_)?keras(\.(layers|models|initializers|regularizers|constraints|losses|metrics|optimizers|mixed_precision"
    r"|dtype_policies|quantizers)(\.(?!src)\w+)*)?"
    r"|(tf_)?keras\.src\.(models|engine)\.functional|keras\.src\.ops\.\w+|tf_keras\.src\.layers\.core\.tf_op_layer"
)
# Layers that run or read what their configuration names: functions of TensorFlow, SavedModels, pickles.
_REACHING = re.compile(
    "TFSMLayer|TorchModuleWrapper|TensorFlowOpLayer|TFOpLambda|SlicingOpLambda|ClassMethod|Instance.*"
)
_CALCULATES = re.compile(r"(math|nn|linalg|__operators__)\.\w+")  # functions of TensorFlow that do nothing else


def has_all_fixes(version: str) -> bool:
    """Returns whether a version of Keras has all fixes that there are for hostile files.

    >>> [version for version in ("3.5.0", "3.12.3", "3.12.4", "3.13.0", "3.15.0", "3.15.1") if has_all_fixes(version)]
    ['3.12.4', '3.15.1']
    """
    return (3, 12, 4) <= _numbers(version) < (3, 13) or _numbers(version) >= (3, 15, 1)


def check_safe_mode(path: Path, form: str, keras: Any, custom_objects: Mapping[str, Any], ref: str) -> None:
    """Checks that no code in a model's files runs when it is loaded with `safe_mode=True`.

    Args:
        path: The checkpoint.
        form: Its format, one of whole models.
        keras: The module that loads it, `keras` or `tf_keras`.
        custom_objects: The classes and functions that the user gives.
        ref: What messages call it.

    Raises:
        RestoreError: Code may run.
    """
    if reason := _reason(path, form, keras, custom_objects):
        raise RestoreError(
            f"{ref} is not loaded with safe_mode=True, which promises that no code in it runs: {reason}. If you "
            "trust whoever published it, pass safe_mode=False; or build the model, and call "
            f"wandb_ckpt.restore(model, {ref!r}), which runs none."
        )


def _reason(path: Path, form: str, keras: Any, custom_objects: Mapping[str, Any]) -> str:
    """Returns why code may run; nothing when it can't."""
    is_tf_keras, loader = keras.__name__ == "tf_keras", f"{keras.__name__} {keras.__version__}"
    if form == "savedmodel":
        return "a SavedModel is a program, which TensorFlow runs"
    if form == "h5" and is_tf_keras:
        return f"{loader} has no safe mode for .h5 files"
    if form == "h5" and _numbers(keras.__version__) < (3, 11, 3):
        return f"{loader} has no safe mode for .h5 files; Keras 3.11.3 and newer do"
    if form == "keras" and (is_tf_keras or not has_all_fixes(keras.__version__)):
        foreign = next(_foreign(_config(path), keras, custom_objects), None)
        return f"it names {foreign}, and {loader} takes whatever a file names" if foreign else ""
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


# ---- .keras files ------------------------------------------------------------------------------------------


def _config(path: Path) -> Any:
    with ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def _foreign(config: Any, keras: Any, custom_objects: Mapping[str, Any]) -> Iterator[str]:
    """Yields what a model's configuration names that is neither a part of Keras, nor one that the user gives."""
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
    """Returns whether an object is one that Keras has, or that the user gives, as Keras looks it up."""
    is_function = node["class_name"] == "function"
    name = node.get("config") if is_function else node["class_name"]
    given = name if is_function else node.get("registered_name", name)
    if isinstance(given, str) and keras.saving.get_registered_object(given, custom_objects=custom_objects):
        return True
    if not isinstance(name, str) or _reaches_out(name, node.get("config")):
        return False
    module = node.get("module")
    if module is None:  # a value that Keras writes as an object, or what only the user can give
        return True
    if is_function:
        return module == "builtins" and not hasattr(builtins, name)
    is_class = name.isidentifier() and name[0].isupper() and node.get("registered_name") in (None, name)
    return is_class and isinstance(module, str) and _PLACES.fullmatch(module) is not None


def _reaches_out(name: str, config: Any) -> bool:
    if not _REACHING.fullmatch(name):
        return False
    function = config.get("function") if isinstance(config, dict) else None
    return not (name.endswith("OpLambda") and isinstance(function, str) and _CALCULATES.fullmatch(function))
