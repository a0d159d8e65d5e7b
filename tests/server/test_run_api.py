"""Runs: history, summary, config, files, console, resume, sync and state, with the unmodified client."""

import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts import ran
from wandb_ckpt.server.store.records import now
from wandb_ckpt.server.store.runs import shown_state


def test_metrics_summary_and_config_can_be_read_back(start_run: Any, api: Any) -> None:
    """What a run logs is in its history, its summary and its config; a finished run says so."""
    with start_run(config={"lr": 0.1, "deep": {"a": 1}}, tags=["t"], group="g", job_type="train", notes="n") as run:
        for step in range(20):
            run.log({"loss": 1 / (step + 1), "acc": step})
        run.summary["best"] = 0.5
    found = api.run(run.path)
    assert (found.state, found.tags, found.group, found.job_type, found.notes) == (
        "finished",
        ["t"],
        "g",
        "train",
        "n",
    )
    assert found.config == {"lr": 0.1, "deep": {"a": 1}}
    assert (found.summary["best"], found.summary["acc"], found.lastHistoryStep) == (0.5, 19, 19)
    assert [row["acc"] for row in found.history(pandas=False)] == list(range(20))
    assert [row["acc"] for row in found.scan_history()] == list(range(20))
    assert [row["loss"] for row in found.scan_history(keys=["loss"], page_size=7)][:2] == [1, 0.5]
    assert [row["acc"] for row in found.scan_history(min_step=5, max_step=8)] == [5, 6, 7]
    assert len(found.history(samples=5, pandas=False)) == 5
    assert [row["acc"] for row in found.history(keys=["acc"], samples=100, pandas=False)] == list(range(20))


def test_not_a_number_is_no_trouble(start_run: Any, api: Any) -> None:
    """NaN and infinities are logged and read; answers stay valid JSON."""
    with start_run() as run:
        run.log({"a": float("nan"), "b": float("inf")})
    found = api.run(run.path)
    assert found.history(pandas=False)
    assert found.summary.get("b") in {"Infinity", float("inf")}
    assert found.history(keys=["a"], pandas=False)


def test_files_of_a_run(start_run: Any, api: Any, tmp_path: Path) -> None:
    """Files can be saved with a run, listed, downloaded, uploaded afterwards and deleted."""
    (tmp_path / "note.txt").write_text("hello")
    with start_run() as run:
        run.save(str(tmp_path / "note.txt"), base_path=str(tmp_path))
    found = api.run(run.path)
    names = {file.name for file in found.files()}
    assert {"note.txt", "config.yaml", "wandb-summary.json", "wandb-metadata.json"} <= names
    with found.file("note.txt").download(root=str(tmp_path / "d")) as file:
        assert file.read() == "hello"
    (tmp_path / "later.txt").write_text("later")
    found.upload_file(str(tmp_path / "later.txt"), root=str(tmp_path))
    later = api.run(run.path).file("later.txt")
    assert (later.size, later.mimetype) == (5, "text/plain")
    later.delete()
    assert "later.txt" not in {file.name for file in api.run(run.path).files(per_page=2)}


def test_the_console_is_kept(server: Any, project: str, tmp_path: Path, api: Any) -> None:
    """What a script prints is in the run's console lines."""
    script = f"import wandb\nwith wandb.init(project={project!r}, id='c1') as run:\n    print('hello console')\n"
    run_script(script, tmp_path, WANDB_CONSOLE="wrap")
    assert any("hello console" in line.content for line in api.run(f"{project}/c1").console_logs())


@pytest.mark.parametrize("resume", ["must", "allow"])
def test_resume_continues_a_run(start_run: Any, api: Any, resume: str) -> None:
    """A resumed run goes on with its step, its config and its history."""
    with start_run(id=f"r-{resume}", config={"a": 1}) as run:
        for _ in range(3):
            run.log({"x": 1})
    with start_run(id=f"r-{resume}", resume=resume) as run:
        assert run.resumed
        assert run.starting_step == 3
        assert run.config["a"] == 1
        run.log({"x": 2})
    rows = api.run(run.path).history(pandas=False)
    assert [row["_step"] for row in rows] == [0, 1, 2, 3]


