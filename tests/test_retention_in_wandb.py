"""Versions that may go are gone, those that somebody needs stay, and the best are linked."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import keras
import pytest
import wandb

import wandb_ckpt
from proxy import Proxy
from scripts import run_script
from training import Seen, contents, fit, logs_of, versions
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.keras import WandbModelCheckpoint
from wandb_ckpt.publishing import retention
from wandb_ckpt.wandb_api import versions as own_versions
from wandb_ckpt.wandb_api.errors import UnreachableError

NAN = float("nan")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old versions go at once; how long they stay for late readers is seen by the test of a hundred checkpoints."""
    monkeypatch.setattr(retention, "GRACE", 0.1)


@pytest.fixture
def train(start_run: Callable[..., Any], tmp_path: Path) -> Callable[..., list[Seen]]:
    """Trains with given values of val_loss, one an epoch, and returns the versions that are left."""

    def train(values: list[float], *callbacks: Any, **arguments: Any) -> list[Seen]:
        run = start_run()
        callback = WandbModelCheckpoint("m-{epoch}.keras", **arguments)
        fit(keras, [logs_of(keras, values), callback, *callbacks], epochs=len(values))
        return versions(run.path, tmp_path / "fetched", arguments.get("artifact_name"))

    return train


class At(keras.callbacks.Callback):  # type: ignore[misc]
    """Does something at the end of an epoch, once all checkpoints so far are committed."""

    def __init__(self, epoch: int, checkpoint: Any, action: Callable[[], Any]) -> None:
        super().__init__()
        self.epoch, self.checkpoint, self.action = epoch, checkpoint, action

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            assert self.checkpoint._session.publisher.flush()
            self.action()


def numbers(seen: list[Seen]) -> list[int]:
    """The N of each version."""
    return [int(version.version[1:]) for version in seen]


def promised(values: list[float], newest: int, best: int = 1) -> list[int]:
    """Which of the versions with these values should be left, by the words of the README; lower is better."""
    ranked = sorted((value, number) for number, value in enumerate(values) if value == value)
    return sorted({*range(len(values))[-newest:], *(number for _, number in ranked[:best])})


@pytest.mark.parametrize(
    ("values", "arguments", "newest", "best"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], {"max_versions": 2}, 2, 1),
        ([5.0, 4.0, 3.0, 2.0, 1.0], {"max_versions": 2}, 2, 1),
        ([NAN, 5.0, NAN, 3.0, 4.0, NAN, 6.0], {"max_versions": 1, "keep_best": 2}, 1, 2),
        ([3.0, 1.0, 2.0, 4.0, 5.0], {"keep_best": 3}, 1, 3),
        ([2.0, 2.0, 2.0, 2.0], {"max_versions": 1}, 1, 1),
        ([1.0, 2.0, 3.0], {"max_versions": 9}, 9, 1),
    ],
)
def test_what_is_promised_is_left(
    train: Any, values: list[float], arguments: dict[str, int], newest: int, best: int
) -> None:
    """The newest N, the best and the best K stay; all others are gone when `fit` returns."""
    seen = train(values, **arguments)
    assert numbers(seen) == promised(values, newest, best)
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [
        min(value for value in values if value == value)
    ]


def test_with_save_best_only_and_a_maximum(train: Any) -> None:
    """With `save_best_only` the newest is the best, and K of them stay."""
    seen = train([1.0, 3.0, 2.0, 4.0, 5.0, 0.0], save_best_only=True, mode="max", max_versions=1, keep_best=2)
    assert [version.metadata["value"] for version in seen] == [4.0, 5.0]
    assert seen[-1].aliases >= {"latest", "best"}


