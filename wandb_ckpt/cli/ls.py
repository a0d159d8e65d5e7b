"""`wandb-ckpt ls`: list projects, models or versions."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from wandb_ckpt.cli._facts import epoch_of, value_of
from wandb_ckpt.cli._failure import errors_in_one_line
from wandb_ckpt.cli._output import Column, age, print_json, print_note, print_table, size

if TYPE_CHECKING:
    from wandb_ckpt.browsing.listing import Model, Project, Version

_PROJECTS = (Column("PROJECT", fold=True), Column("AGE", right=True))
_MODELS = (
    Column("MODEL", fold=True),
    Column("VERSIONS", right=True),
    Column("BEST", fold=True),
    Column("EPOCH", right=True),
    Column("SIZE", right=True),
    Column("AGE", right=True),
)
_VERSIONS = (
    Column("VERSION"),
    Column("VALUE", fold=True),
    Column("ALIASES", fold=True),
    Column("EPOCH", right=True),
    Column("SIZE", right=True),
    Column("AGE", right=True),
)


@click.command("ls")
@click.argument("path", default="")
@click.option("--json", "as_json", is_flag=True, help="Print all facts as JSON.")
def command(path: str, as_json: bool) -> None:
    """List projects, models, or versions.

    PATH is [ENTITY/]PROJECT for models, or [ENTITY/]PROJECT/NAME for versions. Without PATH, your projects are
    listed; with ENTITY/, those of that entity.
    """
    with errors_in_one_line():
        from wandb_ckpt.browsing.listing import browse

        found = browse(path)
    if as_json:
        print_json([_plain(each) for each in found.items])
    elif not found.items:
        print_note(f"There are no {found.level} here.")
    else:
        columns, row = _TABLES[found.level]
        print_table(columns, map(row, found.items))


def _project_row(project: "Project") -> tuple[str, ...]:
    return f"{project.entity}/{project.name}", age(project.created_at)


def _model_row(model: "Model") -> tuple[str, ...]:
    first = model.best_or_newest
    facts = ("", "", "") if first is None else (value_of(first), epoch_of(first), age(model.versions[0].created_at))
    total = size(sum(version.size for version in model.versions))
    return model.name, str(len(model.versions)), *facts[:2], total, facts[2]


def _version_row(version: "Version") -> tuple[str, ...]:
    aliases = " ".join(version.aliases)
    return (
        version.version,
        value_of(version),
        aliases,
        epoch_of(version),
        size(version.size),
        age(version.created_at),
    )


def _plain(item: "Project | Model | Version") -> dict[str, Any]:
    plain = asdict(item)
    for version in plain.get("versions", ()):
        version["ref"] = f"{version['entity']}/{version['project']}/{version['name']}:{version['version']}"
    return plain if not hasattr(item, "ref") else {"ref": item.ref, **plain}


_TABLES: dict[str, Any] = {
    "projects": (_PROJECTS, _project_row),
    "models": (_MODELS, _model_row),
    "versions": (_VERSIONS, _version_row),
}