def test_a_resumed_run_is_running_from_the_start(graphql: Callable[..., Any], project: str) -> None:
    """When a process takes a finished run up again, it counts as running; an edit from outside changes nothing."""
    upsert = "mutation ($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id state } } }"
    begin = {"name": "r", "modelName": project, "host": "box"}
    run = graphql(upsert, i=begin)["upsertBucket"]["bucket"]["id"]
    for state in ("finished", "failed", "crashed"):
        for change in ({"id": run, "state": state}, {"id": run, "notes": "n"}):
            assert graphql(upsert, i=change)["upsertBucket"]["bucket"]["state"] == state
        assert graphql(upsert, i=begin)["upsertBucket"]["bucket"]["state"] == "running"


def test_resume_must_needs_a_run(start_run: Any) -> None:
    """`resume="must"` for a run that is not there is an error."""
    import wandb

    with pytest.raises(wandb.Error):
        start_run(id="missing", resume="must")


def test_an_offline_run_is_synced(project: str, tmp_path: Path, api: Any) -> None:
    """`wandb sync` uploads an offline run with its metrics and versions."""
    script = f"""
import wandb
with wandb.init(project={project!r}, id="off1", mode="offline") as run:
    run.log({{"a": 1}})
    artifact = wandb.Artifact("offline", "model")
    with artifact.new_file("f", mode="wb") as file:
        file.write(b"offline")
    run.log_artifact(artifact, aliases=["best"])
"""
    run_script(script, tmp_path)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    done = ran([sys.executable, "-m", "wandb", "sync", str(folder)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = api.run(f"{project}/off1")
    assert (found.state, found.summary["a"]) == ("finished", 1)
    assert set(api.artifact(f"{project}/offline:best").aliases) == {"latest", "best"}


def test_the_exit_state(project: str, tmp_path: Path, api: Any) -> None:
    """A run whose script fails is failed."""
    run_script(f"import wandb\nwandb.init(project={project!r}, id='bad')\n1 / 0\n", tmp_path, expected=1)
    assert api.run(f"{project}/bad").state == "failed"


def test_runs_can_be_listed_filtered_and_ordered(start_run: Any, api: Any, project: str) -> None:
    """`api.runs` knows Mongo-like filters over config, summary and facts, and any order."""
    for number in range(4):
        with start_run(id=f"r{number}", config={"n": number, "deep": {"k": number}}, tags=[f"t{number % 2}"]) as run:
            run.log({"score": 10 - number})
    path = f"{run.entity}/{project}"

    def names(**query: Any) -> list[str]:
        return [found.id for found in api.runs(path, **query)]

    assert names(order="+created_at") == ["r0", "r1", "r2", "r3"]
    assert names() == ["r0", "r1", "r2", "r3"]
    assert names(order="-summary_metrics.score") == ["r0", "r1", "r2", "r3"]
    assert names(order="+summary_metrics.score", per_page=1) == ["r3", "r2", "r1", "r0"]
    assert set(names(filters={"config.n": {"$gte": 2}})) == {"r2", "r3"}
    assert set(names(filters={"config.n.value": 1})) == {"r1"}
    assert set(names(filters={"$and": [{"tags": "t1"}, {"summary_metrics.score": {"$lt": 9}}]})) == {"r3"}
    assert set(names(filters={"$or": [{"name": "r0"}, {"display_name": {"$regex": "no such"}}]})) == {"r0"}
    assert set(names(filters={"tags": {"$in": ["t0"]}, "state": "finished"})) == {"r0", "r2"}
    assert set(names(filters={"config.deep.k": {"$nin": [0, 1]}})) == {"r2", "r3"}
    assert len(api.runs(path)) == 4
    assert project in {each.name for each in api.projects(run.entity)}
    with pytest.raises(Exception, match="operator"):
        names(filters={"config.n": {"$where": "1"}})


def test_a_run_can_be_edited_and_deleted(start_run: Any, api: Any, log: Any) -> None:
    """The public API can rename a run, change its config, tags and summary, and delete it with its versions."""
    with start_run() as run:
        log(run, "m", {"f": b"1"})
    found = api.run(run.path)
    found.name, found.tags, found.config["new"] = "renamed", ["x"], 5
    found.summary["late"] = 1
    found.update()
    api.flush()
    seen = api.run(run.path)
    assert (seen.name, seen.tags, seen.config["new"], seen.summary["late"]) == ("renamed", ["x"], 5, 1)
    assert seen.state == "finished"
    seen.delete(delete_artifacts=True)
    api.flush()
    with pytest.raises(Exception, match=r"not find|not found"):
        api.run(run.path)
    assert not api.artifact_exists(f"{run.entity}/{run.project}/m:v0")


def test_a_silent_run_has_crashed() -> None:
    """A running run that was not heard of for more than five minutes is shown as crashed; ended ones stay."""
    assert shown_state("running", now()) == "running"
    assert shown_state("running", "2020-01-01T00:00:00Z") == "crashed"
    assert shown_state("finished", "2020-01-01T00:00:00Z") == "finished"


def test_a_run_can_be_asked_to_stop(start_run: Any, api: Any, http: Any) -> None:
    """`run.stop()` reaches the process with its next heart-beat, and not one that resumes the run later."""
    for is_asked in (True, False):
        with start_run(id="stopped", resume="allow") as run:
            if is_asked:
                api.run(run.path).stop()
            answer = http.post(f"/files/{run.entity}/{run.project}/{run.id}/file_stream", json={})
            assert answer.json()["stopped"] is is_asked
            run.alert("title", "text")


def test_repeated_lines_change_nothing(start_run: Any, api: Any, http: Any) -> None:
    """A chunk that is sent again, because its answer was lost, is in the history once."""
    with start_run() as run:
        run.log({"a": 1})
    chunk = {"files": {"wandb-history.jsonl": {"offset": 1, "content": [json.dumps({"_step": 1, "a": 2})]}}}
    for _ in range(3):
        http.post(f"/files/{run.entity}/{run.project}/{run.id}/file_stream", json=chunk).raise_for_status()
    http.post(f"/files/{run.entity}/{run.project}/{run.id}/file_stream", json={"complete": True, "exitcode": 0})
    assert [row["a"] for row in api.run(run.path).history(pandas=False)] == [1, 2]


def test_a_stream_may_be_packed(start_run: Any, api: Any, http: Any) -> None:
    """The client may gzip what it streams."""
    with start_run() as run:
        pass
    chunk = {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"_step": 0, "a": 7}']}}}
    place = f"/files/{run.entity}/{run.project}/{run.id}/file_stream"
    packed = gzip.compress(json.dumps(chunk).encode())
    http.post(place, content=packed, headers={"Content-Encoding": "gzip"}).raise_for_status()
    assert api.run(run.path).history(pandas=False)[0]["a"] == 7


def test_wrong_streams_are_refused(start_run: Any, http: Any) -> None:
    """A chunk of an unknown file, or of a wrong form, is refused and changes nothing."""
    with start_run() as run:
        pass
    place = f"/files/{run.entity}/{run.project}/{run.id}/file_stream"
    for wrong in (
        [],
        {"files": []},
        {"files": {"../x": {"offset": 0, "content": []}}},
        {"files": {"wandb-history.jsonl": {"offset": -1, "content": []}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": [1]}}},
    ):
        assert http.post(place, json=wrong).status_code == 400
    assert http.post(place.replace(run.id, "nobody"), json={}).status_code == 404
    assert http.post(place, content=b"{", headers={"Content-Encoding": "gzip"}).status_code == 400


def test_mutations_may_be_repeated(graphql: Callable[..., Any], start_run: Any) -> None:
    """Deleting a run twice is no error: the client repeats what got no answer."""
    with start_run() as run:
        pass
    find = "query ($p: String!, $n: String!) { project(name: $p) { run(name: $n) { id } } }"
    run_id = graphql(find, p=run.project, n=run.id)["project"]["run"]["id"]
    for _ in range(2):
        graphql("mutation ($i: DeleteRunInput!) { deleteRun(input: $i) { clientMutationId } }", i={"id": run_id})
    assert graphql(find, p=run.project, n=run.id)["project"]["run"] is None


def run_script(script: str, folder: Path, expected: int = 0, **environ: str) -> None:
    """Run Python in a process of its own, with a wandb service of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    done = ran([sys.executable, "-c", script], cwd=folder, env={**inherited, **environ})
    assert done.returncode == expected, done.stderr
