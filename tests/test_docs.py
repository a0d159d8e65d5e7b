"""What is written works: docstring examples, README blocks, the main job."""

import doctest
import importlib
import json
import os
import pkgutil
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import wandb_ckpt
from scripts import ran

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
in_checkout = pytest.mark.skipif(not README.exists(), reason="outside the checkout there is no README")


def modules() -> list[str]:
    """Every module of the package; the legacy one only where tf_keras is installed."""
    names = [module.name for module in pkgutil.walk_packages(wandb_ckpt.__path__, "wandb_ckpt.")]
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str) -> None:
    """Each example in a docstring prints what it says."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} can't be imported here: {error}")
    assert doctest.testmod(module).failed == 0


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(
        rf"^ *```{language}\n(.*?)^ *```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@in_checkout
def test_the_first_example_of_the_readme(project: str, tmp_path: Path) -> None:
    """The ten lines at the top train and publish, given a model and data."""
    import keras
    import wandb

    from training import X, Y, model_of, versions

    code = blocks("python")[0].replace('project="digits"', f'project="{project}", dir={str(tmp_path)!r}')
    exec(code, {"model": model_of(keras), "x": X, "y": Y})
    paths = [run.path for run in wandb.Api().runs(f"local/{project}")]
    (seen,) = [versions("/".join(path), tmp_path / "fetched") for path in paths]
    assert [list(version.files) for version in seen] == [[f"model-{epoch:02d}.keras"] for epoch in range(1, 6)]


@in_checkout
def test_python_in_the_readme_compiles() -> None:
    """Each Python block is valid Python."""
    for block in blocks("python"):
        compile(textwrap.dedent(block), "README.md", "exec")


@in_checkout
def test_links_in_the_documents_lead_somewhere() -> None:
    """Each relative link names a file that is there."""
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{document}: {target}"


@in_checkout
@pytest.mark.slow
def test_the_main_job(tmp_path: Path, wandb_home: Path) -> None:
    """On a machine without a login the example starts the server, trains, fetches the best and finds it equal."""
    pytest.importorskip("sklearn")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environ |= {f"WANDB_{name}_DIR": str(tmp_path / name) for name in ("CACHE", "DATA", "CONFIG")}
    environ |= {"NETRC": str(tmp_path / "netrc"), "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, str(ROOT / "examples" / "digits.py")]
    done = ran(command, cwd=tmp_path, env=environ)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    recorded, fetched = re.search(r"recorded accuracy (\S+)\nfetched model has (\S+)\n", output).groups()
    assert recorded == fetched
    assert float(recorded) > 0.9
    assert "They are equal." in output
    assert re.search(r"v7 .*epoch_7", output)


def test_recorded_schema_of_metadata_is_stable() -> None:
    """The metadata's keys are public: other tools read them."""
    from wandb_ckpt import Checkpoint

    record: Any = Checkpoint(path="m.keras", format="keras", epoch=0, monitor="loss")
    assert list(json.loads(json.dumps(record.to_metadata()))) == [
        "monitor",
        "mode",
        "value",
        "best",
        "epoch",
        "batch",
        "step",
        "format",
        "file",
        "keras_version",
        "backend",
        "saved_at",
        "logs",
        "seeds",
    ]
