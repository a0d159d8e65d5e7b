"""What a training would meet on this machine: packages, login, server, folders, and the callback itself."""

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
_LITTLE = 1 << 30  # bytes of free space below which a folder is worth a word


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        state: `"ok"`; `"note"` for what may surprise; `"wrong"` for what won't work.
        text: What was found, and what to do.
    """

    name: str
    state: Literal["ok", "note", "wrong"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """What a callback would be made with; see `WandbModelCheckpoint`."""

    filepath: str
    monitor: str = "val_loss"
    mode: str = "auto"
    save_best_only: bool = False
    save_weights_only: bool = False
    save_freq: str | int = "epoch"


def examine(intention: Intention | None = None) -> Iterator[Finding]:
    """Looks at everything, one thing after the other.

    Args:
        intention: What a callback would be made with; `None` leaves out what concerns one.

    Yields:
        What was found, as it is found.
    """
    yield from _packages()
    yield from _login()
    yield from _folders(intention)
    if intention is not None:
        yield from _callback(intention)


def _packages() -> Iterator[Finding]:
    found = {name: _version(name) for name in _PACKAGES}
    for name, installed in found.items():
        if installed:
            yield _package(name, installed)
    if not any(found[name] for name in _BACKENDS):
        yield Finding(
            "backend", "wrong", "Keras needs one: pip install 'wandb-ckpt[tensorflow]', or [jax], or [torch]"
        )


def _package(name: str, installed: str) -> Finding:
    if name != "keras" or has_all_fixes(installed):
        return Finding(name, "ok", installed)
    return Finding(
        name,
        "note",
        f"{installed}, which lacks fixes for files that are made to do harm (read other files, run code, fill the "
        "memory): only 3.15.1 and newer, and 3.12.4, have all. Update it to load models that others have published",
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _login() -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE", "online")
    if mode == "offline":
        yield Finding("mode", "note", "WANDB_MODE=offline: checkpoints wait in the run's folder for `wandb sync`")
    elif mode == "disabled":
        yield Finding("mode", "wrong", "WANDB_MODE=disabled: nothing is published")
    try:
        api = api_for(None)
        yield Finding("login", "ok", f"as {api.default_entity} at {api.settings['base_url']}")
    except WandbError as error:  # no key, a wrong one, or nobody at the other end
        state: Literal["note", "wrong"] = "note" if mode == "offline" else "wrong"
        yield Finding("login", state, f"{error} (server: {base_url()})")
    except RuntimeError:
        if private.has_home():
            raise
        yield Finding("home", "wrong", private.NO_HOME)


# ---- folders -----------------------------------------------------------------------------------------------


def _folders(intention: Intention | None) -> Iterator[Finding]:
    runs = Path(os.environ.get("WANDB_DIR") or ".").absolute()
    folders = {"runs": runs, **private.folders()}
    if intention is not None and not is_remote(intention.filepath):
        folders["checkpoints"] = Path(intention.filepath).absolute().parent
    findings = {name: _folder(name, folder) for name, folder in folders.items()}
    yield from findings.values()
    if "checkpoints" in folders and "wrong" not in (findings["checkpoints"].state, findings["runs"].state):
        yield _link(folders["checkpoints"], runs)


def _folder(name: str, folder: Path) -> Finding:
    there = _nearest(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".wandb_ckpt-doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return Finding(name, "wrong", f"{folder}: nothing can be written there: {error}")
    free = shutil.disk_usage(there).free
    text = f"{folder}: {free / 1e9:.1f} GB free"
    return Finding(name, "ok", text) if free >= _LITTLE else Finding(name, "note", f"{text}, which is little")


def _link(checkpoints: Path, runs: Path) -> Finding:
    """Says whether what is uploaded is a second name of the file that Keras saves, or a copy."""
    try:
        with tempfile.NamedTemporaryFile(dir=_nearest(checkpoints), prefix=".wandb_ckpt-doctor-") as file:
            second = _nearest(runs) / Path(file.name).name.replace("doctor", "doctor-link")
            second.hardlink_to(file.name)
            second.unlink()
    except OSError as error:
        text = f"each checkpoint is copied until it is uploaded, for no hard link leads to the runs' folder: {error}"
        return Finding("space", "note", text)
    return Finding("space", "ok", "what is uploaded is a hard link of what is saved: no second copy on this disk")


def _nearest(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


# ---- the callback ------------------------------------------------------------------------------------------


def _callback(intention: Intention) -> Iterator[Finding]:
    try:
        callback, saves = _made(intention), _saves(intention)
    except (ImportError, ValueError, TypeError) as error:
        yield Finding("callback", "wrong", str(error))
        return
    yield Finding("saves", "ok", saves)
    yield _direction(callback, intention)
    batch = None if intention.save_freq == "epoch" else 99
    checkpoint = Checkpoint(path="", format="", epoch=3, batch=batch, monitor=intention.monitor, is_best=True)
    aliases = [alias for alias in aliases_for(checkpoint) if alias != "best"]
    text = f"run_<run id>_model, such as {', '.join(aliases)}; and best for the best so far"
    yield Finding("versions", "ok", text)


def _made(intention: Intention) -> Any:
    from wandb_ckpt import WandbModelCheckpoint

    facts = {name: getattr(intention, name) for name in Intention.__slots__}
    return WandbModelCheckpoint(**facts)


def _saves(intention: Intention) -> str:
    template = PathTemplate(intention.filepath)
    name = template.name
    is_tf = format_of(name, is_folder=False) == "tf"
    form = format_of(name, is_folder=is_tf and not intention.save_weights_only)
    when = "epoch" if intention.save_freq == "epoch" else f"{intention.save_freq} batches"
    condition = f" that is the best {intention.monitor} so far" if intention.save_best_only else ""
    fields = ", ".join(template.fields)
    where = f"{name}, with {fields} filled in" if fields else f"{name}, each in place of the one before"
    return f"every {when}{condition}, as {form}: {where}"


def _direction(callback: PublishingMixin, intention: Intention) -> Finding:
    needs = "; it needs validation data in fit()" if intention.monitor.startswith("val_") else ""
    callback.set_model(_model_with(intention.monitor))
    op = callback._family.comparison(callback)
    if op is not None:
        word = {"min": "lower", "max": "higher"}[direction_of(op)]
        return Finding("monitor", "ok", f"{intention.monitor}: {word} is better{needs}")
    text = f"{intention.monitor}: Keras asks the model's metric which values are better{needs}. If it can't tell, "
    what = "fit() fails" if intention.save_best_only else "no version gets the alias best"
    return Finding("monitor", "note", f"{text}{what}: pass mode='min' or mode='max'")


def _model_with(monitor: str) -> Any:
    """Returns a small model that has been trained for a moment, with the metric that is monitored if Keras has it."""
    import numpy as np

    keras = import_family(default_family())
    model = keras.Sequential([keras.layers.Dense(1)])
    try:
        model.compile("sgd", "mse", metrics=[monitor.removeprefix("val_")])
        model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))  # a metric is made when there is data
    except (ValueError, TypeError):
        model.compile("sgd", "mse")
    return model
