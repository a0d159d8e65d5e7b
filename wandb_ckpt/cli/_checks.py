"""The checks of `wandb-ckpt doctor`: packages, login, server, folders, and the arguments of a callback."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from wandb_ckpt.callback.mixin import PublishingMixin
from wandb_ckpt.checkpoint import Checkpoint, format_of
from wandb_ckpt.family import default_family, import_family
from wandb_ckpt.policy.best import aliases_for, direction_of
from wandb_ckpt.policy.path_template import PathTemplate, is_remote
from wandb_ckpt.restoring.safe_mode import has_all_fixes
from wandb_ckpt.wandb_api import private
from wandb_ckpt.wandb_api.api import api_for, base_url
from wandb_ckpt.wandb_api.errors import WandbError

_PACKAGES = ("wandb-ckpt", "wandb", "keras", "tf_keras", "tensorflow", "jax", "torch", "h5py")
_BACKENDS = ("tensorflow", "jax", "torch")
_LOW_SPACE = 1 << 30  # free space on a disk, in bytes, below which a warning is printed


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: The name of the check.
        status: `"ok"`, `"warning"` or `"failed"`.
        text: The details, and what to do.
    """

    name: str
    status: Literal["ok", "warning", "failed"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackArguments:
    """The arguments of a callback; see `WandbModelCheckpoint`."""

    filepath: str
    monitor: str = "val_loss"
    mode: str = "auto"
    save_best_only: bool = False
    save_weights_only: bool = False
    save_freq: str | int = "epoch"


def run_checks(arguments: CallbackArguments | None = None) -> Iterator[CheckResult]:
    """Run all checks, one after the other.

    Args:
        arguments: The arguments of a callback; `None` to skip the checks of the callback.

    Yields:
        The results, as soon as they are known.
    """
    yield from _packages()
    yield from _login()
    yield from _folders(arguments)
    if arguments is not None:
        yield from _callback(arguments)


def _packages() -> Iterator[CheckResult]:
    found = {name: _version(name) for name in _PACKAGES}
    for name, installed in found.items():
        if installed:
            yield _package(name, installed)
    if not any(found[name] for name in _BACKENDS):
        yield CheckResult(
            "backend",
            "failed",
            "no backend of Keras is installed: pip install 'wandb-ckpt[tensorflow]', or [jax], or [torch]",
        )


def _package(name: str, installed: str) -> CheckResult:
    if name != "keras" or has_all_fixes(installed):
        return CheckResult(name, "ok", installed)
    return CheckResult(
        name,
        "warning",
        f"{installed} does not have all security fixes for malicious model files, which can read other files, run "
        "code or fill the memory. Before you load models that others have published, update to 3.15.1 or newer, or "
        "to 3.12.4",
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _login() -> Iterator[CheckResult]:
    mode = os.environ.get("WANDB_MODE", "online")
    if mode == "offline":
        yield CheckResult(
            "mode", "warning", "WANDB_MODE=offline: checkpoints stay in the run's folder until you run `wandb sync`"
        )
    elif mode == "disabled":
        yield CheckResult(
            "mode", "failed", "WANDB_MODE=disabled: nothing is published. To publish, unset it or use online"
        )
    try:
        api = api_for(None)
        yield CheckResult("login", "ok", f"as {api.default_entity} at {api.settings['base_url']}")
    except WandbError as error:  # no key, a wrong key, or no answer from the server
        status: Literal["warning", "failed"] = "warning" if mode == "offline" else "failed"
        yield CheckResult("login", status, f"{error} (server: {base_url()})")
    except RuntimeError:
        if private.has_home():
            raise
        yield CheckResult("home", "failed", private.NO_HOME)


# ---- folders -----------------------------------------------------------------------------------------------


def _folders(arguments: CallbackArguments | None) -> Iterator[CheckResult]:
    runs = Path(os.environ.get("WANDB_DIR") or ".").absolute()
    folders = {"runs": runs, **private.folders()}
    if arguments is not None and not is_remote(arguments.filepath):
        folders["checkpoints"] = Path(arguments.filepath).absolute().parent
    results = {name: _folder(name, folder) for name, folder in folders.items()}
    yield from results.values()
    if "checkpoints" in folders and "failed" not in (results["checkpoints"].status, results["runs"].status):
        yield _link(folders["checkpoints"], runs)


def _folder(name: str, folder: Path) -> CheckResult:
    existing = _nearest(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".wandb_ckpt-doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return CheckResult(name, "failed", f"{folder}: can't write to it: {error}")
    free = shutil.disk_usage(existing).free
    text = f"{folder}: {free / 1e9:.1f} GB free"
    if free < _LOW_SPACE:
        return CheckResult(name, "warning", f"{text}, low disk space")
    return CheckResult(name, "ok", text)


def _link(checkpoints: Path, runs: Path) -> CheckResult:
    """Check whether the files that Keras saves can be hard-linked into the run's folder, or must be copied."""
    try:
        with tempfile.NamedTemporaryFile(dir=_nearest(checkpoints), prefix=".wandb_ckpt-doctor-") as file:
            second = _nearest(runs) / Path(file.name).name.replace("doctor", "doctor-link")
            second.hardlink_to(file.name)
            second.unlink()
    except OSError as error:
        text = f"no hard links to the runs' folder, so each checkpoint is copied until it is uploaded: {error}"
        return CheckResult("space", "warning", text)
    return CheckResult("space", "ok", "hard links work, so an upload needs no second copy of the file")


def _nearest(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


# ---- the callback ------------------------------------------------------------------------------------------


def _callback(arguments: CallbackArguments) -> Iterator[CheckResult]:
    try:
        callback, saves = _create(arguments), _saves(arguments)
    except (ImportError, ValueError, TypeError) as error:
        yield CheckResult("callback", "failed", str(error))
        return
    yield CheckResult("saves", "ok", saves)
    yield _direction(callback, arguments)
    batch = None if arguments.save_freq == "epoch" else 99
    checkpoint = Checkpoint(path="", format="", epoch=3, batch=batch, monitor=arguments.monitor, is_best=True)
    aliases = [alias for alias in aliases_for(checkpoint) if alias != "best"]
    text = f"run_<run id>_model, with aliases such as {', '.join(aliases)}; the best version also has best"
    yield CheckResult("versions", "ok", text)


def _create(arguments: CallbackArguments) -> Any:
    from wandb_ckpt import WandbModelCheckpoint

    return WandbModelCheckpoint(**{name: getattr(arguments, name) for name in CallbackArguments.__slots__})


def _saves(arguments: CallbackArguments) -> str:
    template = PathTemplate(arguments.filepath)
    name = template.name
    is_tf = format_of(name, is_folder=False) == "tf"
    form = format_of(name, is_folder=is_tf and not arguments.save_weights_only)
    when = "epoch" if arguments.save_freq == "epoch" else f"{arguments.save_freq} batches"
    condition = f" if {arguments.monitor} is the best so far" if arguments.save_best_only else ""
    fields = ", ".join(template.fields)
    where = f"{name}, with {fields} filled in" if fields else f"{name}, which replaces the previous file"
    return f"every {when}{condition}, in the format {form}: {where}"


def _direction(callback: PublishingMixin, arguments: CallbackArguments) -> CheckResult:
    needs = "; it needs validation data in fit()" if arguments.monitor.startswith("val_") else ""
    callback.set_model(_model_with(arguments.monitor))
    op = callback._family.comparison(callback)
    if op is not None:
        word = {"min": "lower", "max": "higher"}[direction_of(op)]
        return CheckResult("monitor", "ok", f"{arguments.monitor}: {word} is better{needs}")
    text = (
        f"{arguments.monitor}: it depends on the model's metric which values are better{needs}. If Keras can't tell, "
    )
    what = "fit() fails" if arguments.save_best_only else "no version gets the alias best"
    return CheckResult("monitor", "warning", f"{text}{what}. To avoid this, pass mode='min' or mode='max'")


def _model_with(monitor: str) -> Any:
    """Return a small model, trained for one step, with the monitored metric if Keras has it."""
    import numpy as np

    keras = import_family(default_family())
    model = keras.Sequential([keras.layers.Dense(1)])
    try:
        model.compile("sgd", "mse", metrics=[monitor.removeprefix("val_")])
        model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))  # Keras creates the metric when it gets data
    except (ValueError, TypeError):
        model.compile("sgd", "mse")
    return model