def test_what_others_need_stays(start_run: Any, tmp_path: Path) -> None:
    """A version with somebody's alias, a linked one and one of another run stay, whatever the rule says."""
    with start_run():
        fit(keras, [logs_of(keras, [9.0, 8.0]), WandbModelCheckpoint("a.keras", artifact_name="shared")])
    run = start_run()
    callback = WandbModelCheckpoint("b-{epoch}.keras", artifact_name="shared", max_versions=2)
    path = f"{run.entity}/{run.project}/shared"

    def give_an_alias() -> None:
        artifact = wandb.Api().artifact(f"{path}:v3")
        artifact.aliases.append("prod")
        artifact.save()

    def link() -> None:
        wandb.Api().artifact(f"{path}:v4").link("wandb-registry-model/chosen")

    values = [7.0, 7.5, 7.6, 7.7, 7.8, 7.9, 8.0]
    actions = At(1, callback, give_an_alias), At(3, callback, link)
    fit(keras, [logs_of(keras, values), callback, *actions], epochs=7)
    seen = versions(run.path, tmp_path / "fetched", "shared")
    assert numbers(seen) == [0, 1, 2, 3, 4, 7, 8]
    assert seen[3].aliases == {"epoch_1", "prod"}
    assert "best" in seen[2].aliases


def test_an_alias_that_comes_in_the_last_moment(start_run: Any, tmp_path: Path) -> None:
    """When another client moves `best` to a version that is just being deleted, W&B keeps it, with its aliases."""
    run = start_run()
    fit(keras, [logs_of(keras, [2.0, 1.0]), WandbModelCheckpoint("m.keras")])
    first, _ = own_versions.logged(run, f"run_{run.id}_model")
    theirs = wandb.Api().artifact(first.ref)
    theirs.aliases.append("best")
    theirs.save()
    with pytest.raises(UnreachableError, match="aliases"):
        own_versions.remove(first.artifact)
    assert versions(run.path, tmp_path / "fetched")[0].aliases == {"epoch_0", "best"}


KILLED = """
class Logs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = VALUES[epoch]
run = wandb.init(resume="allow")
callback = WandbModelCheckpoint("m-{epoch}.keras", max_versions=2, keep_best=2)
class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == KILL:
            while sum(outcome.state == "committed" for outcome in callback.checkpoints) < epoch:
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
fit(Logs(), callback, Kill(), epochs=len(VALUES))
"""


def test_a_killed_and_resumed_run(server: Any, project: str, tmp_path: Path) -> None:
    """A resumed run counts the versions of the killed process, and takes along what that one left."""
    values = [5.0, 1.0, 4.0, 3.0, 6.0]
    facts = "VALUES, KILL = {}, {}\n"
    code, output = run_script(facts.format(values, 4) + KILLED, tmp_path, project, "r1")
    assert code == -9, output
    code, output = run_script(facts.format([7.0, 2.0, 8.0], 9) + KILLED, tmp_path, project, "r1")
    assert code == 0, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "after")
    left = {version.metadata["value"]: version.aliases for version in seen}
    assert left.keys() == {1.0, 2.0, 8.0}
    assert ("best" in left[1.0], "latest" in left[8.0]) == (True, True)


