"""Further ways in which the client reaches the server: media, tables, models, code, the public API's own writing."""

import datetime
from pathlib import Path
from typing import Any

import pytest


def test_media_and_tables(start_run: Any, api: Any, tmp_path: Path) -> None:
    """Pages, histograms and tables are logged; a table comes back from its version."""
    import wandb

    with start_run() as run:
        run.log({"page": wandb.Html("<p>x</p>"), "h": wandb.Histogram([1, 2, 3])})
        run.log({"table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])})
    files = [file.name for file in api.run(run.path).files()]
    assert any(name.startswith("media/html/") for name in files)
    (logged,) = [each for each in api.run(run.path).logged_artifacts() if each.type == "run_table"]
    assert logged.get("table").data == [[1, "x"], [2, "y"]]
    assert [file.name for file in api.run(run.path).files(pattern="media/html/%")]


def test_log_model_and_use_model(start_run: Any, tmp_path: Path) -> None:
    """`log_model` and `use_model` are versions of type model."""
    (tmp_path / "weights").write_bytes(b"weights")
    with start_run() as run:
        run.log_model(str(tmp_path / "weights"), name="net", aliases=["best"])
    with start_run() as run:
        assert Path(run.use_model("net:best")).read_bytes() == b"weights"


def test_log_code(start_run: Any, api: Any, tmp_path: Path) -> None:
    """`log_code` keeps the sources as a version of type code."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("print()")
    with start_run() as run:
        run.log_code(str(tmp_path / "src"))
    assert [each.type for each in api.run(run.path).logged_artifacts()] == ["code"]


def test_restore_fetches_a_file_of_a_run(start_run: Any, tmp_path: Path) -> None:
    """`wandb.restore` downloads what another run saved."""
    import wandb

    (tmp_path / "a.txt").write_text("saved")
    with start_run() as run:
        run.save(str(tmp_path / "a.txt"), base_path=str(tmp_path))
    restored = wandb.restore("a.txt", run_path=run.path, root=str(tmp_path / "r"))
    assert restored
    with restored:
        assert Path(restored.name).read_text() == "saved"


def test_the_public_api_records_lineage(start_run: Any, log: Any, api: Any) -> None:
    """A finished run can be given inputs and outputs through the public API."""
    with start_run() as run:
        version = log(run, "m", {"f": b"1"})
    with start_run() as later:
        pass
    found = api.run(later.path)
    found.use_artifact(api.artifact(version.qualified_name))
    found.log_artifact(api.artifact(version.qualified_name), aliases=["again"])
    assert [each.name for each in api.run(later.path).used_artifacts()] == ["m:v0"]
    assert [each.name for each in api.run(later.path).logged_artifacts()] == ["m:v0"]
    assert "again" in api.artifact(version.qualified_name).aliases


def test_time_to_live_tags_and_description_at_once(start_run: Any, api: Any) -> None:
    """A draft's time to live, tags and description are there from the first moment."""
    import wandb

    with start_run() as run:
        artifact = wandb.Artifact("m", "model", description="first")
        artifact.ttl = datetime.timedelta(days=1)
        with artifact.new_file("f") as file:
            file.write("x")
        name = run.log_artifact(artifact, tags=["t1", "t2"]).wait().qualified_name
    found = api.artifact(name)
    assert (found.description, found.tags, found.ttl) == ("first", ["t1", "t2"], datetime.timedelta(days=1))


def test_saving_without_a_run(server: Any, project: str, api: Any) -> None:
    """`Artifact.save()` makes a run of its own."""
    import wandb

    artifact = wandb.Artifact("alone", "data")
    with artifact.new_file("f") as file:
        file.write("x")
    artifact.save(project=project, settings=wandb.Settings(base_url=server.url, api_key=server.api_key))
    artifact.wait()
    assert api.artifact(f"{project}/alone:latest").version == "v0"


def test_what_is_not_there_is_told_so(start_run: Any, log: Any, api: Any) -> None:
    """Missing projects, artifacts, versions and runs are errors that say what is missing."""
    with start_run() as run:
        log(run, "m", {"f": b"1"})
    path = f"{run.entity}/{run.project}"
    for missing in (f"{path}/m:v7", f"{path}/m:nope", f"{path}/no:latest", f"{run.entity}/none/m:v0"):
        with pytest.raises(Exception, match=r"not found|not find|Unable"):
            api.artifact(missing)
        assert not api.artifact_exists(missing)
    with pytest.raises(Exception, match="not find"):
        api.run(f"{path}/nobody")
    with pytest.raises(Exception, match=r"not find|Unable|not found"):
        len(api.artifacts("model", f"{path}/none"))


def test_a_changed_draft_of_a_version_is_deduplicated(start_run: Any, log: Any) -> None:
    """A new draft with nothing changed is the same version."""
    with start_run() as run:
        base = log(run, "m", {"f": b"1"})
        same = run.log_artifact(base.new_draft()).wait()
    assert same.version == "v0"


def test_where_files_and_manifests_are(start_run: Any, log: Any, api: Any, graphql: Any) -> None:
    """Only files are under `wandb_artifacts/`; a manifest is elsewhere, and its address ends in its name."""
    from urllib.parse import urlsplit

    with start_run() as run:
        version = log(run, "m", {"f": b"1"})
    (file,) = api.artifact(version.qualified_name).files()
    assert file.storage_path.startswith("wandb_artifacts/")
    assert "/wandb_artifacts/" in urlsplit(file.direct_url).path
    query = "query ($id: ID!) { artifact(id: $id) { currentManifest { file { directUrl } } } }"
    found = graphql(query, id=version.id)["artifact"]["currentManifest"]["file"]["directUrl"]
    path = urlsplit(found).path
    assert path.endswith("/wandb_manifest.json")
    assert "wandb_artifacts" not in path
