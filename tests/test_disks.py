"""Disks that are full, read-only or of another kind: fit goes on or ends as in Keras; nothing is lost silently."""

import os
import shutil
import tempfile
import textwrap
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import keras
import pytest

import disks
from scripts import PRELUDE, run_script
from training import contents, fit, versions
from wandb_ckpt.keras import WandbModelCheckpoint

pytestmark = pytest.mark.slow

# Where nothing may be mounted, something in the folder's place stands for its full disk: another error of the
# kernel's at the same places.
SMALL_DISK = """
mounts = disks.can_mount()
print("mounts", mounts, flush=True)
def small(folder):
    os.makedirs(folder)
    if mounts:
        disks.mount(folder, "1m")
def full(folder):
    if mounts:
        disks.fill(folder)
    else:
        os.rename(folder, f"{folder} aside")
        open(folder, "w").close()
def free(folder):
    if mounts:
        os.remove(f"{folder}/filler")
    else:
        os.replace(f"{folder} aside", os.remove(folder) or folder)
"""
STATES = """
def states(callback):
    return [outcome.state for outcome in callback.checkpoints]
"""
WITH_DISKS = disks.PRELUDE + SMALL_DISK + PRELUDE + STATES


def run(body: str, folder: Path, project: str, prelude: str = WITH_DISKS, **environ: str) -> str:
    """Runs a script with disks of its own, and returns what it printed."""
    code, output = run_script(body, folder, project, "r1", prelude=prelude, **environ)
    assert code == 0, output
    return output


def test_a_full_checkpoint_folder(server: Any, project: str, tmp_path: Path) -> None:
    """The save ends training as in Keras, in the background it fails alone; what was there is whole and published."""
    body = """
    import shutil
    small("out")
    wandb.init()
    callback = WandbModelCheckpoint("out/m.keras")
    try:
        fit(At(1, lambda: full("out")), callback)
    except OSError as error:
        print("ended by", repr(error), states(callback), flush=True)
    callback._session.publisher.flush()
    free("out")
    shutil.copytree("out", "left")
    full("out")
    background = WandbModelCheckpoint("out/m.keras", save_on_background=True)
    fit(background, At(1, lambda: (background._background.flush(), free("out"))))
    print("background", states(background), sorted(os.listdir("out")), flush=True)
    """
    output = run(body, tmp_path, project)
    assert "ended by" in output
    assert "No space left on device" in output or "mounts False" in output
    assert os.listdir(tmp_path / "left") == ["m.keras"]
    assert ZipFile(tmp_path / "left" / "m.keras").testzip() is None
    assert "background ['failed', 'failed', 'committed'] ['m.keras']" in output, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [version.metadata["epoch"] for version in seen] == [0, 2], output
    assert seen[0].files == contents(tmp_path / "left")


def test_a_full_staging_folder(server: Any, project: str, tmp_path: Path) -> None:
    """wandb can write nothing for a while: fit goes on meanwhile, and all is published when there is room."""
    body = """
    small("data")
    wandb.init()
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    look = lambda: print("meanwhile", states(callback), flush=True)
    fit(At(0, lambda: full("data")), callback, At(2, look), At(2, lambda: free("data")))
    print("then", states(callback), flush=True)
    """
    output = run(body, tmp_path, project, WANDB_DATA_DIR=str(tmp_path / "data"))
    assert "meanwhile" in output
    lost = 2 if "mounts False" in output else 0  # that it is no folder is for good
    assert f"then {['failed'] * lost + ['committed'] * (3 - lost)}" in output, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    files = contents(tmp_path / "out")
    # One of two that wandb had taken may be uploaded before the other, which it must be given once more.
    published = {version.metadata["epoch"]: version.files for version in seen}
    assert published == {epoch: {f"{epoch + 1}.keras": files[f"{epoch + 1}.keras"]} for epoch in range(lost, 3)}
    assert [version.metadata["epoch"] for version in seen if "latest" in version.aliases] == [2]


def test_a_full_run_folder(server: Any, project: str, tmp_path: Path) -> None:
    """There is no room for records and wandb's own log: fit goes on, and checkpoints beside it are published."""
    body = """
    small("runs")
    wandb.init(dir="runs")
    callback = WandbModelCheckpoint("out/{epoch}.keras")
    fit(At(0, lambda: full("runs")), callback)
    free("runs")
    print("then", states(callback), flush=True)
    """
    output = run(body, tmp_path, project)
    state = "failed" if "mounts False" in output else "committed"
    assert f"then {[state] * 3}" in output, output
    assert sorted(os.listdir(tmp_path / "out")) == ["1.keras", "2.keras", "3.keras"]


def test_a_read_only_folder(server: Any, project: str, tmp_path: Path) -> None:
    """The checkpoint folder: training ends as with Keras's own callback. The snapshots' folder: fit goes on."""
    body = """
    run = wandb.init()
    if mounts:
        disks.mount("out", "1m", read_only=True)
        disks.mount(f"{run.settings.sync_dir}/wandb_ckpt", "1m", read_only=True)
    else:  # not even root can make a folder under /proc; and under a file nobody can
        os.symlink("/proc", "out")
        open(f"{run.settings.sync_dir}/wandb_ckpt", "w").close()
    ends = []
    for make in (keras.callbacks.ModelCheckpoint, WandbModelCheckpoint):
        try:
            fit(make("out/m.keras"))
        except OSError as error:
            ends.append((type(error), error.errno))
    print("ends as in Keras", len(ends) == 2 and ends[0] == ends[1], ends, flush=True)
    callback = WandbModelCheckpoint("m.keras")
    fit(callback)
    print(states(callback), callback.checkpoints[0].reason, flush=True)
    """
    output = run(body, tmp_path, project)
    assert "ends as in Keras True" in output, output
    assert "['failed', 'failed', 'failed'] it could not be kept for publishing" in output, output
    assert ZipFile(tmp_path / "m.keras").testzip() is None


