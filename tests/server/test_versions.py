"""Versions of artifacts: logged, found, downloaded, edited and deleted by the unmodified client."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_logged_version_comes_back_byte_for_byte(start_run: Any, log: Any, api: Any, tmp_path: Path) -> None:
    """What is downloaded equals what was logged: names with spaces and signs, folders, empty files."""
    files = {"model.bin": b"m" * 5000, "a folder/sp ace#%.txt": b"x", "ünï/✓.txt": b"y", "empty": b""}
    with start_run() as run:
        version = log(run, "model", files, metadata={"loss": 0.5, "deep": {"a": [1]}}, description="**good**")
    found = api.artifact(version.qualified_name)
    folder = Path(found.download(root=str(tmp_path / "down")))
    got = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert got == files
    assert (found.metadata, found.description) == ({"loss": 0.5, "deep": {"a": [1]}}, "**good**")
    assert (found.size, found.file_count, found.state, found.type) == (5002, 4, "COMMITTED", "model")
    found.verify(root=str(folder))


def test_versions_are_dense_and_aliases_move(start_run: Any, log: Any, api: Any) -> None:
    """New content is a new version; `latest` and a requested alias sit on exactly one version."""
    with start_run() as run:
        versions = [log(run, "m", {"f": bytes([n])}, ["best", f"epoch_{n}"]) for n in range(3)]
    assert [version.version for version in versions] == ["v0", "v1", "v2"]
    aliases = {v.version: set(v.aliases) for v in api.artifacts("model", f"{run.entity}/{run.project}/m")}
    assert aliases == {"v0": {"epoch_0"}, "v1": {"epoch_1"}, "v2": {"epoch_2", "best", "latest"}}
    for alias in ("latest", "best", "epoch_2", "v2"):
        assert api.artifact(f"{run.entity}/{run.project}/m:{alias}").version == "v2"


def test_a_number_names_its_version_only(start_run: Any, log: Any, api: Any, http: Any) -> None:
    """`vN` as an alias is one until there is a version N, whose name it is from then on."""
    with start_run() as run:
        first = log(run, "m", {"f": b"0"}, ["v0", "v2", "best"])
        name = f"{run.entity}/{run.project}/m"
        assert set(first.aliases) == {"latest", "best"}
        assert [api.artifact(f"{name}:{alias}").id for alias in ("v0", "v2")] == [first.id, first.id]
        page = http.get(f"/{run.entity}/{run.project}/artifacts/model/m/v2")
        assert (page.status_code, f"{name}:v0" in page.text) == (200, True)
        later = [log(run, "m", {"f": bytes([n])}) for n in (1, 2)]
        assert [api.artifact(f"{name}:{alias}").id for alias in ("v1", "v2")] == [version.id for version in later]
        assert f"{name}:v2" in http.get(f"/{run.entity}/{run.project}/artifacts/model/m/v2").text
    assert set(api.artifact_collection("model", name).aliases) == {"latest", "best"}


def test_the_number_of_another_version_is_no_alias(start_run: Any, log: Any, api: Any) -> None:
    """A version can't take the number of another, nor that of one that was deleted."""
    from wandb.errors import CommError

    with start_run() as run:
        versions = [log(run, "m", {"f": bytes([n])}) for n in range(3)]
        versions[1].delete(delete_aliases=True)
        for taken in ("v0", "v1"):
            with pytest.raises(ValueError, match="the number of another version"):
                log(run, "m", {"f": b"new"}, [taken])
            found = api.artifact(versions[2].qualified_name)
            found.aliases.append(taken)
            with pytest.raises(CommError, match="the number of another version"):
                found.save()
        assert api.artifact(f"{run.entity}/{run.project}/m:v0").id == versions[0].id
        assert not api.artifact_exists(f"{run.entity}/{run.project}/m:v1")


def test_a_number_that_went_to_another_meanwhile_costs_no_upload(start_run: Any, log: Any, api: Any) -> None:
    """What asked for an alias that is another version's number by the time of its commit is committed without it."""
    import wandb

    with start_run() as run:
        parts = wandb.Artifact("m", "model")
        with parts.new_file("part") as file:
            file.write("part")
        run.upsert_artifact(parts, aliases=["v0", "whole"], distributed_id="one")
    with start_run() as run:
        quick = log(run, "m", {"f": b"quick"})
        whole = run.finish_artifact(wandb.Artifact("m", "model"), distributed_id="one").wait()
    assert (quick.version, whole.version, set(whole.aliases)) == ("v0", "v1", {"latest", "whole"})
    assert api.artifact(f"{run.entity}/{run.project}/m:v0").id == quick.id


