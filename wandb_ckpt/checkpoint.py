"""Checkpoint: the immutable record of one save. All stages share it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Literal, TypeAlias

Direction = Literal["min", "max"]
Moment: TypeAlias = tuple[str, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One saved checkpoint and what is known about it.

    Attributes:
        path: The path of the save, as Keras's `ModelCheckpoint` named it.
        format: `"keras"`, `"h5"`, `"weights.h5"`, `"savedmodel"` or `"tf"` (a TF-format prefix).
        epoch: Zero-based epoch, as in Keras's hooks; `None` only for versions that this package did not log.
        batch: Zero-based batch for a save within an epoch; `None` for a save at its end.
        step: The number of updates that the optimizer has made; `None` for a model without an optimizer.
        monitor: Name of the monitored quantity.
        mode: `"min"` or `"max"`: which values are better; `None` if Keras can't tell.
        value: The monitored value; `None` if it is missing, NaN, infinite or not a scalar.
        best: The best value so far, including this checkpoint; `None` if there is no value yet.
        is_best: Whether this checkpoint is the best so far.
        logs: Every finite scalar in Keras's `logs` at the time of the save.
        seeds: The states of the model's seed generators (dropout, noise). Keras 3.15 saves them in no format.
        keras_version: Version of the Keras (or tf_keras) that saved the checkpoint.
        backend: `"tensorflow"`, `"jax"` or `"torch"`.
        saved_at: UTC time of the save, ISO 8601.
    """

    path: str
    format: str
    epoch: int | None
    batch: int | None = None
    step: int | None = None
    monitor: str
    mode: Direction | None = None
    value: float | None = None
    best: float | None = None
    is_best: bool = False
    logs: Mapping[str, float] = field(default_factory=dict)
    seeds: Sequence[Sequence[int]] = ()
    keras_version: str = ""
    backend: str = ""
    saved_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))

    def to_metadata(self) -> dict[str, Any]:
        """Return the artifact's metadata. Only `logs` is nested, because W&B accepts 100 top-level keys."""
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "value": self.value,
            "best": self.best,
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "format": self.format,
            "file": PurePath(self.path).name,
            "keras_version": self.keras_version,
            "backend": self.backend,
            "saved_at": self.saved_at,
            "logs": dict(self.logs),
            "seeds": [list(seed) for seed in self.seeds],
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], *, path: str, format: str) -> "Checkpoint":  # noqa: A002
        """Return the record that is stored in a version's metadata. The inverse of `to_metadata`.

        What the metadata does not have is `None` or empty, for example in a version that wandb's own callback
        logged. `is_best` is true if the value equals the best value.

        Args:
            metadata: A version's metadata.
            path: Where the checkpoint is now.
            format: The format of the file at `path`.
        """
        value, best = finite_scalar(metadata.get("value")), finite_scalar(metadata.get("best"))
        mode, logs = metadata.get("mode"), metadata.get("logs")
        return cls(
            path=path,
            format=format,
            epoch=_whole_number(metadata.get("epoch")),
            batch=_whole_number(metadata.get("batch")),
            step=_whole_number(metadata.get("step")),
            monitor=_text(metadata.get("monitor")),
            mode=mode if mode in ("min", "max") else None,
            value=value,
            best=best,
            is_best=value is not None and value == best,
            logs=finite_scalars(logs) if isinstance(logs, Mapping) else {},
            seeds=_seeds(metadata.get("seeds")),
            keras_version=_text(metadata.get("keras_version")),
            backend=_text(metadata.get("backend")),
            saved_at=_text(metadata.get("saved_at")),
        )


METADATA_KEYS = frozenset(Checkpoint(path="", format="", epoch=0, monitor="").to_metadata())


def finite_scalar(value: Any) -> float | None:
    """Return a log value as a float, or `None` if it is not a finite scalar.

    >>> finite_scalar(0.5), finite_scalar(float("nan")), finite_scalar([0.1, 0.2])
    (0.5, None, None)
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # arrays, strings, None; whole numbers beyond any float
        return None
    return number if math.isfinite(number) else None


def is_scalar(value: Any) -> bool:
    """Return whether a log value is one number. NaN and infinity count as numbers.

    >>> is_scalar(float("nan")), is_scalar(None), is_scalar([0.1, 0.2])
    (True, False, False)
    """
    try:
        float(value)
    except OverflowError:  # a whole number beyond any float
        return True
    except (TypeError, ValueError):
        return False
    return True


def finite_scalars(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return the entries of Keras's `logs` that are finite scalars, as floats."""
    numbers = ((name, finite_scalar(value)) for name, value in logs.items())
    return {name: number for name, number in numbers if number is not None}


def moment(metadata: Mapping[str, Any]) -> Moment:
    """Return a sort key for the time at which a version was saved; epoch and batch decide between equal times."""
    epoch, batch = finite_scalar(metadata.get("epoch")), finite_scalar(metadata.get("batch"))
    return str(metadata.get("saved_at", "")), -1 if epoch is None else epoch, float("inf") if batch is None else batch


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seeds(value: Any) -> tuple[tuple[int, ...], ...]:
    seeds = value if isinstance(value, list) else []
    return tuple(tuple(seed) for seed in seeds if isinstance(seed, list) and all(isinstance(n, int) for n in seed))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def format_of(name: str, *, is_folder: bool) -> str:
    """Return the format of a saved file, folder or TF prefix from its name.

    >>> format_of("m.keras", is_folder=False), format_of("m.weights.h5", is_folder=False)
    ('keras', 'weights.h5')
    >>> format_of("m", is_folder=True), format_of("m", is_folder=False)
    ('savedmodel', 'tf')
    """
    if is_folder:
        return "savedmodel"
    for suffix in ("weights.h5", "keras", "h5", "hdf5"):
        if name.endswith(f".{suffix}"):
            return "h5" if suffix == "hdf5" else suffix
    return "tf"


def tf_prefix(path: Path, form: str) -> str:
    """Return the prefix of the files that hold the variables of a SavedModel folder or a TF-format checkpoint.

    >>> tf_prefix(Path("saved"), "savedmodel"), tf_prefix(Path("w-01"), "tf")
    ('saved/variables/variables', 'w-01')
    """
    return str(path / "variables" / "variables" if form == "savedmodel" else path)