def test_training_that_ends_with_an_exception(server: Any, project: str, tmp_path: Path) -> None:
    """What may go is gone when the process is over, although nothing called the end of training."""
    body = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('the user\\'s own')")
    values = [5.0, 1.0, 4.0, 3.0]
    code, output = run_script(f"VALUES, KILL = {values}, 3\n" + body, tmp_path, project, "r1")
    assert (code, "the user's own" in output) == (1, True)
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert numbers(seen) == promised(values, 2, 2), output


def test_deleting_that_w_and_b_refuses(proxy: Proxy, train: Any, caplog: Any) -> None:
    """Without permission to delete, versions stay as they are, with one warning, and training goes on."""
    proxy.refused.add("deleteArtifact")
    seen = train([1.0, 2.0, 3.0, 4.0], max_versions=1)
    assert [version.aliases for version in seen] == [
        {"best", "epoch_0"},
        {"epoch_1"},
        {"epoch_2"},
        {"epoch_3", "latest"},
    ]
    (warning,) = [record.message for record in caplog.records if "could not be deleted" in record.message]
    assert "permission denied" in warning


def test_deleting_that_w_and_b_refuses_for_a_while(proxy: Proxy, start_run: Any, tmp_path: Path) -> None:
    """What was refused once goes after a later checkpoint."""
    run = start_run()
    proxy.refused.add("deleteArtifact")
    callback = WandbModelCheckpoint("m.keras", max_versions=1)
    allow = At(2, callback, lambda: (callback._session.retention.flush(), proxy.refused.clear()))
    fit(keras, [logs_of(keras, [1.0, 2.0, 3.0, 4.0]), callback, allow], epochs=4)
    assert numbers(versions(run.path, tmp_path / "fetched")) == [0, 3]


def test_a_time_to_live_in_place_of_deletion(train: Any, start_run: Any) -> None:
    """With `ttl` all stay, and W&B is told when the others may go; what becomes the best loses it again."""
    seen = train([1.0, 3.0, 2.0, 4.0], max_versions=1, keep_best=2, ttl=timedelta(days=30))
    path = f"{wandb.run.entity}/{wandb.run.project}/run_{wandb.run.id}_model"
    found = {version.version: wandb.Api().artifact(f"{path}:{version.version}").ttl for version in seen}
    assert found == {"v0": None, "v1": timedelta(days=30), "v2": None, "v3": None}


def test_a_version_with_a_time_to_live_that_is_needed_again(start_run: Any, tmp_path: Path) -> None:
    """A version that is to stay after all, because it is the best again, has no time to live any more."""
    run = start_run()
    callback = WandbModelCheckpoint("m.keras", ttl=timedelta(days=1))
    name = f"{run.entity}/{run.project}/run_{run.id}_model"
    times: list[timedelta | None] = []

    def make_it_the_best() -> None:
        callback._session.retention.flush()
        artifact = wandb.Api().artifact(f"{name}:v1")
        times.append(artifact.ttl)
        artifact.aliases.append("best")
        artifact.save()

    values = [1.0, 2.0, 3.0, 4.0]
    fit(keras, [logs_of(keras, values), callback, At(2, callback, make_it_the_best)], epochs=4)
    found = [wandb.Api().artifact(f"{name}:v{number}").ttl for number in range(4)]
    assert times == [timedelta(days=1)]
    assert found == [timedelta(days=1), None, timedelta(days=1), None]


def test_best_moves_and_goes_while_it_is_fetched(proxy: Proxy, start_run: Any, tmp_path: Path) -> None:
    """Who fetches `best` gets the new one when the one that was found is deleted before its files were read."""
    run = start_run()
    fit(keras, [logs_of(keras, [1.0, 2.0]), WandbModelCheckpoint("m-{epoch}.keras")])
    name = f"{run.entity}/{run.project}/run_{run.id}_model"
    old, new = (wandb.Api().artifact(f"{name}:v{number}") for number in (0, 1))

    def move_and_delete() -> None:
        new.aliases.append("best")
        new.save()
        old.delete(delete_aliases=True)

    proxy.before_download.append(move_and_delete)
    path = wandb_ckpt.download(f"{name}:best", root=tmp_path / "fetched")
    assert not proxy.before_download
    assert path.read_bytes() == Path("m-2.keras").read_bytes()


def test_late_readers_have_some_time(monkeypatch: pytest.MonkeyPatch, train: Any) -> None:
    """A version that may go stays for the time that who has just found it as `best` needs."""
    monkeypatch.setattr(retention, "GRACE", 600.0)
    monkeypatch.setattr(retention, "PATIENCE", 2.0)
    assert numbers(train([3.0, 2.0, 1.0], max_versions=1)) == [0, 1, 2]


# ---- links -------------------------------------------------------------------------------------------------


def linked(path: str) -> list[tuple[float, set[str]]]:
    """The value and aliases of each version in a collection, in the order of linking."""
    found = sorted(wandb.Api().artifacts("model", path), key=lambda artifact: int(artifact.version[1:]))
    return [(artifact.metadata["value"], set(artifact.aliases)) for artifact in found]


def test_links_what_becomes_the_best(train: Any, server: Any, project: str) -> None:
    """Each version that becomes the best is linked, past the threshold only, with its alias; and is never deleted."""
    collection = f"wandb-registry-model/{project}"
    arguments = {"link_to": collection, "link_aliases": ["candidate"], "link_threshold": 3.0, "max_versions": 1}
    seen = train([4.0, 3.0, 2.0, 5.0, NAN, 1.0, 6.0], **arguments)
    assert linked(f"{server.entity}/{collection}") == [(2.0, set()), (1.0, {"latest", "candidate"})]
    assert [version.metadata["value"] for version in seen] == [2.0, 1.0, 6.0]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_links_into_a_project(train: Any, server: Any, project: str, depth: int) -> None:
    """A collection without a registry is one of the run's project, or of the one that is named."""
    path = f"{server.entity}/{project}/chosen"
    train([2.0, 3.0, 1.0], link_to="/".join(path.split("/")[-depth:]))
    assert [value for value, _ in linked(path)] == [2.0, 1.0]


def test_linking_that_is_refused_for_a_while(
    proxy: Proxy, start_run: Any, server: Any, project: str, caplog: Any
) -> None:
    """A link that W&B refuses is a warning, and is made after a later checkpoint."""
    start_run()
    proxy.refused.add("linkArtifact")
    callback = WandbModelCheckpoint("m.keras", link_to="chosen", on_error="raise")
    allow = At(1, callback, proxy.refused.clear)
    fit(keras, [logs_of(keras, [1.0, 2.0, 3.0]), callback, allow], epochs=3)
    assert [value for value, _ in linked(f"{server.entity}/{project}/chosen")] == [1.0]
    assert "permission denied" in "".join(
        record.message for record in caplog.records if "not linked" in record.message
    )


# ---- local files -------------------------------------------------------------------------------------------


def test_local_files(start_run: Any) -> None:
    """The newest N files and the best stay; a file that something else changed or wrote does too."""
    start_run()
    Path("m-9.keras").write_text("of an earlier training")
    callback = WandbModelCheckpoint("m-{epoch}.keras", max_to_keep=2)
    notes = At(0, callback, lambda: Path("m-1.keras").write_text("changed"))
    fit(keras, [logs_of(keras, [3.0, 4.0, 1.0, 5.0, 6.0, 7.0]), callback, notes], epochs=6)
    assert sorted(Path().glob("*.keras")) == [Path(f"m-{number}.keras") for number in (1, 3, 5, 6, 9)]
    assert {outcome.state for outcome in callback.checkpoints} == {"committed"}


def test_local_files_at_one_path(start_run: Any, tmp_path: Path) -> None:
    """A path that is written again and again has the newest checkpoint, which stays."""
    run = start_run()
    fit(keras, [WandbModelCheckpoint("m.keras", max_to_keep=1)], epochs=3)
    seen = versions(run.path, tmp_path / "fetched")
    assert (len(seen), seen[-1].files) == (3, {"m.keras": contents(Path())["m.keras"]})


def test_local_files_of_an_earlier_process(start_run: Any) -> None:
    """A resumed run goes on with the files of the processes before it; `best` is kept, what was changed stays."""
    for values in ([2.0, 1.0, 3.0], [4.0, 5.0], [0.5]):
        with start_run(id="r1", resume="allow"):
            callback = WandbModelCheckpoint(f"m{len(values)}-{{epoch}}.keras", artifact_name="m", max_to_keep=2)
            fit(keras, [logs_of(keras, values), callback], epochs=len(values))
        if len(values) == 3:
            assert sorted(map(str, Path().glob("m*.keras"))) == ["m3-2.keras", "m3-3.keras"]
            Path("m3-3.keras").write_text("somebody's")
    assert sorted(map(str, Path().glob("m*.keras"))) == ["m1-1.keras", "m2-2.keras", "m3-3.keras"]


def test_local_files_offline(start_run: Any, caplog: Any) -> None:
    """Offline the bytes wait in the run's folder, so the files go as well; what needs W&B is said once."""
    run = start_run(mode="offline")
    callback = WandbModelCheckpoint("out/m-{epoch}.keras", max_to_keep=1, max_versions=1, link_to="chosen")
    fit(keras, [logs_of(keras, [1.0, 2.0, 3.0]), callback], epochs=3)
    fit(keras, [logs_of(keras, [0.5, 2.0, 3.0]), callback], epochs=3)
    assert sorted(os.listdir("out")) == ["m-1.keras", "m-3.keras"]
    assert len(list(Path(run.sync_dir).rglob("*.keras"))) == 6
    (warning,) = [record.message for record in caplog.records if "An offline run" in record.message]
    assert "max_versions, link_to" in warning


@pytest.mark.parametrize("weights_only", [True, False])
def test_local_files_of_tf_keras(server: Any, project: str, tmp_path: Path, weights_only: bool) -> None:
    """SavedModel folders and TF prefixes go whole, but for what others keep in them and the `checkpoint` file."""
    body = f"""
    import tf_keras
    from pathlib import Path
    from wandb_ckpt.tf_keras import WandbModelCheckpoint as Legacy
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    class Note(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and not {weights_only}:
                Path("out/m-2/notes.txt").write_text("mine")
    with wandb.init():
        callback = Legacy("out/m-{{epoch}}", monitor="x", save_weights_only={weights_only}, max_to_keep=1)
        model.fit(x, y, epochs=4, verbose=0, callbacks=[callback, Note()])
        assert {{outcome.state for outcome in callback.checkpoints}} == {{"committed"}}, callback.checkpoints
    """
    code, output = run_script(body, tmp_path, project, "r1", TF_USE_LEGACY_KERAS="1")
    assert code == 0, output
    left = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("*"))
    if weights_only:
        assert left == ["checkpoint", "m-4.data-00000-of-00001", "m-4.index"]
    else:
        assert left == ["m-2", "m-4"]
        assert os.listdir(tmp_path / "out" / "m-2") == ["notes.txt"]