def test_the_same_content_is_the_same_version(start_run: Any, log: Any, api: Any) -> None:
    """Logging content that is already there makes no version, but moves the aliases to it."""
    with start_run() as run:
        for content in (b"one", b"two", b"one"):
            version = log(run, "m", {"f": content}, ["best"])
    assert version.version == "v0"
    aliases = {v.version: set(v.aliases) for v in api.artifacts("model", f"{run.entity}/{run.project}/m")}
    assert aliases == {"v0": {"latest", "best"}, "v1": set()}


def test_a_file_is_stored_once_for_all_versions(server: Any, start_run: Any, log: Any, api: Any) -> None:
    """A file that stays the same over versions is neither uploaded nor stored again."""
    big = b"same" * 100_000
    with start_run() as run:
        first = log(run, "m", {"big": big, "n": b"0"})
        second = log(run, "m", {"big": big, "n": b"1"})
    births = [version.manifest.entries["big"].birth_artifact_id for version in (first, second)]
    assert births == [first.id, first.id]


def test_aliases_tags_and_facts_can_be_edited(start_run: Any, log: Any, api: Any) -> None:
    """`save()` writes aliases, tags, description, metadata and time to live; a new look shows them."""
    with start_run() as run:
        name = log(run, "m", {"f": b"1"}, ["best", "old"]).qualified_name
    version = api.artifact(name)
    version.aliases.append("prod")
    version.aliases.remove("old")
    version.tags = ["keep", "two words"]
    version.description, version.metadata = "new", {"a": 1}
    version.ttl = datetime.timedelta(days=3)
    version.save()
    seen = api.artifact(name)
    assert set(seen.aliases) == {"latest", "best", "prod"}
    assert (set(seen.tags), seen.description, seen.metadata) == ({"keep", "two words"}, "new", {"a": 1})
    assert seen.ttl == datetime.timedelta(days=3)
    seen.tags, seen.ttl = [], None
    seen.save()
    seen = api.artifact(name)
    assert (seen.tags, seen.ttl) == ([], None)


def test_deleting_a_version_with_aliases_needs_a_word(start_run: Any, log: Any, api: Any) -> None:
    """A version with aliases is deleted only with `delete_aliases`; numbers are not used again."""
    with start_run() as run:
        path = log(run, "m", {"f": b"0"}).qualified_name.partition(":")[0]
        log(run, "m", {"f": b"1"}, ["best"])
        with pytest.raises(Exception, match="alias"):
            api.artifact(f"{path}:v1").delete()
        api.artifact(f"{path}:v1").delete(delete_aliases=True)
        assert not api.artifact_exists(f"{path}:v1")
        assert api.artifact(f"{path}:latest").version == "v0"
        assert log(run, "m", {"f": b"1"}).version == "v2"


def test_files_survive_the_version_that_brought_them(start_run: Any, log: Any, api: Any, tmp_path: Path) -> None:
    """Deleting the version that a file was first logged with takes nothing from later versions."""
    with start_run() as run:
        first = log(run, "m", {"shared": b"shared", "n": b"0"})
        second = log(run, "m", {"shared": b"shared", "n": b"1"})
    api.artifact(first.qualified_name).delete(delete_aliases=True)
    folder = Path(api.artifact(second.qualified_name).download(root=str(tmp_path / "d")))
    assert (folder / "shared").read_bytes() == b"shared"


def test_a_new_draft_starts_from_a_version(start_run: Any, log: Any, api: Any, tmp_path: Path) -> None:
    """An incremental version has the files of its base, less the removed, plus the added ones."""
    with start_run() as run:
        base = log(run, "m", {"keep": b"k", "gone": b"g", "old": b"o"})
        draft = base.new_draft()
        draft.remove("gone")
        with draft.new_file("new", mode="wb") as file:
            file.write(b"n")
        version = run.log_artifact(draft).wait()
    assert version.version == "v1"
    folder = Path(api.artifact(version.qualified_name).download(root=str(tmp_path / "d")))
    assert sorted(path.name for path in folder.iterdir()) == ["keep", "new", "old"]


