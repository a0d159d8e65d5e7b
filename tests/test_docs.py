"""What is written works: docstring examples, the code blocks of README and docs, the main job."""

import ast
import doctest
import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wandb_ckpt
from documents import LANGUAGES, Page
from scripts import Script, ran

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
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


# What a page may use: a model, data for it, a script that trains, and a run whose checkpoints are published.
TRAIN = """
import keras
import numpy as np
import wandb
from wandb_ckpt import WandbModelCheckpoint

x = np.linspace(0, 1, 64 * 4, dtype="float32").reshape(64, 4)
y = x.sum(axis=1, keepdims=True)

def build_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model

model = build_model()
"""
TRAIN_SCRIPT = """
with wandb.init(project="digits"):
    checkpoint = WandbModelCheckpoint("model-{epoch:02d}.keras")
    model.fit(x, y, validation_split=0.5, epochs=2, verbose=0, callbacks=[checkpoint])
"""
TRAIN_RUN = """
with wandb.init(project="digits", id="3j2t0k7n"):
    checkpoint = WandbModelCheckpoint("digits-{epoch:02d}.keras")
    model.fit(x, y, validation_split=0.5, epochs=3, verbose=0, callbacks=[checkpoint])
"""
RUN_PAGE = """
import os, sys
os.environ.pop("WANDB_SERVICE", None)  # commands that a page shows have a service of their own
sys.path.insert(0, {tests!r})
from pathlib import Path
from documents import run_page
run_page(Path({page!r}), dict(globals()))
"""


@in_checkout
@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path, wandb_home: Path) -> None:
    """Each Python and console block does what the page says, one after the other, on a server of their own."""
    from wandb_ckpt.server import Server

    page, folder = Page(path), tmp_path / "work"
    if not any(block.is_run for block in page.blocks):
        return
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN + TRAIN_SCRIPT)
    body = TRAIN + (TRAIN_RUN if "3j2t0k7n" in page.text else "")
    body += RUN_PAGE.format(tests=str(Path(__file__).parent), page=str(path))
    (tmp_path / "page.py").write_text(body)
    with Server() as server:
        environ = {**_environ(tmp_path), **server.environ, "WANDB_SILENT": "true"}
        environ["PATH"] = f"{_commands(tmp_path)}:{os.environ['PATH']}"
        with Script(tmp_path / "page.py", folder, environ) as script:
            output, _ = script.communicate()
        assert script.wait() == 0, output
        assert server.unhandled == ()


def _environ(folder: Path) -> dict[str, str]:
    """An environment in which wandb knows of no server and no other process of ours."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environ |= {f"WANDB_{name}_DIR": str(folder / name) for name in ("CACHE", "DATA", "CONFIG", "ARTIFACT")}
    environ |= {name: os.environ[name] for name in ("WANDB_INIT_TIMEOUT", "WANDB_X_SERVICE_WAIT")}
    return environ | {"NETRC": str(folder / "netrc"), "WANDB_ERROR_REPORTING": "false"}


def _commands(folder: Path) -> Path:
    """Makes a folder with the commands that pages use, of the Python and the package that are tested."""
    commands = folder / "bin"
    commands.mkdir()
    for name, arguments in {"python": "", "wandb": "-m wandb", "wandb-ckpt": "-m wandb_ckpt"}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (commands / name).chmod(0o755)
    return commands


@in_checkout
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_block_says_what_it_is(path: Path) -> None:
    """Code is in blocks that are run, or say why not."""
    page = Page(path)
    assert "```" not in page.prose, "expected ```<language> or ```<language> <word>, with an end as far to the right"
    for block in page.blocks:
        place = f"{path.name}, line {block.line}"
        assert block.language in LANGUAGES, place
        assert block.word in ("", "skip") or block.word.startswith("needs_"), place
        assert block.why_not_run != "", f"{place}: expected a first line such as '# It needs a W&B account.'"
        if block.language == "python":
            compile(block.code, str(path), "exec")


@in_checkout
def test_the_first_example_of_the_readme(project: str, tmp_path: Path) -> None:
    """The ten lines at the top train and publish, given a model and data."""
    import keras
    import wandb

    from training import X, Y, model_of, versions

    (code, *_) = [block.code for block in Page(README).blocks if block.language == "python"]
    code = code.replace('project="digits"', f'project="{project}", dir={str(tmp_path)!r}')
    exec(code, {"model": model_of(keras), "x": X, "y": Y})
    paths = [run.path for run in wandb.Api().runs(f"local/{project}")]
    (seen,) = [versions("/".join(path), tmp_path / "fetched") for path in paths]
    assert [list(version.files) for version in seen] == [[f"model-{epoch:02d}.keras"] for epoch in range(1, 6)]


@in_checkout
def test_the_readme_is_short() -> None:
    """It has at most 150 lines, and those of its prose at most 100 characters."""
    page = Page(README)
    assert page.text.count("\n") <= 150
    assert [line for line in page.prose.splitlines() if len(line) > 100] == []


@in_checkout
@pytest.mark.parametrize(
    "path", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.stem
)
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link names a file that is there, and a heading in it."""
    for link in Page(path).links:
        target, _, anchor = link.partition("#")
        there = path.parent / target if target else path
        assert there.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in Page(there).anchors, f"{path.name}: {link}"


@in_checkout
def test_the_readme_leads_to_each_page() -> None:
    """No page is left that a reader does not find."""
    assert {path.relative_to(ROOT).as_posix() for path in PAGES[1:]} <= {
        link.partition("#")[0] for link in Page(README).links
    }


@in_checkout
def test_the_messages_that_are_explained_are_in_the_code() -> None:
    """Each heading of the page on troubles quotes a message as the code has it; `…` stands for what varies."""
    page, known = Page(ROOT / "docs" / "troubleshooting.md"), "\n".join(_texts())
    messages = re.findall(r"^### `(.+)`$", page.prose, re.MULTILINE)
    assert messages
    for message in messages:
        assert all(part.strip() in known for part in message.split("…")), message


def _texts() -> Iterator[str]:
    """Every string in the package's code; the parts of those in which something is filled in, each by itself."""
    for path in (ROOT / "wandb_ckpt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%(\.\d+)?[a-z]", "\n", node.value)


@in_checkout
def test_the_arguments_are_explained() -> None:
    """The page has a row for each argument of the callback, in their order, and no other."""
    from wandb_ckpt.keras import WandbModelCheckpoint

    parameters = list(inspect.signature(WandbModelCheckpoint.__init__).parameters)
    assert _first_cells("arguments.md", "argument") == [name for name in parameters if name not in ("self", "kwargs")]


@in_checkout
def test_the_metadata_is_explained() -> None:
    """The page has a row for each key of a version's metadata, and no other."""
    from wandb_ckpt.policy.metadata import OUR_KEYS

    assert set(_first_cells("formats.md", "key")) == OUR_KEYS


def _first_cells(name: str, head: str) -> list[str]:
    """The code in the first cells of those of a page's tables that have this head."""
    tables = re.findall(rf"^\| {head} \|.*\n((?:\|.*\n)+)", Page(ROOT / "docs" / name).prose, re.MULTILINE)
    return re.findall(r"^\| `(\w+)` \|", "".join(tables), re.MULTILINE)


@in_checkout
@pytest.mark.slow
def test_the_main_job(tmp_path: Path, wandb_home: Path) -> None:
    """On a machine without a login the example starts the server, trains, fetches the best and finds it equal."""
    pytest.importorskip("sklearn")
    command = [sys.executable, str(ROOT / "examples" / "digits.py")]
    done = ran(command, cwd=tmp_path, env=_environ(tmp_path))
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