# ---- arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_versions": 0}, "max_versions=0"),
        ({"max_versions": True}, "max_versions=True"),
        ({"keep_best": -1}, "keep_best=-1"),
        ({"max_to_keep": 1.5}, "max_to_keep=1.5"),
        ({"ttl": 30}, r"timedelta\(days=30\)"),
        ({"ttl": timedelta(0)}, "ttl="),
        ({"link_to": "registry/model/digits/best"}, "link_to="),
        ({"link_to": "digits:best"}, "without an alias"),
        ({"link_to": ""}, "link_to="),
        ({"link_to": 3}, "link_to="),
        ({"link_aliases": ["prod"]}, "without link_to"),
        ({"link_threshold": 0.5}, "without link_to"),
        ({"link_to": "digits", "link_aliases": "prod"}, r"\['prod'\]"),
        ({"link_to": "digits", "link_aliases": ["v3"]}, "link_aliases has 'v3'"),
        ({"link_to": "digits", "link_threshold": NAN}, "link_threshold="),
    ],
)
def test_arguments_that_can_not_work(arguments: dict[str, Any], words: str) -> None:
    """They are refused when the callback is made, in words that say what to pass."""
    with pytest.raises(ArgumentError, match=words):
        WandbModelCheckpoint("m.keras", **arguments)


