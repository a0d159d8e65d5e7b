"""Importing the package and asking the command for help loads nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = (
    "[name for name in ('keras', 'tf_keras', 'tensorflow', 'wandb', 'jax', 'torch', 'h5py') if name in sys.modules]"
)


def output_of(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_is_light() -> None:
    """`import wandb_ckpt` imports no Keras, no TensorFlow and no wandb."""
    assert output_of(f"import sys, wandb_ckpt; dir(wandb_ckpt); print({HEAVY})") == "[]"


@pytest.mark.parametrize("module", ["wandb_ckpt", "wandb_ckpt.keras", "wandb_ckpt.tf_keras", "wandb_ckpt.cli"])
def test_windows_is_refused(module: str) -> None:
    """On Windows the first import says what to do, before Keras is imported, or a process is asked for."""
    code = (
        "import sys; sys.platform = 'win32'\n"
        "def note(event, arguments): assert event != 'os.kill'\n"
        "sys.addaudithook(note)\n"
        f"try:\n    from {module} import *\nexcept ImportError as error:\n    print(error, {HEAVY})"
    )
    said = output_of(code)
    assert "not on Windows" in said
    assert "WSL" in said
    assert said.endswith(" []")


def test_help_is_light() -> None:
    """`wandb-ckpt --help` and the help of each command import none of them either."""
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom wandb_ckpt.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "assert all(CliRunner().invoke(main, [name, '--help']).exit_code == 0 for name in main.commands)\n"
        f"print({HEAVY})"
    )
    assert output_of(code) == "[]"


def test_every_public_name_exists() -> None:
    """Each name in `__all__` can be imported, and no other lazy name pretends to."""
    import wandb_ckpt

    assert all(getattr(wandb_ckpt, name) is not None for name in wandb_ckpt.__all__)
    assert set(wandb_ckpt.__all__) <= set(dir(wandb_ckpt))
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = wandb_ckpt.Nothing


def test_server_and_client_share_only_http() -> None:
    """The server imports nothing of the client, nor wandb, nor Keras; the client nothing of the server."""
    pytest.importorskip("uvicorn")
    code = (
        "import sys, wandb_ckpt.server\n"
        "ours = [n for n in sys.modules if n.startswith('wandb_ckpt.') and not n.startswith('wandb_ckpt.server')]\n"
        f"print([n for n in ours if n not in ('wandb_ckpt.errors', 'wandb_ckpt.family')] + {HEAVY})"
    )
    assert output_of(code) == "[]"
    client = "import sys, wandb_ckpt.keras; print([n for n in sys.modules if n.startswith('wandb_ckpt.server')])"
    assert output_of(client) == "[]"


@pytest.mark.parametrize(("value", "home"), [("1", "wandb_ckpt.tf_keras"), ("0", "wandb_ckpt.keras")])
def test_top_level_class_follows_tensorflows_own_switch(
    monkeypatch: pytest.MonkeyPatch, value: str, home: str
) -> None:
    """With `TF_USE_LEGACY_KERAS=1` the top-level class is the one for tf_keras, as it is for wandb's class."""
    pytest.importorskip("tf_keras")
    import wandb_ckpt

    monkeypatch.setenv("TF_USE_LEGACY_KERAS", value)
    assert wandb_ckpt.WandbModelCheckpoint.__module__ == home


def test_the_signature_is_that_of_wandbs_callback() -> None:
    """Every argument of wandb's class is there, in the same place with the same default; ours are keyword-only."""
    pytest.importorskip("tensorflow")
    code = (
        "import inspect, json\nfrom wandb.integration.keras import WandbModelCheckpoint as theirs\n"
        "from wandb_ckpt import WandbModelCheckpoint as ours\n"
        "old, new = (list(inspect.signature(c).parameters.values()) for c in (theirs, ours))\n"
        "old = [(p.name, p.default) for p in old if p.kind == p.POSITIONAL_OR_KEYWORD]\n"
        "print([(p.name, p.default) for p in new if p.kind == p.POSITIONAL_OR_KEYWORD] == old)"
    )
    assert output_of(code).splitlines()[-1] == "True"
