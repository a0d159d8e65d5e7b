"""kill -9 at every single step from a save to its snapshot: no step leaves half a checkpoint, or bytes for ever."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from training import contents
from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.locks import this_process
from wandb_ckpt.outbox.entry import Entry, RunInfo, read_record, write_record
from wandb_ckpt.outbox.snapshot import Snapshot, freeze
from wandb_ckpt.saving.atomic import PrivateFolder, finish_killed_saves
from wandb_ckpt.saving.save_observer import Save

STEPS = (
    *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.utime", "os.chmod"),
    *("open", "shutil.copyfile"),
)
RUN = RunInfo(id="r1", entity="e", project="p", base_url="http://localhost", offline=False)
OLD, NEW = b"the old checkpoint", b"the new one"


def note(snapshot: Snapshot) -> None:
    """Writes the record of a snapshot."""
    checkpoint = Checkpoint(path="m.keras", format="keras", epoch=1, batch=None, monitor="loss")
    entry = Entry(RUN, "a", checkpoint, Path("m.keras"), snapshot, (), {}, "m.keras")
    write_record(replace(entry, owner=this_process()))


def save(folder: Path, home: Path, *, copy: bool, apart: bool) -> Snapshot:
    """Saves the new checkpoint over the old one, and keeps it at `home`."""
    if not apart:  # the parent's own file is all there is
        (folder / "m.keras").write_bytes(NEW)
        return freeze(Save(str(folder / "m.keras"), None), home, note=note, copy=copy)
    private = PrivateFolder(str(folder / "m.keras"))
    (private.partial / "m.keras").write_bytes(NEW)
    private.place()
    return freeze(Save(str(folder / "m.keras"), private), home, note=note, copy=copy)


def killed_at(step: int, work: Callable[[Callable[[], None]], None]) -> bool:
    """Works in a process that is killed before a step, counted as soon as it says so; returns if it came that far."""
    pid = os.fork()
    if pid == 0:
        steps = iter(range(step))

        def count(event: str, arguments: tuple[object, ...]) -> None:
            if event in STEPS and next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        work(lambda: sys.addaudithook(count))
        os._exit(0)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL


def use_exchange(exchange: bool) -> None:
    """Has this process believe, if told so, that its system can't exchange two folders in one step."""
    sys.platform = sys.platform if exchange else "darwin"


@pytest.fixture(params=["on the same disk", "on another disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the checkpoint is, seen from the snapshots, which are in the test's own folder."""
    with tempfile.TemporaryDirectory(dir=tmp_path if "same" in request.param else "/dev/shm") as name:
        assert ("same" in request.param) == (os.stat(name).st_dev == os.stat(tmp_path).st_dev)
        yield Path(name)


@pytest.mark.parametrize("release", [False, True])
@pytest.mark.parametrize(("copy", "apart"), [(False, True), (True, True), (False, False)])
def test_killed_before_every_step(folder: Path, tmp_path: Path, copy: bool, apart: bool, release: bool) -> None:
    """The file is the old one or the new one, a snapshot has its record and all its bytes, the rest is swept."""
    step, is_alive = 0, False
    (tmp_path / "run" / "wandb_ckpt" / "a").mkdir(parents=True)

    def work(begin: Callable[[], None]) -> None:
        if not release:
            begin()
        snapshot = save(folder, home, copy=copy, apart=apart)
        if release:
            begin()
            snapshot.release()

    while not is_alive:
        folder.joinpath("m.keras").write_bytes(OLD)
        home = tmp_path / "run" / "wandb_ckpt" / "a" / f"{step}"
        is_alive = not killed_at(step, work)
        finish_killed_saves(folder)
        finish_killed_saves(home.parent)
        assert contents(folder).keys() == {"m.keras"}
        if apart:
            assert (folder / "m.keras").read_bytes() in (OLD, NEW)
        if home.exists():
            record = read_record(home)
            assert record is not None
            bytes_left = [file.path.read_bytes() for file in record.snapshot.files if file.path.exists()]
            assert bytes_left == [NEW] or (release and bytes_left == [])
            record.snapshot.release()
        assert os.listdir(home.parent) == []
        assert os.listdir(folder) == ["m.keras"]
        step += 1
    assert step > (2 if release else 8)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_killed_before_every_step(tmp_path: Path, exchange: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A SavedModel is the old one or the new one, whole, with what others keep in it; also without an exchange."""
    parts = ("saved_model.pb", "variables/variables.index", "notes/a.txt", "log.csv")

    def fill(folder: Path, names: tuple[str, ...], data: bytes) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def work(begin: Callable[[], None]) -> None:
        use_exchange(exchange)
        private = PrivateFolder(str(tmp_path / "saved"))
        fill(private.partial / "saved", parts[:2], NEW)
        begin()
        private.place()

    step, is_alive, ends = 0, False, set()
    while not is_alive:
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        fill(tmp_path / "saved", parts, OLD)
        is_alive = not killed_at(step, work)
        finish_killed_saves(tmp_path)
        found = {name: (tmp_path / "saved" / name).read_bytes() for name in parts}
        assert found in ({**dict.fromkeys(parts, OLD), **dict.fromkeys(parts[:2], data)} for data in (OLD, NEW))
        assert os.listdir(tmp_path) == ["saved"] or is_alive
        ends.add(found["saved_model.pb"])
        step += 1
    assert ends == {OLD, NEW}
    assert step > 8
    assert caplog.text == ""


@pytest.mark.parametrize("exchange", [True, False])
def test_bytes_that_come_home_killed_before_every_step(tmp_path: Path, exchange: bool) -> None:
    """The bytes are where the record says at every moment while they are copied to it; then all are there."""
    step, is_alive = 0, False
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        while not is_alive:
            home = tmp_path / "run" / "wandb_ckpt" / "a" / f"{step}"
            snapshot = save(Path(elsewhere), home, copy=False, apart=True)

            def work(begin: Callable[[], None], snapshot: Snapshot = snapshot) -> None:
                use_exchange(exchange)
                begin()
                snapshot.bring_home()

            is_alive = not killed_at(step, work)
            record = read_record(home)
            assert record is not None
            assert [file.path.read_bytes() for file in record.snapshot.files] == [NEW]
            record.snapshot.bring_home()
            finish_killed_saves(Path(elsewhere))
            assert contents(home / "content").keys() == {"m.keras"}
            assert (home / "content").resolve().is_relative_to(home)
            step += 1
        assert step > 5
        snapshot.release()
        assert not home.exists()
