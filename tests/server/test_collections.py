"""Collections: listing, editing, links, portfolios and the registry path, with the unmodified client."""

from pathlib import Path
from typing import Any

import pytest


def test_listing_types_collections_and_versions(start_run: Any, log: Any, api: Any) -> None:
    """Types, collections and versions of a project can be listed in pages of any size."""
    with start_run() as run:
        for number in range(5):
            log(run, "m", {"f": bytes([number])})
        log(run, "d", {"f": b"d"}, kind="dataset")
    path = f"{run.entity}/{run.project}"
    assert {each.name for each in api.artifact_types(path)} >= {"model", "dataset"}
    assert api.artifact_type("model", path).name == "model"
    assert [each.name for each in api.artifact_collections(path, "model")] == ["m"]
    assert {each.name for each in api.artifact_type("dataset", path).collections()} == {"d"}
    versions = api.artifacts("model", f"{path}/m", per_page=2)
    assert [version.version for version in versions] == ["v4", "v3", "v2", "v1", "v0"]
    assert len(versions) == 5
    assert [v.version for v in api.artifacts("model", f"{path}/m", order="version_index")][:2] == ["v0", "v1"]
    assert api.artifact_collection("model", f"{path}/m").is_sequence()
    assert api.artifact_collection_exists(f"{path}/m", "model")
    assert not api.artifact_collection_exists(f"{path}/no", "model")


def test_versions_filtered_by_tag(start_run: Any, log: Any, api: Any) -> None:
    """`tags=` picks the versions with these tags."""
    with start_run() as run:
        log(run, "m", {"f": b"0"})
        version = log(run, "m", {"f": b"1"})
    version.tags = ["good"]
    version.save()
    path = f"{run.entity}/{run.project}/m"
    assert [each.version for each in api.artifacts("model", path, tags=["good"])] == ["v1"]


def test_collections_filtered_and_ordered(start_run: Any, log: Any, api: Any) -> None:
    """Collections can be filtered by name and ordered by it."""
    with start_run() as run:
        for name in ("b", "a", "c"):
            log(run, name, {"f": name.encode()})
    path = f"{run.entity}/{run.project}"

    def names(**query: Any) -> list[str]:
        return [each.name for each in api.artifact_type("model", path).collections(**query)]

    assert names(order="+name") == ["a", "b", "c"]
    assert names(order="-name", per_page=1) == ["c", "b", "a"]
    assert names(filters={"name": "a"}) == ["a"]
    assert set(names(filters={"name": {"$in": ["a", "c"]}})) == {"a", "c"}


def test_a_collection_can_be_edited(start_run: Any, log: Any, api: Any) -> None:
    """Name, description, type and tags of a collection can be changed."""
    with start_run() as run:
        log(run, "m", {"f": b"1"}, ["best"])
    path = f"{run.entity}/{run.project}"
    collection = api.artifact_collection("model", f"{path}/m")
    assert set(collection.aliases) == {"latest", "best"}
    collection.name, collection.description = "renamed", "what it is"
    collection.tags.append("t1")
    collection.save()
    collection.change_type("other")
    seen = api.artifact_collection("other", f"{path}/renamed")
    assert (seen.description, seen.tags, seen.type) == ("what it is", ["t1"], "other")
    assert api.artifact(f"{path}/renamed:best").type == "other"
    seen.tags = []
    seen.save()
    assert api.artifact_collection("other", f"{path}/renamed").tags == []
    seen.delete()
    assert not api.artifact_exists(f"{path}/renamed:v0")
    with start_run() as run:
        assert log(run, "renamed", {"f": b"2"}, kind="third").version == "v0"


def test_one_name_has_one_type(start_run: Any, log: Any) -> None:
    """A name can't be logged to with another type."""
    with start_run() as run:
        log(run, "m", {"f": b"1"})
        with pytest.raises(ValueError, match="already exists with type"):
            log(run, "m", {"f": b"2"}, kind="dataset")


def test_linking_to_a_portfolio(start_run: Any, log: Any, api: Any) -> None:
    """A version can be linked, found by its link, given aliases there, and unlinked."""
    with start_run() as run:
        log(run, "m", {"f": b"0"})
        version = log(run, "m", {"f": b"1"})
        linked = run.link_artifact(version, "shelf", aliases=["prod"])
        again = run.link_artifact(version, "shelf", aliases=["more"])
    path = f"{run.entity}/{run.project}/shelf"
    assert (linked.version, again.version, linked.is_link) == ("v0", "v0", True)
    found = api.artifact(f"{path}:prod")
    assert (found.source_version, found.version, set(found.aliases)) == ("v1", "v0", {"latest", "prod", "more"})
    assert [each.name for each in api.artifacts("model", path)] == ["shelf:v0"]
    assert api.artifact_collection("model", path).is_sequence() is False
    assert {each.qualified_name for each in api.artifact(version.qualified_name).linked_artifacts} == {f"{path}:v0"}
    found.aliases = ["latest"]
    found.save()
    assert api.artifact(f"{path}:v0").aliases == ["latest"]
    assert set(api.artifact(version.qualified_name).aliases) == {"latest"}
    api.artifact(f"{path}:v0").unlink()
    assert not api.artifact_exists(f"{path}:v0")
    assert api.artifact_exists(version.qualified_name)
    api.artifact_collection("model", path).delete()
    with pytest.raises(Exception, match=r"not found|not find"):
        api.artifact_collection("model", path)


def test_the_registry_path(start_run: Any, log: Any, api: Any, tmp_path: Any) -> None:
    """A model can be linked to `wandb-registry-model/<name>`, fetched from there, and unlinked."""
    name = f"M-{tmp_path.name}"
    with start_run() as run:
        version = log(run, "m", {"f": b"registry"})
        linked = run.link_artifact(version, f"wandb-registry-model/{name}", aliases=["production"])
        assert linked.qualified_name == f"{run.entity}/wandb-registry-model/{name}:v0"
        used = run.use_artifact(f"wandb-registry-model/{name}:production")
    assert used.source_qualified_name == version.qualified_name
    for path in (f"wandb-registry-model/{name}:production", f"{run.entity}/wandb-registry-model/{name}:v0"):
        found = api.artifact(path)
        assert set(found.aliases) == {"latest", "production"}
        assert (tmp_path / "d" / "f").exists() or found.download(root=str(tmp_path / "d"))
    assert (tmp_path / "d" / "f").read_bytes() == b"registry"
    assert [each.version for each in api.artifacts("model", f"wandb-registry-model/{name}")] == ["v0"]
    api.artifact(f"wandb-registry-model/{name}:v0").unlink()
    assert not api.artifact_exists(f"wandb-registry-model/{name}:v0")


def test_link_model_makes_a_registered_model(start_run: Any, api: Any, tmp_path: Any) -> None:
    """`run.link_model` logs a file and links it in the project "model-registry"."""
    (tmp_path / "weights").write_bytes(b"w")
    name = f"R-{tmp_path.name}"
    with start_run() as run:
        run.link_model(str(tmp_path / "weights"), name, aliases=["staging"])
        fetched = run.use_model(f"{run.entity}/model-registry/{name}:staging")
    assert Path(fetched).read_bytes() == b"w"


def test_a_sequence_can_not_be_linked_into(start_run: Any, log: Any) -> None:
    """The name of a sequence is taken: a link to it is an error that says so."""
    with start_run() as run:
        version = log(run, "m", {"f": b"1"})
        log(run, "n", {"f": b"2"})
        with pytest.raises(Exception, match="sequence"):
            run.link_artifact(version, "n")