def test_an_incremental_upload_adds_to_the_latest(start_run: Any, api: Any, log: Any) -> None:
    """`Artifact(incremental=True)` lays its files over the latest version."""
    import wandb

    with start_run() as run:
        base = log(run, "m", {"a": b"a"})
        more = base.new_draft()
        with more.new_file("b", mode="wb") as file:
            file.write(b"b")
        run.log_artifact(more).wait()
        assert isinstance(more, wandb.Artifact)
    names = set(api.artifact(f"{run.entity}/{run.project}/m:latest").manifest.entries)
    assert names == {"a", "b"}


def test_references_are_kept_as_references(server: Any, start_run: Any, api: Any, tmp_path: Path) -> None:
    """`file://`, `http://` and other schemes are kept; those that the client can follow are downloaded."""
    import wandb

    (tmp_path / "data.txt").write_text("here")
    with start_run() as run:
        artifact = wandb.Artifact("refs", "data")
        artifact.add_reference(f"file://{tmp_path}/data.txt")
        artifact.add_reference(f"{server.url}/healthz", name="web")
        artifact.add_reference("custom://somewhere/x", name="odd", checksum=False)
        version = run.log_artifact(artifact).wait()
    found = api.artifact(version.qualified_name)
    refs = {path: entry.ref for path, entry in found.manifest.entries.items()}
    assert refs["web"] == f"{server.url}/healthz"
    assert refs["odd"] == "custom://somewhere/x"
    assert Path(found.get_entry("data.txt").download(root=str(tmp_path / "d"))).read_text() == "here"


def test_one_file_and_a_prefix_can_be_fetched(start_run: Any, log: Any, api: Any, tmp_path: Path) -> None:
    """`get_entry().download()` fetches one file, `download(path_prefix=…)` the files below a folder."""
    with start_run() as run:
        name = log(run, "m", {"a/1": b"1", "a/2": b"2", "b/1": b"3"}).qualified_name
    found = api.artifact(name)
    assert Path(found.get_entry("b/1").download(root=str(tmp_path / "one"))).read_bytes() == b"3"
    folder = Path(found.download(root=str(tmp_path / "some"), path_prefix="a/"))
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == ["a/1", "a/2"]
    names = {file.name: file.size for file in found.files()}
    assert names == {"a/1": 1, "a/2": 1, "b/1": 1}
    assert len(found.files()) == 3
    assert [file.name for file in found.files(names=["a/2"])] == ["a/2"]


def test_checkout_restores_exactly(start_run: Any, log: Any, api: Any, tmp_path: Path) -> None:
    """`checkout` makes the folder equal to the version, removing what does not belong."""
    with start_run() as run:
        name = log(run, "m", {"f": b"1"}).qualified_name
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stray").write_text("x")
    api.artifact(name).checkout(str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["f"]


def test_lineage_is_recorded(start_run: Any, log: Any, api: Any) -> None:
    """Who logged a version and who used it can be read from both ends."""
    with start_run() as run:
        version = log(run, "m", {"f": b"1"})
        log(run, "other", {"f": b"2"}, kind="data")
    with start_run() as user:
        user.use_artifact(version.qualified_name)
        user.use_artifact(f"{run.entity}/{run.project}/other:latest")
    found = api.artifact(version.qualified_name)
    assert found.logged_by().id == run.id
    assert [each.id for each in found.used_by()] == [user.id]
    assert {each.name for each in api.run(run.path).logged_artifacts()} == {"m:v0", "other:v0"}
    assert {each.name for each in api.run(user.path).used_artifacts()} == {"m:v0", "other:v0"}


def test_a_draft_can_be_used_as_an_input(start_run: Any, api: Any) -> None:
    """`use_artifact` of a draft logs it and records it as an input."""
    import wandb

    with start_run() as run:
        draft = wandb.Artifact("draft", "data")
        with draft.new_file("f", mode="wb") as file:
            file.write(b"1")
        used = run.use_artifact(draft)
        used.wait()
    assert {each.name for each in api.run(run.path).used_artifacts()} == {"draft:v0"}


def test_processes_write_one_version_together(start_run: Any, api: Any, tmp_path: Path) -> None:
    """`upsert_artifact` from several runs and `finish_artifact` from one make one version with all files."""
    import wandb

    def part(name: str) -> wandb.Artifact:
        artifact = wandb.Artifact("together", "model")
        with artifact.new_file(name, mode="wb") as file:
            file.write(name.encode())
        return artifact

    for name in ("one", "two"):
        with start_run(group="g") as run:
            run.upsert_artifact(part(name), distributed_id="d1")
    with start_run(group="g") as run:
        run.finish_artifact(part("three"), distributed_id="d1")
    found = api.artifact(f"{run.entity}/{run.project}/together:latest")
    assert (found.version, set(found.manifest.entries)) == ("v0", {"one", "two", "three"})


def test_references_to_other_versions_resolve(start_run: Any, log: Any, api: Any, tmp_path: Path) -> None:
    """A file of one version, saved or not, can be a part of another without being copied."""
    import wandb

    with start_run() as run:
        source = log(run, "source", {"f": b"source"})
        unsaved = wandb.Artifact("unsaved", "data")
        with unsaved.new_file("g", mode="wb") as file:
            file.write(b"unsaved")
        run.log_artifact(unsaved)
        both = wandb.Artifact("both", "data")
        both.add_reference(source.get_entry("f").ref_url(), "f")
        both.add_reference(f"wandb-client-artifact://{unsaved._client_id}/g", "g")
        version = run.log_artifact(both).wait()
    folder = Path(api.artifact(version.qualified_name).download(root=str(tmp_path / "d")))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"f": b"source", "g": b"unsaved"}


