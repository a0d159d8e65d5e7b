"""A process killed at any moment, or a save that fails, leaves the previous checkpoint whole."""

import os
import signal
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts import run_script, script
from training import X, Y, contents, fit, versions
from wandb_ckpt.saving import atomic
from wandb_ckpt.saving.atomic import PrivateFolder, finish_killed_saves

SLOW_SAVE = """
wandb.init()
callback = WandbModelCheckpoint("out/m.keras")
fit(callback, epochs=1)
print(os.stat("out/m.keras").st_ino, flush=True)

class Slow(keras.layers.Layer):
    "A layer whose save never ends."
    def call(self, x):
        return x

    def save_own_variables(self, store):
        print("saving", flush=True)
        time.sleep(600)

model = keras.Sequential([keras.Input((4,)), Slow(), keras.layers.Dense(1)])
model.compile("adam", "mse")
fit(callback, epochs=1)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_mid_save(server: Any, project: str, tmp_path: Path, number: int) -> None:
    """The file is still the previous one, and what W&B has; the next start sweeps what was half written."""
    with script(SLOW_SAVE, tmp_path, project, "r1") as process:
        inode = next(line for line in process.stdout if line.strip().isdigit())
        assert any("saving" in line for line in process.stdout)
        before = contents(tmp_path / "out")
        process.send_signal(number)

    assert (tmp_path / "out" / "m.keras").stat().st_ino == int(inode)
    assert contents(tmp_path / "out") == before
    assert zipfile.ZipFile(tmp_path / "out" / "m.keras").testzip() is None
    finish_killed_saves(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["m.keras"]
    (seen,) = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert seen.files == before


def folder_of_a_dead_process(target: Path, files: dict[str, bytes]) -> SimpleNamespace:
    """A private folder as it is when its process is killed."""
    pid = os.fork()
    if pid == 0:
        PrivateFolder(str(target))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    root = max(target.parent.glob(f"{atomic.PREFIX}*"), key=lambda path: path.stat().st_ctime_ns)
    folder = SimpleNamespace(root=root, partial=root / "partial", content=root / "content")
    for name, data in files.items():
        (folder.partial / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.partial / name).write_bytes(data)
    return folder


def test_a_prefix_killed_between_two_files_is_finished(tmp_path: Path) -> None:
    """A TF prefix is several files: the next start finishes what the kill left between them."""
    for name in ("w.index", "w.data-00000-of-00001", "checkpoint"):
        (tmp_path / name).write_bytes(b"old")
        os.utime(tmp_path / name, (1e9, 1e9))
    new = {"w.index": b"new", "w.data-00000-of-00001": b"new", "checkpoint": b"new"}
    folder = folder_of_a_dead_process(tmp_path / "w", new)
    folder.partial.rename(folder.content)
    placing = folder.root / "placing"
    atomic.link_tree(folder.content, placing)
    (placing / "w.data-00000-of-00001").replace(tmp_path / "w.data-00000-of-00001")

    finish_killed_saves(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == new


def test_a_folder_killed_after_the_swap_stays_new(tmp_path: Path) -> None:
    """A SavedModel that was swapped in already is not swapped back."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "a.pb").write_bytes(b"new")
    folder = folder_of_a_dead_process(tmp_path / "saved", {"saved/a.pb": b"new"})
    folder.partial.rename(folder.content)
    (folder.root / "placing" / "saved").mkdir(parents=True)
    (folder.root / "placing" / "saved" / "a.pb").write_bytes(b"old")

    finish_killed_saves(tmp_path)
    assert (tmp_path / "saved" / "a.pb").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["saved"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    """A new SavedModel takes the old one's place whole, other files in the folder stay; also without renameat2."""
    if not exchange:
        monkeypatch.setattr("sys.platform", "darwin")
    for name in ("saved_model.pb", "variables/old", "log.csv", "notes/a.txt"):
        (tmp_path / "saved" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "saved" / name).write_bytes(b"old")
    folder = PrivateFolder(str(tmp_path / "saved"))
    (folder.partial / "saved").mkdir()
    (folder.partial / "saved" / "saved_model.pb").write_bytes(b"new")
    folder.place()
    assert contents(tmp_path / "saved").keys() == {"saved_model.pb", "log.csv", "notes/a.txt"}
    assert (folder.content / "saved" / "saved_model.pb").samefile(tmp_path / "saved" / "saved_model.pb")
    folder.remove()
    assert os.listdir(tmp_path) == ["saved"]


@pytest.mark.parametrize("newer", [False, True])
def test_a_killed_save_never_replaces_something_newer(tmp_path: Path, newer: bool) -> None:
    """What a killed process was about to put in place is put there, unless somebody has saved since."""
    folder = folder_of_a_dead_process(tmp_path / "m.keras", {"m.keras": b"killed"})
    folder.partial.rename(folder.content)
    atomic.link_tree(folder.content, folder.root / "placing")
    (tmp_path / "m.keras").write_bytes(b"other")
    os.utime(tmp_path / "m.keras", (2e9, 2e9) if newer else (1e9, 1e9))
    finish_killed_saves(tmp_path)
    assert (tmp_path / "m.keras").read_bytes() == (b"other" if newer else b"killed")
    assert os.listdir(tmp_path) == ["m.keras"]


def test_a_file_killed_while_it_was_written_in_place_is_finished(tmp_path: Path) -> None:
    """Where nothing can be renamed, a kill leaves the beginning of a file: the next start writes the rest."""
    folder = folder_of_a_dead_process(tmp_path / "m.keras", {"m.keras": b"the whole"})
    folder.partial.rename(folder.content)
    atomic.link_tree(folder.content, folder.root / "placing")
    (tmp_path / "m.keras").write_bytes(b"the wh")
    os.utime(tmp_path / "m.keras", (2e9, 2e9))
    finish_killed_saves(tmp_path)
    assert (tmp_path / "m.keras").read_bytes() == b"the whole"
    assert os.listdir(tmp_path) == ["m.keras"]


def test_what_can_not_be_finished_holds_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is in the way of one save is named, and its bytes stay; the other saves are finished."""
    for name in ("a.keras", "b.keras", "c.keras"):
        folder = folder_of_a_dead_process(tmp_path / name, {name: b"new"})
        folder.partial.rename(folder.content)
        atomic.link_tree(folder.content, folder.root / "placing")
        if name == "b.keras":
            (tmp_path / name).mkdir()
            left = folder.root
    finish_killed_saves(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("a.keras", "c.keras")] == [b"new", b"new"]
    assert sorted(os.listdir(tmp_path)) == [left.name, "a.keras", "b.keras", "c.keras"]
    assert (left / "content" / "b.keras").read_bytes() == b"new"
    assert caplog.text.count("can't be moved to its place") == 1


def test_a_living_process_is_left_alone(tmp_path: Path) -> None:
    """Another process that is just saving into the same folder keeps its private folder."""
    folder = PrivateFolder(str(tmp_path / "m.keras"))
    finish_killed_saves(tmp_path)
    assert folder.partial.is_dir()


def test_a_link_stays_a_link_and_permissions_stay(tmp_path: Path, server: Any) -> None:
    """Replacing the file keeps what the user made of the path, as writing into it would."""
    import keras
    import wandb

    from wandb_ckpt.keras import WandbModelCheckpoint

    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "real.keras").write_bytes(b"old")
    (tmp_path / "store" / "real.keras").chmod(0o640)
    (tmp_path / "m.keras").symlink_to("store/real.keras")
    (tmp_path / "store" / "blob").write_bytes(b"old")
    (tmp_path / "other.keras").symlink_to("store/blob")
    with wandb.init(mode="disabled"):
        fit(keras, [WandbModelCheckpoint("m.keras"), WandbModelCheckpoint("other.keras")], epochs=1)
    assert (tmp_path / "m.keras").is_symlink()
    assert (tmp_path / "store" / "real.keras").stat().st_mode & 0o777 == 0o640
    assert keras.saving.load_model("m.keras") is not None
    assert (tmp_path / "store" / "blob").read_bytes()[:2] == b"PK"
    assert sorted(os.listdir(tmp_path / "store")) == ["blob", "real.keras"]


def test_a_failed_save_ends_training_as_in_keras_and_leaves_best(tmp_path: Path, server: Any) -> None:
    """Keras's own error comes through, the old file and the best value stay, nothing half written is left."""
    import keras
    import wandb

    from wandb_ckpt.keras import WandbModelCheckpoint

    callback = WandbModelCheckpoint("out/m.keras", monitor="loss", save_best_only=True)
    with wandb.init(mode="disabled"):
        fit(keras, [callback], epochs=1)
        before, best = contents(tmp_path), callback.best

        class Broken(keras.layers.Layer):
            def call(self, x: Any) -> Any:
                return x

            def save_own_variables(self, store: Any) -> None:
                raise OSError(28, "No space left on device")

        model = keras.Sequential([keras.Input((4,)), Broken(), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        callback.best = 1e9
        with pytest.raises(OSError, match="No space left"):
            model.fit(X, Y, verbose=0, callbacks=[callback])
    assert callback.best == 1e9
    assert callback.best != best
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path / "out") == ["m.keras"]


def test_a_folder_at_the_path_is_refused_as_in_keras(tmp_path: Path, server: Any) -> None:
    """A folder where the file should be gives Keras's own error, and the folder stays."""
    (tmp_path / "m.keras").mkdir()
    code, output = run_script('wandb.init(mode="disabled")\nfit(WandbModelCheckpoint("m.keras"))', tmp_path, "p", "r")
    assert code == 1
    assert "Please specify a non-directory filepath" in output
    assert (tmp_path / "m.keras").is_dir()