def test_the_best_of_nobody_knows_which_direction(start_run: Any) -> None:
    """`keep_best` of a metric whose direction Keras does not know is refused before anything is saved."""
    start_run()
    callback = WandbModelCheckpoint("m.keras", monitor="val_f1", keep_best=2)
    with pytest.raises(ArgumentError, match=r"keep_best=2 needs to know\. Pass mode="):
        fit(keras, [logs_of(keras, [1.0], "val_f1"), callback])
    assert not Path("m.keras").exists()


# ---- a hundred checkpoints ---------------------------------------------------------------------------------

READER = """
import hashlib, json, pathlib, sys
import wandb_ckpt
ref, root, results, stop = sys.argv[1:]
count = 0
with open(results, "w") as file:
    while not (is_last := pathlib.Path(stop).exists()) or not count:
        try:
            path = wandb_ckpt.download(ref, root=f"{root}/{count}")
        except wandb_ckpt.CheckpointNotFoundError:
            assert not count, "there was a best, and there is none any more"
        else:
            count += 1
            print(json.dumps([path.name, hashlib.sha256(path.read_bytes()).hexdigest()]), file=file, flush=True)
"""


def up_and_down(*, improves: bool) -> list[float]:
    """A hundred values: a random walk with gaps, or one that mostly gets better."""
    chance = random.Random(5)
    values = [10.0]
    while len(values) < 100:
        step = chance.uniform(-1.0, 0.2) if improves else chance.uniform(-1.0, 1.0)
        values.append(NAN if chance.random() < 0.1 else [each for each in values if each == each][-1] + step)
    return values


