"""A callback's claim on an artifact name within a run, with the best value so far: a file in the run's own folder.

So it holds for all callbacks, threads and processes of the run, offline too, and ends with it. A second callback
for the same path and monitor (a cell of a notebook that is run again) publishes under the same name.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb_ckpt.checkpoint import finite_scalar


@dataclass(frozen=True, slots=True)
class Claim:
    """One callback's right to an artifact name.

    Attributes:
        name: The artifact's name.
        file: Where the claim is kept.
        claimant: Identifies a callback within a run: its path and monitor.
        best: The best monitored value that was saved under the name in this run folder, if any.
        is_first: Whether no other callback has had the name in this run folder.
    """

    name: str
    file: Path
    claimant: str
    best: float | None = None
    is_first: bool = False

    def write(self, best: float | None) -> None:
        """Save the best value so far, for the next claim of the same callback."""
        aside = self.file.with_name(f"{self.file.name}.{uuid.uuid4().hex}")
        aside.write_text(_encoded(self.claimant, best), encoding="utf-8")
        aside.replace(self.file)


def claim(folder: Path, names: Iterable[str], claimant: str) -> Claim:
    """Claim the first of `names` that is free or already the claimant's, else the last one.

    Args:
        folder: The folder of the run's claims; made when missing.
        names: Candidates, in order of preference.
        claimant: See `Claim`.

    Raises:
        OSError: The folder can't be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = ""
    for name in names:
        file = folder / f"{name}.json"
        if _create(file, claimant):
            return Claim(name, file, claimant, is_first=True)
        owner = _owner(file)
        if owner.get("claimant") == claimant:
            return Claim(name, file, claimant, finite_scalar(owner.get("best")))
    return Claim(name, folder / f"{name}.json", claimant)


def claimants(folder: Path) -> set[str]:
    """Return all claimants in a folder of claims."""
    return {str(_owner(file).get("claimant", "")) for file in folder.glob("*.json")}


def _create(file: Path, claimant: str) -> bool:
    """Write the claim unless there is one, in one step, so that nobody reads half of it."""
    aside = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    aside.write_text(_encoded(claimant, None), encoding="utf-8")
    try:
        os.link(aside, file)
    except FileExistsError:
        return False
    except OSError:  # no hard links here
        if file.exists():
            return False
        shutil.copyfile(aside, file)
    finally:
        aside.unlink()
    return True


def _owner(file: Path) -> dict[str, Any]:
    """Return the content of a claim; empty if it is damaged."""
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _encoded(claimant: str, best: float | None) -> str:
    return json.dumps({"claimant": claimant, "best": best})
