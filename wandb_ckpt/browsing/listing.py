"""What there is on W&B: projects, models and their versions, as frozen records."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.errors import ArgumentError, CheckpointNotFoundError
from wandb_ckpt.wandb_api.api import api_for
from wandb_ckpt.wandb_api.refs import find
from wandb_ckpt.wandb_api.versions import run_that_logged

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Artifact


_TYPE = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project."""

    entity: str
    name: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One committed version of a model.

    Attributes:
        entity: Who has the project.
        project: The project that the collection is in.
        name: The collection's name.
        version: `v3`.
        aliases: Its aliases in this collection, without the version itself.
        metadata: Its metadata, as W&B keeps it.
        size: Of all its files, in bytes.
        digest: Of its manifest: equal ones have equal files.
        created_at: ISO 8601.
        is_link: Whether the collection has only a link to it, as a registry does.
    """

    entity: str
    project: str
    name: str
    version: str
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    size: int
    digest: str
    created_at: str
    is_link: bool = False

    @property
    def ref(self) -> str:
        """The version in full: `entity/project/name:v3`."""
        return f"{self.entity}/{self.project}/{self.name}:{self.version}"

    @property
    def number(self) -> int:
        """The N of `vN`."""
        return int(self.version[1:])

    @property
    def checkpoint(self) -> Checkpoint:
        """The facts of the checkpoint, as far as the metadata has them."""
        file, form = self.metadata.get("file"), self.metadata.get("format")
        return Checkpoint.from_metadata(self.metadata, path=str(file or ""), format=str(form or ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One collection of versions.

    Attributes:
        entity: Who has the project.
        project: The project.
        name: The collection's name.
        versions: Newest first.
    """

    entity: str
    project: str
    name: str
    versions: tuple[Version, ...]

    @property
    def foremost(self) -> Version | None:
        """The version that is `best`; else the newest, if there is any."""
        best = [version for version in self.versions if "best" in version.aliases]
        return next(iter(best or self.versions), None)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version, by its manifest."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Everything about one version.

    Attributes:
        version: What a list of versions has of it.
        files: Its files.
        run: The run that logged it, `entity/project/id`; `None` when it is not known any more.
        links: Where it is linked to, `entity/project/collection:v0` each.
        description: Markdown.
        url: Its page.
    """

    version: Version
    files: tuple[File, ...]
    run: str | None
    links: tuple[str, ...]
    description: str
    url: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What is below a path: projects, models or versions."""

    level: Literal["projects", "models", "versions"]
    items: tuple[Project, ...] | tuple[Model, ...] | tuple[Version, ...]


def browse(path: str) -> Listing:
    """Returns what is below a path.

    Args:
        path: Empty or `entity/` for projects; `project` or `entity/project` for models; `project/name` or
            `entity/project/name` for versions. Two parts are first taken for `project/name`.

    Raises:
        ArgumentError: It is no path.
        CheckpointNotFoundError: There is nothing of that name.
    """
    if not path or path.endswith("/"):
        return Listing("projects", list_projects(path[:-1] or None))
    parts = path.count("/") + 1
    if parts == 1:
        return Listing("models", list_models(path))
    try:
        return Listing("versions", list_versions(path))
    except CheckpointNotFoundError:
        if parts > 2:
            raise
    try:
        return Listing("models", list_models(path))
    except CheckpointNotFoundError as error:
        raise CheckpointNotFoundError(
            f"There is neither a model nor a project {path!r}, or no access to it: expected 'project', "
            "'entity/project', 'project/name' or 'entity/project/name'. `wandb-ckpt ls` lists your projects."
        ) from error


def list_projects(entity: str | None = None) -> tuple[Project, ...]:
    """Returns the projects of an entity, by default one's own.

    Raises:
        Exception: What wandb raises, as for the others here.
    """
    found = api_for(None).projects(entity)
    return tuple(
        Project(entity=each.entity, name=each.name, created_at=each.created_at)
        for each in sorted(found, key=lambda each: str(each.created_at), reverse=True)
    )


