"""What is needed of wandb beyond its documentation is where it is looked for, and nothing breaks where it is not."""

import ast
import errno
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb

import wandb_ckpt
from scripts import ran
from wandb_ckpt.outbox import run_folder
from wandb_ckpt.wandb_api import private
from wandb_ckpt.wandb_api.artifacts import _what_settling_met
from wandb_ckpt.wandb_api.errors import LostError, RefusedError, TemporaryError

PACKAGE = Path(wandb_ckpt.__file__).parent


def test_only_one_module_knows_what_is_private() -> None:
    """No other module imports more of wandb than the package itself, its errors and the types of its public API."""
    found, public = set(), ("wandb.errors", "wandb.apis.public")
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {(path.name, name) for name in names if name.startswith("wandb.") and name not in public}
    assert found <= {("_wandb_private.py", "wandb.env")}


def test_a_run_that_is_finished(start_run: Any) -> None:
    """A finished run says so in both ways, each of which is enough."""
    run = start_run(mode="offline")
    assert run._is_finished is False
    run.finish()
    assert run._is_finished is True
    with pytest.raises(wandb.errors.UsageError, match="is finished") as refused:
        run.log_artifact(wandb.Artifact("m", type="model"))
    assert private.is_run_finished(refused.value, run)
    assert private.is_run_finished(wandb.errors.UsageError("in other words"), run)
    run._is_finished = False
    assert private.is_run_finished(refused.value, run)
    assert not private.is_run_finished(wandb.errors.UsageError("in other words"), run)


def test_an_upload_that_is_given_up() -> None:
    """wandb's own error for it has the name by which it is known, wherever it is defined."""
    from wandb.sdk.mailbox import HandleAbandonedError

    assert private.is_abandoned(HandleAbandonedError())
    assert _what_settling_met(HandleAbandonedError()) is LostError
    assert not private.is_abandoned(ValueError("refused"))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("ArtifactSaver.commitArtifact: unexpected EOF", TemporaryError),
        ("write tcp 127.0.0.1:1->127.0.0.1:2: write: broken pipe", TemporaryError),
        ("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", TemporaryError),
        ("POST http://127.0.0.1/graphql giving up after 21 attempt(s)", TemporaryError),
        ("write /staging/1: no space left on device", TemporaryError),
        ("ArtifactSaver.createArtifact: returned error 403: permission denied", RefusedError),
    ],
)
def test_what_an_upload_may_meet(words: str, kind: type[Exception]) -> None:
    """wandb-core's words tell what passes from a refusal; those for a cut answer are seen in test_refused.py."""
    assert _what_settling_met(ValueError(words)) is kind


def test_a_download_past_the_cache_leaves_the_cache_as_it_was(start_run: Any, tmp_path: Path) -> None:
    """The attribute that wandb leaves set is there, and is put back."""
    run = start_run()
    artifact = wandb.Artifact("m", type="model")
    (tmp_path / "m.txt").write_text("m")
    artifact.add_file(str(tmp_path / "m.txt"))
    artifact = run.log_artifact(artifact).wait()
    artifact.download(root=tmp_path / "fetched", skip_cache=True)
    cache = artifact.manifest.storage_policy._cache
    assert cache._override_cache_path is not None, "wandb puts it back itself: reset_cache_override is needed no more"
    private.reset_cache_override(artifact)
    assert cache._override_cache_path is None
    del cache._override_cache_path
    private.reset_cache_override(artifact)
    assert not hasattr(cache, "_override_cache_path")
    cache._override_cache_path = None


def test_the_folders_of_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three are known; one that can't be asked for is left out."""
    from wandb import env

    assert set(private.folders()) == {"staging", "cache", "downloads"}
    monkeypatch.delattr(env, "get_data_dir")
    assert set(private.folders()) == {"cache", "downloads"}


def test_a_runs_folder_is_told_by_its_log(start_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb's settings keep a relative path, its log an absolute one."""
    (tmp_path / "elsewhere").mkdir()
    run = start_run(mode="offline", dir=".")
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = private.absolute_run_folder(Path(Path(run.settings.sync_dir).name))
    run.finish()
    assert folder.is_dir()
    assert not run_folder.is_synced(folder)


def catalogue(texts: dict[str, str]) -> bytes:
    """A message catalogue, as gettext reads it: of the C library's own, say."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **texts}.items())
    start, tables, data = 28 + 16 * len(pairs), [b"", b""], b""
    for column in (0, 1):
        for pair in pairs:
            text = pair[column].encode()
            tables[column] += struct.pack("<II", len(text), start + len(data))
            data += text + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 28) + b"".join(tables) + data


@pytest.mark.skipif(sys.platform != "linux", reason="binds a catalogue to glibc")
def test_a_full_disk_under_another_locale(tmp_path: Path) -> None:
    """wandb-core speaks English whatever Python's own words for a full disk are."""
    messages = tmp_path / "de" / "LC_MESSAGES"
    messages.mkdir(parents=True)
    german = "Auf dem Gerät ist kein Speicherplatz mehr verfügbar"
    (messages / "libc.mo").write_bytes(catalogue({"No space left on device": german}))
    code = f"""
import ctypes, errno, locale, os
ctypes.CDLL(None).bindtextdomain(b"libc", {str(tmp_path).encode()!r})
locale.setlocale(locale.LC_ALL, "C.UTF-8")
from wandb_ckpt.wandb_api.private import is_disk_full
try:
    with open("/dev/full", "w") as full:
        full.write("x")
except OSError as error:
    print(error.strerror)
    print(is_disk_full(error), is_disk_full(ValueError("write m.keras: no space left on device")))
"""
    done = ran([sys.executable, "-c", code], env={**os.environ, "LANGUAGE": "de", "PYTHONUTF8": "1"})
    assert done.stdout.splitlines() == [german, "True True"], done


def test_an_error_without_a_number() -> None:
    """wandb raises some of Python's own errors with words only."""
    assert private.is_disk_full(OSError("write: disk quota exceeded"))
    assert private.is_disk_full(OSError(errno.EDQUOT, "in whatever words"))
    assert not private.is_disk_full(OSError(errno.EACCES, "permission denied"))
