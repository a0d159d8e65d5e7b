"""The registry: made, found, searched, edited and deleted with the unmodified client."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def registry(api: Any, project: str) -> Any:
    """A registry of the test's own."""
    return api.create_registry(name=project, visibility="organization", description="for tests")


def test_a_registry_is_made_found_edited_and_deleted(api: Any, server: Any, registry: Any) -> None:
    """What `create_registry` and `save` say is what `registry` finds; a name is taken once, and free in the end."""
    name = registry.name
    assert (registry.organization, registry.description, registry.allow_all_artifact_types) == (
        server.entity,
        "for tests",
        True,
    )
    with pytest.raises(ValueError, match="use a different name"):
        api.create_registry(name=name, visibility="organization")
    registry.description = "edited"
    registry.allow_all_artifact_types = False
    registry.artifact_types.append("model")
    registry.name = f"{name}-2"
    registry.save()
    found = api.registry(f"{name}-2", server.entity)
    assert (found.description, found.allow_all_artifact_types, list(found.artifact_types)) == (
        "edited",
        False,
        ["model"],
    )
    found.delete()
    for gone in (name, f"{name}-2"):
        with pytest.raises(ValueError, match="Failed to load registry"):
            api.registry(gone)


def test_registries_are_searched(api: Any, start_run: Any, log: Any, registry: Any) -> None:
    """Registries, their collections and the versions in them are found by conditions, and no other projects."""
    with start_run() as run:
        for number in range(3):
            version = log(run, "m", {"f": bytes([number])}, ["best"])
            run.link_artifact(version, f"{registry.full_name}/zoo", aliases=[f"r{number}"])
    assert run.project not in {each.full_name for each in api.registries()}
    mine = api.registries(filter={"name": registry.name})
    assert [each.full_name for each in mine] == [registry.full_name]
    assert [each.name for each in mine.collections(filter={"name": {"$regex": "^z"}})] == ["zoo"]
    assert [each.name for each in mine.collections(filter={"name": "circus"})] == []
    versions = {version.version: version for version in registry.versions()}
    assert {name: set(version.aliases) for name, version in versions.items()} == {
        "v0": {"r0"},
        "v1": {"r1"},
        "v2": {"r2", "latest"},
    }
    assert all(version.is_link for version in versions.values())
    assert [version.source_version for version in mine.versions(filter={"alias": "r1"})] == ["v1"]


def test_a_registry_takes_the_types_that_it_names(api: Any, start_run: Any, log: Any, registry: Any) -> None:
    """A version of another type can't be linked into a registry that names its types."""
    from wandb.errors import CommError

    registry.allow_all_artifact_types = False
    registry.artifact_types.append("model")
    registry.save()
    with start_run() as run:
        model, data = log(run, "m", {"f": b"m"}), log(run, "d", {"f": b"d"}, kind="dataset")
        run.link_artifact(model, f"{registry.full_name}/zoo")
        with pytest.raises(CommError, match="It accepts: model"):
            run.link_artifact(data, f"{registry.full_name}/farm")
    assert [each.name for each in registry.collections()] == ["zoo"]


def test_deleting_a_registry_leaves_what_it_linked_to(api: Any, start_run: Any, log: Any, registry: Any) -> None:
    """The links go with the registry; the versions stay where they were logged."""
    with start_run() as run:
        version = log(run, "m", {"f": b"m"})
        linked = run.link_artifact(version, f"{registry.full_name}/zoo")
    registry.delete()
    assert not api.artifact_exists(linked.qualified_name)
    assert Path(api.artifact(version.qualified_name).download(), "f").read_bytes() == b"m"
    assert api.artifact(version.qualified_name).linked_artifacts == []
