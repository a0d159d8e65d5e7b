"""Compare the weights of two checkpoints, layer by layer."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np

from wandb_ckpt.formats.hdf5 import dtype_of, layer_of, values_of, variables

_CHUNK = 1 << 20  # numbers that are compared at once, which limits the memory for float64 copies


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """The difference between the variables of one layer in two files.

    Attributes:
        layer: The name of the layer in the file. The optimizer is the layer `optimizer`.
        state: `"same"` if all values are equal, else `"changed"`; `"added"` or `"removed"` if only the second or only
            the first file has the layer.
        largest: The largest absolute difference of two values; NaN if one of them is NaN; `None` without numbers.
        relative: The L2 norm of the difference, divided by the L2 norm of the first file's values.
        notes: Variables whose shape or dtype changed, and variables that only one file has.
    """

    layer: str
    state: Literal["same", "changed", "added", "removed"]
    largest: float | None = None
    relative: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sum:
    """Sums over the variables of a layer."""

    same: bool = True
    largest: float | None = None
    difference: float = 0.0
    before: float = 0.0

    def add(self, old: "np.ndarray[Any, Any]", new: "np.ndarray[Any, Any]") -> None:
        if old.dtype.kind not in "biuf":  # not numbers, for example strings
            self.same = self.same and np.array_equal(old, new)
            return
        for before, after in _chunks(old, new):
            self._add_chunk(before, after)

    @np.errstate(all="ignore")  # infinities, NaN and overflow are visible in the result
    def _add_chunk(self, before: "np.ndarray[Any, Any]", after: "np.ndarray[Any, Any]") -> None:
        # The difference of equal infinities is zero, and that of two NaN, too.
        equal = (before == after) | (np.isnan(before) & np.isnan(after))
        delta = np.where(equal, 0.0, after - before)
        self.same = self.same and bool(np.all(equal))
        # Not max(): with NaN, its result depends on the order of the arguments.
        self.largest = float(np.max([self.largest or 0.0, np.max(np.abs(delta), initial=0.0)]))
        self.difference += float(np.sum(delta**2))
        self.before += float(np.sum(before**2))

    @property
    def relative(self) -> float | None:
        if self.largest is None:
            return None
        if self.before:
            return math.sqrt(self.difference) / math.sqrt(self.before)
        return math.inf if self.difference else 0.0


def compare_layers(old: h5py.File, new: h5py.File) -> tuple[LayerChange, ...]:
    """Return the difference of each layer between two files, sorted by name.

    Args:
        old: The first file, open.
        new: The second file, open.
    """
    before, after = _by_layer(old), _by_layer(new)
    return tuple(
        _compare(layer, before.get(layer, {}), after.get(layer, {})) for layer in sorted(before.keys() | after.keys())
    )


def _by_layer(file: h5py.File) -> dict[str, dict[str, h5py.Dataset]]:
    layers: dict[str, dict[str, h5py.Dataset]] = {}
    for name, variable in variables(file).items():
        layers.setdefault(layer_of(name), {})[name] = variable
    return layers


def _compare(layer: str, old: Mapping[str, h5py.Dataset], new: Mapping[str, h5py.Dataset]) -> LayerChange:
    if not old or not new:
        return LayerChange(layer=layer, state="removed" if old else "added")
    notes = tuple(_notes(old, new))
    total = _Sum()
    for name in sorted(old.keys() & new.keys()):
        if _kind(old[name]) == _kind(new[name]):
            total.add(values_of(old[name]), values_of(new[name]))
    if total.same and not notes:
        return LayerChange(layer=layer, state="same")
    return LayerChange(layer=layer, state="changed", largest=total.largest, relative=total.relative, notes=notes)


def _notes(old: Mapping[str, h5py.Dataset], new: Mapping[str, h5py.Dataset]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after = (_kind(side[name]) if name in side else "nothing" for side in (old, new))
        if before != after:
            yield f"{name}: {before} → {after}"


def _kind(variable: h5py.Dataset) -> str:
    return f"{dtype_of(variable)} {tuple(variable.shape)}"


def _chunks(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    old, new = old.reshape(-1), new.reshape(-1)
    for start in range(0, old.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        yield old[chunk].astype(np.float64), new[chunk].astype(np.float64)
