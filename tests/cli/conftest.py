"""One training whose checkpoints the commands that only read are asked about, and the commands themselves."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from terminal import HOSTILE, VALUES, Shown, Trained, on_a_terminal
from training import fit, logs_of


@pytest.fixture(scope="session")
def trained(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A project with one model of three versions; only to be read."""
    import keras
    import wandb

    from wandb_ckpt.keras import WandbModelCheckpoint

    folder = tmp_path_factory.mktemp("trained")
    checkpoint = WandbModelCheckpoint(folder / "m-{epoch}.keras", metadata={"note": HOSTILE, "data": {"rows": 64}})
    with wandb.init(project="commands", dir=folder) as run:
        fit(keras, [logs_of(keras, VALUES), checkpoint], epochs=3)
        return Trained(run.project, run.entity, f"run_{run.id}_model", folder)


@pytest.fixture
def command(server: Any) -> Callable[..., Result]:
    """Runs `wandb-ckpt` with its output piped."""
    from wandb_ckpt.cli import main

    return lambda *arguments, **kwargs: CliRunner().invoke(main, arguments, catch_exceptions=False, **kwargs)


@pytest.fixture
def on_terminal(server: Any) -> Callable[..., Shown]:
    """Runs `wandb-ckpt` on a terminal of a given width."""
    return on_a_terminal
