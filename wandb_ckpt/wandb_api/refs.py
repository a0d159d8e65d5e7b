"""Refs: how users name a version, and how it is found."""

import re
from dataclasses import dataclass

import wandb

from wandb_ckpt.errors import ArgumentError, CheckpointNotFoundError, NoActiveRunError
from wandb_ckpt.policy.naming import default_artifact_name
from wandb_ckpt.wandb_api.api import api_for
from wandb_ckpt.wandb_api.run import active_run, is_disabled, sync_folder

_REF = re.compile(
    r"(?:wandb-artifact://)?(?:(?:(?P<entity>[^/:]+)/)?(?P<project>[^/:]+)/)?(?:(?P<name>[^/:]+):)?(?P<version>[^/:]+)"
)

_EXAMPLES = "'entity/project/run_3j2t0k7n_model:best', 'run_3j2t0k7n_model:v3', or 'best' within a run"


@dataclass(frozen=True, slots=True)
class Ref:
    """The name of a version, as a user writes it.

    Attributes:
        version: A version or an alias: `v3`, `best`.
        name: The artifact's name; `None` stands for the active run's own.
        project: `None` stands for the active run's, or for the one that wandb is set to.
        entity: As `project`.
    """

    version: str
    name: str | None = None
    project: str | None = None
    entity: str | None = None

    def __str__(self) -> str:
        path = "/".join(part for part in (self.entity, self.project, self.name) if part)
        return f"{path}:{self.version}" if path else self.version


def parse_ref(text: str) -> Ref:
    """Return the parts of a ref.

    Raises:
        ArgumentError: It is no ref.

    >>> parse_ref("team/digits/run_1_model:best")
    Ref(version='best', name='run_1_model', project='digits', entity='team')
    >>> parse_ref("v3")
    Ref(version='v3', name=None, project=None, entity=None)
    """
    match = _REF.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ArgumentError(f"ref={text!r} names no version: expected such as {_EXAMPLES}.")
    ref = Ref(**match.groupdict())
    if ref.project and not ref.name:
        raise ArgumentError(f"ref={text!r} has no version or alias behind a ':': expected such as {_EXAMPLES}.")
    return ref


# ---- finding -----------------------------------------------------------------------------------------------


def usable_run() -> "wandb.Run | None":
    """Return the active run, unless it is a disabled one."""
    run = active_run(None)
    return None if run is None or is_disabled(run) else run


def online(run: "wandb.Run | None") -> "wandb.Run | None":
    """Return the run if it is an online one."""
    return None if run is None or run.offline else run


def find(text: str) -> "wandb.Artifact":
    """Return the version that a ref names.

    Raises:
        ArgumentError: `text` is no ref.
        CheckpointNotFoundError: There is no such version.
        NoActiveRunError: `text` is only an alias, and there is no active run.
    """
    run = usable_run()
    ref, api = _completed(parse_ref(text), run), api_for(online(run))
    if not api.artifact_exists(str(ref)):
        raise CheckpointNotFoundError(_not_found(api, ref, own=parse_ref(text).name is None))
    artifact: wandb.Artifact = api.artifact(str(ref))
    return artifact


def full_name(artifact: "wandb.Artifact") -> str:
    """Return `entity/project/name:v3`."""
    # `qualified_name` ends with the alias that it was found by (0.31), which may move.
    return f"{artifact.qualified_name.rpartition(':')[0]}:{artifact.version}"


def _completed(ref: Ref, run: "wandb.Run | None") -> Ref:
    """Return the ref, completed from the active run."""
    if ref.name is None and run is None:
        raise NoActiveRunError(
            f"{ref.version!r} alone means a version of the active W&B run's own checkpoints, and there is no active "
            f"run. Call wandb.init() first, or write the ref in full: {_EXAMPLES}."
        )
    if ref.name is None and run is not None and run.offline:
        raise CheckpointNotFoundError(
            f"{ref.version!r} is no alias of a checkpoint of this offline run on this disk. Versions are created "
            f"when `wandb sync {sync_folder(run)}` uploads the run. Use an alias such as 'best' or 'latest', "
            "or sync first and write the ref in full."
        )
    if run is None or run.offline or (ref.project and ref.entity):
        return ref
    name = ref.name or default_artifact_name(run.id)
    return Ref(ref.version, name, ref.project or run.project, ref.entity or run.entity)


def _not_found(api: "wandb.Api", ref: Ref, *, own: bool) -> str:
    path = str(ref).rpartition(":")[0]
    if api.artifact_collection_exists(path, "model"):
        known = ", ".join(sorted(api.artifact_collection("model", path).aliases)) or "none"
        return f"{path} has no version or alias {ref.version!r}. Its aliases are: {known}."
    if own:
        return (
            f"The active run has published no checkpoint yet: there is no {path}. Checkpoints of another run, or "
            f"under another artifact_name, need the full ref: {_EXAMPLES}."
        )
    where = "" if ref.project else " A ref without a project is looked up in the active run's, or in WANDB_PROJECT."
    return f"There is no artifact {path} of type 'model', or no access to it.{where} Expected such as {_EXAMPLES}."