@pytest.mark.slow
@pytest.mark.parametrize("best_only", [False, True])
def test_a_hundred_checkpoints(
    start_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best_only: bool
) -> None:
    """Exactly the promised versions are left, and `best` always gives a second process the right bytes."""
    monkeypatch.setattr(retention, "GRACE", 3.0)
    run, values, folder = start_run(), up_and_down(improves=best_only), tmp_path / "out"
    ref = f"{run.entity}/{run.project}/run_{run.id}_model:best"
    arguments = [ref, tmp_path / "read", tmp_path / "results", tmp_path / "stop"]
    environ = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    callback = WandbModelCheckpoint(folder / "{epoch}.keras", save_best_only=best_only, max_versions=3, keep_best=4)
    results = tmp_path / "results"
    results.touch()
    with subprocess.Popen([sys.executable, "-c", READER, *map(str, arguments)], env=environ) as reader:

        def let_read() -> None:
            count = len(results.read_text().splitlines())
            while len(results.read_text().splitlines()) < count + 2:  # the first may have begun before
                assert reader.poll() is None
                time.sleep(0.05)

        try:
            turns = [At(epoch, callback, let_read) for epoch in range(9, 100, 10)]
            fit(keras, [logs_of(keras, values), callback, *turns], epochs=100)
        finally:
            (tmp_path / "stop").touch()
    assert reader.returncode == 0
    saved = [each.checkpoint.value for each in callback.checkpoints]
    seen = versions(run.path, tmp_path / "fetched")
    assert len(saved) == 100 if not best_only else len(saved) > 50
    assert numbers(seen) == promised([NAN if value is None else value for value in saved], 3, 4)
    assert [each.metadata["value"] for each in seen if "best" in each.aliases] == [min(filter(None, saved))]
    check_what_was_read(results, contents(folder), values)


def check_what_was_read(results: Path, truth: dict[str, str], values: list[float]) -> None:
    """Each time the bytes were those that Keras saved, and never of a worse checkpoint than the time before."""
    read = [json.loads(line) for line in results.read_text().splitlines()]
    assert [digest for _, digest in read] == [truth[name] for name, _ in read]
    of_each = [values[int(name.removesuffix(".keras")) - 1] for name, _ in read]
    assert of_each == sorted(of_each, reverse=True)
    assert len(set(of_each)) > 3
