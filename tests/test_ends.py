"""However training ends, what was saved is published before the process is gone."""

from pathlib import Path
from typing import Any

import pytest
import wandb

from scripts import run_script
from training import contents, versions

CHECKPOINT = 'WandbModelCheckpoint("out/{epoch}.keras")'

ENDS = {
    "normally": (f"wandb.init()\nfit({CHECKPOINT})", 0, 3),
    "by an exception": (f"wandb.init()\nfit({CHECKPOINT}, At(1, lambda: 1 / 0))", 1, 2),
    "by an exception out of the run's block": (
        f"with wandb.init():\n    fit({CHECKPOINT}, At(1, lambda: 1 / 0))",
        1,
        2,
    ),
    "by Ctrl-C": (f"wandb.init()\nfit({CHECKPOINT}, At(1, lambda: os.kill(os.getpid(), signal.SIGINT)))", None, 2),
    "by sys.exit": (f"wandb.init()\nfit({CHECKPOINT}, At(1, lambda: sys.exit(3)))", 3, 2),
    "in a thread": (
        f"wandb.init()\nt = threading.Thread(target=fit, args=({CHECKPOINT},)); t.start(); t.join()",
        0,
        3,
    ),
    "with finish in the middle": (f"wandb.init()\nfit({CHECKPOINT}, At(1, lambda: wandb.finish()))", 0, 2),
}


@pytest.mark.parametrize("end", ENDS)
def test_pending_checkpoints_are_published(server: Any, project: str, tmp_path: Path, end: str) -> None:
    """Every checkpoint up to the end is a version with the bytes that are on the disk."""
    body, code, number = ENDS[end]
    returncode, output = run_script(body, tmp_path, project, "r1")
    assert code is None or returncode == code, output
    seen = versions(f"local/{project}/r1", tmp_path / "fetched")
    assert [version.aliases for version in seen][-1] >= {"latest", f"epoch_{number - 1}"}, output
    assert len(seen) == number, output
    for epoch, version in enumerate(seen):
        name = f"{epoch + 1}.keras"
        assert version.files == {name: contents(tmp_path / "out")[name]}


def test_a_run_that_is_finished_while_checkpoints_are_pending(server: Any, project: str, tmp_path: Path) -> None:
    """They are published all the same, the run stays failed, and the next run of the process is its own."""
    body = """
    # Nothing is handed over before the run is finished: the worst case, made certain.
    finished = hold_back()
    try:
        with wandb.init(config={"k": 1}) as run:
            run.log({"a": 2})
            fit(WandbModelCheckpoint("out/{epoch}.keras"), At(1, lambda: 1 / 0))
    except ZeroDivisionError:
        finished.set()
    with wandb.init(id="r2") as second:
        assert (second.id, wandb.run.id) == ("r2", "r2")
        fit(WandbModelCheckpoint("again/{epoch}.keras"), epochs=1)
    """
    code, output = run_script(body, tmp_path, project, "r1")
    assert code == 0, output
    assert [version.aliases for version in versions(f"local/{project}/r1", tmp_path / "1")] in (
        [{"epoch_0"}, {"latest", "best", "epoch_1"}],
        [{"best", "epoch_0"}, {"latest", "epoch_1"}],
    ), output
    assert len(versions(f"local/{project}/r2", tmp_path / "2")) == 1, output
    run = wandb.Api().run(f"local/{project}/r1")
    assert (run.state, run.config, run.summary["a"]) == ("failed", {"k": 1}, 2)
    assert "best_val_loss" in run.summary
