"""The rooms of the server: which package may import which, and where SQL may stand."""

import ast
import re
from pathlib import Path

import pytest

import wandb_ckpt.server
from imports import UNKNOWN, Arrow, arrows, circles, modules

FOLDER = Path(wandb_ckpt.server.__file__).parent
SERVER = "wandb_ckpt.server"
# From top to bottom. A room imports from lower floors only. What stands on one floor is apart.
FLOORS = (
    {""},
    {"server"},
    {"app"},
    {"pages", "graphql"},
    {"http"},
    {"versions"},
    {"store"},
    {"ids", "names", "json_text", "run_lines"},
    {"errors"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SQL = re.compile(
    r"\s*(SELECT\s.+\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX)|PRAGMA)\b",
    re.IGNORECASE | re.DOTALL,
)
LIBRARIES = {
    "starlette": {"", "app", "pages", "graphql", "http"},
    "uvicorn": {"", "server", "http"},
    "graphql": {"", "graphql"},
    "sqlite3": {"app", "graphql", "versions", "store"},  # all but the store only name its errors
    "jinja2": {"pages"},
    "h11": {"http"},
}


def room(module: str) -> str:
    """The package or module right below the server that a module is in; "" for the server's own `__init__`."""
    return module.removeprefix(SERVER).removeprefix(".").partition(".")[0]


def inner_arrows() -> list[Arrow]:
    """The imports between modules of the server."""
    return [arrow for arrow in arrows(FOLDER, SERVER) if arrow.imported.split(".")[:2] == SERVER.split(".")]


def test_every_room_has_a_floor() -> None:
    """No package was added without a place, and no place is left without a package."""
    assert {room(module) for module in modules(FOLDER, SERVER)} == FLOOR.keys()


def test_imports_run_down_only() -> None:
    """A room imports lower rooms only, lazily or not, and imports nothing by a name that is put together."""
    found = inner_arrows()
    assert len(found) > 300
    rooms = [(arrow, room(arrow.importing), room(arrow.imported)) for arrow in found]
    assert [arrow for arrow, a, b in rooms if a != b and FLOOR[a] >= FLOOR[b]] == []
    assert [arrow for arrow in arrows(FOLDER, SERVER) if arrow.imported == UNKNOWN] == []


def test_no_modules_import_each_other() -> None:
    """There is no circle, neither in a room nor between rooms."""
    assert circles(inner_arrows()) == []


@pytest.mark.parametrize("package", ["graphql.nodes", "graphql.mutations"])
def test_modules_of_one_kind_do_not_need_each_other(package: str) -> None:
    """What answers one type needs nothing of what answers another; mutations share their checks of inputs only."""
    place = f"{SERVER}.{package}."
    within = [each for each in inner_arrows() if each.importing.startswith(place) and each.imported.startswith(place)]
    assert [each for each in within if not each.imported.endswith(".mutations.inputs")] == []


def test_only_the_store_has_sql() -> None:
    """No string outside the store is an SQL statement, and the pattern finds those in it."""
    found = set()
    for module, path in modules(FOLDER, SERVER).items():
        texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        if any(isinstance(text, str) and SQL.match(text) for text in texts):
            found.add(module)
    assert {room(module) for module in found} == {"store"}
    assert len(found) > 8


def test_libraries_are_imported_where_they_belong() -> None:
    """There is no HTTP below `http`, and no GraphQL and no templates outside their rooms."""
    used: dict[str, set[str]] = {name: set() for name in LIBRARIES}
    for arrow in arrows(FOLDER, SERVER):
        library = arrow.imported.partition(".")[0]
        if library in LIBRARIES:
            used[library].add(room(arrow.importing))
    assert {name: rooms - LIBRARIES[name] for name, rooms in used.items()} == {name: set() for name in LIBRARIES}
    assert all(used.values())