def test_a_disk_without_hard_links(server: Any, project: str, tmp_path: Path) -> None:
    """Where the kernel refuses them, copies are frozen; the versions are what was saved, and nothing else is left."""
    body = """
    wandb.init()
    files, weights = WandbModelCheckpoint("out/{epoch}.keras"), {"save_weights_only": True}
    callbacks = [files, WandbModelCheckpoint("other/m.weights.h5", **weights)]
    fit(*callbacks)
    print(*map(states, callbacks), flush=True)
    """
    output = run(body, tmp_path, project, prelude=f"{disks.PRELUDE}disks.refuse(disks.LINKS)\n{PRELUDE}{STATES}")
    assert output.count("['committed', 'committed', 'committed']") == 2, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    files = contents(tmp_path / "out")
    assert [version.files for version in seen] == [{name: files[name]} for name in ("1.keras", "2.keras", "3.keras")]
    weights = versions(f"{server.entity}/{project}/r1", tmp_path / "weights", "run_r1_model-m")
    assert len(weights) == 3, output
    assert weights[-1].files == contents(tmp_path / "other")
    assert sorted(os.listdir(tmp_path / "out")) == ["1.keras", "2.keras", "3.keras"]
    assert not list(tmp_path.glob("wandb/*/wandb_ckpt/*/*/content"))


# What must be put in the way of a rename, and what is trained on with it.
IN_PLACE = {
    "a file that is mounted": """
        open("out/m.keras", "w").close()
        open("volume", "w").close()
        disks.bind("volume", "out/m.keras") if mounts else disks.refuse(disks.RENAMES, errno.EBUSY)
    """,
    "a file system that renames nothing": "disks.refuse(disks.RENAMES, errno.ENOSYS)",
    "a folder that can't be written to": """
        open("out/m.keras", "w").close()
        os.chmod("out", 0o555)
        disks.obey_permissions()
    """,
}


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("place", IN_PLACE)
def test_where_nothing_can_be_put_in_place(
    server: Any, project: str, tmp_path: Path, place: str, background: bool
) -> None:
    """fit goes on as with Keras's own callback, each version is what was saved, and one line says what is missing."""
    body = f"""
    import errno, hashlib
    os.mkdir("out")
    wandb.init()
    {textwrap.dedent(IN_PLACE[place]).strip().replace(chr(10), chr(10) + "    ")}
    fit(keras.callbacks.ModelCheckpoint("out/m.keras"))
    callback = WandbModelCheckpoint("out/m.keras", save_on_background={background})
    digests = []
    digest = lambda: hashlib.sha256(open("out/m.keras", "rb").read()).hexdigest()
    note = lambda: (callback._publish_pending(), digests.append(digest()))
    fit(callback, *(At(epoch, note) for epoch in range(3)))
    print(states(callback), os.listdir("out"), *digests, flush=True)
    """
    output = run(body, tmp_path, project)
    assert "['committed', 'committed', 'committed'] ['m.keras']" in output, output
    assert output.count(f"Saves in {tmp_path}/out are not atomic") == 1, output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [version.files["m.keras"] for version in seen] == output.split("['m.keras'] ")[1].split()[:3]


def test_another_disk_without_any_links(server: Any, project: str, tmp_path: Path) -> None:
    """Bytes that can neither be moved to the run's folder nor be linked from there are copied, and published."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert os.stat(elsewhere).st_dev != os.stat(tmp_path).st_dev
        body = f"""
        wandb.init()
        disks.refuse(disks.LINKS + disks.SYMLINKS)
        callback = WandbModelCheckpoint("{elsewhere}/{{epoch}}.keras")
        fit(callback)
        print(states(callback), flush=True)
        """
        assert "['committed', 'committed', 'committed']" in run(body, tmp_path, project)
        files = contents(Path(elsewhere))
        assert sorted(os.listdir(elsewhere)) == list(files) == ["1.keras", "2.keras", "3.keras"]
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [version.files for version in seen] == [{name: digest} for name, digest in files.items()]


def test_no_room_for_a_folder_beside_the_file(
    start_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a save can't be written aside, the parent writes the file itself, and a copy of it is published."""
    deep = tmp_path / "deep"
    while (room := 4075 - len(str(deep))) > 1:
        deep /= "d" * min(200, room - 1)
    deep.mkdir(parents=True)
    try:
        with start_run() as run:
            fit(keras, [WandbModelCheckpoint(deep / "m.keras")])
        assert os.listdir(deep) == ["m.keras"]
        seen = versions(run.path, tmp_path / "fetched")
        assert len(seen) == 2
        assert seen[-1].files == {"m.keras": contents(deep)["m.keras"]}
        assert caplog.text.count("are not atomic") == 1
    finally:
        shutil.rmtree(tmp_path / "deep")