def list_models(project: str) -> tuple[Model, ...]:
    """Returns the models of a project, `[entity/]project`, the newest first, each with its versions.

    Raises:
        CheckpointNotFoundError: There is no such project.
    """
    _check_path(project, most=2)
    api = api_for(None)
    try:
        types = {each.name for each in api.artifact_types(project)}
    except ValueError as error:  # wandb says that it can't parse the answer, which has no project (0.31)
        raise CheckpointNotFoundError(
            f"There is no project {project!r}, or no access to it: expected 'project' or 'entity/project'. "
            "`wandb-ckpt ls` lists your own."
        ) from error
    collections = api.artifact_collections(project, _TYPE) if _TYPE in types else ()
    return tuple(
        Model(entity=each.entity, project=each.project, name=each.name, versions=_versions(each))
        for each in collections
    )


def list_versions(path: str) -> tuple[Version, ...]:
    """Returns the versions of a model, newest first.

    Raises:
        ArgumentError: `path` is no path.
        CheckpointNotFoundError: There is no such model.
    """
    return tuple(map(version_of, list_artifacts(path)))


def list_artifacts(path: str) -> "tuple[Artifact, ...]":
    """Returns the versions of a model, `[[entity/]project/]name`, newest first, as wandb has them.

    Raises:
        ArgumentError: `path` is no path.
        CheckpointNotFoundError: There is no such model.
    """
    _check_path(path, most=3)
    api = api_for(None)
    if not api.artifact_collection_exists(path, _TYPE):
        raise CheckpointNotFoundError(
            f"There is no model {path!r}, or no access to it: expected 'project/name' or 'entity/project/name'. "
            "`wandb-ckpt ls PROJECT` lists a project's."
        )
    # By the collection's own names: of a path that is spelt otherwise wandb would drop the aliases (0.31).
    return _newest_first(api.artifact_collection(_TYPE, path).artifacts())


def look_up(ref: str) -> Details:
    """Returns everything about the version that a ref names.

    Raises:
        ArgumentError: It is no ref.
        CheckpointNotFoundError: There is no such version.
    """
    artifact = find(ref)
    return Details(
        version=version_of(artifact),
        files=files_of(artifact),
        run=run_that_logged(artifact),
        links=tuple(each.qualified_name for each in artifact.linked_artifacts),
        description=artifact.description or "",
        url=artifact.url,
    )


def files_of(artifact: "Artifact") -> tuple[File, ...]:
    """Returns the files of a version, by their names."""
    entries = sorted(artifact.manifest.entries.items())
    return tuple(File(name, entry.size or 0, str(entry.digest)) for name, entry in entries)


def flattened(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns metadata with its first level of nesting written with a dot.

    >>> flattened({"epoch": 3, "logs": {"loss": 0.5}, "note": {}})
    {'epoch': 3, 'logs.loss': 0.5, 'note': {}}
    """
    flat: dict[str, Any] = {}
    for name, value in metadata.items():
        nested = isinstance(value, Mapping) and value
        flat |= {f"{name}.{key}": each for key, each in value.items()} if nested else {name: value}
    return flat


def version_of(artifact: "Artifact") -> Version:
    """Returns the record of one of wandb's artifacts that is committed."""
    return Version(
        entity=artifact.entity,
        project=artifact.project,
        name=artifact.name.partition(":")[0],
        version=_version_in(artifact),
        aliases=tuple(artifact.aliases),
        metadata=dict(artifact.metadata),
        size=artifact.size,
        digest=artifact.digest,
        created_at=artifact.created_at,
        is_link=artifact.is_link,
    )


def _versions(collection: Any) -> tuple[Version, ...]:
    return tuple(map(version_of, _newest_first(collection.artifacts())))


def _newest_first(artifacts: "Iterable[Artifact]") -> "tuple[Artifact, ...]":
    return tuple(sorted(artifacts, key=lambda artifact: int(_version_in(artifact)[1:]), reverse=True))


def _version_in(artifact: "Artifact") -> str:
    """Returns the version in the artifact's own collection; in lists wandb gives a link its source's (0.31)."""
    behind = artifact.name.partition(":")[2]
    return behind if re.fullmatch(r"v\d+", behind) else artifact.version


def _check_path(path: str, most: int) -> None:
    parts = path.split("/")
    if len(parts) > most or not all(parts) or ":" in path:
        expected = "'project' or 'entity/project'" if most == 2 else "'project/name' or 'entity/project/name'"
        raise ArgumentError(f"{path!r} is no such path: expected {expected}, without a version.")
