"""A training that is tried again in the same process: its versions have one order, and the newest stay."""

from pathlib import Path
from typing import Any

import pytest

from scripts import run_script
from training import versions

pytestmark = pytest.mark.slow

# The first attempt fails, with W&B slow: all that it saved is pending when the second one begins to save.
FAILS = """
def attempt(callback, fails, first, epochs):
    def fail():
        raise OSError("the data are gone")
    try:
        fit(callback, At(epochs - 1, fail if fails else free.set), initial_epoch=first, epochs=epochs)
    except OSError:
        print("tried", [outcome.state for outcome in callback.checkpoints], flush=True)
"""
ONE_RUN = """
free = hold_back()
with wandb.init():
    attempt(WandbModelCheckpoint("m.keras", **ARGUMENTS), True, 0, 2)
    attempt(WandbModelCheckpoint("m.keras", **ARGUMENTS), False, 2, 5)
"""
RESUMED = """
free = hold_back()
for fails, first, epochs in ((True, 0, 2), (False, 2, 5)):
    with wandb.init(resume="allow"):
        attempt(WandbModelCheckpoint("m.keras", **ARGUMENTS), fails, first, epochs)
"""


@pytest.mark.parametrize("body", [ONE_RUN, RESUMED], ids=["one run", "resumed"])
@pytest.mark.parametrize("kept", [None, 2])
def test_a_second_attempt(server: Any, project: str, tmp_path: Path, body: str, kept: int | None) -> None:
    """What the first attempt saved comes before what the second one saves; `max_versions` keeps the newest."""
    arguments = "ARGUMENTS = {}\n" if kept is None else f"ARGUMENTS = {{'max_versions': {kept}}}\n"
    code, output = run_script(arguments + FAILS + body, tmp_path, project, "r1")
    assert code == 0, output
    assert "tried ['pending', 'pending']" in output, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    epochs = [version.metadata["epoch"] for version in seen]
    assert epochs == ([0, 1, 2, 3, 4] if kept is None else [3, 4]), output
    assert [epoch for epoch, version in zip(epochs, seen, strict=True) if "latest" in version.aliases] == [4]
