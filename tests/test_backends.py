"""The seam holds on every backend of Keras 3, and none of them needs TensorFlow."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from scripts import PRELUDE, ran

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
# What the import system takes for "there is no such module".
NO_TENSORFLOW = "import sys\nsys.modules.update(tensorflow=None, tf_keras=None)\n"


def need(backend: str) -> None:
    """Skips, and says so, where a backend is not installed."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} IS NOT INSTALLED HERE: nothing is proved about it. Install a CPU build of it.")


def environ(backend: str) -> dict[str, str]:
    """An environment for a process on another backend."""
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} | {"KERAS_BACKEND": backend}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("names", [("seam", "aliases", "repairs"), ("background",)])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_seam_on_another_backend(backend: str, names: tuple[str, ...]) -> None:
    """The tests of saves, aliases, repairs and saving in the background pass in a process on that backend."""
    need(backend)
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("this process is the other backend's own")
    files = [str(HERE / f"test_{name}.py") for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
    done = ran(command, cwd=HERE.parent, env=environ(backend))
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_tensorflow(server: object, project: str, tmp_path: Path, backend: str) -> None:
    """Where TensorFlow can't be imported, training on another backend publishes all the same."""
    need(backend)
    body = "wandb.init()\ncallback = WandbModelCheckpoint('m.keras')\nfit(callback)\n"
    body += "print([outcome.state for outcome in callback.checkpoints])\n"
    path = tmp_path / "script.py"
    path.write_text(NO_TENSORFLOW + PRELUDE + body)
    command, variables = [sys.executable, str(path)], {"WANDB_PROJECT": project, "WANDB_DIR": str(tmp_path)}
    done = ran(command, cwd=tmp_path, env=environ(backend) | variables)
    assert "['committed', 'committed', 'committed']" in done.stdout, done.stdout + done.stderr
