"""The imports between modules, read from their syntax trees."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

UNKNOWN = "?"
"""The imported module of an import by a name that is only known when the code runs."""

_BY_NAME = {"import_module", "__import__", "find_spec"}


class Arrow(NamedTuple):
    """One import: `names` are what is taken out of the imported module; none when the module itself is taken."""

    importing: str
    imported: str
    names: tuple[str, ...]


def modules(folder: Path, package: str = "") -> dict[str, Path]:
    """Return the modules below a package's folder: their full names and their files."""
    package = package or folder.name
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def arrows(folder: Path, package: str = "") -> list[Arrow]:
    """Return every import in the modules below a package's folder.

    Both forms count, at the top of a module and inside functions and `if TYPE_CHECKING`. So do imports by name: calls
    such as `import_module("json")`, and strings with dots that are the full name of one of the modules, as tables of
    lazy imports have them. A call with a name that is not a plain string is an arrow to `UNKNOWN`.

    Args:
        folder: The folder of the package.
        package: The full name of the package. The name of the folder if it is empty.
    """
    known = modules(folder, package)
    found = []
    for name, path in known.items():
        home = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found += _arrows_of(ast.parse(path.read_text()), name, home, known.keys())
    return found


def circles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others; each group sorted."""
    follows: dict[str, set[str]] = {}
    for arrow in arrows:
        follows.setdefault(arrow.importing, set()).add(arrow.imported)
    reached = {module: _reached(follows, module) for module in follows}
    groups = {tuple(sorted(b for b in seen if a in reached.get(b, ()))) for a, seen in reached.items() if a in seen}
    return sorted(map(list, groups))


def _reached(follows: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    left = [start]
    while left:
        for module in follows.get(left.pop(), set()) - reached:
            reached.add(module)
            left.append(module)
    return reached


def _arrows_of(tree: ast.Module, name: str, home: str, known: Iterable[str]) -> Iterator[Arrow]:
    names_of_loggers = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (Arrow(name, alias.name, ()) for alias in aliases)
            case ast.ImportFrom():
                yield from _from(node, name, home, known)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[first, *_]):
                if called == "getLogger":
                    names_of_loggers.add(first)
                elif called in _BY_NAME and not isinstance(first, ast.Constant):
                    yield Arrow(name, UNKNOWN, ())
                elif called in _BY_NAME and first.value not in known:
                    yield Arrow(name, first.value, ())
            case ast.Constant(value=str(text)) if "." in text and text in known and node not in names_of_loggers:
                yield Arrow(name, text, ())


def _from(node: ast.ImportFrom, name: str, home: str, known: Iterable[str]) -> Iterator[Arrow]:
    base = home.rsplit(".", node.level - 1)[0] if node.level else ""
    source = ".".join(filter(None, (base, node.module)))
    taken = [alias.name for alias in node.names]
    submodules = [each for each in taken if f"{source}.{each}" in known]
    yield from (Arrow(name, f"{source}.{each}", ()) for each in submodules)
    if names := tuple(each for each in taken if each not in submodules):
        yield Arrow(name, source, names)
