"""List what is on W&B: projects, models and their versions, as immutable records."""

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
    """A project."""

    entity: str
    name: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A committed version of a model.

    Attributes:
        entity: The owner of the project.
        project: The project of the collection.
        name: The name of the collection.
        version: For example `v3`.
        aliases: Its aliases in this collection, without the version itself.
        metadata: Its metadata in W&B.
        size: The size of all its files in bytes.
        digest: The digest of its manifest. Versions with the same digest have the same files.
        created_at: The time when it was created, ISO 8601.
        is_link: Whether the collection has only a link to the version, as in a registry.
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
        """The full name of the version: `entity/project/name:v3`."""
        return f"{self.entity}/{self.project}/{self.name}:{self.version}"

    @property
    def number(self) -> int:
        """The N of `vN`."""
        return int(self.version[1:])

    @property
    def checkpoint(self) -> Checkpoint:
        """The facts about the checkpoint that the metadata has."""
        file, form = self.metadata.get("file"), self.metadata.get("format")
        return Checkpoint.from_metadata(self.metadata, path=str(file or ""), format=str(form or ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A collection of versions.

    Attributes:
        entity: The owner of the project.
        project: The project.
        name: The name of the collection.
        versions: Its versions, newest first.
    """

    entity: str
    project: str
    name: str
    versions: tuple[Version, ...]

    @property
    def best_or_newest(self) -> Version | None:
        """The version with the alias `best`, else the newest one; `None` if there are no versions."""
        best = [version for version in self.versions if "best" in version.aliases]
        return next(iter(best or self.versions), None)


@dataclass(frozen=True, slots=True)
class File:
    """A file in the manifest of a version."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All facts about one version.

    Attributes:
        version: The version, as in a list of versions.
        files: Its files.
        run: The run that logged it, as `entity/project/id`; `None` if it is not known any more.
        links: The collections that it is linked into, each as `entity/project/collection:v0`.
        description: Its description in Markdown.
        url: The address of its W&B page.
    """

    version: Version
    files: tuple[File, ...]
    run: str | None
    links: tuple[str, ...]
    description: str
    url: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The projects, models or versions below a path."""

    level: Literal["projects", "models", "versions"]
    items: tuple[Project, ...] | tuple[Model, ...] | tuple[Version, ...]


def browse(path: str) -> Listing:
    """Return the projects, models or versions below a path.

    Args:
        path: Empty or `entity/` for projects; `project` or `entity/project` for models; `project/name` or
            `entity/project/name` for versions. A path with two parts is tried as `project/name` first.

    Raises:
        ArgumentError: `path` is not a path.
        CheckpointNotFoundError: There is no project or model with this name.
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
            f"There is no model or project {path!r}, or you have no access to it: expected 'project', "
            "'entity/project', 'project/name' or 'entity/project/name'. To list your projects, run `wandb-ckpt ls`."
        ) from error


def list_projects(entity: str | None = None) -> tuple[Project, ...]:
    """Return the projects of an entity, newest first.

    Args:
        entity: The entity. Defaults to that of the user.

    Raises:
        Exception: All errors of wandb, as in the other functions of this module.
    """
    found = api_for(None).projects(entity)
    return tuple(
        Project(entity=each.entity, name=each.name, created_at=each.created_at)
        for each in sorted(found, key=lambda each: str(each.created_at), reverse=True)
    )


def list_models(project: str) -> tuple[Model, ...]:
    """Return the models of a project, `[entity/]project`, newest first, each with its versions.

    Raises:
        ArgumentError: `project` is not a path.
        CheckpointNotFoundError: There is no such project.
    """
    _check_path(project, most=2)
    api = api_for(None)
    try:
        types = {each.name for each in api.artifact_types(project)}
    except ValueError as error:  # wandb 0.31 can't parse an answer without a project
        raise CheckpointNotFoundError(
            f"There is no project {project!r}, or you have no access to it: expected 'project' or 'entity/project'. "
            "To list your projects, run `wandb-ckpt ls`."
        ) from error
    collections = api.artifact_collections(project, _TYPE) if _TYPE in types else ()
    return tuple(
        Model(entity=each.entity, project=each.project, name=each.name, versions=_versions(each))
        for each in collections
    )


def list_versions(path: str) -> tuple[Version, ...]:
    """Return the versions of a model, newest first.

    Raises:
        ArgumentError: `path` is not a path.
        CheckpointNotFoundError: There is no such model.
    """
    return tuple(map(version_of, list_artifacts(path)))


def list_artifacts(path: str) -> "tuple[Artifact, ...]":
    """Return the versions of a model, `[[entity/]project/]name`, newest first, as wandb's artifacts.

    Raises:
        ArgumentError: `path` is not a path.
        CheckpointNotFoundError: There is no such model.
    """
    _check_path(path, most=3)
    api = api_for(None)
    if not api.artifact_collection_exists(path, _TYPE):
        raise CheckpointNotFoundError(
            f"There is no model {path!r}, or you have no access to it: expected 'project/name' or "
            "'entity/project/name'. To list the models of a project, run `wandb-ckpt ls PROJECT`."
        )
    # The collection gives its full name. With a shorter path, wandb 0.31 returns no aliases.
    return _newest_first(api.artifact_collection(_TYPE, path).artifacts())


def details_of(ref: str) -> Details:
    """Return all facts about the version that a ref names.

    Raises:
        ArgumentError: `ref` is not a ref.
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
    """Return the files of a version, sorted by name."""
    entries = sorted(artifact.manifest.entries.items())
    return tuple(File(name, entry.size or 0, str(entry.digest)) for name, entry in entries)


def flattened(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with the names of its first nested level written with a dot.

    >>> flattened({"epoch": 3, "logs": {"loss": 0.5}, "note": {}})
    {'epoch': 3, 'logs.loss': 0.5, 'note': {}}
    """
    flat: dict[str, Any] = {}
    for name, value in metadata.items():
        nested = isinstance(value, Mapping) and value
        flat |= {f"{name}.{key}": each for key, each in value.items()} if nested else {name: value}
    return flat


def version_of(artifact: "Artifact") -> Version:
    """Return the record of a committed artifact."""
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
    """Return the version in the artifact's own collection. In lists, wandb 0.31 gives that of a link's source."""
    version = artifact.name.partition(":")[2]
    return version if re.fullmatch(r"v\d+", version) else artifact.version


def _check_path(path: str, most: int) -> None:
    parts = path.split("/")
    if len(parts) > most or not all(parts) or ":" in path:
        expected = "'project' or 'entity/project'" if most == 2 else "'project/name' or 'entity/project/name'"
        raise ArgumentError(f"{path!r} is not a valid path: expected {expected}, without a version.")
