"""However training ends, what was saved is published before the process is gone."""

from pathlib import Path
from typing import Any

import pytest

from scripts import run_script
from training import versions

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
        from training import contents

        name = f"{epoch + 1}.keras"
        assert version.files == {name: contents(tmp_path / "out")[name]}