def test_xxh128_digests(start_run: Any, api: Any, tmp_path: Path) -> None:
    """An artifact hashed with XXH128 is stored, deduplicated and verified like any other."""
    import wandb

    def artifact(content: bytes) -> Any:
        made = wandb.Artifact("x", "model", digest_algorithm="XXH128")
        with made.new_file("f", mode="wb") as file:
            file.write(content)
        return made

    with start_run() as run:
        versions = [run.log_artifact(artifact(content)).wait() for content in (b"1", b"2", b"1")]
    assert [version.version for version in versions] == ["v0", "v1", "v0"]
    found = api.artifact(f"{run.entity}/{run.project}/x:v1")
    folder = Path(found.download(root=str(tmp_path / "d")))
    found.verify(root=str(folder))
    assert (folder / "f").read_bytes() == b"2"


@pytest.mark.slow
def test_ten_thousand_files(start_run: Any, api: Any, tmp_path: Path) -> None:
    """A version of ten thousand files is logged, listed and read."""
    import wandb

    source = tmp_path / "many"
    source.mkdir()
    for number in range(10_000):
        (source / f"{number:05}").write_bytes(number.to_bytes(4, "big"))
    with start_run() as run:
        artifact = wandb.Artifact("many", "data")
        artifact.add_dir(str(source), policy="immutable", skip_cache=True)
        version = run.log_artifact(artifact).wait()
    found = api.artifact(version.qualified_name)
    assert (found.file_count, len(found.manifest.entries)) == (10_000, 10_000)
    assert found.get_entry("00777").download(root=str(tmp_path / "d"))


def test_the_history_step_of_a_version(start_run: Any, log: Any, api: Any) -> None:
    """A version knows the step of the run that it was logged at."""
    with start_run() as run:
        for _ in range(3):
            run.log({"a": 1})
        name = log(run, "m", {"f": b"1"}).qualified_name
    assert api.artifact(name).history_step == 2


def test_wrong_names_are_refused(graphql: Callable[..., Any], project: str) -> None:
    """Names that the client would not send are refused by the server, too."""
    create = "mutation ($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id } } }"
    good = {"artifactTypeName": "model", "artifactCollectionName": "m", "projectName": project, "digest": "d"}
    for wrong in (
        {"artifactCollectionName": "../m"},
        {"artifactCollectionName": "a" * 129},
        {"artifactTypeName": "a" * 129},
        {"projectName": "a/b"},
        {"aliases": [{"artifactCollectionName": "m", "alias": "a:b"}]},
        {"tags": [{"tagName": "a!"}]},
        {"metadata": "[1]"},
        {"storageRegion": "moon"},
    ):
        with pytest.raises(ValueError, match=r"Invalid|not known"):
            graphql(create, i={**good, **wrong})
