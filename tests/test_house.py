"""The structure of the package: which floor may import which, and that only one package knows wandb."""

from pathlib import Path

import pytest

import wandb_ckpt
from imports import UNKNOWN, Arrow, arrows

PACKAGE = Path(wandb_ckpt.__file__).parent

# From the ground up. A room imports what lies on lower floors, and itself; nothing beside it and nothing above.
FLOORS = (
    ("checkpoint", "errors", "family", "locks", "threads"),
    ("formats", "policy"),
    ("saving",),
    ("outbox",),
    ("wandb_api",),
    ("publishing", "restoring"),
    ("browsing", "callback"),
    ("keras", "tf_keras"),
    ("cli",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What a program or a person calls: they name rooms of all floors.
ENTRANCES = {"wandb_ckpt", "wandb_ckpt.__main__"}


def room(module: str) -> str:
    """The package, or the module at the top, that a module is in."""
    return module.split(".")[1]


def uphill(found: list[Arrow]) -> list[Arrow]:
    """The imports that leave a room for one on the same floor or above."""
    return [
        arrow
        for arrow in found
        if arrow.importing not in ENTRANCES
        and arrow.imported.startswith("wandb_ckpt.")
        and room(arrow.importing) != room(arrow.imported)
        and not FLOOR_OF[room(arrow.imported)] < FLOOR_OF[room(arrow.importing)]
    ]


def callers_of_wandb(found: list[Arrow]) -> set[str]:
    """The rooms that import wandb."""
    return {room(arrow.importing) for arrow in found if arrow.imported.partition(".")[0] == "wandb"}


@pytest.fixture(scope="module")
def found() -> list[Arrow]:
    """Every import of the client's."""
    return [arrow for arrow in arrows(PACKAGE) if not arrow.importing.startswith("wandb_ckpt.server")]


def test_imports_run_downwards(found: list[Arrow]) -> None:
    """Every room imports lower floors only; `cli.serve` alone starts the server, which has floors of its own."""
    serving = [a for a in found if a.imported.startswith("wandb_ckpt.server")]
    assert {arrow.importing for arrow in serving} == {"wandb_ckpt.cli.serve"}
    assert uphill([arrow for arrow in found if arrow not in serving]) == []


def test_one_package_knows_wandb(found: list[Arrow]) -> None:
    """wandb is imported in `wandb_api` alone, not even for annotations elsewhere."""
    assert callers_of_wandb(found) == {"wandb_api"}


def test_no_import_is_hidden(found: list[Arrow]) -> None:
    """Imports by a name that only running tells are in two places: the public names, and the Keras that is meant."""
    hidden = {arrow.importing for arrow in found if arrow.imported == UNKNOWN}
    assert hidden <= {"wandb_ckpt", "wandb_ckpt.family", "wandb_ckpt.cli"}


def test_the_top_is_small() -> None:
    """A newcomer sees at most 12 modules beside the packages, and each has its floor."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"server"}
    assert modules | packages == set(FLOOR_OF)
    assert len(modules) + 2 <= 12
    assert len(FLOORS) <= 9


@pytest.mark.parametrize(
    "line",
    [
        "import wandb_ckpt.cli.ls",
        "from wandb_ckpt.callback import mixin",
        "from wandb_ckpt import keras",
        "def late():\n    from wandb_ckpt.callback.mixin import PublishingMixin",
        "from importlib import import_module\nimport_module('wandb_ckpt.callback.mixin')",
        "import wandb",
        "from wandb.sdk import wandb_run",
        "from importlib import import_module\nimport_module('wandb')",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import wandb",
    ],
)
def test_an_arrow_that_is_turned_round_is_found(line: str, tmp_path: Path) -> None:
    """What the tests above look for is found in a package that has it."""
    for name in ("policy/wrong", "callback/mixin", "cli/ls", "keras", "policy/__init__", "callback/__init__"):
        module = tmp_path / "wandb_ckpt" / f"{name}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(line if name == "policy/wrong" else "")
    found = arrows(tmp_path / "wandb_ckpt")
    assert uphill(found) or callers_of_wandb(found) == {"policy"}
